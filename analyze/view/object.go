package view

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// source gives the bytes of one object piece by piece, so that an object which runs into a missing page is still shown
// as far as it is there, and an object that claims gigabytes costs no memory.
type source struct {
	v    *kernel.View
	mem  bool
	addr vmem.Addr
	raw  []byte // of a value that lies nowhere in memory
	name string // for gaps: "struct task_struct at 0x…"

	chunkAt  uint64 // address of the cached page
	chunk    []byte // what of it could be read; nil if nothing is cached
	chunkErr error  // why the rest is missing
	cached   bool
	reported map[uint64]bool // pages whose absence is already a gap
}

// newSource is the source of x, which is neither failed nor a bit-field.
func newSource(x kernel.Value) (*source, error) {
	s := &source{v: x.View(), name: x.Type().String(), reported: make(map[uint64]bool)}
	if addr, ok := x.Addr(); ok {
		s.mem, s.addr = true, addr
		s.name = fmt.Sprintf("%s at %#x", s.name, uint64(addr))
		return s, nil
	}
	raw, err := x.Bytes()
	s.raw = raw
	return s, err
}

// call gives the object another name in gaps, if name is not "".
func (s *source) call(name string) {
	if name == "" {
		return
	}
	s.name = name
	if s.mem {
		s.name += fmt.Sprintf(" at %#x", uint64(s.addr))
	}
}

// bytes are n bytes at off from the object's start, or those before the first missing one and the reason. The slice is
// valid until the next call.
func (s *source) bytes(off, n uint64) ([]byte, error) {
	const most = 4096 // scalars have 16 at most, texts are taken in pieces; only a damaged type asks for more
	if n > most {
		return nil, fmt.Errorf("a single value of %d bytes", n)
	}
	if !s.mem {
		if off > uint64(len(s.raw)) || n > uint64(len(s.raw))-off {
			return nil, errors.New("lies outside the value")
		}
		return s.raw[off : off+n], nil
	}
	at, page := uint64(s.addr)+off, s.v.PageSize()
	if err := s.load(at &^ (page - 1)); err != nil {
		return nil, err
	}
	lo := at - s.chunkAt
	if lo+n <= uint64(len(s.chunk)) {
		return s.chunk[lo : lo+n], nil
	}
	if s.chunkErr != nil {
		return s.chunk[min(lo, uint64(len(s.chunk))):], s.chunkErr
	}
	// The piece crosses into the next page. Callers ask for scalars and for strings up to the limit, never for more.
	out := append([]byte(nil), s.chunk[lo:]...)
	rest, err := s.bytes(off+uint64(len(out)), n-uint64(len(out)))
	return append(out, rest...), err
}

// load caches the page at address at. Its error is only that the command was cancelled; missing memory is chunkErr.
func (s *source) load(at uint64) error {
	if s.cached && s.chunkAt == at {
		return nil
	}
	buf := make([]byte, s.v.PageSize())
	n, err := s.v.ReadMemory(buf, at)
	if err != nil && s.v.Context().Err() != nil {
		return err
	}
	s.chunkAt, s.chunk, s.chunkErr, s.cached = at, buf[:n], err, true
	return nil
}

// allMissing returns why no byte of [off, off+n) can be read, or nil if some can. What is larger than a few pages is
// left to its parts.
func (s *source) allMissing(off, n uint64) error {
	page := s.v.PageSize()
	if !s.mem || n == 0 || n > 16*page {
		return nil
	}
	first, last := (uint64(s.addr)+off)&^(page-1), (uint64(s.addr)+off+n-1)&^(page-1)
	if last < first {
		return nil
	}
	var why error
	for at := first; ; at += page {
		if s.load(at) != nil {
			return nil
		}
		if s.chunkErr == nil || len(s.chunk) > 0 {
			return nil
		}
		if why == nil {
			why = s.chunkErr
		}
		if at == last {
			return why
		}
	}
}

// gap records once for each page that a member could not be read.
func (s *source) gap(member string, off uint64, err error) {
	page := (uint64(s.addr) + off) &^ (s.v.PageSize() - 1)
	if s.reported[page] {
		return
	}
	s.reported[page] = true
	what := s.name
	if member != "" {
		what += ", member " + member
	}
	s.v.Gap(what, err)
}

// missing is how text marks memory that could not be read.
func missing(err error) string {
	var pe *dumpfmt.PageError
	if errors.As(err, &pe) {
		switch pe.State {
		case dumpfmt.Excluded:
			return "<page excluded>"
		case dumpfmt.Absent:
			return "<page not in the dump>"
		}
		return "<page unreadable>"
	}
	var fault *vmem.FaultError
	if errors.As(err, &fault) {
		return "<not mapped>"
	}
	return "<not readable>"
}
