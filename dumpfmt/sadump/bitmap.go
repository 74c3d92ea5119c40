package sadump

import (
	"math/bits"

	"kdx/dumpfmt"
)

// maxBitmap bounds a bitmap, in bytes: 16 TiB of memory in pages of 4 KiB.
const maxBitmap = 512 << 20

// bitmap has a bit a page, the first in the highest bit of the first byte.
type bitmap []byte

// readBitmap reads the bits of that many pages. If the file ends early, what it has is returned with the error.
func readBitmap(f *dumpfmt.File, off int64, pages uint64) (bitmap, error) {
	const step = 1 << 20
	want := int((pages + 7) / 8)
	var b bitmap
	for len(b) < want {
		n := min(step, want-len(b))
		b = append(b, make([]byte, n)...)
		got, err := f.ReadFull(b[len(b)-n:], off+int64(len(b)-n))
		if err != nil {
			return b[:len(b)-n+got], err
		}
	}
	return b, nil
}

func (b bitmap) has(pfn uint64) bool {
	return pfn/8 < uint64(len(b)) && b[pfn/8]>>(7-pfn%8)&1 != 0
}

// ranks are the counts of bits before each stretch of rankPages pages.
type ranks []uint64

const rankPages = 4096

func (b bitmap) ranks() ranks {
	var r ranks
	n := uint64(0)
	for i, v := range b {
		if i%(rankPages/8) == 0 {
			r = append(r, n)
		}
		n += uint64(bits.OnesCount8(v))
	}
	return r
}

// rank is how many bits are set before the page's.
func (b bitmap) rank(r ranks, pfn uint64) uint64 {
	n := r[pfn/rankPages]
	for _, v := range b[pfn/rankPages*(rankPages/8) : pfn/8] {
		n += uint64(bits.OnesCount8(v))
	}
	return n + uint64(bits.OnesCount8(b[pfn/8]>>(8-pfn%8)))
}

// runs calls yield for each stretch of set bits below limit.
func (b bitmap) runs(limit uint64, yield func(from, to uint64)) {
	limit = min(limit, uint64(len(b))*8)
	for pfn := uint64(0); pfn < limit; {
		if pfn%8 == 0 && b[pfn/8] == 0 {
			pfn += 8
			continue
		}
		if !b.has(pfn) {
			pfn++
			continue
		}
		from := pfn
		for pfn < limit && b.has(pfn) {
			if pfn%8 == 0 && b[pfn/8] == 0xff {
				pfn += 8
			} else {
				pfn++
			}
		}
		yield(from, min(pfn, limit))
	}
}
