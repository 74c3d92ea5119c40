package reduce

import (
	"slices"

	"kdx/dumpfmt"
)

// segments are what the program headers of an ELF output say of virtual memory, for inputs that do not say it: the direct map
// and the kernel image, as the kernel itself writes them. gdb reads by them, and makedumpfile finds the direct map there. nil
// if the input says it, or the kernel isn't known.
func (r *run) segments() []dumpfmt.Segment {
	// QEMU without paging=on writes physical addresses, or 0.
	said := func(s dumpfmt.Segment) bool { return s.HasPhys && s.Virt != 0 && s.Virt != uint64(s.Phys) }
	if r.Kernel == nil || slices.ContainsFunc(r.info.Segments, said) {
		return nil
	}
	base, ok := r.Kernel.Arch().DirectMap()
	if !ok {
		return nil
	}
	var out []dumpfmt.Segment
	if text, ok := r.image(); ok {
		out = append(out, text)
	}
	for _, m := range r.info.Ranges {
		out = append(out, dumpfmt.Segment{Virt: uint64(base) + uint64(m.Start), Phys: m.Start, HasPhys: true, MemSize: uint64(m.End - m.Start)})
	}
	return out
}

// image is where the kernel image is, from _text to _end.
func (r *run) image() (dumpfmt.Segment, bool) {
	text, err := r.Kernel.Symbol("_text")
	if err != nil {
		return dumpfmt.Segment{}, false
	}
	end, err := r.Kernel.Symbol("_end")
	if err != nil || end.Addr <= text.Addr || end.Addr-text.Addr > 1<<30 {
		return dumpfmt.Segment{}, false
	}
	at, err := r.Kernel.Arch().Kernel().Translate(text.Addr)
	if err != nil {
		return dumpfmt.Segment{}, false
	}
	size := (end.Addr - text.Addr + r.info.PageSize - 1) &^ (r.info.PageSize - 1)
	return dumpfmt.Segment{Virt: text.Addr, Phys: at.Phys, HasPhys: true, MemSize: size}, true
}
