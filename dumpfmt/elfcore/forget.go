package elfcore

import (
	"fmt"
	"io"

	"kdx/dumpfmt"
)

// ForgetLost makes a file say what it lacks. f is a flattened stream that ended too early and was put in order: what never came
// (f.NextLost) are holes, which read as zeros for all who don't know. In out, the same file, each segment shrinks to its longest stretch
// that came, and goes if there is none; what lies behind the file's end may stay, as readers see that it is not there. Program headers that
// did not come whole are cleared, and the dump is marked as incomplete. Without its header the file is none, and loses its signature.
//
// The error is out's, or what reading the file said.
func ForgetLost(f *dumpfmt.File, out io.WriterAt) error {
	var head [64]byte
	n, err := f.ReadFull(head[:], 0)
	if n < class32.ehdr {
		return err
	}
	h, err := readHeader(f)
	if err != nil {
		// No program header can be found, and what seems to be one is not to be believed.
		_, err = out.WriteAt(make([]byte, 4), 0)
		return err
	}
	if h.phCount > maxSegments {
		return fmt.Errorf("%d program headers are more than any dump has", h.phCount)
	}
	x := forgetter{header: h, f: f, out: out, page: largestPage}
	if s, err := Open(f); err == nil {
		x.page = s.info.PageSize
	}
	if err := x.run(); err != nil {
		return err
	}
	flags := head[h.flags:]
	h.order.PutUint32(flags, h.order.Uint32(flags)|flagIncomplete)
	_, err = out.WriteAt(head[:h.ehdr], 0)
	return err
}

// largestPage is that of any machine, bytes.
const largestPage = 64 << 10

// maxSteps bounds how many stretches are looked at: segments may lie over one another, and each over many. Segments behind that go.
const maxSteps = 1 << 22

// forgetter goes through the program headers of a file.
type forgetter struct {
	*header
	f     *dumpfmt.File
	out   io.WriterAt
	page  uint64
	steps int
}

func (x *forgetter) run() error {
	raw := make([]byte, x.phdr)
	for i := range x.phCount {
		at := int64(x.phStart + i*x.phSize)
		if at < 0 || at >= x.f.Size {
			return nil
		}
		n, err := x.f.ReadFull(raw, at)
		if n < len(raw) && at+int64(n) < x.f.Size {
			return err
		}
		if !x.shrink(raw[:n], at) {
			continue
		}
		if _, err := x.out.WriteAt(raw[:n], at); err != nil {
			return err
		}
	}
	return nil
}

// shrink changes the program header at the offset to what came of its bytes, and reports whether there is something to change.
func (x *forgetter) shrink(raw []byte, at int64) bool {
	if len(raw) < x.phdr || !x.f.Came(at, int64(x.phdr)) {
		clear(raw)
		return true
	}
	p := x.parse(raw)
	if p.offset >= uint64(x.f.Size) || p.filesz == 0 {
		return false
	}
	inFile := min(p.filesz, uint64(x.f.Size)-p.offset)
	if x.f.Came(int64(p.offset), int64(inFile)) {
		return false
	}
	lo, hi := x.longest(int64(p.offset), int64(inFile))
	end, memEnd := hi, hi // of what stays
	switch {
	case p.typ != ptLoad:
		if lo > 0 {
			hi = lo // notes are read from their start
		}
	case hi < inFile:
		// Of a page of which a part came, readers take the rest for zeros.
		hi -= min(hi, (p.paddr+hi)%x.page)
		end, memEnd = hi, hi
	default:
		end, memEnd = p.filesz, max(p.memsz, p.filesz)
	}
	if lo > 0 {
		lo += -(p.paddr + lo) % x.page
	}
	if lo >= hi {
		clear(raw)
		return true
	}
	x.putWord(x.order, raw[x.pOffset:], p.offset+lo)
	x.putWord(x.order, raw[x.pFilesz:], end-lo)
	if p.typ == ptLoad {
		if p.vaddr != 0 {
			x.putWord(x.order, raw[x.pVaddr:], p.vaddr+lo)
		}
		x.putWord(x.order, raw[x.pPaddr:], p.paddr+lo)
		x.putWord(x.order, raw[x.pMemsz:], memEnd-lo)
	}
	return true
}

// longest finds the longest stretch that came, of size bytes at the offset of the file; relative to the offset.
func (x *forgetter) longest(off, size int64) (lo, hi uint64) {
	for at := off; at < off+size && x.steps < maxSteps; x.steps++ {
		gap := min(x.f.NextLost(at), off+size)
		if uint64(gap-at) > hi-lo {
			lo, hi = uint64(at-off), uint64(gap-off)
		}
		at = max(gap+1, x.f.NextData(gap))
	}
	return lo, hi
}
