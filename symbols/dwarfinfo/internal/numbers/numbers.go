// Package numbers takes the numbers and strings of DWARF off bytes.
package numbers

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
)

// Reader reads Data from Off on. What goes beyond the end gives zeros and sets Err, after which everything is zero.
type Reader struct {
	Order   binary.ByteOrder
	Data    []byte
	Off     int
	DWARF64 bool // offsets have 8 bytes
	Err     error
}

var (
	// ErrEnd is the Err of what goes beyond the end.
	ErrEnd = errors.New("the data end early")
	errLEB = errors.New("a LEB128 number without end")
)

// Left is how many bytes there are behind Off.
func (r *Reader) Left() int { return len(r.Data) - r.Off }

// Take returns the next n bytes, or nil.
func (r *Reader) Take(n uint64) []byte {
	if r.Err != nil || n > uint64(len(r.Data)-r.Off) {
		if r.Err == nil {
			r.Err = ErrEnd
		}
		return nil
	}
	p := r.Data[r.Off : r.Off+int(n) : r.Off+int(n)]
	r.Off += int(n)
	return p
}

// U8 reads a byte.
func (r *Reader) U8() uint8 {
	if p := r.Take(1); p != nil {
		return p[0]
	}
	return 0
}

// Uint reads a number of n bytes: 1, 2, 4 or 8.
func (r *Reader) Uint(n int) uint64 {
	p := r.Take(uint64(n))
	if p == nil {
		return 0
	}
	switch n {
	case 1:
		return uint64(p[0])
	case 2:
		return uint64(r.Order.Uint16(p))
	case 4:
		return uint64(r.Order.Uint32(p))
	case 8:
		return r.Order.Uint64(p)
	}
	r.Err = fmt.Errorf("a number of %d bytes", n)
	return 0
}

// Sint is Uint of a signed number.
func (r *Reader) Sint(n int) int64 {
	v := r.Uint(n)
	if r.Err != nil {
		return 0
	}
	shift := 64 - 8*n
	return int64(v<<shift) >> shift
}

// Offset reads a section offset, or a length.
func (r *Reader) Offset() uint64 {
	if r.DWARF64 {
		return r.Uint(8)
	}
	return r.Uint(4)
}

// ULEB reads an unsigned LEB128 number.
func (r *Reader) ULEB() uint64 {
	u, _, _ := r.leb()
	return u
}

// SLEB reads a signed one.
func (r *Reader) SLEB() int64 {
	u, shift, last := r.leb()
	if last&0x40 != 0 && shift < 64 {
		u |= ^uint64(0) << shift
	}
	return int64(u)
}

func (r *Reader) leb() (u uint64, shift int, last uint8) {
	for {
		last = r.U8()
		if shift < 64 {
			u |= uint64(last&0x7f) << shift
		}
		shift += 7
		if last&0x80 == 0 || r.Err != nil {
			return u, shift, last
		}
		if shift > 126 {
			r.Err = errLEB
			return 0, shift, 0
		}
	}
}

// CString reads a NUL-terminated string, and returns it without the NUL.
func (r *Reader) CString() []byte {
	if r.Err != nil {
		return nil
	}
	p, err := StringAt(r.Data, uint64(r.Off))
	if err != nil {
		r.Err = ErrEnd
		return nil
	}
	r.Off += len(p) + 1
	return p
}

// StringAt is the NUL-terminated string at off of a section of strings, without the NUL.
func StringAt(section []byte, off uint64) ([]byte, error) {
	if off >= uint64(len(section)) {
		return nil, fmt.Errorf("a string at %#x lies outside its section of %#x bytes", off, len(section))
	}
	n := bytes.IndexByte(section[off:], 0)
	if n < 0 {
		return nil, ErrEnd
	}
	return section[off : off+uint64(n)], nil
}
