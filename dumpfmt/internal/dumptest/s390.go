package dumptest

import (
	"bytes"
	"cmp"
	"encoding/binary"

	"github.com/klauspost/compress/zlib"

	"kdx/dumpfmt"
)

// S390 says how to write an Image as a stand-alone dump. Memory begins at 0; what the image lacks is zero.
type S390 struct {
	Arch     uint32 // 0 is 2: 64 bits
	Extended bool
	Packed   bool // compressed segments, in entries of 16 KiB
	Block    int  // bytes, of compressed segments
	NoEnd    bool
	Multi    bool
	Lowcores []uint32
}

// Build writes the dump.
func (d S390) Build(im *Image) []byte {
	be := binary.BigEndian
	const entry = 16 << 10
	b := make([]byte, 4096)
	be.PutUint64(b, 0xa8190173618f23fd)
	if d.Extended {
		be.PutUint64(b, 0xa8190173618f23fe)
	}
	size := im.MaxPFN * 4096
	for at, v := range map[int]uint32{8: 5, 12: 4096, 16: 4, 20: 4096, 48: uint32(im.MaxPFN), 72: cmp.Or(d.Arch, 2), 98: entry} {
		be.PutUint32(b[at:], v)
	}
	be.PutUint64(b[24:], size)
	be.PutUint64(b[40:], size)
	be.PutUint64(b[56:], 0x7d91048bca000000+1700000001*1000000<<12)
	if d.Multi {
		b[92] = 1
	}
	be.PutUint16(b[93:], uint16(len(d.Lowcores)))
	for i, lc := range d.Lowcores {
		be.PutUint32(b[0x800+4*i:], lc)
	}
	page := func(pfn uint64) []byte {
		if p := im.Pages[pfn]; p.State == dumpfmt.Present {
			return p.Data
		}
		return make([]byte, 4096)
	}
	if !d.Extended {
		for pfn := range im.MaxPFN {
			b = append(b, page(pfn)...)
		}
	} else {
		var runs []run
		for _, pfn := range im.PFNs() {
			if im.Pages[pfn].State != dumpfmt.Present {
				continue
			}
			if n := len(runs); n > 0 && runs[n-1].pfn+runs[n-1].pages == pfn {
				runs[n-1].pages++
				continue
			}
			runs = append(runs, run{pfn, 1})
		}
		for i, r := range runs {
			var memory []byte
			for pfn := r.pfn; pfn < r.pfn+r.pages; pfn++ {
				memory = append(memory, page(pfn)...)
			}
			b = append(b, d.segment(r.pfn*4096, memory, i == len(runs)-1, entry)...)
		}
	}
	if !d.NoEnd {
		b = append(b, "DUMP_END"...)
		b = be.AppendUint64(b, 0x7d91048bca000000+1700000009*1000000<<12)
	}
	return b
}

func (d S390) segment(start uint64, memory []byte, last bool, entry int) []byte {
	be := binary.BigEndian
	h := make([]byte, 4096)
	be.PutUint64(h, start)
	be.PutUint64(h[8:], uint64(len(memory)))
	if last {
		be.PutUint64(h[16:], 1)
	}
	if !d.Packed {
		return append(h, memory...)
	}
	var body []byte
	n := 0
	for at := 0; at < len(memory); at += entry {
		part := memory[at:min(len(memory), at+entry)]
		var z bytes.Buffer
		w := zlib.NewWriter(&z)
		w.Write(part)
		w.Close()
		off := uint32(len(body) / d.Block)
		if z.Len() >= len(part) {
			off |= 1 << 31
			body = append(body, part...)
		} else {
			body = append(body, z.Bytes()...)
		}
		body = append(body, make([]byte, (d.Block-len(body)%d.Block)%d.Block)...)
		be.PutUint32(h[52+4*n:], off)
		n++
	}
	be.PutUint32(h[24:], uint32(len(body)/d.Block))
	be.PutUint32(h[48:], uint32(n))
	return append(h, body...)
}
