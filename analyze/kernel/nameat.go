package kernel

import (
	"bytes"

	"kdx/analyze/vmem"
	"kdx/symbols"
)

// NameAt is SymbolAt for who shows what values point to: the string constants that compilers and linkers gather in read-only data
// have no symbol of their own, and count to the last variable before them, from which they may be hundreds of KiB away. Sizes of
// variables are not in the kernel's table, so a string there says of itself that it is one. text says that addr is known to be a
// string's. Constants have no name: symbols.ErrNotFound.
func (v *View) NameAt(addr vmem.Addr, text bool) (symbols.Symbol, error) {
	s, err := v.SymbolAt(addr)
	if err != nil || uint64(addr) == s.Addr || s.IsText() || !v.readOnly(uint64(addr), s) {
		return s, err
	}
	if text || v.amongStrings(addr) {
		return symbols.Symbol{}, symbols.ErrNotFound
	}
	return s, nil
}

// readOnly says that addr, which s covers, is in read-only data. Its section in the kernel counts as writable, as parts of it are so
// until the kernel is up, wherefore its letters are those of data; in modules they are right.
func (v *View) readOnly(addr uint64, s symbols.Symbol) bool {
	if s.Letter == 'r' || s.Letter == 'R' {
		return true
	}
	r := v.rodata()
	return s.Module == "" && addr >= r[0] && addr < r[1]
}

func (k *Kernel) readRodata() [2]uint64 {
	start, err := k.Symbol("__start_rodata")
	if err != nil {
		return [2]uint64{}
	}
	end, err := k.Symbol("__end_rodata")
	if err != nil {
		return [2]uint64{}
	}
	return [2]uint64{start.Addr, end.Addr}
}

// amongStrings tells by the bytes there whether addr is in a string. Some four characters up to a 0 are one: a table's numbers and
// pointers hardly look like that. Of a shorter one the neighbours on either side decide.
func (v *View) amongStrings(addr vmem.Addr) bool {
	const most, around = 512, 64
	s, err := v.CString(addr, most)
	if err != nil || !isText([]byte(s)) {
		return false
	}
	return len(s) >= 4 || v.textAt(addr-around, around) || v.textAt(addr, around)
}

// textAt says that n bytes are text, and not nearly all zeros.
func (v *View) textAt(addr vmem.Addr, n int) bool {
	p := make([]byte, n)
	return v.Read(p, addr) == nil && isText(p) && bytes.Count(p, []byte{0}) <= n/2
}

// isText says that bytes are characters, of ASCII or UTF-8, what printk's levels begin with (SOH), or the zeros between strings.
func isText(p []byte) bool {
	for _, b := range p {
		switch {
		case b >= ' ' && b < 0x7f, b == 0, b == 1, b == 27, b >= '\a' && b <= '\r', b >= 0xc2 && b <= 0xf4:
		case b >= 0x80 && b < 0xc0: // the rest of a character in UTF-8
		default:
			return false
		}
	}
	return true
}
