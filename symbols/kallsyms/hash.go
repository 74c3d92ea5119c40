package kallsyms

import (
	"iter"
	"math/bits"
	"math/rand/v2"
)

// hasher hashes names by their tokens: they need not be expanded for it. The hash is a polynomial of the bytes.
type hasher struct {
	base  uint64
	token [256]uint64 // the hash of a token
	first [256]uint64 // and without its first byte, which in a name is the symbol's letter
	power [256]uint64 // of base, to the length of the token
	size  [256]int    // of the token; noToken for one that can't be in a name
	begin [256]bool   // a name can begin with the token
}

const noToken = maxName + 2

func newHasher(tokens *tokenSet) *hasher {
	h := &hasher{base: rand.Uint64() | 1}
	for i := range tokens {
		t := &tokens[i]
		h.token[i], h.power[i] = h.of(t.long)
		h.size[i] = t.n
		if !t.good {
			h.size[i] = noToken
			continue
		}
		h.first[i], _ = h.of(t.long[1:])
		h.begin[i] = isLetter(t.long[0])
	}
	return h
}

// of is the hash of bytes, and the power of base that belongs to their number.
func (h *hasher) of(s []byte) (hash, power uint64) {
	power = 1
	for _, c := range s {
		hash = hash*h.base + uint64(c)
		power *= h.base
	}
	return hash, power
}

// name is the hash of a compressed name without its letter; ok is false if it is none, as tokenSet.append says.
func (h *hasher) name(compressed []byte) (hash uint64, ok bool) {
	c := compressed[0]
	if !h.begin[c] {
		return 0, false
	}
	hash = h.first[c]
	n := h.size[c] - 1
	for _, c := range compressed[1:] {
		hash = hash*h.power[c] + h.token[c]
		n += h.size[c]
	}
	return hash, n > 0 && n <= maxName
}

// hashIndex finds the entries of a table that may have a name.
type hashIndex struct {
	hash    *hasher
	shift   uint     // of a mixed hash to bucket and check
	buckets []uint32 // where each begins in entries
	entries []uint32 // numbers, rising in each bucket, and checkBits of the hash above
}

const (
	entryBits = 23 // maxSymbols are no more
	checkBits = 32 - entryBits
)

// mixed spreads a hash over all bits.
func mixed(hash uint64) uint64 {
	hi, lo := bits.Mul64(hash^0x9e3779b97f4a7c15, 0xd6e8feb86659fd93)
	return hi ^ lo
}

// indexer collects hashes of entries in their order.
type indexer struct {
	x   hashIndex
	all []uint32 // of each entry its bucket and check
}

// newIndexer is for n entries, or fewer.
func newIndexer(hash *hasher, n int) *indexer {
	bucketBits := max(1, bits.Len(uint(n))-2) // two to four entries in each
	const believed = 1 << 20                  // of n, which may lie
	return &indexer{all: make([]uint32, 0, min(n, believed)), x: hashIndex{hash: hash, shift: uint(64 - bucketBits - checkBits)}}
}

func (b *indexer) add(hash uint64) { b.all = append(b.all, uint32(mixed(hash)>>b.x.shift)) }

func (b *indexer) index() hashIndex {
	x := b.x
	x.buckets = make([]uint32, 1<<(64-checkBits-x.shift)+1)
	for _, h := range b.all {
		x.buckets[h>>checkBits+1]++
	}
	for i := range x.buckets[1:] {
		x.buckets[i+1] += x.buckets[i]
	}
	x.entries = make([]uint32, len(b.all))
	for i, h := range b.all {
		at := &x.buckets[h>>checkBits]
		x.entries[*at] = uint32(i) | h<<entryBits
		*at++
	}
	copy(x.buckets[1:], x.buckets) // each was moved to where the next begins
	x.buckets[0] = 0
	return x
}

// find yields the entries that may have the name, rising.
func (x *hashIndex) find(name []byte) iter.Seq[int] {
	hash, _ := x.hash.of(name)
	h := uint32(mixed(hash) >> x.shift)
	return func(yield func(int) bool) {
		for _, e := range x.entries[x.buckets[h>>checkBits]:x.buckets[h>>checkBits+1]] {
			if e>>entryBits == h&(1<<checkBits-1) && !yield(int(e&(1<<entryBits-1))) {
				return
			}
		}
	}
}
