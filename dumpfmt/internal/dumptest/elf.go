package dumptest

import (
	"math"

	"kdx/dumpfmt"
)

// ELF says how to write an Image as an ELF core.
type ELF struct {
	Class    int // 32 or 64; 0 is the image's word size
	XNum     bool
	Backward bool // segments in descending order
	Overlap  bool // one more segment in front that repeats the first run, as x86-64 kernels do for their text
	Flags    uint32
}

// segment is a run of pages of which the first filled ones are in the file.
type segment struct {
	pfn           uint64
	pages, filled int
}

// Build writes the dump. Zero and excluded pages behind a page that is present become holes (p_memsz beyond p_filesz),
// as makedumpfile -E leaves them; runs that begin with them become segments without bytes.
func (e ELF) Build(im *Image) []byte {
	segs := segments(im)
	if e.Overlap {
		segs = append([]segment{segs[0]}, segs...)
	}
	if e.Backward {
		for i, j := 0, len(segs)-1; i < j; i, j = i+1, j-1 {
			segs[i], segs[j] = segs[j], segs[i]
		}
	}
	word := im.Word
	if e.Class != 0 {
		word = e.Class / 8
	}
	ehdr, phdr, shdr := 64, 56, 64
	if word == 4 {
		ehdr, phdr, shdr = 52, 32, 40
	}
	if !e.XNum {
		shdr = 0
	}
	count := len(segs) + 1
	notesAt := ehdr + count*phdr + shdr
	dataAt := notesAt + len(im.Notes)

	s := Struct{Order: im.Order, Word: word, I64: 8}
	s.B = append(s.B, 0x7f, 'E', 'L', 'F', byte(word/4), 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0)
	if im.Order.Uint16([]byte{0, 1}) == 1 {
		s.B[5] = 2
	}
	s.U16(4)
	s.U16(im.EMachine)
	s.U32(1)
	s.Long(0)
	s.Long(uint64(ehdr))
	if e.XNum {
		s.Long(uint64(ehdr + count*phdr))
	} else {
		s.Long(0)
	}
	s.U32(e.Flags)
	s.U16(uint16(ehdr))
	s.U16(uint16(phdr))
	if e.XNum {
		s.U16(math.MaxUint16)
	} else {
		s.U16(uint16(count))
	}
	s.U16(uint16(shdr))
	s.U16(uint16(min(1, shdr)))
	s.U16(0)

	program := func(typ uint32, off, phys, filesz, memsz uint64) {
		s.U32(typ)
		if word == 8 {
			s.U32(7)
		}
		s.Long(off)
		s.Long(phys + 0xc0000000)
		s.Long(phys)
		s.Long(filesz)
		s.Long(memsz)
		if word == 4 {
			s.U32(7)
		}
		s.Long(0)
	}
	program(4, uint64(notesAt), 0, uint64(len(im.Notes)), uint64(len(im.Notes)))
	var data []byte
	for _, g := range segs {
		off := uint64(dataAt + len(data))
		for pfn := g.pfn; pfn < g.pfn+uint64(g.filled); pfn++ {
			page := im.Pages[pfn].Data
			if page == nil {
				page = make([]byte, im.PageSize)
			}
			data = append(data, page...)
		}
		size := uint64(im.PageSize)
		program(1, off, g.pfn*size, uint64(g.filled)*size, uint64(g.pages)*size)
	}
	if e.XNum {
		s.U32(0) // name
		s.U32(0) // type
		s.Long(0)
		s.Long(0)
		s.Long(0)
		s.Long(1)
		s.U32(0)
		s.U32(uint32(count))
		s.Long(0)
		s.Long(0)
	}
	return append(append(s.B, im.Notes...), data...)
}

func segments(im *Image) []segment {
	var out []segment
	for _, pfn := range im.PFNs() {
		filled := im.Pages[pfn].State == dumpfmt.Present
		n := len(out)
		if n == 0 || out[n-1].pfn+uint64(out[n-1].pages) != pfn || filled && out[n-1].filled != out[n-1].pages {
			out = append(out, segment{pfn: pfn})
			n++
		}
		out[n-1].pages++
		if filled {
			out[n-1].filled++
		}
	}
	return out
}
