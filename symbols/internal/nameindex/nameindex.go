// Package nameindex finds the elements of a table by name with 20 bytes an element: it holds no names itself.
package nameindex

import (
	"hash/maphash"
	"iter"
)

// Index of a table.
type Index struct {
	seed  maphash.Seed
	name  func(i int) string
	slots []uint64 // upper half of the hash, index+1; open addressing
	more  []uint32 // the next index+1 of the same name
}

// New indexes elements 0 to n-1. name must go on to give the same names. Its cost does not depend on how many names are
// equal, nor can names be made to collide.
func New(n int, name func(i int) string) *Index {
	x := &Index{seed: maphash.MakeSeed(), name: name}
	size := 16
	for size < n*3/2+1 {
		size *= 2
	}
	x.slots = make([]uint64, size)
	x.more = make([]uint32, n)
	// Backwards, so that each list of equal names comes out rising.
	for i := n - 1; i >= 0; i-- {
		slot, hash := x.slot(name(i))
		if *slot != 0 {
			x.more[i] = uint32(*slot)
		}
		*slot = hash | uint64(i+1)
	}
	return x
}

// slot is where name is or would be.
func (x *Index) slot(name string) (slot *uint64, hash uint64) {
	h := maphash.String(x.seed, name)
	hash = h &^ 0xffffffff
	mask := uint64(len(x.slots) - 1)
	for k := h & mask; ; k = (k + 1) & mask {
		s := &x.slots[k]
		if *s == 0 || *s&^0xffffffff == hash && x.name(int(uint32(*s))-1) == name {
			return s, hash
		}
	}
}

// Find yields the elements of that name, rising.
func (x *Index) Find(name string) iter.Seq[int] {
	return func(yield func(int) bool) {
		s, _ := x.slot(name)
		for i := uint32(*s); i != 0; i = x.more[i-1] {
			if !yield(int(i - 1)) {
				return
			}
		}
	}
}
