package types

import (
	"kdx/symbols"
	"kdx/symbols/dwarfinfo/index"
)

// searcher is an Index that knows the sizes and members of types: *index.Index.
type searcher interface {
	Types(lo, hi uint64) []index.Type
	Holding(word string) []index.Type
}

var foundKinds = map[index.Kind]symbols.Kind{index.Struct: symbols.Struct, index.Union: symbols.Union, index.Typedef: symbols.Typedef}

// SearchTypes searches in the index alone. ok is false if there is none that can.
func (f *Finder) SearchTypes(s symbols.TypeSearch) (found []symbols.FoundType, ok bool) {
	x, err := f.index()
	if err != nil {
		return nil, false
	}
	in, ok := x.(searcher)
	if !ok {
		return nil, false
	}
	var all []index.Type
	if s.Word == "" {
		all = in.Types(s.Lo, s.Hi)
	} else {
		all = in.Holding(s.Word)
	}
	for _, t := range all {
		if t.Size >= s.Lo && t.Size <= s.Hi {
			found = append(found, symbols.FoundType{Kind: foundKinds[t.Kind], Name: t.Name, Size: t.Size})
		}
	}
	return found, true
}
