package scrub

import (
	"errors"
	"fmt"

	"kdx/analyze/mm"
	"kdx/analyze/task"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/dumpfmt"
)

// entryReader is implemented by architectures that can take page-table entries apart.
type entryReader interface {
	EntryPhys(level string, entry uint64) (phys uint64, ok bool)
	SwapEntry(entry uint64) (device, offset uint64, ok bool)
	MigrationEntry(entry uint64) (pfn uint64, ok bool)
}

// userPage is a stretch of memory that a process maps, or has in swap.
type userPage struct {
	va    uint64
	pfn   uint64
	pages uint64 // more than one for huge pages
	// Swapped: the page is in swap, and pfn holds its copy in the swap cache; if pages is 0 there is none.
	swapped bool
}

// spans are how much one entry of a table covers, by level. The top level's is that of four levels: with five, an entry is
// asked several times.
var spans = map[string]uint64{"PTE": 1 << 12, "PMD": 1 << 21, "PUD": 1 << 30, "P4D": 1 << 39, "PGD": 1 << 39}

// userPages calls each for all pages that the page tables of an mm_struct lead to, by rising address.
func (b *builder) userPages(mmAddr vmem.Addr, each func(userPage) error) error {
	v := b.v
	arch, ok := v.Arch().(entryReader)
	if !ok {
		return fmt.Errorf("kdx can't walk the page tables of processes on %s", v.Arch().Machine())
	}
	a, err := b.readArray()
	if err != nil {
		return err
	}
	space, err := task.SpaceOf(v, mmAddr)
	if err != nil {
		return err
	}
	end := uint64(1) << 47
	if v.Arch().IsKernel(0xff11000000000000) { // five levels
		end = 1 << 56
	}
	for va := uint64(0); va < end; {
		if v.Context().Err() != nil {
			return v.Context().Err()
		}
		w, err := space.Walk(va)
		if err != nil {
			return fmt.Errorf("page tables: %w", err)
		}
		if len(w.Steps) == 0 {
			return errors.New("the process has no page tables")
		}
		last := w.Steps[len(w.Steps)-1]
		span := spans[last.Level]
		if span == 0 {
			return fmt.Errorf("page tables have an unknown level %s", last.Level)
		}
		if last.Level == "PTE" {
			if err := b.lastTable(arch, a, va, last, each); err != nil {
				return err
			}
			va = va&^(spans["PMD"]-1) + spans["PMD"]
			continue
		}
		switch {
		case w.Present:
			start := uint64(w.Frame.Phys) - va%w.PageSize
			if err := each(userPage{va: va &^ (w.PageSize - 1), pfn: start / v.PageSize(), pages: w.PageSize / v.PageSize()}); err != nil {
				return err
			}
		case last.Entry != 0 && last.Level == "PMD":
			if pfn, ok := arch.MigrationEntry(last.Entry); ok && b.userOwned(a, pfn) {
				if err := each(userPage{va: va, pfn: pfn, pages: span / v.PageSize()}); err != nil {
					return err
				}
			}
		}
		va = va&^(span-1) + span
	}
	return nil
}

// lastTable goes through the entries of a last-level table, of which at is one.
func (b *builder) lastTable(arch entryReader, a *pageArray, va uint64, at vmem.Step, each func(userPage) error) error {
	v := b.v
	table := make([]byte, v.PageSize())
	if _, err := v.ReadPhys(table, uint64(at.Addr)&^(v.PageSize()-1)); err != nil {
		return fmt.Errorf("page table of address %#x: %w", va, err)
	}
	va &^= spans["PMD"] - 1
	for i := 0; i < len(table); i, va = i+8, va+v.PageSize() {
		entry := v.ByteOrder().Uint64(table[i:])
		if entry == 0 {
			continue
		}
		u := userPage{va: va}
		if phys, ok := arch.EntryPhys("PTE", entry); ok {
			u.pfn, u.pages = phys/v.PageSize(), 1
		} else if dev, off, ok := arch.SwapEntry(entry); ok {
			u.swapped = true
			if pfn, ok := a.swap[swapKey(dev, off)]; ok {
				u.pfn, u.pages = pfn, 1
			}
		} else if pfn, ok := arch.MigrationEntry(entry); ok && b.userOwned(a, pfn) {
			u.pfn, u.pages = pfn, 1
		} else {
			continue
		}
		if err := each(u); err != nil {
			return err
		}
	}
	return nil
}

