package load

import (
	"fmt"

	"kdx/capture/bzimage"
	"kdx/capture/reserve"
)

// segment is a piece of memory that the kernel wants for the image.
type segment struct {
	what        string
	size, align uint64
	bottom      bool // looked for from below
}

const pageSize = 4096

func align(n, to uint64) uint64 { return (n + to - 1) / to * to }

// segments are those of kexec_file_load on x86-64, in the order in which it looks for room (arch/x86/kernel/kexec-bzimage64.c).
func segments(h *bzimage.Header, cmdline int, initrd int64, elfcorehdr uint64) []segment {
	return []segment{
		{"the map of memory (elfcorehdr)", align(elfcorehdr, pageSize), pageSize, true},
		{"purgatory", 5 * pageSize, pageSize, false},
		// The parameters with the table of EFI's memory and a command line.
		{"boot parameters", align(uint64(4*pageSize+cmdline), pageSize), pageSize, false},
		{"the kernel while it starts (init_size)", align(h.InitSize, pageSize), max(h.Alignment, pageSize), false},
		{"the initrd", align(uint64(initrd), pageSize), pageSize, false},
	}
}

// noRoomError: a segment has no room.
type noRoomError struct {
	seg        segment
	need, have uint64
}

func (e *noRoomError) Error() string {
	return fmt.Sprintf("the image takes %s and the reservation has %s: no room is left for %s of %s", mebi(e.need), mebi(e.have), e.seg.what, mebi(e.seg.size))
}

// place puts the segments where the kernel would, and says how much of the region they take.
func place(region reserve.Region, segs []segment) (uint64, error) {
	type span struct{ start, end uint64 }
	var used []span
	var need uint64
	for _, s := range segs {
		need += s.size
	}
	overlap := func(start, size uint64) *span {
		for i := range used {
			if start < used[i].end && used[i].start < start+size {
				return &used[i]
			}
		}
		return nil
	}
	var sum uint64
	for _, s := range segs {
		if s.size == 0 {
			continue
		}
		fail := &noRoomError{s, need, region.Bytes()}
		if s.size > region.Bytes() {
			return 0, fail
		}
		start := align(region.Start, s.align)
		if !s.bottom {
			start = (region.End + 1 - s.size) / s.align * s.align
		}
		for {
			if start < region.Start || start+s.size > region.End+1 {
				return 0, fail
			}
			hit := overlap(start, s.size)
			if hit == nil {
				break
			}
			if s.bottom {
				start = align(hit.end, s.align)
				continue
			}
			if hit.start < region.Start+s.size {
				return 0, fail
			}
			start = (hit.start - s.size) / s.align * s.align
		}
		used = append(used, span{start, start + s.size})
		sum += s.size
	}
	return sum, nil
}

// leastToStart is what a capture kernel can't start with less: a bound from below, not an estimate. 64 MiB did not do for kernels
// 6.1 and 6.12 with an initrd of 2 MB, 80 MiB did.
func leastToStart(h *bzimage.Header, elfcorehdr, reserved uint64, initrd, unpacked int64) uint64 {
	const (
		own             = 8 << 20 // tables of the kernel before any driver
		residentPercent = 72      // of init_size that stays when the kernel runs
	)
	packed := uint64(initrd)
	peak := max(h.InitSize+packed, h.InitSize*residentPercent/100+packed+uint64(unpacked))
	return peak + own + elfcorehdr + reserved/64 // a struct page for each page
}
