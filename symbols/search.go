package symbols

import (
	"cmp"
	"runtime"
	"slices"
	"strings"
	"sync"
)

// TypeSearch says which structs and unions are looked for, and which typedefs of such without a tag.
type TypeSearch struct {
	Lo, Hi uint64 // their size, bytes
	// Word, if not empty, must be in the name of the type of one of their members, or of what it points to; also of members of
	// structs that are part of them.
	Word string
}

// FoundType is a type that a search found.
type FoundType struct {
	Kind Kind // Struct, Union or Typedef
	Name string
	Size uint64 // bytes
}

// typeSearcher is a finder of types that searches without making each type, see Chain.SearchTypes.
type typeSearcher interface {
	SearchTypes(TypeSearch) (found []FoundType, ok bool)
}

// SearchTypes returns the types of all finders that meet s, by size and name. step is called every so many types and
// ends the search by its error. The error is step's, or says that there are no types.
func (c *Chain) SearchTypes(s TypeSearch, step func() error) ([]FoundType, error) {
	var all []FoundType
	for _, f := range c.types {
		if t, ok := f.(typeSearcher); ok {
			if found, ok := t.SearchTypes(s); ok {
				all = append(all, found...)
				continue
			}
		}
		found, err := searchNames(f, s, step)
		if err != nil {
			return nil, err
		}
		all = append(all, found...)
	}
	order := func(a, b FoundType) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	}
	slices.SortFunc(all, order)
	all = slices.CompactFunc(all, func(a, b FoundType) bool { return order(a, b) == 0 })
	if len(all) == 0 {
		// Nothing found is an answer only where somebody could be asked.
		if _, err := c.TypeNamed(Struct, "list_head"); err != nil && !Absent(err) {
			return nil, err
		}
	}
	return all, nil
}

// searchedAtOnce is how many types are searched between steps.
const searchedAtOnce = 2000

// searchNames makes all types that f names, on all cores.
func searchNames(f TypeFinder, s TypeSearch, step func() error) ([]FoundType, error) {
	type typeName struct {
		kind Kind
		name string
	}
	var names []typeName
	seen := map[typeName]bool{}
	for kind, name := range f.TypeNames() {
		n := typeName{kind, name}
		if kind != Struct && kind != Union && kind != Typedef || name == "" || seen[n] {
			continue
		}
		seen[n] = true
		names = append(names, n)
	}
	searches := make([]typeWalk, runtime.GOMAXPROCS(0))
	for i := range searches {
		searches[i] = typeWalk{TypeSearch: s, known: map[*Type]bool{}}
	}
	for len(names) > 0 {
		some := names[:min(len(names), searchedAtOnce)]
		names = names[len(some):]
		if err := step(); err != nil {
			return nil, err
		}
		var wg sync.WaitGroup
		for i := range searches {
			wg.Go(func() {
				for _, n := range some[len(some)*i/len(searches) : len(some)*(i+1)/len(searches)] {
					if t, err := f.TypeNamed(n.kind, n.name); err == nil {
						searches[i].look(n.kind, n.name, t)
					}
				}
			})
		}
		wg.Wait()
	}
	var found []FoundType
	for i := range searches {
		found = append(found, searches[i].found...)
	}
	return found, nil
}

// typeWalk looks into types. It remembers its answers, as the same types are members of many. It belongs to one goroutine.
type typeWalk struct {
	TypeSearch
	known map[*Type]bool
	found []FoundType
}

func (w *typeWalk) look(kind Kind, name string, t *Type) {
	if kind == Typedef {
		// A struct without a tag is known by its typedef alone.
		if t = t.Elem(); t.Name != "" || t.Kind != Struct && t.Kind != Union {
			return
		}
	}
	if t.Size >= w.Lo && t.Size <= w.Hi && (w.Word == "" || w.in(t, 0)) {
		w.found = append(w.found, FoundType{kind, name, t.Size})
	}
}

// maxTypeDepth bounds structs in structs, pointers to pointers and arrays of arrays, which may hold themselves in damaged types.
const maxTypeDepth = 16

func (w *typeWalk) in(t *Type, depth int) bool {
	if depth > maxTypeDepth {
		return false
	}
	ms := t.Members()
	for i := range ms {
		if w.member(ms[i].Type, depth) {
			return true
		}
	}
	return false
}

func (w *typeWalk) member(t *Type, depth int) bool {
	if found, ok := w.known[t]; ok {
		return found
	}
	w.known[t] = false // ends loops of damaged types
	// Of what a pointer leads to, the first name counts: what a typedef stands for is not followed.
	found, pointed, inner := false, false, t
walk:
	for range maxTypeDepth {
		named := inner.Name != "" && inner.Kind != Void
		if found = named && strings.Contains(inner.Name, w.Word); found || named && pointed {
			break
		}
		switch inner.Kind {
		case Pointer, Func:
			pointed = true
		case Array, Typedef, Const, Volatile, Restrict:
		default:
			break walk
		}
		inner = inner.Elem()
	}
	if !found && !pointed && (inner.Kind == Struct || inner.Kind == Union) {
		found = w.in(inner, depth+1)
	}
	w.known[t] = found
	return found
}
