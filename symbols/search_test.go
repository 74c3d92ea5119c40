package symbols

import (
	"errors"
	"fmt"
	"iter"
	"testing"
)

// shelf is a finder of the types that are on it.
type shelf struct {
	TypeFinder
	types []*Type
}

func (s shelf) Name() string { return "shelf" }
func (s shelf) TypeNames() iter.Seq2[Kind, string] {
	return func(yield func(Kind, string) bool) {
		for _, t := range s.types {
			if !yield(t.Kind, t.Name) {
				return
			}
		}
	}
}
func (s shelf) TypeNamed(kind Kind, name string) (*Type, error) {
	for _, t := range s.types {
		if t.Kind == kind && t.Name == name {
			return t, nil
		}
	}
	return nil, ErrNotFound
}

// searching is a shelf that can search by itself.
type searching struct{ shelf }

func (searching) SearchTypes(TypeSearch) ([]FoundType, bool) {
	return []FoundType{{Struct, "own", 8}, {Struct, "holder", 16}}, true
}

func aStruct(name string, size uint64, members ...*Type) *Type {
	var ms []Member
	for _, m := range members {
		ms = append(ms, Member{Name: "m", Type: m})
	}
	return NewType(&Type{Kind: Struct, Name: name, Size: size}, func(p *Parts) { p.Members = ms })
}

func of(t, elem *Type) *Type { return NewType(t, func(p *Parts) { p.Elem = elem }) }

func pointer(to *Type) *Type { return of(&Type{Kind: Pointer, Size: 8}, to) }

func TestSearchTypes(t *testing.T) {
	page := aStruct("page", 64)
	alias := of(&Type{Kind: Typedef, Name: "alias_t", Size: 64}, page)
	untagged := of(&Type{Kind: Typedef, Name: "untagged_t", Size: 16}, aStruct("", 16, pointer(page)))
	s := shelf{types: []*Type{
		page, alias, untagged,
		aStruct("holder", 16, pointer(page)),
		aStruct("outer", 24, of(&Type{Kind: Array, Size: 16, Len: 1}, aStruct("inner", 16, pointer(page)))),
		aStruct("far", 8, pointer(aStruct("middle", 8, pointer(page)))), // not itself
		aStruct("aliased", 64, alias),
		aStruct("behind", 8, pointer(alias)), // points to alias_t
	}}
	for _, tc := range []struct {
		search TypeSearch
		want   string
	}{
		{TypeSearch{Hi: ^uint64(0), Word: "page"}, "[{struct holder 16} {typedef untagged_t 16} {struct outer 24} {struct aliased 64}]"},
		{TypeSearch{Lo: 16, Hi: 24}, "[{struct holder 16} {typedef untagged_t 16} {struct outer 24}]"},
		{TypeSearch{Lo: 20, Hi: 30, Word: "page"}, "[{struct outer 24}]"},
		{TypeSearch{Hi: ^uint64(0), Word: "alias_t"}, "[{struct behind 8} {struct aliased 64}]"},
	} {
		c := NewChain(nil)
		c.AddTypes(s)
		got, err := c.SearchTypes(tc.search, func() error { return nil })
		if text := fmt.Sprint(got); err != nil || text != tc.want {
			t.Errorf("%+v: %s, %v; want %s", tc.search, text, err, tc.want)
		}
	}
	c := NewChain(nil)
	c.AddTypes(searching{s})
	c.AddTypes(shelf{types: []*Type{aStruct("holder", 16, pointer(page))}})
	got, err := c.SearchTypes(TypeSearch{Hi: ^uint64(0), Word: "page"}, func() error { return nil })
	if text := fmt.Sprint(got); err != nil || text != "[{struct own 8} {struct holder 16}]" {
		t.Errorf("of two finders: %s, %v", text, err)
	}
	stop := errors.New("stop")
	c = NewChain(nil)
	c.AddTypes(s)
	if _, err := c.SearchTypes(TypeSearch{}, func() error { return stop }); err != stop {
		t.Errorf("err = %v; want what step said", err)
	}
}
