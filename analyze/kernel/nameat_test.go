package kernel_test

import (
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// TestNameAt has read-only data as linkers lay it out: the variables, the last of which is a table, then all string constants, which the
// kernel's table of symbols counts to that table.
func TestNameAt(t *testing.T) {
	m := kerneltest.New(t, decls)
	ro, rw, gone, module := m.AllocPage(), m.AllocPage(), m.AllocPage(), m.AllocPage()
	symbol := func(name string, at vmem.Addr, size uint64, letter byte, module string) {
		m.Symbol(symbols.Symbol{Name: name, Addr: uint64(at), Size: size, Letter: letter, Module: module})
	}
	strings := []byte("ZONE_DMA\x00Normal\x00r\x00w\x00Pfad f\xc3\xbcr\x00\x016%s: device\n\x00Movable\x00\x00\x00of many words, one after the other\x00")
	m.Write(ro, []byte("Linux version 6.1.0-56-cloud-amd64 (debian-kernel@lists.debian.org)\n\x00"))
	table := ro + 256
	for i := range vmem.Addr(8) {
		m.Word(table+8*i, uint64(ro)+uint64(i)*16)
	}
	m.Write(table+64, strings)
	m.Write(rw, strings)
	m.Write(module, strings)
	symbol("__start_rodata", ro, 0, 'D', "")
	symbol("banner", ro, 256, 'D', "")
	symbol("jumptable.50", table, 4096-256, 'd', "")
	symbol("__end_rodata", rw, 0, 'D', "")
	symbol("buffer", rw, 4096, 'd', "")
	symbol("lost", gone, 4096, 'r', "sd_mod")
	symbol("table", module-64, 4096, 'r', "sd_mod")
	symbol("init", module+4096, 4096, 't', "sd_mod")
	m.Exclude(gone)
	v := m.View()
	for _, tt := range []struct {
		what string
		addr vmem.Addr
		text bool
		want string
	}{
		{"the start of a variable that is a string", ro, true, "banner"},
		{"a variable", table, false, "jumptable.50"},
		{"an element of a table", table + 16, false, "jumptable.50"},
		{"a string constant", table + 64, false, ""},
		{"the end of one, which serves as another", table + 64 + 5, false, ""},
		{"a short one among others", table + 64 + 16, false, ""},
		{"one with letters beyond ASCII", table + 64 + 20, false, ""},
		{"a format", table + 64 + 30, false, ""},
		{"bytes of a table that are called a string", table + 16, true, ""},
		{"a string in a variable", rw + 9, true, "buffer"},
		{"a string constant of a module", module + 9, false, ""},
		{"code of a module", module + 4100, false, "init"},
		{"a page that is not in the dump", gone + 9, false, "lost"},
		{"nothing", module + 16384, false, ""},
	} {
		s, err := v.NameAt(tt.addr, tt.text)
		if s.Name != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: NameAt() = %q, %v; want %q", tt.what, s.Name, err, tt.want)
		}
	}
	if gaps, _ := v.Gaps(); len(gaps) > 0 {
		t.Errorf("gaps: %v", gaps)
	}
}
