package exclude

import (
	"fmt"
)

// layout is how this kernel describes a page in struct page. Masks of flags that are not known are 0. can says which classes can be told
// at all.
type layout struct {
	size uint64 // of struct page, in bytes
	ws   uint64 // bytes of a long
	big  bool   // byte order

	flags, mapping, mapcount, refcount, private uint64 // offsets of members in bytes

	// Tails of compound pages: bit 0 of the word at compound since 4.4; the flag PG_tail and the head's address at firstPage before.
	compound  uint64
	tailBit   bool
	tailFlag  uint64
	firstPage uint64

	lru, swapBacked, privateFlag, slabFlag, hwpoison, reserved, headMask, buddyFlag uint64
	swapCache                                                                       uint64 // with swapBacked

	buddy, offline, hugetlb, slab, unaccepted pageType

	// What says of a compound page that it is hugetlb's lies in the struct page behind the head's; one of these, or the type.
	dtor      uint64 // offset of compound_dtor (3.x to 6.5), from the struct page behind
	dtorSize  uint64
	dtorValue uint64 // 0 if not known
	hugeFlag  uint64 // PG_hugetlb, 6.6 to 6.8
	freeHuge  uint64 // address of free_huge_page, kept in lru.next until 4.3
	lruOff    uint64

	orders uint64 // of the buddy allocator: one more than the largest

	can [NumClasses]bool
}

// maxPageStruct bounds struct page, which has 32 to 96 bytes.
const maxPageStruct = 512

// newLayout puts together what the sources tell. Without size and flags nothing can be told, which is the error.
func newLayout(f *facts) (*layout, error) {
	l := &layout{ws: f.v.WordSize(), big: f.v.ByteOrder().Uint16([]byte{0, 1}) == 1}
	var ok bool
	if l.size, ok = f.size("page"); !ok || l.size < 3*l.ws || l.size > maxPageStruct {
		return nil, fmt.Errorf("the size of struct page: %w", errUnknown)
	}
	if l.flags, ok = f.offset("page", "flags"); !ok {
		return nil, fmt.Errorf("where struct page has its flags: %w", errUnknown)
	}
	l.findFlags(f)
	typed := l.findTypes(f)
	tails := l.findTails(f)
	mapping, lru := false, false
	if l.mapping, mapping = f.offset("page", "mapping"); !mapping {
		f.gap("cache and user data stay: where struct page has its mapping", errUnknown)
	}
	if l.lruOff, lru = f.offset("page", "lru"); !lru {
		l.freeHuge = 0
	}
	refs := false
	l.refcount, refs = f.offset("page", "_refcount", "_count") // renamed in 4.6
	private := false
	l.private, private = f.offset("page", "private")
	if l.orders, ok = f.length("zone", "free_area"); !ok || l.orders > 64 {
		l.orders = 0
	}
	for _, o := range []uint64{l.flags, l.mapping, l.mapcount, l.refcount, l.private, l.compound, l.firstPage, l.dtor, l.lruOff} {
		need := l.ws
		if o == l.mapcount || o == l.refcount {
			need = 4
		}
		if o > l.size || l.size-o < need {
			return nil, fmt.Errorf("struct page has %d bytes, but a member at %d", l.size, o)
		}
	}

	// A page is only left out if what would say that it is something else is known, too: its type, whether it is a tail or a slab.
	known := typed && tails && mapping && l.headMask != 0
	slabs := l.slab.known || l.slabFlag != 0
	if typed && tails && !slabs {
		f.gap("user data stays: how slabs are marked", errUnknown)
	}
	l.can[Cache] = known && l.lru != 0
	l.can[PrivateCache] = l.can[Cache]
	l.can[User] = known && slabs
	l.can[Free] = (l.buddy.known || l.buddyFlag != 0) && private && refs && l.orders > 0 && tails
	l.can[Unaccepted] = l.unaccepted.known && l.orders > 0
	l.can[Offline] = l.offline.known
	l.can[HWPoison] = l.hwpoison != 0
	return l, nil
}

func (l *layout) findFlags(f *facts) {
	l.lru = f.bit("PG_lru")
	l.swapBacked = f.bit("PG_swapbacked")
	l.privateFlag = f.bit("PG_private")
	l.hwpoison = f.bit("PG_hwpoison") // without CONFIG_MEMORY_FAILURE there is none
	l.reserved = f.bit("PG_reserved")
	l.slabFlag = f.bit("PG_slab") // until 6.9; a type since
	l.buddyFlag = f.bit("PG_buddy")
	// PG_swapcache is another name of PG_owner_priv_1 since 4.10, and means it only together with PG_swapbacked.
	if c := f.bit("PG_swapcache"); c != 0 && l.swapBacked != 0 {
		l.swapCache = c | l.swapBacked
	}
	note, noted := f.v.VMCoreInfo().Number("PG_head_mask")
	head, known := f.enumerator("pageflags", "PG_head")
	if !known {
		head, known = f.enumerator("pageflags", "PG_compound") // kernels without CONFIG_PAGEFLAGS_EXTENDED, until 4.3
	}
	if mask, ok := f.agree("PG_head_mask", note, noted, 1<<(head&63), known); ok {
		l.headMask = uint64(mask)
	}
	if l.lru == 0 {
		f.gap("cache stays: the page flag PG_lru", errUnknown)
	}
	if l.headMask == 0 {
		f.gap("cache and user data stay: the page flag PG_head", errUnknown)
	}
}

