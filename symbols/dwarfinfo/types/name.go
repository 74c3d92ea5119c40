package types

import (
	"debug/dwarf"
	"sort"
	"sync"

	"kdx/symbols/dwarfinfo"
)

// scope is the namespace of the entries from off on, up to the next scope.
type scope struct {
	off    uint64
	prefix string // "core::option::", or ""
}

// nameOf is the name of a type: in C++ and Rust with the namespaces and types that it is in.
func (b *Builder) nameOf(e *dwarfinfo.Entry) string {
	name := e.Str(dwarf.AttrName)
	if name == "" || !nests(e.Unit.Language()) {
		return name
	}
	f, ok := b.scopes.Load(e.Unit)
	if !ok {
		f, _ = b.scopes.LoadOrStore(e.Unit, sync.OnceValue(func() []scope { return scopesOf(e.Unit) }))
	}
	all := f.(func() []scope)()
	i := sort.Search(len(all), func(i int) bool { return all[i].off > e.Off })
	if i == 0 {
		return name
	}
	return all[i-1].prefix + name
}

// nests reports whether types of that language, DW_LANG_*, are in namespaces.
func nests(lang uint64) bool {
	switch lang {
	case 0x04, 0x1a, 0x21, 0x2b, 0x3a: // C++ 98, 11, 14, 17, 20
		return true
	case 0x1c, 0x9000: // Rust, and what it called itself before DWARF 5
		return true
	}
	return false
}

const (
	maxScopes     = 1 << 20 // of a unit
	maxScopeDepth = 32
)

// scopesOf finds where in u the namespace changes.
func scopesOf(u *dwarfinfo.Unit) []scope {
	r := u.Data.Reader()
	if r.Seek(u.First) != nil {
		return nil
	}
	if _, err := r.Next(); err != nil {
		return nil
	}
	var out []scope
	stack := []string{""}
	for len(stack) > 0 && len(out) < maxScopes {
		e, err := r.Next()
		if err != nil {
			return out
		}
		if e == nil {
			stack = stack[:len(stack)-1]
			continue
		}
		prefix := stack[len(stack)-1]
		if len(out) == 0 && prefix != "" || len(out) > 0 && out[len(out)-1].prefix != prefix {
			out = append(out, scope{e.Off, prefix})
		}
		if !e.Children {
			continue
		}
		if !holdsTypes(e.Tag) || len(stack) >= maxScopeDepth {
			if r.Skip(e) != nil {
				return out
			}
			continue
		}
		stack = append(stack, prefix+scopeName(e)+"::")
	}
	return out
}

func holdsTypes(t dwarf.Tag) bool {
	switch t {
	case dwarf.TagNamespace, dwarf.TagStructType, dwarf.TagClassType, dwarf.TagUnionType:
		return true
	}
	return false
}

func scopeName(e *dwarfinfo.Entry) string {
	if name := e.Str(dwarf.AttrName); name != "" {
		return name
	}
	return "(anonymous)"
}
