package cfi

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"strings"

	"kdx/symbols/dwarfinfo/internal/numbers"
)

// table is .debug_frame or .eh_frame: where the entry of each function lies, in address order.
type table struct {
	section  string
	data     []byte
	addr     uint64 // of the section, for pointers relative to themselves
	eh       bool
	order    binary.ByteOrder
	wordSize int
	fdes     []fde
	cies     map[uint64]*cie
	// damage is why the section could not be read to its end; nil if it could.
	damage error
}

// fde is an entry (frame description): code [begin, end), as linked.
type fde struct {
	begin, end uint64
	program    uint64 // offset of its instructions in the section
	stop       uint64 // behind them
	cie        *cie
}

// cie is what entries have in common (common information).
type cie struct {
	wordSize  int
	codeAlign uint64
	dataAlign int64
	ra        uint64 // register that holds the return address
	signal    bool   // what it describes was entered by a signal or exception
	sized     bool   // entries have augmentation data, which begin with their size
	pointers  byte   // encoding of entries' addresses, DW_EH_PE_*
	program   []byte
	err       error
}

// read goes through the section's entries. Damage in one entry costs that entry; a length that makes no sense costs the rest.
func (t *table) read() {
	t.cies = make(map[uint64]*cie)
	for at := uint64(0); at < uint64(len(t.data)); {
		next, err := t.entry(at)
		if err != nil && t.damage == nil {
			t.damage = fmt.Errorf("section %s: entry at %#x: %w", t.section, at, err)
		}
		if next <= at {
			break
		}
		at = next
	}
	slices.SortStableFunc(t.fdes, func(a, b fde) int { return cmp.Compare(a.begin, b.begin) })
}

// entry reads the entry at an offset and returns where the next one is; 0 if that can't be told.
func (t *table) entry(at uint64) (next uint64, err error) {
	h, err := t.header(at)
	if err != nil || h.cie || h.stop == h.body {
		return h.stop, err // entries lead to their CIEs
	}
	c := t.cieAt(h.parent)
	if c.err != nil {
		return h.stop, c.err
	}
	r := numbers.Reader{Data: t.data[:h.stop], Off: int(h.body), Order: t.order}
	begin := t.pointer(&r, c, c.pointers)
	size := t.pointer(&r, c, c.pointers&0x0f)
	if c.sized {
		r.Take(r.ULEB())
	}
	if r.Err != nil {
		return h.stop, r.Err
	}
	if begin != 0 && size != 0 && begin+size > begin { // linkers leave 0 where they discarded the code
		t.fdes = append(t.fdes, fde{begin, begin + size, uint64(r.Off), h.stop, c})
	}
	return h.stop, nil
}

// head is the start of an entry.
type head struct {
	body, stop uint64 // offsets of what follows the header, and behind the entry
	cie        bool
	parent     uint64 // offset of the CIE
}

func (t *table) header(at uint64) (head, error) {
	if at >= uint64(len(t.data)) {
		return head{}, fmt.Errorf("it lies outside the section of %#x bytes", len(t.data))
	}
	r := numbers.Reader{Data: t.data, Off: int(at), Order: t.order}
	length, idSize := r.Uint(4), 4
	if length == 0xffffffff { // the 64-bit format, whose ids are as large, except in .eh_frame
		length = r.Uint(8)
		if !t.eh {
			idSize = 8
		}
	}
	start := uint64(r.Off)
	if r.Err != nil || length > uint64(len(t.data))-start {
		return head{}, fmt.Errorf("it claims %#x bytes, and the section has %#x", length, len(t.data))
	}
	h := head{body: start, stop: start + length}
	if length == 0 {
		return h, nil // the terminator of .eh_frame
	}
	r.Data = r.Data[:h.stop]
	id := r.Uint(idSize)
	h.body = uint64(r.Off)
	if t.eh {
		h.cie, h.parent = id == 0, start-id
	} else {
		h.cie, h.parent = id == 1<<(8*idSize)-1, id
	}
	return h, r.Err
}

func (t *table) cieAt(off uint64) *cie {
	if c := t.cies[off]; c != nil {
		return c
	}
	c := new(cie)
	if c.err = t.readCIE(off, c); c.err != nil {
		c.err = fmt.Errorf("its CIE at %#x: %w", off, c.err)
	}
	t.cies[off] = c
	return c
}

