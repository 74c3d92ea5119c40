// Package arch holds what differs between architectures: page tables and the layout of the kernel's address space. One
// file an architecture, one line in New.
package arch

import (
	"fmt"

	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
)

// Env is what an architecture may ask of an opened dump.
type Env interface {
	Image() *dumpfmt.Image
	VMCoreInfo() *vmcoreinfo.Info
}

// Arch is an architecture set up for one dump.
type Arch interface {
	Machine() dumpfmt.Machine
	// Kernel is the kernel's address space.
	Kernel() vmem.Space
	// User is the address space whose top page table lies at pgd, a physical address.
	User(pgd dumpfmt.Phys) vmem.Space
	// Late completes the set-up from the kernel's own variables, once memory of the kernel image can be read. word reads
	// a variable of the target's word size by name.
	Late(word func(symbol string) (uint64, error)) error
	// WhenNeeded sets what makes somebody call Late: opening the symbols, which waits for the first question.
	WhenNeeded(open func())
	// DirectMap is the virtual address at which physical memory is mapped one to one; ok is false if unknown.
	DirectMap() (base vmem.Addr, ok bool)
	// IsKernel reports whether va can be an address of the kernel.
	IsKernel(va uint64) bool
	// KASLROffset is by how much the kernel image was moved from where it was linked, in bytes.
	KASLROffset() (uint64, bool)
	// PTEFlags names the flags of a page-table entry at the given level.
	PTEFlags(level string, entry uint64) []string
	// Describe lists the facts of address translation for people: name and value.
	Describe() [][2]string
}

// New sets up the architecture of env's dump.
func New(env Env) (Arch, error) {
	switch m := env.Image().Info().Machine; m {
	case dumpfmt.MachineX86_64:
		return newX86(env)
	default:
		return nil, fmt.Errorf("the dump's machine is %s: kdx reads its headers (kdx info), but does not translate its addresses", m)
	}
}
