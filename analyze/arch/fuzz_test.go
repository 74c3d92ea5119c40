package arch

import (
	"bytes"
	"encoding/binary"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
)

// FuzzPageTables walks tables of random entries that lead to each other, to memory that is not there and to large pages: walks end, and what
// they find is the same whether it is translated or walked.
func FuzzPageTables(f *testing.F) {
	f.Add([]byte{}, uint64(va), false)
	f.Add([]byte{0x63, 0x10, 0, 0, 0, 0, 0, 0}, uint64(va), true)
	f.Add(bytes.Repeat([]byte{0xe3, 0, 0x40, 0, 0, 0, 0, 0x80}, 16), uint64(0x7f0000123456), false)
	f.Fuzz(func(t *testing.T, entries []byte, at uint64, five bool) {
		if len(entries) > 8<<10 {
			return
		}
		const pgd, tables = 0x2001000, 4
		r := newRAM()
		for page := range uint64(tables) {
			for i := range uint64(512) {
				if len(entries) < 8 {
					break
				}
				n := (page*512 + i) * 8 % uint64(len(entries)&^7)
				e := binary.LittleEndian.Uint64(entries[n:])
				if e>>62&1 == 0 { // most lead to one of the tables
					e = e&0x8000000000000fff | (pgd + e>>12%(tables+1)<<12)
				}
				r.put(pgd+page<<12+i*8, e)
			}
		}
		vci := base4
		if five {
			vci += "NUMBER(pgtable_l5_enabled)=1\n"
		}
		a, err := New(testEnv{dumpfmt.NewImage(r, dumpfmt.Options{}), vmcoreinfo.Parse([]byte(vci))})
		if err != nil {
			t.Fatal(err)
		}
		s := a.User(pgd)
		w, walked := s.Walk(at)
		frame, err := s.Translate(at)
		if found := walked == nil && w.Present; found != (err == nil) || found && frame != w.Frame {
			t.Fatalf("%x: walked to %+v, %v; translated to %+v, %v", at, w.Frame, walked, frame, err)
		}
		if len(w.Steps) > 5 {
			t.Fatalf("%d steps", len(w.Steps))
		}
		for _, step := range w.Steps {
			a.PTEFlags(step.Level, step.Entry)
		}
		a.Kernel().Walk(at)
	})
}