// userOwned reports whether a page is one of user memory or of a file: entries that are neither pages nor swap (hardware
// poison, markers of userfaultfd) look like such of pages under migration.
func (b *builder) userOwned(a *pageArray, pfn uint64) bool {
	const lowest = 16 // markers are small numbers, where no user page is
	if pfn < lowest {
		return false
	}
	p, err := a.pages.Read(b.v, pfn)
	return err == nil && (p.Mapping != 0 || p.Head != 0)
}

// VM_SHARED and VM_MAYSHARE of vm_flags.
const vmShared = 0x8 | 0x80

// sharedFiles calls each for the pages of files that a process maps shared: what it wrote there may have lost its entry in
// the page tables.
func (b *builder) sharedFiles(mmAddr vmem.Addr, each func(userPage) error) error {
	v := b.v
	for m, err := range mm.VMAs(v, mmAddr) {
		if err != nil {
			return fmt.Errorf("mappings: %w", err)
		}
		if m.Flags&vmShared == 0 || m.File == 0 {
			continue
		}
		mapping, err := v.ObjectOf("file", m.File).Field("f_mapping").Pointer()
		if err != nil {
			return fmt.Errorf("mapping at %#x: %w", uint64(m.Start), err)
		}
		first := m.PageOffset
		last := first + uint64(m.End-m.Start)/v.PageSize()
		err = b.filePages(mapping, func(index uint64, u userPage) error {
			if index+max(u.pages, 1) <= first || index >= last {
				return nil
			}
			return each(u)
		})
		if err != nil {
			return fmt.Errorf("file mapped at %#x: %w", uint64(m.Start), err)
		}
	}
	return nil
}

// filePages calls each for the pages of an address_space, by rising index; userPage.va is not set.
func (b *builder) filePages(mapping vmem.Addr, each func(index uint64, u userPage) error) error {
	v := b.v
	a, err := b.readArray()
	if err != nil {
		return err
	}
	off, ok := v.OffsetOf("address_space", "i_pages") // 4.17
	if !ok {
		return errors.New("struct address_space of this kernel has no member i_pages")
	}
	for e, err := range walk.XArray(v, mapping+vmem.Addr(off)) {
		if err != nil {
			return fmt.Errorf("page cache: %w", err)
		}
		if e.IsValue() { // shmem keeps swap entries here; of other files it is a shadow of what was evicted
			if pfn, ok := a.swap[e.Value>>1]; ok {
				if err := each(e.Index, userPage{pfn: pfn, pages: 1, swapped: true}); err != nil {
					return err
				}
			}
			continue
		}
		pfn, ok := a.pages.PFN(vmem.Addr(e.Value))
		if !ok {
			return fmt.Errorf("page cache: %#x is no struct page", e.Value)
		}
		u := userPage{pfn: pfn, pages: 1}
		if u.pages, err = b.folioPages(a, pfn); err != nil {
			return err
		}
		if err := each(e.Index, u); err != nil {
			return err
		}
	}
	return nil
}

// folioPages counts the pages of the folio at pfn.
func (b *builder) folioPages(a *pageArray, pfn uint64) (uint64, error) {
	head := a.pages.Of(pfn)
	const most = 1 << 18 // 1 GiB
	n := uint64(1)
	for ; n < most && pfn+n < a.pages.Max(); n++ {
		p, err := a.pages.Read(b.v, pfn+n)
		if err != nil {
			if b.v.Image().State(pfn+n) == dumpfmt.Present {
				return n, err
			}
			break
		}
		if p.Head != head {
			break
		}
	}
	return n, nil
}

// errNoUser is of tasks without user memory.
var errNoUser = errors.New("it is a kernel thread, or has exited: it has no memory of its own")
