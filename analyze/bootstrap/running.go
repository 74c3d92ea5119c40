package bootstrap

import (
	"encoding/binary"
	"fmt"

	"kdx/analyze/arch"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
)

const (
	cr3Table  = 0x000ffffffffff000 // without the process-context id and the bit that keeps the TLB
	ptiUser   = 1 << 12            // with PTI, the user's half of a pair of page tables is behind the kernel's
	cr4LA57   = 1 << 12            // five levels
	idtVector = 16                 // bytes of a gate
)

// running are the kernels that CPUs ran: found through CR3, and where program headers say that a kernel's image is.
func (f *finder) running() []*candidate {
	var out []*candidate
	known := func(x arch.X86Image) bool {
		for _, c := range out {
			if c.image.Virt == x.Virt && c.image.Phys == x.Phys {
				return true
			}
		}
		return false
	}
	seen := map[[2]uint64]bool{}
	for i := range f.img.Info().CPUs {
		cpu := &f.img.Info().CPUs[i]
		if cpu.QEMU == nil || cpu.QEMU.CR3 == 0 || seen[[2]uint64{cpu.QEMU.CR3, cpu.QEMU.CR4}] {
			continue
		}
		seen[[2]uint64{cpu.QEMU.CR3, cpu.QEMU.CR4}] = true
		if x, ok := f.imageOfCPU(cpu); ok && !known(x) {
			out = append(out, f.newCandidate(x, fmt.Sprintf("CR3 of CPU %d", cpu.Index)))
		}
	}
	for _, s := range f.img.Info().Segments {
		// /proc/vmcore and /proc/kcore list the kernel's image first, from _text to _end.
		if s.HasPhys && s.Virt >= arch.X86LinkedText && s.Virt%(2<<20) == 0 && uint64(s.Phys)%(2<<20) == 0 {
			if x := (arch.X86Image{Virt: s.Virt, Size: s.MemSize, Phys: s.Phys}); !known(x) && s.Virt+s.MemSize > s.Virt {
				out = append(out, f.newCandidate(x, "the program header of the kernel's image"))
			}
		}
		if len(out) >= maxCandidates {
			break
		}
	}
	return out
}

// maxCandidates bounds the kernels that are looked at closely. A machine has one, or two while it dumps.
const maxCandidates = 16

// imageOfCPU walks from a CPU's CR3 to the kernel's image. With page-table isolation a CPU in user mode has its user's
// half loaded, which maps little of the kernel; the kernel's half is the page before. Without it the page before is
// anything, and is not believed unless it maps a kernel.
func (f *finder) imageOfCPU(cpu *dumpfmt.CPU) (arch.X86Image, bool) {
	root := cpu.QEMU.CR3 & cr3Table
	levels := 4
	if cpu.QEMU.CR4&cr4LA57 != 0 {
		levels = 5
	}
	roots := []uint64{root &^ ptiUser}
	if root&ptiUser != 0 {
		roots = append(roots, root)
	}
	for _, r := range roots {
		x, err := arch.X86ImageOf(f.img, dumpfmt.Phys(r), levels)
		if err == nil {
			err = f.checkIDT(cpu, x)
		}
		if err == nil {
			return x, true
		}
		f.tried = append(f.tried, fmt.Sprintf("CR3 of CPU %d is %#x: %v", cpu.Index, cpu.QEMU.CR3, err))
	}
	return arch.X86Image{}, false
}

// checkIDT holds the image against the CPU's interrupt table: its first gate, for division errors, leads into the kernel
// that the CPU runs. A table that can't be read says nothing.
func (f *finder) checkIDT(cpu *dumpfmt.CPU, x arch.X86Image) error {
	if cpu.QEMU.IDTBase == 0 {
		return nil
	}
	c := f.newCandidate(x, "")
	a, err := arch.New(env{f.img, vmcoreinfo.Parse(nil).With(c.place()...)})
	if err != nil {
		return nil
	}
	var gate [idtVector]byte
	if _, err := vmem.Read(f.img, a.Kernel(), gate[:], cpu.QEMU.IDTBase); err != nil {
		return nil
	}
	le := binary.LittleEndian
	handler := uint64(le.Uint16(gate[:])) | uint64(le.Uint16(gate[6:]))<<16 | uint64(le.Uint32(gate[8:]))<<32
	if handler-x.Virt >= x.Size {
		return fmt.Errorf("it leads to a %s, but the CPU's interrupt table leads to %#x", x, handler)
	}
	return nil
}

// told is the kernel that a person described with --kaslr and --phys-base.
func (f *finder) told() (*candidate, bool) {
	if f.KASLR == nil || f.PhysBase == nil {
		return nil, false
	}
	virt := f.linkedText() + *f.KASLR
	const startKernelMap = 0xffffffff80000000
	if virt < startKernelMap {
		f.tried = append(f.tried, fmt.Sprintf("no kernel is moved by %#x, to %#x", *f.KASLR, virt))
		return nil, false
	}
	x := arch.X86Image{Virt: virt, Phys: dumpfmt.Phys(virt - startKernelMap + uint64(*f.PhysBase)), Size: min(imageLimit, -virt)}
	return f.newCandidate(x, "what --kaslr and --phys-base say"), true
}
