package btf

import (
	"bytes"
	"hash/maphash"
	"math/bits"
	"slices"
	"sort"
)

// named is a type and the offset of its name in the strings.
type named uint64

func newNamed(offset uint32, id typeID) named { return named(offset)<<32 | named(id) }
func (n named) offset() uint32                { return uint32(n >> 32) }
func (n named) id() typeID                    { return typeID(n) }

// nameIndex finds types by a name: their own, or for enums those of their constants.
type nameIndex struct {
	made    bool
	seed    maphash.Seed
	entries []uint64 // 32 bits of the name's hash, number of the type; sorted
}

const (
	typeKinds = 1<<kindInt | 1<<kindStruct | 1<<kindUnion | 1<<kindEnum | 1<<kindEnum64 | 1<<kindTypedef | 1<<kindFloat | 1<<kindVar
	funcKinds = 1 << kindFunc
)

// isNamed reports whether the record is of one of those kinds, has a name and is more than a declaration.
func (x *record) isNamed(kinds uint32) bool {
	return kinds>>x.kind&1 != 0 && x.name != 0 && (x.kind != kindEnum || x.n > 0)
}

// newIndex hashes names.
func (r *rawTypes) newIndex(names []named) (nameIndex, error) {
	x := nameIndex{made: true, seed: maphash.MakeSeed(), entries: make([]uint64, 0, len(names))}
	var hash uint64
	last := uint32(0)
	err := r.eachName(names, func(n named, name []byte) {
		if n.offset() != last {
			last = n.offset()
			hash = maphash.Bytes(x.seed, name) &^ 0xffffffff
		}
		x.entries = append(x.entries, hash|uint64(n.id()))
	})
	x.entries = sorted(x.entries, ^uint32(0))
	return x, err
}

// sorted sorts keys whose upper halves are spread over the numbers up to limit: by counting how many fall into each of as many parts.
func sorted[T ~uint64](keys []T, limit uint32) []T {
	parts := bits.Len(uint(len(keys))) // of their number, the logarithm
	shift := max(0, bits.Len32(limit)-parts) + 32
	ends := make([]uint32, uint64(limit)>>(shift-32)+2)
	part := func(k T) int { return min(int(uint64(k)>>shift), len(ends)-2) }
	for _, k := range keys {
		ends[part(k)+1]++
	}
	for i := range ends[1:] {
		ends[i+1] += ends[i]
	}
	out := make([]T, len(keys))
	for _, k := range keys {
		p := part(k)
		out[ends[p]] = k
		ends[p]++
	}
	from := uint32(0)
	for _, end := range ends[:len(ends)-1] {
		slices.Sort(out[from:end])
		from = end
	}
	return out
}

// eachName sorts names as they lie in the strings, all of which it goes through: so what is missing of them is known. A name is good until the next.
func (r *rawTypes) eachName(names []named, yield func(n named, name []byte)) error {
	names = sorted(names, r.stringEnd)
	w := newWindow(&r.strings)
	next := uint32(0) // the first byte that was not read yet
	readTo := func(off uint32) error {
		for next <= off && next < r.strings.size {
			if _, err := w.at(next, 1); err != nil {
				return err
			}
			next = w.from + uint32(len(w.buf))
		}
		return nil
	}
	for _, n := range names {
		if n.offset() >= r.stringBase {
			if err := readTo(n.offset() - r.stringBase); err != nil {
				return err
			}
		}
		name, err := r.nameAt(w, n.offset())
		if err != nil {
			return err
		}
		next = max(next, w.from+uint32(len(w.buf)))
		yield(n, name)
	}
	return readTo(r.strings.size)
}

// nameAt is the string at offset off, through a window; empty if there is none.
func (r *rawTypes) nameAt(w *window, off uint32) ([]byte, error) {
	if off < r.stringBase || off >= r.stringEnd {
		s, err := r.str(off)
		return []byte(s), err
	}
	off -= r.stringBase
	b, err := w.at(off, 1)
	if err != nil {
		return nil, err
	}
	end := bytes.IndexByte(b, 0)
	if end < 0 {
		if b, err = w.at(off, maxString); err != nil {
			return nil, err
		}
		end = bytes.IndexByte(b, 0)
	}
	return b[:max(end, 0)], nil
}

// find calls try for the types that may have the name, lowest numbers first, until it says that it is the one.
func (x *nameIndex) find(name string, try func(typeID) (bool, error)) (typeID, bool, error) {
	hash := maphash.String(x.seed, name) &^ 0xffffffff
	i := sort.Search(len(x.entries), func(i int) bool { return x.entries[i] >= hash })
	for ; i < len(x.entries) && x.entries[i]&^0xffffffff == hash; i++ {
		id := typeID(x.entries[i])
		if ok, err := try(id); ok || err != nil {
			return id, ok, err
		}
	}
	return 0, false, nil
}

// lookup finds the first type of one of those kinds with that name. f.mu is held.
func (f *Finder) lookup(name string, kinds ...uint32) (typeID, bool, error) {
	x := &f.byName
	if kinds[0] == kindFunc {
		if err := f.makeFuncs(); err != nil {
			return 0, false, err
		}
		x = &f.funcs
	}
	for _, kind := range kinds {
		id, ok, err := x.find(name, func(id typeID) (bool, error) {
			r, ok, err := f.raw.record(id)
			if err != nil || !ok || r.kind != kind {
				return false, err
			}
			s, err := f.raw.str(r.name)
			return s == name, err
		})
		if ok || err != nil {
			return id, ok, err
		}
	}
	return 0, false, nil
}

// makeFuncs makes the index of functions when it is first needed. f.mu is held.
func (f *Finder) makeFuncs() error {
	if f.funcs.made {
		return nil
	}
	var all []named
	err := f.raw.each(func(id typeID, _ uint32, x record) error {
		if x.isNamed(funcKinds) {
			all = append(all, newNamed(x.name, id))
		}
		return nil
	})
	if err == nil {
		f.funcs, err = f.raw.newIndex(all)
	}
	return err
}
