package btf

import (
	"hash/maphash"
	"sync"

	"github.com/cilium/ebpf/btf"
)

// typeIndex finds the number of the first type of a kind and name. The library has such an index, but asking it decodes
// all that has the name.
type typeIndex struct {
	once  sync.Once
	seed  maphash.Seed
	slots []uint32 // type numbers; open addressing
}

// build takes in the types of those kinds that are defined here.
func (x *typeIndex) build(r *rawTypes, kinds uint32) {
	count := 0
	for _, at := range r.offsets {
		if kinds>>r.kind(r.types[at:])&1 != 0 {
			count++
		}
	}
	size := 16
	for size < count*2 {
		size *= 2
	}
	x.seed = maphash.MakeSeed()
	x.slots = make([]uint32, size)
	for i, at := range r.offsets {
		b := r.types[at:]
		kind := r.kind(b)
		if kinds>>kind&1 == 0 {
			continue
		}
		if kind == kindEnum && r.order.Uint32(b[4:])&0xffff == 0 {
			continue // only declared
		}
		name := r.str(r.order.Uint32(b))
		if len(name) == 0 {
			continue
		}
		if slot, found := x.slot(r, kind, name); !found {
			*slot = r.first + uint32(i)
		}
	}
}

// slot is where the type of that kind and name is or would be.
func (x *typeIndex) slot(r *rawTypes, kind uint32, name []byte) (*uint32, bool) {
	mask := uint64(len(x.slots) - 1)
	for k := maphash.Bytes(x.seed, name) & mask; ; k = (k + 1) & mask {
		s := &x.slots[k]
		if *s == 0 {
			return s, false
		}
		if b, ok := r.at(btf.TypeID(*s)); ok && r.kind(b) == kind && string(r.str(r.order.Uint32(b))) == string(name) {
			return s, true
		}
	}
}

const (
	typeKinds = 1<<kindInt | 1<<kindStruct | 1<<kindUnion | 1<<kindEnum | 1<<kindEnum64 | 1<<kindTypedef | 1<<kindFloat | 1<<kindVar
	funcKinds = 1 << kindFunc
)

// lookup finds the first type of one of those kinds with that name.
func (f *Finder) lookup(name string, kinds ...uint32) (btf.TypeID, bool) {
	x, all := &f.byName, uint32(typeKinds)
	if kinds[0] == kindFunc {
		x, all = &f.funcs, funcKinds
	}
	x.once.Do(func() { x.build(f.raw, all) })
	for _, kind := range kinds {
		if slot, ok := x.slot(f.raw, kind, []byte(name)); ok {
			return btf.TypeID(*slot), true
		}
	}
	return 0, false
}
