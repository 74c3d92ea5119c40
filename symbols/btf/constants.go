package btf

import (
	"bytes"
	"hash/maphash"
	"iter"
	"slices"
	"sort"
	"sync"

	"github.com/cilium/ebpf/btf"

	"kdx/symbols"
)

// constantIndex finds the enum that has an enumeration constant. It is made when first asked.
type constantIndex struct {
	once    sync.Once
	seed    maphash.Seed
	entries []uint64 // 32 bits of the name's hash, number of the enum; sorted
}

func (x *constantIndex) build(r *rawTypes) {
	x.seed = maphash.MakeSeed()
	for i, at := range r.offsets {
		b := r.types[at:]
		id := uint64(r.first) + uint64(i)
		for name := range r.constants(b) {
			x.entries = append(x.entries, maphash.Bytes(x.seed, name)&^0xffffffff|id)
		}
	}
	slices.Sort(x.entries)
}

// constants yields the names of an enum's constants.
func (r *rawTypes) constants(b []byte) func(func([]byte) bool) {
	return func(yield func([]byte) bool) {
		size := 0
		switch r.kind(b) {
		case kindEnum:
			size = 8
		case kindEnum64:
			size = 12
		default:
			return
		}
		n := int(r.order.Uint32(b[4:]) & 0xffff)
		for k := range n {
			if !yield(r.str(r.order.Uint32(b[recordSize+size*k:]))) {
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
		for _, at := range f.raw.offsets {
			for name := range f.raw.constants(f.raw.types[at:]) {
				if bytes.HasPrefix(name, []byte(prefix)) && !yield(string(name)) {
					return
				}
			}
		}
	}
}

func (f *Finder) enumWith(name string) (*symbols.Type, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	x := &f.constants
	x.once.Do(func() { x.build(f.raw) })
	hash := maphash.Bytes(x.seed, []byte(name)) &^ 0xffffffff
	i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i] >= hash })
	for ; i < len(x.entries) && x.entries[i]&^0xffffffff == hash; i++ {
		id := btf.TypeID(uint32(x.entries[i]))
		b, _ := f.raw.at(id)
		for c := range f.raw.constants(b) {
			if bytes.Equal(c, []byte(name)) {
				return f.typeOf(id)
			}
		}
	}
	return nil, symbols.ErrNotFound
}
