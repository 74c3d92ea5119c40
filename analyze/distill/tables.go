package distill

import "kdx/analyze/kernel"

// Tables reads all symbols and types of the kernel and its modules, so that a dump that is being distilled opens with
// them whatever commands were run. It returns how many there are.
func Tables(k *kernel.Kernel) (symbols, types int) {
	for range k.Symbols().All() {
		symbols++
	}
	for range k.Symbols().TypeNames() {
		types++
	}
	return symbols, types
}
