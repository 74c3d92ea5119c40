package dumpfmt

import "fmt"

// Rising is kept by a PageWriter whose pages come in rising order.
type Rising struct {
	Next uint64 // one more than the last pfn that came
	came uint64
}

// Come counts a page. The error says that it comes after one behind it.
func (r *Rising) Come(pfn uint64) error {
	if pfn < r.Next {
		return fmt.Errorf("page %#x was written out of order", pfn)
	}
	r.Next = pfn + 1
	r.came++
	return nil
}

// All is an error unless as many pages came as were planned.
func (r *Rising) All(planned Pages) error {
	if n := planned.Len(); r.came != n {
		return fmt.Errorf("%d pages were to be written, but %d came", n, r.came)
	}
	return nil
}

// streamSize is how many bytes a Stream writes at once.
const streamSize = 1 << 20

// Stream collects small pieces that follow each other in a file, and writes them 1 MiB at a time.
type Stream struct {
	out Output
	at  int64 // where buf goes
	buf []byte
}

// NewStream begins at byte at of out. A piece has at most piece bytes, with what is appended beside it.
func NewStream(out Output, at int64, piece uint64) *Stream {
	return &Stream{out: out, at: at, buf: make([]byte, 0, streamSize+piece)}
}

// End is where the next piece goes.
func (s *Stream) End() int64 { return s.at + int64(len(s.buf)) }

// Append adds pieces. The error is out's.
func (s *Stream) Append(pieces ...[]byte) error {
	for _, p := range pieces {
		s.buf = append(s.buf, p...)
	}
	if len(s.buf) < streamSize {
		return nil
	}
	return s.Flush()
}

// MoveTo makes off the place of the next piece.
func (s *Stream) MoveTo(off int64) error {
	if off == s.End() {
		return nil
	}
	err := s.Flush()
	s.at = off
	return err
}

// Patch replaces bytes at off, which one piece has brought.
func (s *Stream) Patch(b []byte, off int64) error {
	if off >= s.at {
		copy(s.buf[off-s.at:], b)
		return nil
	}
	_, err := s.out.WriteAt(b, off)
	return err
}

// Flush writes what is waiting.
func (s *Stream) Flush() error {
	if len(s.buf) == 0 {
		return nil
	}
	_, err := s.out.WriteAt(s.buf, s.at)
	s.at = s.End()
	s.buf = s.buf[:0]
	return err
}
