package types

import (
	"kdx/symbols"
	"kdx/symbols/dwarfinfo/index"
)

var foundKinds = map[index.Kind]symbols.Kind{index.Struct: symbols.Struct, index.Union: symbols.Union, index.Typedef: symbols.Typedef}

// SearchTypes searches in the index alone. ok is false if it can't be opened.
func (f *Finder) SearchTypes(s symbols.TypeSearch) (found []symbols.FoundType, ok bool) {
	x, err := f.index()
	if err != nil {
		return nil, false
	}
	var all []index.Type
	if s.Word == "" {
		all = x.Types(s.Lo, s.Hi)
	} else {
		all = x.Holding(s.Word)
	}
	for _, t := range all {
		if t.Size >= s.Lo && t.Size <= s.Hi {
			found = append(found, symbols.FoundType{Kind: foundKinds[t.Kind], Name: t.Name, Size: t.Size})
		}
	}
	return found, true
}
