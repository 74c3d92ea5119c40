// Package mm answers questions about memory management: pages and their flags, the totals of /proc/meminfo, vmalloc
// areas.
package mm

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/symbols"
)

// Pages finds struct page. It is immutable and safe for many goroutines.
type Pages struct {
	vmemmap vmem.Addr
	size    uint64
	direct  vmem.Addr
	maxPFN  uint64
	shift   uint
	bo      binary.ByteOrder
	typ     *symbols.Type
	off     pageOffsets
	names   []string // of flags, by bit
}

// pageOffsets are where members lie in struct page, in bytes. All are words but those of 4 bytes that are named so.
type pageOffsets struct {
	flags    uint64 // memdesc_flags_t since 6.18
	mapping  uint64
	index    uint64 // __folio_index since 6.16
	compound uint64 // compound_info since 7.1
	private  uint64
	lru      uint64
	count    uint64 // _refcount, 4 bytes
	typ      uint64 // page_type, 4 bytes; shares its place with _mapcount
}

// Page is a page of memory as its struct page says.
type Page struct {
	Addr     vmem.Addr // of the struct page
	PFN      uint64
	Phys     dumpfmt.Phys
	Flags    uint64
	Mapping  vmem.Addr
	Index    uint64
	RefCount int32
	Private  uint64    // of a free block its order
	Type     uint32    // page_type; a count of mappings in pages of other kinds
	Head     vmem.Addr // of the compound page that it is a tail of; 0 if it is none
}

// Kernels without CONFIG_RANDOMIZE_MEMORY have the map of pages where x86_64/mm.rst says.
const (
	vmemmapBase4 = 0xffffea0000000000
	vmemmapBase5 = 0xffd4000000000000
)

// NewPages finds the map of pages.
func NewPages(v *kernel.View) (*Pages, error) {
	t, err := v.Struct("page")
	if err != nil {
		return nil, err
	}
	p := &Pages{typ: t, size: t.Size, bo: v.ByteOrder(), maxPFN: v.Image().Info().MaxPFN}
	if err := p.place(v); err != nil {
		return nil, err
	}
	for s := v.PageSize(); s > 1; s >>= 1 {
		p.shift++
	}
	base, err := v.UintAt("vmemmap_base", v.WordSize())
	switch {
	case err == nil:
	case !errors.Is(err, symbols.ErrNotFound):
		return nil, fmt.Errorf("the map of pages: %w", err)
	case v.Arch().Machine() != dumpfmt.MachineX86_64:
		return nil, errors.New("the map of pages can't be found: the kernel has no vmemmap_base")
	default:
		base = vmemmapBase4
		if n, _ := v.VMCoreInfo().Number("pgtable_l5_enabled"); n != 0 {
			base = vmemmapBase5
		}
	}
	p.vmemmap = vmem.Addr(base)
	direct, ok := v.Arch().DirectMap()
	if !ok {
		return nil, errors.New("the direct map of memory is not known")
	}
	p.direct = direct
	p.names = flagNames(v)
	p.maxPFN = max(p.maxPFN, nodesEnd(v))
	return p, nil
}

// place finds the members of struct page.
func (p *Pages) place(v *kernel.View) error {
	if p.size == 0 || p.size > v.PageSize() {
		return fmt.Errorf("struct page of this kernel has %d bytes: damaged", p.size)
	}
	for _, m := range []struct {
		off   *uint64
		size  uint64
		names []string
	}{
		{&p.off.flags, v.WordSize(), []string{"flags"}},
		{&p.off.mapping, v.WordSize(), []string{"mapping"}},
		{&p.off.index, v.WordSize(), []string{"__folio_index", "index"}},
		{&p.off.compound, v.WordSize(), []string{"compound_info", "compound_head"}},
		{&p.off.private, v.WordSize(), []string{"private"}},
		{&p.off.lru, 2 * v.WordSize(), []string{"lru"}},
		{&p.off.count, 4, []string{"_refcount"}},
		{&p.off.typ, 4, []string{"page_type"}},
	} {
		found := false
		for _, name := range m.names {
			if off, ok := p.typ.OffsetOf(name); ok {
				*m.off, found = off, true
				break
			}
		}
		if !found {
			return fmt.Errorf("struct page of this kernel has no member %s", strings.Join(m.names, " or "))
		}
		if *m.off > p.size || p.size-*m.off < m.size {
			return fmt.Errorf("struct page of this kernel has its member %s outside itself: damaged", m.names[0])
		}
	}
	if v.WordSize() != 8 {
		return errors.New("the map of pages of a 32-bit kernel is not read")
	}
	return nil
}

// Type is struct page.
func (p *Pages) Type() *symbols.Type { return p.typ }

