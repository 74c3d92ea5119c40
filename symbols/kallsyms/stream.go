package kallsyms

import "kdx/symbols"

// stream reads memory forward.
type stream struct {
	mem   symbols.Memory
	at    uint64 // address of what was not read yet
	limit uint64 // where all ends
	buf   []byte // what was read and not skipped
	room  []byte // that buf lies in
	err   error  // why it ends before limit
}

// streamWindow is how much is read at once, bytes; windows end where pages do.
const streamWindow = 64 << 10

func newStream(mem symbols.Memory, from, limit uint64) *stream {
	return &stream{mem: mem, at: from, limit: max(from, limit), room: make([]byte, streamWindow)}
}

// ahead is at least the next n bytes, fewer at the end or where memory is missing. It is good until the next call.
func (s *stream) ahead(n int) []byte {
	if len(s.buf) >= n {
		return s.buf
	}
	if n > len(s.room)/2 {
		s.room = make([]byte, 2*n)
	}
	left := copy(s.room, s.buf)
	want := int(min(uint64(len(s.room)-left), s.limit-s.at))
	if past := int((s.at + uint64(want)) & (pageStep - 1)); past < want && left+want-past >= n {
		want -= past
	}
	got, err := s.mem.ReadMemory(s.room[left:left+want], s.at)
	got = min(max(got, 0), want)
	s.at += uint64(got)
	if err != nil {
		s.limit, s.err = s.at, err
	}
	s.buf = s.room[:left+got]
	return s.buf
}

// skip goes on behind n bytes.
func (s *stream) skip(n int) { s.buf = s.buf[n:] }
