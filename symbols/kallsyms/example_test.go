package kallsyms_test

import (
	"fmt"

	"kdx/symbols"
	"kdx/symbols/kallsyms"
)

// The kernel's image is searched where VMCOREINFO does not give the table's place.
func ExampleScan() {
	find := func(mem symbols.Memory, stext uint64) (*kallsyms.Table, error) {
		opt := kallsyms.Options{Stext: stext}
		loc, err := kallsyms.Scan(mem, stext, stext+128<<20, opt)
		if err != nil {
			return nil, err
		}
		return kallsyms.Read(mem, loc, opt)
	}
	_, err := find(nothing{}, 0xffffffff81000000)
	fmt.Println(err)
	// Output: kallsyms: no symbol table in the kernel's image from 0xffffffff81000000 to 0xffffffff89000000
}

type nothing struct{}

func (nothing) ReadMemory([]byte, uint64) (int, error) { return 0, symbols.ErrNotFound }
