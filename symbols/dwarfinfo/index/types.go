package index

import (
	"bytes"
	"cmp"
	"slices"
)

// Type is a struct or union, or a typedef of one that has no tag.
type Type struct {
	Kind Kind // Struct, Union, Typedef
	Name string
	Hit
}

const typeKinds = 1<<Struct | 1<<Union | 1<<Typedef

// named reports whether r is what a Type may be.
func (r record) named() bool {
	return 1<<r.kind&typeKinds != 0 && (r.kind != Typedef || r.flags&flagUntagged != 0)
}

// Types returns all structs and unions of lo to hi bytes, and typedefs of those without a tag, by size and name. Of definitions
// of equal names and sizes the best one is there.
func (x *Index) Types(lo, hi uint64) (types []Type) {
	x.guard(func() {
		for i := range x.image.count {
			if x.image.kinds(i)&typeKinds == 0 {
				continue
			}
			for p := x.image.records(i); len(p) > 0; p = p[recordSize:] {
				if r := readRecord(p); r.named() && r.aux >= lo && r.aux <= hi {
					types = append(types, Type{r.kind, string(x.image.name(i)), r.hit()})
				}
			}
		}
	})
	return unique(types)
}

// unique sorts types, and leaves the first of equal ones.
func unique(types []Type) []Type {
	order := func(a, b Type) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	}
	slices.SortStableFunc(types, order)
	return slices.CompactFunc(types, func(a, b Type) bool { return order(a, b) == 0 })
}

// Holding returns the types, as Types does, that have a member of a type in whose name word is, or one that points to such a type;
// itself or in a struct that is part of it.
func (x *Index) Holding(word string) (types []Type) {
	x.guard(func() {
		want := make([]bool, x.image.count)
		for i := range x.image.count {
			want[i] = bytes.Contains(x.image.name(i), []byte(word))
		}
		types = x.holders(func(m []byte) bool {
			i := le.Uint32(m[4:])&^heldBit - 1
			return i < x.image.count && want[i]
		})
	})
	return unique(types)
}

// WithMember returns the types, as Types does, that have a member of that name; itself or in a struct that is part of it.
func (x *Index) WithMember(name string) (types []Type) {
	x.guard(func() {
		i, ok := x.image.find(name)
		if ok {
			types = x.holders(func(m []byte) bool { return le.Uint32(m) == i+1 })
		}
	})
	return unique(types)
}

// maxDepth bounds structs in structs.
const maxDepth = 32

// holders returns the types that have a member for which match holds, or a part of such a type.
func (x *Index) holders(match func(member []byte) bool) (types []Type) {
	hit := make([]bool, len(x.image.holders)/holderSize)
	holds := make([]bool, x.image.count) // by name of type
	for range maxDepth {
		changed := false
		from := uint64(0)
		for i := range hit {
			p := x.image.holders[holderSize*i:]
			to := uint64(le.Uint32(p[8:]))
			if to < from || to*memberSize > uint64(len(x.image.members)) {
				return types
			}
			all := x.image.members[from*memberSize : to*memberSize]
			from = to
			if hit[i] || !x.anyMember(all, holds, match) {
				continue
			}
			hit[i], changed = true, true
			rec, owner := uint64(le.Uint32(p)), le.Uint32(p[4:])
			if owner >= x.image.count || (rec+1)*recordSize > uint64(len(x.image.recs)) {
				continue
			}
			holds[owner] = true
			if r := readRecord(x.image.recs[rec*recordSize:]); r.named() {
				types = append(types, Type{r.kind, string(x.image.name(owner)), r.hit()})
			}
		}
		if !changed {
			break
		}
	}
	return types
}

// anyMember reports whether one of the members matches, or is of a type that holds such a one.
func (x *Index) anyMember(all []byte, holds []bool, match func([]byte) bool) bool {
	for ; len(all) > 0; all = all[memberSize:] {
		if match(all) {
			return true
		}
		if typ := le.Uint32(all[4:]); typ&heldBit != 0 {
			if i := typ&^heldBit - 1; i < uint32(len(holds)) && holds[i] {
				return true
			}
		}
	}
	return false
}
