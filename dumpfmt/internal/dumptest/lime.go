package dumptest

import (
	"bytes"
	"encoding/binary"

	"github.com/klauspost/compress/s2"
)

// LiME says how to write an Image as LiME or AVML do.
type LiME struct {
	AVML  bool
	Pages int // the most of one range; 0 is any number
	Tail  int // bytes that the last range is shorter than its pages
}

// Build writes the image. Pages of zeros and excluded ones are there as zeros.
func (l LiME) Build(im *Image) []byte {
	var out []byte
	data := im.bytes()
	runs := im.runs()
	for i, r := range runs {
		for r.pages > 0 {
			n := r.pages
			if l.Pages > 0 {
				n = min(n, uint64(l.Pages))
			}
			size := n * uint64(im.PageSize)
			block := data[:size]
			if i == len(runs)-1 && n == r.pages {
				block = block[:len(block)-l.Tail]
			}
			data = data[size:]
			out = l.block(out, r.pfn*uint64(im.PageSize), block)
			r.pfn, r.pages = r.pfn+n, r.pages-n
		}
	}
	return out
}

func (l LiME) block(out []byte, start uint64, block []byte) []byte {
	le := binary.LittleEndian
	if l.AVML {
		out = le.AppendUint32(append(out, "AVML"...), 2)
	} else {
		out = le.AppendUint32(append(out, "EMiL"...), 1)
	}
	out = le.AppendUint64(le.AppendUint64(out, start), start+uint64(len(block))-1)
	out = append(out, make([]byte, 8)...)
	if !l.AVML {
		return append(out, block...)
	}
	var b bytes.Buffer
	w := s2.NewWriter(&b, s2.WriterSnappyCompat(), s2.WriterBlockSize(64<<10), s2.WriterConcurrency(1))
	w.Write(block)
	w.Close()
	return le.AppendUint64(append(out, b.Bytes()...), uint64(b.Len()))
}
