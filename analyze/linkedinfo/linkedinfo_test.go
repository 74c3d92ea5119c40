package linkedinfo

import (
	"debug/elf"
	"iter"
	"testing"

	"kdx/symbols"
)

// madeUp is a kernel's file with a struct, an enumerator and a symbol.
type madeUp struct{ release string }

func (m madeUp) Arch() elf.Machine { return elf.EM_X86_64 }
func (m madeUp) Release() string   { return m.release }
func (m madeUp) BuildID() string   { return "ab" }
func (m madeUp) Address(name string) (uint64, bool) {
	return 0xffffffff81000000, name == "_stext"
}

func (madeUp) Name() string { return "test" }

func (madeUp) TypeNamed(kind symbols.Kind, name string) (*symbols.Type, error) {
	word := &symbols.Type{Kind: symbols.Int, Name: "long", Size: 8}
	zone := symbols.NewType(&symbols.Type{Kind: symbols.Struct, Name: "zone", Size: 64}, func(p *symbols.Parts) {
		p.Members = []symbols.Member{{Name: "spanned_pages", Type: word, BitOffset: 64}, {Name: "free_area", Type: symbols.ArrayOf(word, 11), BitOffset: 128}}
	})
	mask := symbols.NewType(&symbols.Type{Kind: symbols.Struct, Size: 16}, nil)
	switch {
	case kind == symbols.Struct && name == "zone":
		return zone, nil
	case kind == symbols.Typedef && name == "nodemask_t":
		return symbols.NewType(&symbols.Type{Kind: symbols.Typedef, Name: name, Size: 16}, func(p *symbols.Parts) { p.Elem = mask }), nil
	}
	return nil, symbols.ErrNotFound
}

func (madeUp) Enumerator(name string) (int64, *symbols.Type, error) {
	switch name {
	case "PG_head":
		return 6, nil, nil
	case "PGTY_buddy":
		return 0xf0, nil, nil
	}
	return 0, nil, symbols.ErrNotFound
}

func (madeUp) VariableType(string) (*symbols.Type, error) { return nil, symbols.ErrNotFound }
func (madeUp) FunctionType(string) (*symbols.Type, error) { return nil, symbols.ErrNotFound }
func (madeUp) TypeNames() iter.Seq2[symbols.Kind, string] {
	return func(func(symbols.Kind, string) bool) {}
}

func TestText(t *testing.T) {
	const want = `OSRELEASE=6.12.0
BUILD-ID=ab
PAGESIZE=4096
SYMBOL(_stext)=ffffffff81000000
SIZE(zone)=64
SIZE(nodemask_t)=16
OFFSET(zone.free_area)=16
OFFSET(zone.spanned_pages)=8
LENGTH(zone.free_area)=11
NUMBER(PG_head)=6
NUMBER(PG_head_mask)=64
NUMBER(PAGE_BUDDY_MAPCOUNT_VALUE)=-268435456
`
	if got, err := text(madeUp{"6.12.0"}, madeUp{}); got != want || err != nil {
		t.Errorf("text = %s, %v; want %s", got, err, want)
	}
	if _, err := text(madeUp{}, madeUp{}); err == nil {
		t.Error("a file without a release gave no error")
	}
}
