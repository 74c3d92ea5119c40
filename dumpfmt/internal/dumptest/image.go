// Package dumptest builds small dumps of every format from one logical image, for tests.
//
// It shares no code with the readers: C structs are laid out field by field with their alignment, not by offsets.
package dumptest

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"slices"

	"kdx/dumpfmt"
)

// Image is what a dump shall hold.
type Image struct {
	PageSize int
	Order    binary.ByteOrder
	Word     int    // bytes of a long
	Machine  string // uname -m
	EMachine uint16 // the same for ELF
	MaxPFN   uint64
	Pages    map[uint64]Page // RAM; what is not in it is absent
	Notes    []byte
	Text     string // VMCOREINFO
}

// Page is one page of RAM.
type Page struct {
	State dumpfmt.PageState // Present, Zero or Excluded
	Data  []byte            // of a page that is present
}

// PFNs of the image's RAM in ascending order.
func (im *Image) PFNs() []uint64 {
	var out []uint64
	for pfn := range im.Pages {
		out = append(out, pfn)
	}
	slices.Sort(out)
	return out
}

// Small is an image with a gap, zero pages, excluded pages and data that every codec can make smaller, some of it not.
func Small(order binary.ByteOrder, word int, machine string, emachine uint16) *Image {
	im := &Image{PageSize: 4096, Order: order, Word: word, Machine: machine, EMachine: emachine, MaxPFN: 0x2003, Pages: make(map[uint64]Page)}
	noise := uint32(12345)
	for pfn := uint64(1); pfn < im.MaxPFN; pfn++ {
		if pfn == 0x50 {
			pfn = 0x1ff0
		}
		switch pfn % 7 {
		case 2:
			im.Pages[pfn] = Page{State: dumpfmt.Zero}
		case 3, 4:
			im.Pages[pfn] = Page{State: dumpfmt.Excluded}
		case 5:
			data := make([]byte, im.PageSize)
			for i := range data {
				noise = noise*1664525 + 1013904223
				data[i] = byte(noise >> 24)
			}
			im.Pages[pfn] = Page{State: dumpfmt.Present, Data: data}
		default:
			im.Pages[pfn] = Page{State: dumpfmt.Present, Data: bytes.Repeat(fmt.Appendf(nil, "page %05x, repeated: %09d\n", pfn, pfn*pfn), im.PageSize/32)}
		}
	}
	im.Text = "OSRELEASE=6.1.0-test\nBUILD-ID=00112233\nPAGESIZE=4096\nSYMBOL(_stext)=ffffffff81000000\nNUMBER(phys_base)=-4096\nCRASHTIME=1700000000\n"
	im.Notes = Note(nil, order, "CORE", 1, PRStatus(order, word, 77))
	im.Notes = Note(im.Notes, order, "CORE", 1, PRStatus(order, word, 78))
	im.Notes = Note(im.Notes, order, "VMCOREINFO", 0, []byte(im.Text))
	return im
}

// PRStatus is a long enough NT_PRSTATUS with the pid, whose registers count up from 0x1000 by word.
func PRStatus(order binary.ByteOrder, word int, pid uint32) []byte {
	pidAt, regAt := 32, 112
	if word == 4 {
		pidAt, regAt = 24, 72
	}
	b := make([]byte, regAt+48*word)
	order.PutUint32(b[pidAt:], pid)
	for i := range 48 {
		if word == 8 {
			order.PutUint64(b[regAt+i*8:], 0x1000+uint64(i))
		} else {
			order.PutUint32(b[regAt+i*4:], 0x1000+uint32(i))
		}
	}
	return b
}

// Note appends an ELF note.
func Note(b []byte, order binary.ByteOrder, name string, typ uint32, desc []byte) []byte {
	s := Struct{Order: order, B: b}
	s.U32(uint32(len(name) + 1))
	s.U32(uint32(len(desc)))
	s.U32(typ)
	s.B = append(s.B, name...)
	s.B = append(s.B, 0)
	s.Align(4)
	s.B = append(s.B, desc...)
	s.Align(4)
	return s.B
}

// Struct appends the members of a C struct.
type Struct struct {
	Order binary.ByteOrder
	Word  int // bytes and alignment of a long
	I64   int // alignment of a 64-bit member
	B     []byte
}

// Align pads to a multiple of n.
func (s *Struct) Align(n int) {
	for len(s.B)%n != 0 {
		s.B = append(s.B, 0)
	}
}

// U16 appends 16 bits.
func (s *Struct) U16(v uint16) {
	s.B = append(s.B, 0, 0)
	s.Order.PutUint16(s.B[len(s.B)-2:], v)
}

// U32 appends 32 bits, aligned.
func (s *Struct) U32(v uint32) {
	s.Align(4)
	s.B = append(s.B, 0, 0, 0, 0)
	s.Order.PutUint32(s.B[len(s.B)-4:], v)
}

// U64 appends 64 bits, aligned to I64.
func (s *Struct) U64(v uint64) {
	s.Align(max(4, s.I64))
	s.B = append(s.B, make([]byte, 8)...)
	s.Order.PutUint64(s.B[len(s.B)-8:], v)
}

// Long appends a long.
func (s *Struct) Long(v uint64) {
	if s.Word == 8 {
		s.U64(v)
	} else {
		s.U32(uint32(v))
	}
}
