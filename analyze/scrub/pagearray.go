package scrub

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/mm"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// pageArray is what one pass over all struct pages found: which pages are copies of what.
type pageArray struct {
	pages *mm.Pages
	// swap are the pages of the swap cache, by swap entry (device and offset, see swapKey).
	swap map[uint64]uint64
	// files are the address spaces that pages of the page cache belong to.
	files map[vmem.Addr]bool
	// compressed are the pages of zsmalloc.
	compressed dumpfmt.PageSet
	// unknown counts pages that the dump holds, but not their struct page, which may be of any of these kinds.
	unknown  uint64
	firstErr error
}

// Bits of page->mapping. Until 5.19 as of 6.18 on both together are KSM's.
const (
	mappingAnon    = 1
	mappingMovable = 2 // pages with a driver's own way to move them: zsmalloc's, balloons'
	mappingBits    = 3
)

// swapKey is a swap entry as the kernel's swp_entry_t has it (63 bits of an xarray's value, 5 of them for the device).
func swapKey(device, offset uint64) uint64 { return device<<58 | offset }

// pageLayout is where the members of struct page are.
type pageLayout struct {
	v                                      *kernel.View
	flags, mapping, compound, typ, private uint64
	head, slab, swapCache, swapBacked      uint64 // masks of flags
	slabType, zsType                       func(typ uint32) bool
}

func newPageLayout(v *kernel.View) (*pageLayout, error) {
	l := &pageLayout{v: v}
	for _, m := range []struct {
		into  *uint64
		names []string
	}{
		{&l.flags, []string{"flags"}},
		{&l.mapping, []string{"mapping"}},
		{&l.compound, []string{"compound_info", "compound_head"}}, // renamed in 7.1
		{&l.typ, []string{"page_type"}},
		{&l.private, []string{"private"}},
	} {
		found := false
		for _, name := range m.names {
			if off, ok := v.OffsetOf("page", name); ok {
				*m.into, found = off, true
				break
			}
		}
		if !found {
			return nil, fmt.Errorf("struct page of this kernel has no member %s", m.names[0])
		}
	}
	for _, f := range []struct {
		into *uint64
		name string
		must bool
	}{{&l.head, "PG_head", true}, {&l.swapCache, "PG_swapcache", true}, {&l.swapBacked, "PG_swapbacked", false}, {&l.slab, "PG_slab", false}} {
		n, t, err := v.Symbols().Enumerator(f.name)
		switch {
		case err == nil && t.Name == "pageflags" && n >= 0 && n < 64:
			*f.into = 1 << n
		case err != nil && (f.must || !absent(err)):
			return nil, fmt.Errorf("page flag %s: %w", f.name, err)
		}
	}
	never := func(uint32) bool { return false }
	l.slabType, l.zsType = never, never
	for _, f := range []struct {
		into *func(uint32) bool
		name string
	}{{&l.slabType, "slab"}, {&l.zsType, "zsmalloc"}} {
		if n, _, err := v.Symbols().Enumerator("PGTY_" + f.name); err == nil { // 6.12: the upper byte
			*f.into = func(t uint32) bool { return int64(t>>24) == n }
		} else if n, t, err := v.Symbols().Enumerator("PG_" + f.name); err == nil && t.Name != "pageflags" { // 6.10: a bit that is cleared
			*f.into = func(t uint32) bool { return t>>28 == 0xf && int64(t)&n == 0 }
		}
	}
	return l, nil
}

func (l *pageLayout) word(p []byte, off uint64) uint64 {
	if l.v.WordSize() == 4 {
		return uint64(l.v.ByteOrder().Uint32(p[off:]))
	}
	return l.v.ByteOrder().Uint64(p[off:])
}

func (l *pageLayout) pageType(p []byte) uint32 { return l.v.ByteOrder().Uint32(p[l.typ:]) }

func (l *pageLayout) isSlab(p []byte) bool {
	return l.slab != 0 && l.word(p, l.flags)&l.slab != 0 || l.slabType(l.pageType(p))
}

// scan calls each with all struct pages, by rising pfn, and unknown for those that are missing and whose pages are not.
func (l *pageLayout) scan(pages *mm.Pages, each func(pfn uint64, p []byte) error, unknown func(pfn uint64, err error)) error {
	v := l.v
	size, pageSize := pages.Size(), v.PageSize()
	const batch = 1024
	buf := make([]byte, batch*size)
	for _, r := range v.Image().Info().Ranges {
		first, end := uint64(r.Start)/pageSize, (uint64(r.End)+pageSize-1)/pageSize
		for pfn := first; pfn < end; {
			n, err := v.ReadMemory(buf[:min(batch, end-pfn)*size], uint64(pages.Of(pfn)))
			if err != nil && v.Context().Err() != nil {
				return err
			}
			whole := uint64(n) / size
			for i := range whole {
				if err := each(pfn+i, buf[i*size:(i+1)*size]); err != nil {
					return err
				}
			}
			pfn += whole
			if err == nil {
				continue
			}
			// Holes of the machine's memory have no struct pages: on to the next page of them.
			skip := max(1, (pageSize-uint64(pages.Of(pfn))%pageSize)/size)
			var fault *vmem.FaultError
			if !errors.As(err, &fault) || fault.Err != nil {
				for i := range min(skip, end-pfn) {
					if v.Image().State(pfn+i) == dumpfmt.Present {
						unknown(pfn+i, err)
					}
				}
			}
			pfn += skip
		}
	}
	return nil
}

// readArray reads all struct pages; once.
func (b *builder) readArray() (*pageArray, error) {
	if b.array != nil {
		return b.array, nil
	}
	v := b.v
	l, err := newPageLayout(v)
	if err != nil {
		return nil, err
	}
	pages, err := mm.NewPages(v)
	if err != nil {
		return nil, err
	}
	a := &pageArray{pages: pages, swap: make(map[uint64]uint64), files: make(map[vmem.Addr]bool)}
	var swapHead, swapEntry uint64 // the last head page in the swap cache: its tails follow
	inSwap := false
	err = l.scan(pages, func(pfn uint64, p []byte) error {
		if l.word(p, l.compound)&1 != 0 { // a tail, of the head before it
			if inSwap {
				a.swap[swapEntry+pfn-swapHead] = pfn
			}
			return nil
		}
		inSwap = false
		flags, mapping := l.word(p, l.flags), l.word(p, l.mapping)
		switch {
		case flags == ^uint64(0): // never set up
		case l.isSlab(p):
		case l.zsType(l.pageType(p)), mapping&mappingBits == mappingMovable:
			a.compressed.Add(pfn)
		case flags&l.swapCache != 0 && (l.swapBacked == 0 || flags&l.swapBacked != 0) && (mapping == 0 || mapping&mappingAnon != 0):
			swapHead, swapEntry, inSwap = pfn, l.word(p, l.private), flags&l.head != 0
			a.swap[swapEntry] = pfn
		case mapping != 0 && mapping&mappingBits == 0 && v.Arch().IsKernel(mapping):
			a.files[vmem.Addr(mapping)] = true
		}
		return nil
	}, func(pfn uint64, err error) {
		if a.unknown++; a.firstErr == nil {
			a.firstErr = err
		}
	})
	if err != nil {
		return nil, err
	}
	b.array = a
	return a, nil
}

// complete is an error if some pages of the dump are of a kind that is not known.
func (a *pageArray) complete() error {
	if a.unknown == 0 {
		return nil
	}
	return fmt.Errorf("what %d pages of the dump hold is not known, as the page array lacks them: %w", a.unknown, a.firstErr)
}
