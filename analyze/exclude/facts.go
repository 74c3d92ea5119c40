package exclude

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/symbols"
)

// facts asks VMCOREINFO and the kernel's types for the same thing. Where both know it they must agree: a number that two sources give
// differently is not known, which keeps pages.
type facts struct {
	v    *kernel.View
	gaps []kernel.Gap

	enums map[string][]symbols.Enumerator
}

func (f *facts) gap(what string, err error) {
	f.gaps = append(f.gaps, kernel.Gap{What: what, Err: err})
}

// agree is the answer of two sources of which either may be silent.
func (f *facts) agree(what string, note int64, noted bool, typed int64, known bool) (int64, bool) {
	switch {
	case noted && known && note != typed:
		f.gap(what, fmt.Errorf("VMCOREINFO says %d, the kernel's types say %d: neither is used", note, typed))
		return 0, false
	case noted:
		return note, true
	}
	return typed, known
}

// offset of a member of a struct in bytes, under the first of several names that anybody knows. path is how the types call the member
// if VMCOREINFO calls it otherwise.
func (f *facts) offset(tag string, names ...string) (uint64, bool) {
	for _, name := range names {
		note, noted := f.v.VMCoreInfo().Offset(tag + "." + name)
		typed, known := f.v.OffsetOf(tag, name)
		if !noted && !known {
			continue
		}
		off, ok := f.agree("OFFSET("+tag+"."+name+")", int64(note), noted, int64(typed), known)
		return uint64(off), ok
	}
	return 0, false
}

// size of a struct in bytes.
func (f *facts) size(tag string) (uint64, bool) {
	note, noted := f.v.VMCoreInfo().Size(tag)
	t, err := f.v.Struct(tag)
	typed := uint64(0)
	if err == nil {
		typed = t.Size
	}
	n, ok := f.agree("SIZE("+tag+")", int64(note), noted, int64(typed), err == nil && typed > 0)
	return uint64(n), ok && n > 0
}

// length of an array that is a struct's member, in elements.
func (f *facts) length(tag, member string) (uint64, bool) {
	note, noted := f.v.VMCoreInfo().Length(tag + "." + member)
	typed, known := int64(0), false
	if t, err := f.v.Struct(tag); err == nil {
		if m, ok := t.Path(member); ok && m.Type.Strip().Kind == symbols.Array {
			typed, known = m.Type.Strip().Len, true
		}
	}
	n, ok := f.agree("LENGTH("+tag+"."+member+")", int64(note), noted, typed, known)
	return uint64(n), ok && n > 0
}

// enumerator is the value of a constant of the named enum; other enums have constants of the same names. Enums are looked up whole and once:
// a name that the kernel lacks would be sought in all its modules.
func (f *facts) enumerator(enum, name string) (int64, bool) {
	values, ok := f.enums[enum]
	if !ok {
		if t, err := f.v.Symbols().TypeNamed(symbols.Enum, enum); err == nil {
			values = t.Enumerators()
		}
		if f.enums == nil {
			f.enums = make(map[string][]symbols.Enumerator)
		}
		f.enums[enum] = values
	}
	for _, e := range values {
		if e.Name == name {
			return e.Value, true
		}
	}
	return 0, false
}

// bit is the mask of a page flag; 0 if it is not known.
func (f *facts) bit(name string) uint64 {
	note, noted := f.v.VMCoreInfo().Number(name)
	typed, known := f.enumerator("pageflags", name)
	n, ok := f.agree("the page flag "+name, note, noted, typed, known)
	if !ok || n < 0 || n >= int64(f.v.WordSize()*8) {
		return 0
	}
	return 1 << n
}

// pageType is a value of struct page.page_type, which shares its place with _mapcount.
type pageType struct {
	known       bool
	value, mask uint32
}

func (t pageType) is(x uint32) bool { return t.known && x&t.mask == t.value }

// typeOf makes a pageType of the whole word. Since 6.12 the top byte is the type, 0xf0 to 0xfe, and the rest may hold data; before,
// types are bits that are clear in a word of ones, and the word is compared whole.
func typeOf(word uint32) pageType {
	t := pageType{known: true, value: word, mask: ^uint32(0)}
	if word&0xffffff == 0 && word>>28 == 0xf {
		t.mask = 0xff000000
	}
	return t
}

// pageType finds the type that VMCOREINFO calls PAGE_note_MAPCOUNT_VALUE and the kernel's enum PGTY_name (6.12), or PG_name with the
// bit that is cleared (6.11).
func (f *facts) pageType(note, name string) pageType {
	n, noted := f.v.VMCoreInfo().Number("PAGE_" + note + "_MAPCOUNT_VALUE")
	typed, known := int64(0), false
	if f.hasPageTypes() {
		typed, known = f.enumerator("pagetype", "PGTY_"+name)
		typed = int64(int32(uint32(typed) << 24))
		if !known {
			typed, known = f.enumerator("pagetype", "PG_"+name)
			typed = int64(int32(^uint32(typed)))
		}
	}
	n, ok := f.agree("the page type "+name, n, noted, typed, known)
	// A word of -1 is a page without a type and without a mapping, one above a count of mappings.
	if !ok || n >= -1 || n < -1<<31 {
		return pageType{}
	}
	return typeOf(uint32(n))
}

// hasPageTypes reports whether enum pagetype can be there: it is younger (6.11) than slabs' type, which was a flag until 6.9.
func (f *facts) hasPageTypes() bool {
	_, flag := f.enumerator("pageflags", "PG_slab")
	return !flag
}

// errUnknown says of something that neither source knows.
var errUnknown = errors.New("neither VMCOREINFO nor the kernel's types tell")
