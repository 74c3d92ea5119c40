package vfs

import (
	"errors"
	"iter"

	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// CachedPages is how many pages of a file are in the page cache, by its address_space's own count.
func (r *Reader) CachedPages(mapping vmem.Addr) (uint64, error) {
	return r.v.ObjectOf("address_space", mapping).Field("nrpages").Uint()
}

// Cached yields what the page cache holds of an address_space, by rising offset in pages: the struct page of each entry, which
// for a large folio is the first of several. What only remembers a page that is gone (shadow entries, and swapped pages
// of shared memory) is left out.
func (r *Reader) Cached(mapping vmem.Addr) iter.Seq2[walk.Entry, error] {
	off, ok := r.v.OffsetOf("address_space", "i_pages")
	if !ok {
		return func(yield func(walk.Entry, error) bool) {
			yield(walk.Entry{}, errors.New("struct address_space of this kernel has no member i_pages"))
		}
	}
	return func(yield func(walk.Entry, error) bool) {
		for e, err := range walk.XArray(r.v, mapping+vmem.Addr(off)) {
			if err == nil && e.IsValue() {
				continue
			}
			if !yield(e, err) {
				return
			}
		}
	}
}
