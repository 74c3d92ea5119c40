package mm

import (
	"errors"
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

// Buddy reads the lists of free pages. It belongs to one View.
type Buddy struct {
	Types []string // names of migrate types, by number

	v        *kernel.View
	pages    *Pages
	area     uint64 // offset of free_area in struct zone
	areaSize uint64
	orders   uint64
	list     uint64 // offset of free_list in struct free_area
	nrFree   uint64 // offset of nr_free
	kinds    uint64 // lists of an area
	isBuddy  func(*Page) bool
	pcp      *pcpLayout
}

// FreeArea are the free blocks of one order of a zone.
type FreeArea struct {
	Order  uint64
	NrFree uint64 // the kernel's own count of blocks
	Lists  []FreeList
}

// FreeList is one list of free blocks.
type FreeList struct {
	Head  vmem.Addr // list_head in the zone
	Order uint64
	Type  int // migrate type
}

// Pages of a block of the list.
func (l FreeList) Pages() uint64 { return 1 << l.Order }

const (
	maxOrders = 32 // MAX_ORDER is 10 on most machines
	maxTypes  = 16 // MIGRATE_TYPES is 4 to 6
)

// NewBuddy prepares for the kernel of v.
func NewBuddy(v *kernel.View, pages *Pages) (*Buddy, error) {
	b := &Buddy{v: v, pages: pages, isBuddy: buddyPage(v)}
	zone, err := v.Struct("zone")
	if err != nil {
		return nil, err
	}
	area, ok := zone.Path("free_area")
	if !ok || area.Type.Strip().Kind != symbols.Array {
		return nil, errors.New("struct zone of this kernel has no array free_area")
	}
	t := area.Type.Strip().Elem().Strip()
	lists, ok1 := t.Path("free_list")
	free, ok2 := t.Path("nr_free")
	if !ok1 || !ok2 || lists.Type.Strip().Kind != symbols.Array {
		return nil, fmt.Errorf("%s of this kernel has no array free_list, or no nr_free", t)
	}
	b.area, b.areaSize, b.orders = area.Offset(), t.Size, count(area.Type)
	b.list, b.nrFree, b.kinds = lists.Offset(), free.Offset(), count(lists.Type)
	if b.orders == 0 || b.orders > maxOrders || b.kinds == 0 || b.kinds > maxTypes {
		return nil, fmt.Errorf("struct zone of this kernel claims %d orders of free pages of %d types: damaged", b.orders, b.kinds)
	}
	b.Types = b.typeNames()
	b.pcp, err = newPCPLayout(v)
	v.Gap("free pages that CPUs keep", err)
	return b, nil
}

func count(array *symbols.Type) uint64 { return uint64(max(array.Strip().Len, 0)) }

// typeNames are the kernel's own: those of /proc/pagetypeinfo, or its enumerators.
func (b *Buddy) typeNames() []string {
	names := make([]string, b.kinds)
	if sym, err := b.v.Symbol("migratetype_names"); err == nil {
		for i := range names {
			p, err := b.v.Word(vmem.Addr(sym.Addr + uint64(i)*b.v.WordSize()))
			if err != nil {
				break
			}
			s, err := b.v.CString(vmem.Addr(p), 32)
			if err != nil {
				break
			}
			names[i] = s
		}
	}
	_, t, err := b.v.Symbols().Enumerator("MIGRATE_UNMOVABLE")
	for i := range names {
		if names[i] != "" {
			continue
		}
		names[i] = fmt.Sprint(i)
		if err != nil {
			continue
		}
		for _, e := range t.Enumerators() {
			if e.Value == int64(i) && e.Name != "MIGRATE_PCPTYPES" {
				names[i] = e.Name
			}
		}
	}
	return names
}

// Areas are the free areas of a zone, order by order.
func (b *Buddy) Areas(z *Zone) ([]FreeArea, error) {
	var out []FreeArea
	for order := range b.orders {
		at := z.Addr + vmem.Addr(b.area+order*b.areaSize)
		n, err := b.v.Word(at + vmem.Addr(b.nrFree))
		if err != nil {
			return out, fmt.Errorf("free pages of zone %s: %w", z.Name, err)
		}
		a := FreeArea{Order: order, NrFree: n}
		for kind := range b.kinds {
			a.Lists = append(a.Lists, FreeList{Head: at + vmem.Addr(b.list+kind*2*b.v.WordSize()), Order: order, Type: int(kind)})
		}
		out = append(out, a)
	}
	return out, nil
}

// Blocks yields the first struct page of each block of a list. A page that can't be a free block's ends the walk.
func (b *Buddy) Blocks(l FreeList) iter.Seq2[Page, error] {
	return func(yield func(Page, error) bool) {
		for at, err := range walk.List(b.v, l.Head, b.pages.off.lru) {
			var p Page
			if err == nil {
				p, err = b.block(at, l.Order)
			}
			if err != nil {
				yield(Page{}, fmt.Errorf("free list of order %d, %s: %w", l.Order, b.Types[l.Type], err))
				return
			}
			if !yield(p, nil) {
				return
			}
		}
	}
}

// block reads the struct page at at and checks that it begins a free block.
func (b *Buddy) block(at vmem.Addr, order uint64) (Page, error) {
	pfn, ok := b.pages.PFN(at)
	if !ok || b.pages.Of(pfn) != at {
		return Page{}, fmt.Errorf("%#x is no struct page: damaged", uint64(at))
	}
	p, err := b.pages.Read(b.v, pfn)
	switch {
	case err != nil:
		return p, err
	case b.isBuddy != nil && !b.isBuddy(&p):
		return p, fmt.Errorf("the page at %#x is on the list and not free: damaged", uint64(at))
	case p.Private != order:
		return p, fmt.Errorf("the page at %#x says that its block is of order %d: damaged", uint64(at), p.Private)
	}
	return p, nil
}

// FreeBlock is where a page lies among the free ones.
type FreeBlock struct {
	Zone  Zone
	List  FreeList
	Block Page   // its first page
	Index uint64 // of the page in the block
	// Listed: the block was found on List; else its type is not known.
	Listed bool
}

// Find finds the free block that has the page; ok is false if it is in none.
func (b *Buddy) Find(pfn uint64) (f FreeBlock, ok bool, err error) {
	if b.isBuddy == nil {
		return f, false, errors.New("how this kernel marks free pages is not known")
	}
	for order := range b.orders {
		head := pfn &^ (1<<order - 1)
		p, err := b.pages.Read(b.v, head)
		if err != nil {
			return f, false, err
		}
		if b.isBuddy(&p) && p.Private >= order && p.Private < b.orders && pfn-head < 1<<p.Private {
			f.Block, f.Index = p, pfn-head
			ok = true
			break
		}
	}
	if !ok {
		return f, false, nil
	}
	zones, err := Zones(b.v)
	if err != nil {
		return f, true, err
	}
	for _, z := range zones {
		if f.Block.PFN < z.Start || f.Block.PFN-z.Start >= z.Spanned {
			continue
		}
		areas, err := b.Areas(&z)
		if err != nil {
			return f, true, err
		}
		f.Zone = z
		for _, l := range areas[f.Block.Private].Lists {
			f.List = l
			for p, err := range b.Blocks(l) {
				if err != nil {
					b.v.Gap("zone "+z.Name, err)
					continue
				}
				if p.PFN == f.Block.PFN {
					f.Listed = true
					return f, true, nil
				}
			}
		}
	}
	return f, true, nil
}

// buddyPage tells the first page of a free block: by a page type since 4.18. Nil if this kernel does not say.
func buddyPage(v *kernel.View) func(*Page) bool {
	if typ, _, err := v.Symbols().Enumerator("PGTY_buddy"); err == nil { // 6.12: the upper byte is the type
		return func(p *Page) bool { return int64(p.Type>>24) == typ }
	}
	if bit, t, err := v.Symbols().Enumerator("PG_buddy"); err == nil && t.Name == "pagetype" { // 6.11: a bit that is cleared
		return func(p *Page) bool { return int64(p.Type)&(0xf0000000|bit) == 0xf0000000 }
	}
	n, ok := v.VMCoreInfo().Number("PAGE_BUDDY_MAPCOUNT_VALUE")
	if !ok {
		n = ^0x80 // PG_buddy, a macro until 6.10
	}
	return func(p *Page) bool { return p.Type == uint32(n) }
}
