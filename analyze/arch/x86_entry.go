package arch

// EntryPhys is the physical address that a page-table entry of the given level maps or leads to; ok is false if the
// entry maps nothing.
func (a *x86) EntryPhys(level string, entry uint64) (phys uint64, ok bool) {
	entry &^= a.sme
	leaf := level == "PTE" || entry&x86PageSize != 0 && (level == "PMD" || level == "PUD")
	if entry&x86Present == 0 {
		if !leaf || entry&x86ProtNone == 0 {
			return 0, false
		}
		entry ^= x86PhysMask // see walk
	}
	size := uint64(1) << 12
	if leaf && level == "PMD" {
		size = 1 << 21
	}
	if leaf && level == "PUD" {
		size = 1 << 30
	}
	return entry & x86PhysMask &^ (size - 1), true
}

// SwapEntry takes a page-table entry of a page in swap apart: the index of the swap device, and the page's offset there,
// in pages. Since 4.19 (L1TF) the offset is stored inverted below the type, which has the top 5 bits.
func (a *x86) SwapEntry(entry uint64) (device, offset uint64, ok bool) {
	const (
		typeBits = 5
		firstBit = 9 // above _PAGE_PROTNONE
		maxSwap  = 25
		maxPages = 1 << 36 // 256 TiB: more is no swap entry
	)
	if entry == 0 || entry&(x86Present|x86ProtNone) != 0 {
		return 0, 0, false
	}
	device = entry >> (64 - typeBits)
	if device >= maxSwap { // migration, hardware poison and the like use the last types
		return 0, 0, false
	}
	offset = ^entry << typeBits >> (firstBit + typeBits)
	return device, offset, offset < maxPages
}

// MigrationEntry is the page that a page-table entry which is not present stands for while the kernel moves the page
// elsewhere. It has the form of a swap entry, of a type that no device has; hardware poison and userfaultfd's markers have
// such types, too, so that ok says only that it may be one.
func (a *x86) MigrationEntry(entry uint64) (pfn uint64, ok bool) {
	const (
		typeBits = 5
		firstBit = 9
		maxSwap  = 25
		pfnBits  = 40 // above are flags since 6.1
	)
	if entry&(x86Present|x86ProtNone) != 0 || entry>>(64-typeBits) < maxSwap {
		return 0, false
	}
	return ^entry << typeBits >> (firstBit + typeBits) & (1<<pfnBits - 1), true
}
