package kdump

import (
	"errors"
	"fmt"
	"slices"

	"kdx/dumpfmt"
)

// partWriter writes one file: the whole dump, or a part of a split set.
type partWriter struct {
	w          *Writer
	out        dumpfmt.Output
	start, end uint64 // pfns
	data       buffered
	descs      buffered
	pending    []desc // of pages whose bytes may not have been written yet; parallel to descs.buf
	zero       desc   // the shared page of zeros
	erase      span
}

// buffered collects bytes for consecutive offsets of an output.
type buffered struct {
	out dumpfmt.Output
	at  int64 // where buf goes
	buf []byte
}

// Sizes of the writes, bytes.
const (
	dataBuffer = 1 << 20
	descBuffer = 64 << 10 / descSize * descSize
)

func (b *buffered) flush() error {
	if len(b.buf) == 0 {
		return nil
	}
	n, err := b.out.WriteAt(b.buf, b.at)
	b.at += int64(n)
	b.buf = b.buf[:copy(b.buf, b.buf[n:])]
	return err
}

func (b *buffered) end() int64 { return b.at + int64(len(b.buf)) }

// begin places descriptors and pages behind the headers, which the writer has written.
func (p *partWriter) begin() error {
	w := p.w
	// Parts leave room for the descriptors of all pages: this is where readers look for the page of zeros.
	p.descs = buffered{out: p.out, at: w.head.descAt, buf: make([]byte, 0, descBuffer)}
	p.data = buffered{out: p.out, at: w.head.descAt + int64(w.planned.n*descSize)}
	if err := dumpfmt.Reserve(p.out, p.descs.at, p.data.at-p.descs.at); err != nil {
		return fmt.Errorf("making room for the descriptors of %d pages: %w", w.planned.n, err)
	}
	p.zero = desc{offset: uint64(p.data.at), size: uint32(w.page)}
	size := w.page
	if w.Plain() {
		// Pages that begin where blocks of the disk do are copied faster.
		size = w.blocks(p.zero.offset+w.page)*w.page - p.zero.offset
	}
	return p.append(make([]byte, size))
}

// place is the descriptor of a page whose bytes, if it has any, go to the offset.
func (p *partWriter) place(s dumpfmt.Stored, at int64) (desc, error) {
	switch {
	case s.Missing:
		return desc{}, nil
	case s.Zero:
		return p.zero, nil
	case len(s.Data) == 0 || uint64(len(s.Data)) > p.w.page:
		return desc{}, fmt.Errorf("page %#x came with %d bytes; a page has %d", s.PFN, len(s.Data), p.w.page)
	}
	return desc{offset: uint64(at), size: uint32(len(s.Data)), flags: codecFlag(s.Codec)}, nil
}

// share counts the pages at the front that belong to the part, and the bytes of their data.
func (p *partWriter) share(pages []dumpfmt.Stored) (n, size int) {
	for n < len(pages) && pages[n].PFN < p.end {
		size += len(pages[n].Data)
		n++
	}
	return n, size
}

// batch stores pages whose bytes lie together. If writing fails, those that got through have descriptors.
func (p *partWriter) batch(pages []dumpfmt.Stored, data []byte) error {
	at := p.data.end()
	err := p.appendMany(data)
	for _, s := range pages {
		d, derr := p.place(s, at)
		if derr != nil {
			return derr
		}
		if at += int64(len(s.Data)); at > p.data.end() {
			break
		}
		if _, derr := p.w.next(s.PFN); derr != nil {
			return derr
		}
		p.w.count(s)
		if derr := p.desc(d); derr != nil {
			return derr
		}
	}
	return err
}

// appendMany writes much data past the buffer.
func (p *partWriter) appendMany(b []byte) error {
	if len(b) < dataBuffer/4 {
		return p.append(b)
	}
	if err := p.data.flush(); err != nil {
		return err
	}
	n, err := p.out.WriteAt(b, p.data.at)
	p.data.at += int64(n)
	return err
}

func (p *partWriter) append(b []byte) error {
	if len(b) == 0 {
		return nil
	}
	if p.data.buf == nil {
		p.data.buf = make([]byte, 0, dataBuffer)
	}
	if len(p.data.buf)+len(b) > dataBuffer {
		if err := p.data.flush(); err != nil {
			return err
		}
	}
	p.data.buf = append(p.data.buf, b...)
	return nil
}

func (p *partWriter) desc(d desc) error {
	if len(p.descs.buf) == descBuffer {
		if err := p.flush(); err != nil {
			return err
		}
	}
	p.pending = append(p.pending, d)
	p.descs.buf = p.w.appendDesc(p.descs.buf, d)
	return nil
}

func (w *Writer) appendDesc(b []byte, d desc) []byte {
	b = append(b, make([]byte, descSize)...)
	at := b[len(b)-descSize:]
	w.order.PutUint64(at, d.offset)
	w.order.PutUint32(at[8:], d.size)
	w.order.PutUint32(at[12:], d.flags)
	return b
}

// flush writes bytes of pages, and then the descriptors that point to them: none ever points to what is not there.
func (p *partWriter) flush() error {
	if err := p.data.flush(); err != nil {
		return err
	}
	p.pending = p.pending[:0]
	return p.descs.flush()
}

// finish writes what is left; status is what the header should say.
func (p *partWriter) finish(status uint32) error {
	if text := p.w.cfg.Info.EraseInfo; text != "" {
		p.erase = span{off: p.data.end(), size: int64(len(text))}
		if err := p.append([]byte(text)); err != nil {
			return err
		}
		if err := p.w.writeSub(p); err != nil {
			return err
		}
	}
	if err := p.flush(); err != nil {
		return err
	}
	return p.w.writeMain(p, status)
}

// abort writes the descriptors of those pages that have reached the output.
func (p *partWriter) abort() error {
	err := p.data.flush()
	n := slices.IndexFunc(p.pending, func(d desc) bool { return d.offset+uint64(d.size) > uint64(p.data.at) })
	if n >= 0 {
		p.descs.buf = p.descs.buf[:len(p.descs.buf)-(len(p.pending)-n)*descSize]
	}
	p.pending = nil
	return errors.Join(err, p.descs.flush(), p.w.writeMain(p, p.w.head.status|p.w.used|statusIncomplete))
}
