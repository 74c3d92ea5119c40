package scrub

import (
	"fmt"

	"kdx/analyze/mm"
)

// compressed applies the rule "compressed-swap".
func (b *builder) compressed(d *Done) error {
	a, err := b.readArray()
	if err != nil {
		return err
	}
	if err := a.complete(); err != nil {
		return err
	}
	if want := b.zspages(); a.compressed.Len() < want {
		return fmt.Errorf("only %d of %d pages of compressed swap were found", a.compressed.Len(), want)
	}
	if err := b.otherZswap(a); err != nil {
		return err
	}
	for pfn := range a.compressed.All() {
		if b.marks.page(pfn) {
			d.Objects++
			d.Pages++
			d.Bytes += b.v.PageSize()
		}
	}
	b.swapGone = true
	return nil
}

// noCompressed is an error if there is compressed swap that no rule erases: what a rule asks for may be in it, and can't be
// found there.
func (b *builder) noCompressed() error {
	if b.swapGone {
		return nil
	}
	a, err := b.readArray()
	if err != nil {
		return err
	}
	n := max(b.zspages(), a.compressed.Len())
	if n > 0 {
		return fmt.Errorf("%d pages hold compressed swap (zram, zswap), in which kdx can't look for what must go: erase them all, too (rule compressed-swap)", n)
	}
	return b.otherZswap(a)
}

// otherZswap is an error if zswap keeps pages in an allocator other than zsmalloc (zbud and z3fold, until 6.14).
func (b *builder) otherZswap(a *pageArray) error {
	stored, err := b.v.UintAt("zswap_stored_pages", b.v.WordSize())
	if absent(err) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("whether zswap keeps pages: %w", err)
	}
	stored &= 0xffffffff // an atomic_t until 6.11, an atomic_long_t later
	if stored > 0 && a.compressed.Len() == 0 {
		return fmt.Errorf("zswap keeps %d pages compressed in an allocator that kdx does not know: what is in them can neither be searched nor erased", stored)
	}
	return nil
}

// zspages is how many pages zsmalloc has, as the kernel counts them.
func (b *builder) zspages() uint64 {
	for _, s := range mm.VMStats(b.v.Fork()) {
		for _, c := range s.Counters {
			if c.Name == "NR_ZSPAGES" && c.Value > 0 {
				return uint64(c.Value)
			}
		}
	}
	return 0
}
