package lzo

import (
	"encoding/binary"
	"errors"
)

// Errors of Decompress: what is wrong with a block.
var (
	ErrInput  = errors.New("the compressed block ends inside an instruction")
	ErrOutput = errors.New("the block is longer than it should be")
	ErrMatch  = errors.New("a match begins in front of the block")
	ErrEnd    = errors.New("the end mark is damaged, or bytes follow it")
)

// afterRun is the state behind a run of literals. Other states are the count of literals behind a match: what an instruction
// below 16 means depends on it.
const afterRun = 4

// Decompress decodes a block into dst and returns its size. src must end with its end mark, and the block must fit.
func Decompress(dst, src []byte) (int, error) {
	d := decoder{dst: dst, src: src}
	if len(src) > 0 && src[0] > 17 {
		n := int(src[0]) - 17
		d.in, d.state = 1, min(n, afterRun)
		if err := d.literals(n); err != nil {
			return 0, err
		}
	}
	err := d.run()
	return d.out, err
}

type decoder struct {
	dst, src []byte
	out, in  int // bytes written and read
	state    int
}

// run decodes instructions up to the end mark.
func (d *decoder) run() error {
	src := d.src
	for {
		if d.in >= len(src) {
			return ErrInput
		}
		op := int(src[d.in])
		d.in++
		var size, dist, next int
		switch {
		case op >= 0x40:
			if d.in >= len(src) {
				return ErrInput
			}
			size, dist, next = op>>5+1, op>>2&7+int(src[d.in])<<3+1, op&3
			d.in++
		case op >= 0x10:
			size = op & 0x1f
			most := 0x1f
			if op < 0x20 {
				size = op & 7
				most = 7
			}
			if size == 0 {
				var err error
				if size, err = d.rest(most); err != nil {
					return err
				}
			}
			size += 2
			if d.in+2 > len(src) {
				return ErrInput
			}
			word := int(binary.LittleEndian.Uint16(src[d.in:]))
			d.in += 2
			dist, next = word>>2+1, word&3
			if op < 0x20 {
				dist = op&8<<11 + word>>2
				if dist == 0 {
					return d.end(size)
				}
				dist += mid
			}
		case d.state == 0:
			n := op
			if n == 0 {
				var err error
				if n, err = d.rest(15); err != nil {
					return err
				}
			}
			if err := d.literals(n + 3); err != nil {
				return err
			}
			d.state = afterRun
			continue
		default:
			if d.in >= len(src) {
				return ErrInput
			}
			size, dist, next = 2, op>>2+int(src[d.in])<<2+1, op&3
			if d.state == afterRun {
				size, dist = 3, dist+near
			}
			d.in++
		}
		if err := d.match(size, dist); err != nil {
			return err
		}
		d.state = next
		if next == 0 {
			continue
		}
		if d.in+4 <= len(src) && d.out+4 <= len(d.dst) {
			binary.LittleEndian.PutUint32(d.dst[d.out:], binary.LittleEndian.Uint32(src[d.in:]))
			d.in += next
			d.out += next
		} else if err := d.literals(next); err != nil {
			return err
		}
	}
}

func (d *decoder) end(size int) error {
	if size != 3 || d.in != len(d.src) {
		return ErrEnd
	}
	return nil
}

// rest reads what a length is more than its first byte can say.
func (d *decoder) rest(n int) (int, error) {
	for d.in < len(d.src) {
		b := d.src[d.in]
		d.in++
		if b != 0 {
			return n + int(b), nil
		}
		if n += 255; n > len(d.dst) {
			return 0, ErrOutput
		}
	}
	return 0, ErrInput
}

// literals copies n bytes from the input.
func (d *decoder) literals(n int) error {
	if n > len(d.src)-d.in {
		return ErrInput
	}
	if n > len(d.dst)-d.out {
		return ErrOutput
	}
	if n <= wide && d.in+wide <= len(d.src) && d.out+wide <= len(d.dst) {
		copyWide(d.dst[d.out:], d.src[d.in:])
	} else {
		copy(d.dst[d.out:], d.src[d.in:d.in+n])
	}
	d.in += n
	d.out += n
	return nil
}

// match copies size bytes from dist bytes back, which may be bytes that it wrote itself.
func (d *decoder) match(size, dist int) error {
	if dist > d.out {
		return ErrMatch
	}
	if size > len(d.dst)-d.out {
		return ErrOutput
	}
	at, from := d.out, d.out-dist
	d.out += size
	dst := d.dst
	if dist >= 8 && size <= wide && at+wide <= len(dst) {
		// The second half may read what the first wrote: so it must, for short distances.
		binary.LittleEndian.PutUint64(dst[at:], binary.LittleEndian.Uint64(dst[from:]))
		if size > 8 {
			binary.LittleEndian.PutUint64(dst[at+8:], binary.LittleEndian.Uint64(dst[from+8:]))
		}
		return nil
	}
	// Each copy doubles what may be copied next.
	for n := dist; size > 0; n *= 2 {
		n = min(n, size)
		copy(dst[at:at+n], dst[from:from+n])
		at += n
		size -= n
	}
	return nil
}
