package rawmem

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"strconv"
	"strings"

	"kdx/dumpfmt"
)

// Map says where the memory of an image is. As text, each line is one of
//
//	START-END OFFSET     memory [START, END) lies in the image from byte OFFSET on; all are hexadecimal, with or without 0x
//	START-END zero       memory of zeros, which is not in the image
//	START-END excluded   memory that was left out
//	START-END missing    memory that could not be read when the image was made
//	machine NAME         as uname -m spells it
//	pagesize BYTES       decimal
//	byteorder big        or little, which is usual
//	incomplete           the image was cut short when it was made
//
// Empty lines and what follows a # are comments.
type Map struct {
	Machine    dumpfmt.Machine
	PageSize   uint64
	BigEndian  bool
	Incomplete bool
	Ranges     []Range
}

// Range is one line of a Map that is about memory.
type Range struct {
	Start, End uint64
	Offset     int64             // in the image, if State is Present
	State      dumpfmt.PageState // Present, Zero, Excluded or Unreadable
}

// maxRanges bounds what a map makes kdx keep.
const maxRanges = 1 << 22

// ReadMap parses a map. The error names the line.
func ReadMap(r io.Reader) (*Map, error) {
	m := &Map{}
	s := bufio.NewScanner(r)
	n := 0
	for s.Scan() {
		n++
		line, _, _ := strings.Cut(s.Text(), "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		if len(m.Ranges) == maxRanges {
			return nil, fmt.Errorf("more than %d ranges", maxRanges)
		}
		if err := m.line(words); err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
	}
	if err := s.Err(); err != nil {
		return nil, err
	}
	if len(m.Ranges) == 0 {
		return nil, errors.New("it names no memory")
	}
	return m, nil
}

var states = map[string]dumpfmt.PageState{"zero": dumpfmt.Zero, "excluded": dumpfmt.Excluded, "missing": dumpfmt.Unreadable}

func (m *Map) line(words []string) error {
	if len(words) == 1 && words[0] == "incomplete" {
		m.Incomplete = true
		return nil
	}
	if len(words) != 2 {
		return fmt.Errorf("%q is not START-END OFFSET", strings.Join(words, " "))
	}
	switch words[0] {
	case "machine":
		m.Machine = dumpfmt.Machine(words[1])
		return nil
	case "pagesize":
		size, err := strconv.ParseUint(words[1], 10, 32)
		if err != nil || !dumpfmt.ValidPageSize(size) {
			return fmt.Errorf("no machine has pages of %s bytes", words[1])
		}
		m.PageSize = size
		return nil
	case "byteorder":
		m.BigEndian = words[1] == "big"
		if !m.BigEndian && words[1] != "little" {
			return fmt.Errorf("byte order %q is neither big nor little", words[1])
		}
		return nil
	}
	start, end, ok := strings.Cut(words[0], "-")
	a, err1 := hex(start)
	b, err2 := hex(end)
	if !ok || err1 != nil || err2 != nil {
		return fmt.Errorf("%q is not START-END OFFSET", strings.Join(words, " "))
	}
	if a >= b {
		return fmt.Errorf("%s: memory ends where it begins, or before", words[0])
	}
	st, ok := states[words[1]]
	if ok {
		m.Ranges = append(m.Ranges, Range{Start: a, End: b, State: st})
		return nil
	}
	off, err := hex(words[1])
	if err != nil || off > math.MaxInt64-(b-a) {
		return fmt.Errorf("%q is no offset of a file, and none of zero, excluded and missing", words[1])
	}
	m.Ranges = append(m.Ranges, Range{Start: a, End: b, Offset: int64(off), State: dumpfmt.Present})
	return nil
}

func hex(s string) (uint64, error) { return strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 63) }