func (t *table) readCIE(off uint64, c *cie) error {
	h, err := t.header(off)
	if err != nil {
		return err
	}
	if !h.cie {
		return fmt.Errorf("what lies there is none")
	}
	r := numbers.Reader{Data: t.data[:h.stop], Off: int(h.body), Order: t.order}
	version := r.Uint(1)
	augmentation := string(r.CString())
	c.wordSize = t.wordSize
	switch version {
	case 1, 3:
	case 4: // clang writes it, gcc does not
		c.wordSize = int(r.Uint(1))
		if segment := r.Uint(1); r.Err == nil && (segment != 0 || c.wordSize != 4 && c.wordSize != 8) {
			return fmt.Errorf("addresses of %d bytes and segments of %d are not known", c.wordSize, segment)
		}
	default:
		return fmt.Errorf("version %d is not known", version)
	}
	c.codeAlign = r.ULEB()
	c.dataAlign = r.SLEB()
	if version == 1 {
		c.ra = r.Uint(1)
	} else {
		c.ra = r.ULEB()
	}
	if err := t.augment(&r, c, augmentation); err != nil {
		return err
	}
	c.program = t.data[min(r.Off, int(h.stop)):h.stop]
	return r.Err
}

// augment reads what an augmentation string says ("zR", "zPLRS"; "S" alone in .debug_frame).
func (t *table) augment(r *numbers.Reader, c *cie, augmentation string) error {
	rest, sized := strings.CutPrefix(augmentation, "z")
	behind := -1
	if c.sized = sized; sized {
		n := r.ULEB()
		if n > uint64(r.Left()) {
			return numbers.ErrEnd
		}
		behind = r.Off + int(n)
	}
	for _, letter := range rest {
		switch letter {
		case 'R':
			c.pointers = byte(r.Uint(1))
		case 'L':
			r.Uint(1)
		case 'P':
			t.pointer(r, c, byte(r.Uint(1)))
		case 'S':
			c.signal = true
		case 'B', 'G': // AArch64: return addresses are signed with key B, memory is tagged
		default:
			if !sized {
				return fmt.Errorf("augmentation %q is not known", augmentation)
			}
		}
	}
	if sized {
		r.Off = behind
	}
	return nil
}

// Encodings of pointers in .eh_frame (Linux Standard Base, DW_EH_PE_*).
const (
	peULEB, peUdata2, peUdata4, peUdata8    = 1, 2, 3, 4
	peSigned                                = 8
	peSLEB, peSdata2, peSdata4, peSdata8    = 9, 10, 11, 12
	pePCRel, peIndirect, peOmit, peRelative = 0x10, 0x80, 0xff, 0x70
)

func (t *table) pointer(r *numbers.Reader, c *cie, encoding byte) uint64 {
	if encoding == peOmit {
		return 0
	}
	at := t.addr + uint64(r.Off)
	var v uint64
	switch encoding & 0x0f {
	case 0:
		v = r.Uint(c.wordSize)
	case peSigned:
		v = uint64(r.Sint(c.wordSize))
	case peULEB:
		v = r.ULEB()
	case peSLEB:
		v = uint64(r.SLEB())
	case peUdata2:
		v = r.Uint(2)
	case peUdata4:
		v = r.Uint(4)
	case peUdata8, peSdata8:
		v = r.Uint(8)
	case peSdata2:
		v = uint64(r.Sint(2))
	case peSdata4:
		v = uint64(r.Sint(4))
	default:
		r.Err = fmt.Errorf("pointer encoding %#x is not known", encoding)
	}
	switch encoding & peRelative {
	case 0:
	case pePCRel:
		v += at
	default:
		if r.Err == nil {
			r.Err = fmt.Errorf("pointer encoding %#x is not known", encoding)
		}
	}
	return v
}

// maxOverlap is how many entries that begin before an address are looked at: entries overlap only where they are damaged.
const maxOverlap = 16

// find is the entry for pc, as linked.
func (t *table) find(pc uint64) *fde {
	i := sort.Search(len(t.fdes), func(i int) bool { return t.fdes[i].begin > pc })
	for n := 0; n < maxOverlap && i > 0; n++ {
		i--
		if pc < t.fdes[i].end {
			return &t.fdes[i]
		}
	}
	return nil
}
