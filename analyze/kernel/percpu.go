package kernel

import "kdx/analyze/vmem"

// IsPerCPU reports whether addr is a symbol's place in the per-CPU area, to which a CPU's offset must be added: it lies
// between __per_cpu_start and __per_cpu_end. x86-64 linked that area at zero until 6.14.
func (k *Kernel) IsPerCPU(addr vmem.Addr) bool {
	start, err := k.Symbol("__per_cpu_start")
	if err != nil {
		return false
	}
	end, err := k.Symbol("__per_cpu_end")
	return err == nil && uint64(addr) >= start.Addr && uint64(addr) < end.Addr
}
