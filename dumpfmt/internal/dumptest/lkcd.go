package dumptest

import (
	"bytes"
	"compress/zlib"
	"slices"

	"kdx/dumpfmt"
)

// LKCD says how to write an Image as an LKCD dump.
type LKCD struct {
	Version  int
	Compress uint32 // 0 none, 1 run lengths, 2 gzip
	Count    int    // what is taken off a run's length when it is written: 1 as kernels do, 0 as tests of another reader do
	Buffer   int    // of version 9 and 10: where pages begin; 0 is 256 KiB, -1 is 64 KiB though the header says otherwise
	Live     bool
	Backward bool // pages in descending order
	Twice    bool // the first page comes again at the end, with other bytes
	Numbers  bool // addresses are page numbers (MCLX)
	Base     uint64
	NoEnd    bool
	Empty    int // the last pages have a header without data
}

// Build writes the dump. Excluded pages are left out.
func (l LKCD) Build(im *Image) []byte {
	align := im.Word
	if l.Version >= 8 {
		align = 1
	}
	s := packed{Struct{Order: im.Order, Word: im.Word}, align}
	magic := uint64(0xa8190173618f23ed)
	if l.Live {
		magic = 0xa8190173618f23cd
	}
	s.u64(magic)
	version := uint32(l.Version)
	if l.Numbers {
		version |= 0x80000000
	}
	s.u32(version)
	sizeAt := len(s.B)
	s.u32(0)
	s.u32(8)
	s.u32(uint32(im.PageSize))
	s.u64(uint64(len(im.Pages)))
	s.u64(0xc0000000)
	s.u64(magic)
	if l.Version == 1 {
		s.u32(0)
		s.u32(0)
	}
	s.u32(uint32(len(im.Pages)))
	s.B = append(s.B, append([]byte("Oops"), make([]byte, 252)...)...)
	wide := im.Word == 8 || l.Version >= 8
	s.long(wide, 1700000001)
	s.long(wide, 4096)
	for _, field := range []string{"Linux", "node", "2.6.1-test", "#1 SMP", im.Machine, "(none)"} {
		s.B = append(s.B, append([]byte(field), make([]byte, 65-len(field))...)...)
	}
	if l.Version > 1 {
		s.long(wide, 0xc0101000)
	}
	if l.Version >= 5 {
		s.u32(l.Compress)
		s.u32(0)
		s.u32(0x801)
	}
	start := 64 << 10
	if l.Version >= 9 {
		buffer := 256 << 10
		if l.Buffer > 0 {
			buffer = l.Buffer
		}
		if l.Buffer >= 0 {
			start = buffer
		}
		s.u64(uint64(buffer))
	}
	s.Order.PutUint32(s.B[sizeAt:], uint32(len(s.B)))
	s.asm(im, l.Version)
	s.B = append(s.B, make([]byte, start-len(s.B))...)

	pfns := slices.DeleteFunc(im.PFNs(), func(pfn uint64) bool { return im.Pages[pfn].State == dumpfmt.Excluded })
	if l.Backward {
		slices.Reverse(pfns)
	}
	header := func(pfn uint64, size int, flags uint32) {
		addr := pfn*uint64(im.PageSize) + l.Base
		if l.Numbers {
			addr, flags = pfn, flags|0x80000000
		}
		s.u64(addr)
		s.u32(uint32(size))
		s.u32(flags)
	}
	for i, pfn := range pfns {
		data := im.Pages[pfn].Data
		switch {
		case i >= len(pfns)-l.Empty:
			header(pfn, 0, 2)
		case data == nil && l.Compress == 0:
			header(pfn, 0, 1)
		default:
			if data == nil {
				data = make([]byte, im.PageSize)
			}
			enc, flags := l.encode(data)
			header(pfn, len(enc), flags)
			s.B = append(s.B, enc...)
		}
	}
	if l.Twice {
		header(pfns[0], im.PageSize, 1)
		s.B = append(s.B, bytes.Repeat([]byte{0x77}, im.PageSize)...)
	}
	if !l.NoEnd {
		header(0, 0, 4)
	}
	return s.B
}

func (l LKCD) encode(data []byte) ([]byte, uint32) {
	var out []byte
	switch l.Compress {
	case 1:
		for i := 0; i < len(data); {
			n := 1
			for n < 255 && i+n < len(data) && data[i+n] == data[i] {
				n++
			}
			if n > 2 {
				out = append(out, 0, byte(n-l.Count), data[i])
				i += n
				continue
			}
			out = append(out, data[i])
			if data[i] == 0 {
				out = append(out, 0)
			}
			i++
		}
	case 2:
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		w.Write(data)
		w.Close()
		out = b.Bytes()
	}
	if l.Compress == 0 || len(out) >= len(data) {
		return data, 1
	}
	return out, 2
}

// packed are structs whose 64-bit members have an alignment of their own.
type packed struct {
	Struct
	align int
}

func (s *packed) u32(v uint32) {
	s.B = append(s.B, 0, 0, 0, 0)
	s.Order.PutUint32(s.B[len(s.B)-4:], v)
}

func (s *packed) u64(v uint64) {
	s.B = append(s.B, make([]byte, 8)...)
	s.Order.PutUint64(s.B[len(s.B)-8:], v)
}

func (s *packed) long(wide bool, v uint64) {
	s.Align(s.align)
	if wide {
		s.u64(v)
	} else {
		s.u32(uint32(v))
	}
}

// asm writes the registers of two CPUs, which count up, of four that the kernel was built for.
func (s *packed) asm(im *Image, version int) {
	regs, before := 0, 0
	switch {
	case version < 7:
		return
	case im.Machine == "x86_64":
		regs = 21
	case im.Machine == "i686":
		regs, before = 15, 8
	case im.Machine == "ppc64", im.Machine == "ppc64le":
		regs = 44
	default:
		return
	}
	const built = 4
	s.align = 1
	s.u64(0xdeaddead)
	s.u32(2)
	s.u32(uint32(16 + before + regs*im.Word + 8 + built*(regs+3)*im.Word))
	s.B = append(s.B, make([]byte, before+regs*im.Word)...)
	s.u32(2)
	s.u32(1)
	for cpu := range built {
		for i := range regs {
			s.long(im.Word == 8, uint64(0x1000*(cpu+1)+i))
		}
	}
	s.B = append(s.B, make([]byte, built*3*im.Word)...)
}
