package exclude

// found is what a struct page says by itself.
type found struct {
	class    Class
	order    uint64 // of a Free or Unaccepted block
	compound bool   // the head of a compound page
	tails    Class  // of its tails
}

// poisoned is what the flags of a struct page are that was never set up.
const poisoned = ^uint64(0)

// decide reads the struct page p of a page that is no tail. next is the struct page behind it, nil if it can't be read. Classes that can't
// be told on this kernel are never the answer.
func (l *layout) decide(p, next []byte) found {
	flags := l.word(p, l.flags)
	if flags == poisoned || l.ws == 4 && flags == poisoned>>32 {
		return found{class: Unknown}
	}
	typ := l.u32(p, l.mapcount)
	switch {
	case l.can[Free] && flags&l.slabFlag == 0 && (l.buddy.is(typ) || flags&l.buddyFlag != 0):
		return l.free(p, flags)
	case l.can[Unaccepted] && l.unaccepted.is(typ):
		return found{class: Unaccepted, order: l.orders - 1}
	}
	out := found{compound: flags&l.headMask != 0}
	if out.compound && next != nil {
		_, out.compound = l.tail(next) // else the flag means something else
	}
	huge := out.compound && l.isHugetlb(p, next, typ)
	out.class = l.inUse(p, flags, typ, huge)
	out.tails = out.class
	if l.can[HWPoison] && flags&l.hwpoison != 0 {
		out.class = HWPoison
		if huge {
			out.tails = HWPoison // which of its pages failed is not known
		}
	}
	return out
}

// inUse is the class of a page that somebody has.
func (l *layout) inUse(p []byte, flags uint64, typ uint32, huge bool) Class {
	switch {
	case l.can[Offline] && flags&l.slabFlag == 0 && l.offline.is(typ):
		return Offline
	case flags&(l.slabFlag|l.reserved) != 0 || l.slab.is(typ):
		return Kernel
	case l.can[User] && huge:
		return User
	case strangeType(typ):
		return Kernel // page tables, guard pages, zsmalloc, and types to come
	}
	return l.cacheOrUser(p, flags)
}

// cacheOrUser tells pages that users' data is in. mapping points to an address_space, or with bit 0 set to an anon_vma or to a node of KSM.
func (l *layout) cacheOrUser(p []byte, flags uint64) Class {
	mapping := l.word(p, l.mapping)
	if mapping&1 != 0 {
		if l.can[User] && mapping>>(l.ws*8-1) != 0 {
			return User
		}
		return Kernel
	}
	lru := flags&l.lru != 0 || l.swapCache != 0 && flags&l.swapCache == l.swapCache
	if !l.can[Cache] || !lru {
		return Kernel
	}
	if l.privateFlag == 0 || flags&l.privateFlag != 0 {
		return PrivateCache
	}
	return Cache
}

// free checks what a page says of itself that is the first of a block of the buddy allocator.
func (l *layout) free(p []byte, flags uint64) found {
	order := l.word(p, l.private)
	if order >= l.orders || flags&(l.reserved|l.lru) != 0 || l.u32(p, l.refcount) != 0 {
		return found{class: Unknown}
	}
	return found{class: Free, order: order}
}

// isHugetlb reports whether the head p of a compound page is hugetlb's.
func (l *layout) isHugetlb(p, next []byte, typ uint32) bool {
	if l.hugetlb.known {
		return l.hugetlb.is(typ)
	}
	if next == nil {
		return false
	}
	switch {
	case l.hugeFlag != 0:
		return l.word(next, l.flags)&l.hugeFlag != 0 && !strangeType(typ)
	case l.dtorValue != 0:
		return l.dtorOf(next) == l.dtorValue
	case l.freeHuge != 0:
		return l.word(next, l.lruOff) == l.freeHuge
	}
	return false
}

func (l *layout) dtorOf(next []byte) uint64 {
	switch {
	case l.dtorSize == 1:
		return uint64(next[l.dtor])
	case l.dtorSize == 4:
		return uint64(l.u32(next, l.dtor))
	case l.big:
		return uint64(next[l.dtor+1]) | uint64(next[l.dtor])<<8
	}
	return uint64(next[l.dtor]) | uint64(next[l.dtor+1])<<8
}

// tail reports whether the page is a tail of a compound page, and what it says of its head: see headAddr.
func (l *layout) tail(p []byte) (info uint64, ok bool) {
	if l.tailBit {
		info = l.word(p, l.compound)
		return info &^ 1, info&1 != 0
	}
	if l.tailFlag == 0 || l.word(p, l.flags)&l.tailFlag == 0 {
		return 0, false
	}
	return l.word(p, l.firstPage), true
}

// headAddr is the address of the head's struct page as the tail at addr tells it: the address itself, or since 7.1, where struct page has a
// power of two of bytes, a mask that makes it of the tail's.
func (l *layout) headAddr(addr, info uint64) uint64 {
	low := ^info
	if l.ws == 4 {
		low = uint64(uint32(low))
	}
	if low&(low+1) == 0 {
		return addr & info
	}
	return info
}

// inFree reports whether the page looks like one in the middle of a free block: nobody holds it, it is in no list and has no type.
func (l *layout) inFree(p []byte) bool {
	if l.u32(p, l.refcount) != 0 || l.u32(p, l.mapcount) != ^uint32(0) {
		return false
	}
	if l.word(p, l.flags)&(l.lru|l.reserved|l.headMask|l.slabFlag) != 0 {
		return false
	}
	_, tail := l.tail(p)
	return !tail
}
