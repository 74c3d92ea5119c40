package reduce

import (
	"fmt"
	"io"
)

// counter counts bytes: of a stream, or of a dump that is not written at all.
type counter struct {
	w   io.Writer // nil if it goes nowhere
	n   int64     // of the stream
	end int64     // the furthest byte of a dump
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.w.Write(p)
	c.n += int64(n)
	return n, err
}

// WriteAt takes a dump that goes nowhere.
func (c *counter) WriteAt(p []byte, off int64) (int, error) {
	c.end = max(c.end, off+int64(len(p)))
	return len(p), nil
}

func (c *counter) size() int64 { return max(c.n, c.end) }

// straight is an output that can't go back: what is left out between two writes becomes zeros.
type straight struct {
	w  io.Writer
	at int64
}

var zeros [64 << 10]byte

func (s *straight) WriteAt(p []byte, off int64) (int, error) {
	if off < s.at {
		return 0, fmt.Errorf("this form must go back from byte %d to byte %d when it is written, which a stream can't: write it to a file", s.at, off)
	}
	for s.at < off {
		n, err := s.w.Write(zeros[:min(off-s.at, int64(len(zeros)))])
		if s.at += int64(n); err != nil {
			return 0, err
		}
	}
	n, err := s.w.Write(p)
	s.at += int64(n)
	return n, err
}
