package dumptest

import (
	"bytes"
	"compress/zlib"
	"math"

	"github.com/klauspost/compress/s2"
	"github.com/klauspost/compress/zstd"

	"kdx/dumpfmt"
)

// Kdump says how to write an Image in the kdump-compressed format.
type Kdump struct {
	Version   int
	Packed    bool // 32-bit: 64-bit members are aligned to 4 bytes, as on i386
	Diskdump  bool
	OneBitmap bool
	Status    uint32
	Erase     string
	// Codecs are used in turn for pages that are present: flags of descriptors (0, 1, 2, 4, 0x20). Those that LZO's tiny
	// encoder can't make smaller are stored raw.
	Codecs []uint32
	// Split, if End is not 0, makes a part of a split set.
	Start, End uint64
	// Lost descriptors, from the end, are zero: as if the disk had been full.
	Lost int
}

// Build writes the dump.
func (k Kdump) Build(im *Image) []byte {
	bs := im.PageSize
	bitmap := func(states ...dumpfmt.PageState) []byte {
		n := (int(im.MaxPFN+7)/8 + bs - 1) / bs * bs
		b := make([]byte, n)
		for pfn, p := range im.Pages {
			for _, st := range states {
				if p.State == st {
					b[pfn/8] |= 1 << (pfn % 8)
				}
			}
		}
		return b
	}
	bm1 := bitmap(dumpfmt.Present, dumpfmt.Zero, dumpfmt.Excluded)
	bm2 := bitmap(dumpfmt.Present, dumpfmt.Zero)
	maps := append(bytes.Clone(bm1), bm2...)
	if k.OneBitmap {
		maps = bm2
	}

	sub := k.sub(im, 0)
	subBlocks := (len(sub) + len(im.Notes) + bs - 1) / bs
	dataAt := (1+subBlocks)*bs + len(maps)
	var all, mine []uint64
	for _, pfn := range im.PFNs() {
		if im.Pages[pfn].State == dumpfmt.Excluded {
			continue
		}
		all = append(all, pfn)
		if k.End == 0 || pfn >= k.Start && pfn < k.End {
			mine = append(mine, pfn)
		}
	}
	dataAt += 24 * len(all)
	descs, data := k.pages(im, mine, len(all), dataAt)
	out := k.main(im, subBlocks, len(maps)/bs)
	out = append(out, k.sub(im, dataAt+len(data))...)
	out = append(out, im.Notes...)
	out = append(out, make([]byte, (1+subBlocks)*bs-len(out))...)
	out = append(out, maps...)
	out = append(out, descs...)
	out = append(out, data...)
	return append(out, k.Erase...)
}

func (k Kdump) main(im *Image, subBlocks, bitmapBlocks int) []byte {
	s := Struct{Order: im.Order, Word: im.Word, I64: im.Word}
	s.B = append(s.B, map[bool]string{false: "KDUMP   ", true: "DISKDUMP"}[k.Diskdump]...)
	s.U32(uint32(k.Version))
	for _, field := range []string{"Linux", "node", "6.1.0-test", "#1 SMP", im.Machine, "(none)"} {
		s.B = append(s.B, append([]byte(field), make([]byte, 65-len(field))...)...)
	}
	s.Align(im.Word)
	s.Long(1700000001)
	s.Long(4096) // microseconds: a power of two, to confuse who takes it for a block size
	s.U32(k.Status)
	s.U32(uint32(im.PageSize))
	s.U32(uint32(subBlocks))
	s.U32(uint32(bitmapBlocks))
	s.U32(uint32(im.MaxPFN))
	for range 4 {
		s.U32(0)
	}
	s.U32(2)
	return append(s.B, make([]byte, im.PageSize-len(s.B))...)
}

func (k Kdump) sub(im *Image, eraseAt int) []byte {
	align := im.Word
	if im.Word == 4 && !k.Packed {
		align = 8
	}
	size := 0
	fill := func() []byte {
		s := Struct{Order: im.Order, Word: im.Word, I64: align}
		noteAt := im.PageSize + size
		s.Long(uint64(math.MaxUint64 - 4095)) // phys_base -4096
		s.U32(1)                              // dump level
		split := uint32(0)
		if k.End != 0 {
			split = 1
		}
		s.U32(split)
		s.Long(k.Start)
		s.Long(k.End)
		s.U64(uint64(noteAt + bytes.Index(im.Notes, []byte(im.Text))))
		s.Long(uint64(len(im.Text)))
		s.U64(uint64(noteAt))
		s.Long(uint64(len(im.Notes)))
		if k.Erase != "" {
			s.U64(uint64(eraseAt))
		} else {
			s.U64(0)
		}
		s.Long(uint64(len(k.Erase)))
		s.U64(k.Start)
		s.U64(k.End)
		s.U64(im.MaxPFN)
		s.Align(align)
		return s.B
	}
	size = len(fill())
	return fill()
}

func (k Kdump) pages(im *Image, pfns []uint64, room, dataAt int) (descs, data []byte) {
	s := Struct{Order: im.Order, I64: 8}
	data = make([]byte, im.PageSize) // the shared page of zeros
	for i, pfn := range pfns {
		if i >= len(pfns)-k.Lost {
			s.B = append(s.B, make([]byte, 24)...)
			continue
		}
		p := im.Pages[pfn]
		at, size, flags := dataAt, im.PageSize, uint32(0)
		if p.State != dumpfmt.Zero {
			var enc []byte
			enc, flags = encode(k.Codecs[i%len(k.Codecs)], p.Data)
			at, size = dataAt+len(data), len(enc)
			data = append(data, enc...)
		}
		s.U64(uint64(at))
		s.U32(uint32(size))
		s.U32(flags)
		s.U64(0)
	}
	return append(s.B, make([]byte, 24*room-len(s.B))...), data
}

func encode(flag uint32, page []byte) ([]byte, uint32) {
	var enc []byte
	switch flag {
	case 1:
		var b bytes.Buffer
		w := zlib.NewWriter(&b)
		w.Write(page)
		w.Close()
		enc = b.Bytes()
	case 2:
		enc = LZO(page)
	case 4:
		enc = s2.EncodeSnappy(nil, page)
	case 0x20:
		w, err := zstd.NewWriter(nil)
		if err != nil {
			panic(err)
		}
		enc = w.EncodeAll(page, nil)
	}
	if enc == nil || len(enc) >= len(page) {
		return page, 0
	}
	return enc, flag
}

// LZO encodes a page that repeats its first 32 bytes as LZO1X: a run of literals, one match, the end mark. Other pages
// give nil.
func LZO(page []byte) []byte {
	const period = 32
	if !bytes.Equal(page[period:], page[:len(page)-period]) {
		return nil
	}
	out := append([]byte{17 + period}, page[:period]...)
	n := len(page) - period - 2 - 31 // length beyond what the instruction itself counts
	out = append(out, 0x20)
	for ; n > 255; n -= 255 {
		out = append(out, 0)
	}
	return append(out, byte(n), (period-1)<<2, 0, 0x11, 0, 0)
}
