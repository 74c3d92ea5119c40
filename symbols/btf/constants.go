package btf

import (
	"iter"
	"strings"

	"kdx/symbols"
)

// constantsOf yields where the names of an enum's constants are.
func (r *rawTypes) constantsOf(x record) iter.Seq[uint32] {
	size := 8
	if x.kind == kindEnum64 {
		size = 12
	}
	return func(yield func(uint32) bool) {
		if x.kind != kindEnum && x.kind != kindEnum64 {
			return
		}
		for k := range x.n {
			if !yield(r.order.u32(x.body[size*k:])) {
				return
			}
		}
	}
}

// Enumerator finds an enumeration constant and its enum.
func (f *Finder) Enumerator(name string) (int64, *symbols.Type, error) {
	t, err := f.enumWith(name)
	if err != nil {
		return 0, nil, err
	}
	for _, e := range t.Enumerators() {
		if e.Name == name {
			return e.Value, t, nil
		}
	}
	return 0, nil, symbols.ErrNotFound
}

// EnumeratorNames yields the names of enumeration constants that begin with prefix, in no special order.
func (f *Finder) EnumeratorNames(prefix string) iter.Seq[string] {
	return func(yield func(string) bool) {
		for _, name := range f.constantNames() {
			if strings.HasPrefix(name, prefix) && !yield(name) {
				return
			}
		}
	}
}

func (f *Finder) constantNames() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	all, _ := f.constantOffsets() // what can't be read has no names
	out := make([]string, 0, len(all))
	_ = f.raw.eachName(all, func(_ named, name []byte) { out = append(out, string(name)) })
	return out
}

// constantOffsets are where the names of all constants are.
func (f *Finder) constantOffsets() ([]named, error) {
	var all []named
	for _, id := range f.raw.enums {
		x, ok, err := f.raw.record(id)
		if err != nil || !ok {
			return nil, err
		}
		for off := range f.raw.constantsOf(x) {
			all = append(all, newNamed(off, id))
		}
	}
	return all, nil
}

// enumWith finds the first enum that has the constant.
func (f *Finder) enumWith(name string) (*symbols.Type, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	id, ok, err := f.enumOf(name)
	if err != nil {
		return nil, err
	}
	if !ok {
		return nil, symbols.ErrNotFound
	}
	return f.typeOf(id)
}

// enumOf is the number of the first enum that has the constant. f.mu is held.
func (f *Finder) enumOf(name string) (typeID, bool, error) {
	if !f.constants.made {
		x, err := f.raw.newIndex(f.raw.constants)
		if err != nil {
			return 0, false, err
		}
		f.constants, f.raw.constants = x, nil
	}
	return f.constants.find(name, func(id typeID) (bool, error) {
		x, ok, err := f.raw.record(id)
		if err != nil || !ok {
			return false, err
		}
		for off := range f.raw.constantsOf(x) {
			if s, err := f.raw.str(off); err != nil || s == name {
				return err == nil, err
			}
		}
		return false, nil
	})
}
