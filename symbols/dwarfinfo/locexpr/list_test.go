package locexpr

import (
	"bytes"
	"encoding/binary"
	"testing"

	"kdx/symbols/dwarfinfo"
)

// unitOf is an empty unit of a version that begins at 0x1000, with lists of locations.
func unitOf(version byte, lists []byte) *dwarfinfo.Unit {
	d := &dwarfinfo.Data{Order: binary.LittleEndian, Name: "test", LocLists: lists, Loc: lists, Addr: []byte{0, 0x20, 0, 0, 0, 0, 0, 0, 0, 0x30, 0, 0, 0, 0, 0, 0},
		Abbrev: []byte{1, 0x11, 0, 0x11, 1, 0x8c, 1, 0x17, 0, 0, 0}} // low_pc addr, loclists_base sec_offset
	d.Info = []byte{0, 0, 0, 0, version, 0, 1, 8, 0, 0, 0, 0}
	if version < 5 {
		d.Info = []byte{0, 0, 0, 0, version, 0, 0, 0, 0, 0, 8}
	}
	d.Info = append(d.Info, 1, 0, 0x10, 0, 0, 0, 0, 0, 0, 4, 0, 0, 0)
	d.Info[0] = byte(len(d.Info) - 4)
	if err := d.Init(); err != nil {
		panic(err)
	}
	return d.Units()[0]
}

// lists5 has every kind of entry; the expressions are single bytes that say which.
var lists5 = []byte{
	0, 0, 0, 0, // 4: table of offsets, one entry
	4, 0, 0, 0,
	lleViewPair, 1, 2,
	lleOffsetPair, 0, 0x10, 1, 'a', // 0x1000-0x1010
	lleOffsetPair, 0x10, 0x10, 1, 'x', // empty
	lleOffsetPair, 0x10, 0x20, 0, // says nothing
	lleStartxEndx, 0, 1, 1, 'b', // 0x2000-0x3000
	lleStartxLength, 1, 0x10, 1, 'c', // 0x3000-0x3010
	lleBaseAddrx, 1,
	lleOffsetPair, 0x10, 0x20, 1, 'd', // 0x3010-0x3020
	lleBaseAddr, 0, 0x40, 0, 0, 0, 0, 0, 0,
	lleOffsetPair, 0, 0x10, 1, 'e', // 0x4000
	lleStartEnd, 0, 0x50, 0, 0, 0, 0, 0, 0, 0x10, 0x50, 0, 0, 0, 0, 0, 0, 1, 'f',
	lleStartLength, 0, 0x60, 0, 0, 0, 0, 0, 0, 0x10, 1, 'g',
	lleDefault, 1, 'h',
	lleEnd,
}

func TestList5(t *testing.T) {
	u := unitOf(5, lists5)
	for pc, want := range map[uint64]string{0x1000: "a", 0x100f: "a", 0x1010: "", 0x2fff: "b", 0x3000: "c", 0x301f: "d", 0x4001: "e", 0x5000: "f", 0x600f: "g", 0x6010: "h", 0: "h"} {
		for _, f := range []dwarfinfo.Field{{Form: dwarfinfo.FormSecOffset, Val: 8}, {Form: dwarfinfo.FormLoclistx, Val: 0}} {
			expr, always, err := At(u, &f, pc)
			if err != nil || always || string(expr) != want {
				t.Errorf("at %#x: %q, %v, %v; want %q", pc, expr, always, err, want)
			}
		}
	}
	for _, f := range []dwarfinfo.Field{{Form: dwarfinfo.FormSecOffset, Val: 1 << 40}, {Form: dwarfinfo.FormLoclistx, Val: 1 << 62}, {Form: dwarfinfo.FormLoclistx, Val: 1}} {
		if expr, _, err := At(u, &f, 0x7000); err == nil && expr != nil {
			t.Errorf("%+v: %q", f, expr)
		}
	}
	if expr, always, err := At(u, &dwarfinfo.Field{Form: dwarfinfo.FormExprloc, Block: []byte{opReg0}}, 0); err != nil || !always || !bytes.Equal(expr, []byte{opReg0}) {
		t.Errorf("an expression: %v %v %v", expr, always, err)
	}
}

func TestList4(t *testing.T) {
	word := func(v uint64) []byte { return binary.LittleEndian.AppendUint64(nil, v) }
	var b []byte
	for _, p := range [][]byte{word(0), word(0x10), {1, 0, 'a'}, word(^uint64(0)), word(0x4000), word(0), word(0x10), {1, 0, 'b'}, word(0), word(0)} {
		b = append(b, p...)
	}
	u := unitOf(4, b)
	for pc, want := range map[uint64]string{0x1000: "a", 0x1010: "", 0x400f: "b"} {
		if expr, _, err := At(u, &dwarfinfo.Field{Form: dwarfinfo.FormSecOffset}, pc); err != nil || string(expr) != want {
			t.Errorf("at %#x: %q, %v; want %q", pc, expr, err, want)
		}
	}
	if _, _, err := At(u, &dwarfinfo.Field{Form: dwarfinfo.FormSecOffset, Val: 3}, 0x9000); err == nil {
		t.Error("a list that ends in its middle: no error")
	}
}

func FuzzList(f *testing.F) {
	f.Add(lists5, uint64(8), uint64(0x6000), true)
	f.Add(lists5, uint64(0), uint64(0x1000), false)
	f.Fuzz(func(t *testing.T, lists []byte, off, pc uint64, v5 bool) {
		version := byte(4)
		if v5 {
			version = 5
		}
		u := unitOf(version, lists)
		for _, form := range []dwarfinfo.Form{dwarfinfo.FormSecOffset, dwarfinfo.FormLoclistx} {
			_, _, _ = At(u, &dwarfinfo.Field{Form: form, Val: off}, pc)
		}
	})
}