// findTypes finds what page_type holds; false if not even its place is known.
func (l *layout) findTypes(f *facts) bool {
	var ok bool
	if l.mapcount, ok = f.offset("page", "_mapcount", "page_type"); !ok {
		f.gap("cache, user data and free pages stay: where struct page has its type", errUnknown)
		return false
	}
	l.buddy = f.pageType("BUDDY", "buddy")
	l.offline = f.pageType("OFFLINE", "offline")
	l.slab = f.pageType("SLAB", "slab")
	l.unaccepted = f.pageType("UNACCEPTED", "unaccepted")
	l.hugetlb = f.pageType("HUGETLB", "hugetlb")
	if l.hugetlb.known {
		return true
	}
	if bit := f.bit("PG_hugetlb"); bit != 0 { // 6.6 to 6.8
		l.hugeFlag = bit
		return true
	}
	l.findDtor(f)
	if l.dtorValue == 0 {
		if a, ok := f.v.VMCoreInfo().Symbol("free_huge_page"); ok {
			l.freeHuge = a
		}
	}
	return true
}

// findDtor finds compound_dtor, which lies in the struct page behind the head's. 6.3 to 6.5 count its place from the folio.
func (l *layout) findDtor(f *facts) {
	note, noted := f.v.VMCoreInfo().Number("HUGETLB_PAGE_DTOR")
	typed, known := f.enumerator("compound_dtor_id", "HUGETLB_PAGE_DTOR")
	value, ok := f.agree("HUGETLB_PAGE_DTOR", note, noted, typed, known)
	if !ok || value <= 0 {
		return
	}
	tag, member, order, base := "page", "compound_dtor", "compound_order", uint64(0)
	at, ok := f.offset(tag, member)
	if !ok {
		tag, member, order, base = "folio", "_folio_dtor", "_folio_order", l.size
		if at, ok = f.offset(tag, member); !ok || at < base {
			f.gap("pages of hugetlbfs stay: where a compound page has its destructor", errUnknown)
			return
		}
	}
	l.dtorSize = 1 // since 4.16, before it had two or four bytes; the order is the next member
	if o, ok := f.v.VMCoreInfo().Offset(tag + "." + order); ok && o > at {
		l.dtorSize = o - at
	}
	if t, err := f.v.Struct(tag); err == nil {
		if m, ok := t.Path(member); ok {
			l.dtorSize = m.Type.Strip().Size
		}
	}
	if l.dtorSize != 1 && l.dtorSize != 2 && l.dtorSize != 4 {
		return
	}
	l.dtor, l.dtorValue = at-base, uint64(value)
}

// findTails finds what tells a tail of a compound page, whose head speaks for it.
func (l *layout) findTails(f *facts) bool {
	if at, ok := f.offset("page", "compound_info", "compound_head"); ok { // renamed in 7.1
		l.compound, l.tailBit = at, true
		return true
	}
	if bit := f.bit("PG_tail"); bit != 0 { // until 4.3
		if at, ok := f.offset("page", "first_page"); ok {
			l.tailFlag, l.firstPage = bit, at
			return true
		}
	}
	f.gap("cache, user data and free pages stay: how tails of compound pages are marked", errUnknown)
	return false
}

// word reads a long of the target.
func (l *layout) word(p []byte, off uint64) uint64 {
	if l.ws == 4 {
		return uint64(l.u32(p, off))
	}
	p = p[off : off+8]
	if l.big {
		return uint64(p[7]) | uint64(p[6])<<8 | uint64(p[5])<<16 | uint64(p[4])<<24 | uint64(p[3])<<32 | uint64(p[2])<<40 | uint64(p[1])<<48 | uint64(p[0])<<56
	}
	return uint64(p[0]) | uint64(p[1])<<8 | uint64(p[2])<<16 | uint64(p[3])<<24 | uint64(p[4])<<32 | uint64(p[5])<<40 | uint64(p[6])<<48 | uint64(p[7])<<56
}

func (l *layout) u32(p []byte, off uint64) uint32 {
	p = p[off : off+4]
	if l.big {
		return uint32(p[3]) | uint32(p[2])<<8 | uint32(p[1])<<16 | uint32(p[0])<<24
	}
	return uint32(p[0]) | uint32(p[1])<<8 | uint32(p[2])<<16 | uint32(p[3])<<24
}

// strangeType reports whether the word that is a page's type or its count of mappings is a type, or nothing sane. -1 is neither.
func strangeType(word uint32) bool { return int32(word) < -1 }