func (p *Pages) flags(raw []byte) uint64   { return p.bo.Uint64(raw[p.off.flags:]) }
func (p *Pages) refcount(raw []byte) int32 { return int32(p.bo.Uint32(raw[p.off.count:])) }
func (p *Pages) private(raw []byte) uint64 { return p.bo.Uint64(raw[p.off.private:]) }

// decode takes a struct page apart.
func (p *Pages) decode(raw []byte, pfn uint64) Page {
	addr := p.Of(pfn)
	return Page{Addr: addr, PFN: pfn, Phys: dumpfmt.Phys(pfn << p.shift), Flags: p.flags(raw), Mapping: vmem.Addr(p.bo.Uint64(raw[p.off.mapping:])),
		Index: p.bo.Uint64(raw[p.off.index:]), RefCount: p.refcount(raw), Type: p.bo.Uint32(raw[p.off.typ:]), Private: p.private(raw),
		Head: p.head(addr, p.bo.Uint64(raw[p.off.compound:]))}
}

// Flag is a name of a page flag. Several names may mean one bit: all but the first are for special pages.
type Flag struct {
	Name string // without PG_
	Bit  int
}

// Flags are all names of page flags, in the kernel's order.
func Flags(v *kernel.View) ([]Flag, error) {
	limit, t, err := v.Symbols().Enumerator("__NR_PAGEFLAGS")
	if err != nil {
		return nil, err
	}
	var out []Flag
	for _, e := range t.Enumerators() {
		if name, ok := strings.CutPrefix(e.Name, "PG_"); ok && e.Value >= 0 && e.Value < min(limit, 64) {
			out = append(out, Flag{name, int(e.Value)})
		}
	}
	return out, nil
}

// flagNames takes the names of enum pageflags: of several for one bit the first, the others are for special pages.
func flagNames(v *kernel.View) []string {
	flags, err := Flags(v)
	if err != nil {
		return nil
	}
	var names []string
	for _, f := range flags {
		for f.Bit >= len(names) {
			names = append(names, "")
		}
		if names[f.Bit] == "" {
			names[f.Bit] = f.Name
		}
	}
	return names
}

// Max is one more than the last pfn that may have a struct page.
func (p *Pages) Max() uint64 { return p.maxPFN }

// FlagNames are the names of the page flags by bit, of several the first; an unnamed one is "".
func (p *Pages) FlagNames() []string { return p.names }

// Size of struct page in bytes.
func (p *Pages) Size() uint64 { return p.size }

// Of is where the struct page of pfn lies.
func (p *Pages) Of(pfn uint64) vmem.Addr { return p.vmemmap + vmem.Addr(pfn*p.size) }

// PFN is the page whose struct page covers addr; ok is false if addr is outside the map of pages.
func (p *Pages) PFN(addr vmem.Addr) (pfn uint64, ok bool) {
	if addr < p.vmemmap {
		return 0, false
	}
	pfn = uint64(addr-p.vmemmap) / p.size
	return pfn, pfn < p.maxPFN
}

// Virt is the page's address in the direct map.
func (p *Pages) Virt(pfn uint64) vmem.Addr { return p.direct + vmem.Addr(pfn<<p.shift) }

// Direct is the pfn behind an address of the direct map.
func (p *Pages) Direct(addr vmem.Addr) (pfn uint64, ok bool) {
	if addr < p.direct {
		return 0, false
	}
	pfn = uint64(addr-p.direct) >> p.shift
	return pfn, pfn < p.maxPFN
}

// Read reads the struct page of pfn.
func (p *Pages) Read(v *kernel.View, pfn uint64) (Page, error) {
	if pfn >= p.maxPFN {
		return Page{}, fmt.Errorf("page %#x lies beyond the machine's memory", pfn)
	}
	var small [128]byte
	raw := small[:]
	if p.size > uint64(len(small)) {
		raw = make([]byte, p.size)
	}
	raw = raw[:p.size]
	if err := v.Read(raw, p.Of(pfn)); err != nil {
		return Page{}, fmt.Errorf("page %#x: %w", pfn, err)
	}
	return p.decode(raw, pfn), nil
}

// head decodes compound_info of a tail page: the address of the head, or since 7.1, where a struct page has a power of
// two of bytes, a mask that makes the head's address of the tail's. Bit 0 marks a tail.
func (p *Pages) head(addr vmem.Addr, info uint64) vmem.Addr {
	if info&1 == 0 {
		return 0
	}
	info &^= 1
	if inverted := ^info + 1; inverted != 0 && inverted&(inverted-1) == 0 {
		return addr & vmem.Addr(info)
	}
	return vmem.Addr(info)
}

// FlagText names the flags that are set, joined by commas.
func (p *Pages) FlagText(flags uint64) string {
	var b strings.Builder
	for i, name := range p.names {
		if flags>>i&1 == 0 || name == "" {
			continue
		}
		if b.Len() > 0 {
			b.WriteByte(',')
		}
		b.WriteString(name)
	}
	return b.String()
}
