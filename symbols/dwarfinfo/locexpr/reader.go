package locexpr

import (
	"encoding/binary"
	"errors"
)

// reader takes numbers off bytes; what goes beyond their end gives zeros and sets err.
type reader struct {
	order binary.ByteOrder
	data  []byte
	off   int
	err   error
}

var (
	errEnd = errors.New("the data end early")
	errLEB = errors.New("a LEB128 number without end")
)

func (r *reader) take(n uint64) []byte {
	if r.err != nil || n > uint64(len(r.data)-r.off) {
		if r.err == nil {
			r.err = errEnd
		}
		return nil
	}
	p := r.data[r.off : r.off+int(n) : r.off+int(n)]
	r.off += int(n)
	return p
}

func (r *reader) u8() uint8 {
	if p := r.take(1); p != nil {
		return p[0]
	}
	return 0
}

// uint is a number of n bytes: 1, 2, 4 or 8.
func (r *reader) uint(n int) uint64 {
	p := r.take(uint64(n))
	switch {
	case p == nil:
		return 0
	case n == 1:
		return uint64(p[0])
	case n == 2:
		return uint64(r.order.Uint16(p))
	case n == 4:
		return uint64(r.order.Uint32(p))
	}
	return r.order.Uint64(p)
}

func (r *reader) sint(n int) int64 {
	shift := 64 - 8*n
	return int64(r.uint(n)<<shift) >> shift
}

func (r *reader) uleb() uint64 {
	u, _, _ := r.leb()
	return u
}

func (r *reader) sleb() int64 {
	u, shift, last := r.leb()
	if last&0x40 != 0 && shift < 64 {
		u |= ^uint64(0) << shift
	}
	return int64(u)
}

func (r *reader) leb() (u uint64, shift int, last uint8) {
	for {
		last = r.u8()
		if shift < 64 {
			u |= uint64(last&0x7f) << shift
		}
		shift += 7
		if last&0x80 == 0 || r.err != nil {
			return u, shift, last
		}
		if shift > 126 {
			r.err = errLEB
			return 0, shift, 0
		}
	}
}
