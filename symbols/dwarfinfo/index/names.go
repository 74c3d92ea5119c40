package index

import "bytes"

// A name is a section and an offset in it, or the name itself if it is short: comparing and hashing those costs less than
// reading strings, and linkers make equal strings one.
type name uint64

const (
	nameShift  = 59
	nameMask   = 1<<nameShift - 1
	secStr     = 1 // .debug_str of space 0; of space 1 it is 2 more
	secLineStr = 2
	secArena   = 5 // names that lie nowhere else as they are needed
	secInPlace = 6 // the name itself
	maxInPlace = 7
)

// arena keeps names that a worker put together, or that lie between entries.
type arena struct {
	bytes []byte
	known map[string]name
}

// inPlace is the name of bytes that are in no string section.
func (a *arena) inPlace(b []byte) name {
	if len(b) <= maxInPlace {
		n := uint64(0)
		for i, c := range b {
			n |= uint64(c) << (8 * i)
		}
		if n == 0 {
			return 0
		}
		return name(n | secInPlace<<nameShift)
	}
	if n, ok := a.known[string(b)]; ok {
		return n
	}
	if len(a.bytes)+len(b) > maxArena {
		return 0
	}
	if a.known == nil {
		a.known = make(map[string]name)
	}
	n := name(len(a.bytes)) | secArena<<nameShift
	a.bytes = append(append(a.bytes, b...), 0)
	a.known[string(b)] = n
	return n
}

// sections are where names lie.
type sections [secArena][]byte

// text is a name's bytes, nil if it lies nowhere. What it returns may use buf.
func (s *sections) text(n name, a *arena, buf *[maxInPlace]byte) []byte {
	off := uint64(n) & nameMask
	var section []byte
	switch sec := n >> nameShift; {
	case sec == secInPlace:
		length := 0
		for ; length < maxInPlace && off != 0; length++ {
			buf[length] = byte(off)
			off >>= 8
		}
		return buf[:length]
	case sec == secArena:
		section = a.bytes
	case sec < secArena:
		section = s[sec]
	}
	if off >= uint64(len(section)) {
		return nil
	}
	rest := section[off:]
	end := bytes.IndexByte(rest[:min(len(rest), maxName)], 0)
	if end < 0 {
		return nil
	}
	return rest[:end]
}

const (
	// maxName bounds names; those of C++ and Rust have some thousand bytes.
	maxName = 1 << 12
	// maxArena bounds what scopes in scopes can make of few bytes of a file.
	maxArena = 32 << 20
)
