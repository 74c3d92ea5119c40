package mm

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

// CPUPages are the free pages of a zone that a CPU keeps for itself.
type CPUPages struct {
	CPU   int
	Addr  vmem.Addr // struct per_cpu_pages
	Count int32     // pages, as the kernel counts them
	High  int32
	Batch int32
	// Listed are the pages that were found on its lists; nil if they could not be walked to their ends.
	Listed *uint64
}

type pcpStruct struct {
	Count int32     `k:"count"`
	High  int32     `k:"high"`
	Batch int32     `k:"batch"`
	Lists vmem.Addr `k:"&lists"`
}

type pcpLayout struct {
	bind    kernel.Binding[pcpStruct]
	pageset uint64 // offset of the pointer in struct zone
	pcp     uint64 // offset of the struct per_cpu_pages in what it points to
	lists   uint64
	kinds   uint64 // migrate types that have lists
}

const costlyOrder = 3 // PAGE_ALLOC_COSTLY_ORDER: CPUs keep blocks up to this order, and huge ones

func newPCPLayout(v *kernel.View) (*pcpLayout, error) {
	var l pcpLayout
	var err error
	if l.bind, err = kernel.Bind[pcpStruct](v.Kernel, "per_cpu_pages"); err != nil {
		return nil, err
	}
	var ok bool
	if l.pageset, ok = v.OffsetOf("zone", "per_cpu_pageset"); !ok { // before 5.14: a struct around it
		if l.pageset, ok = v.OffsetOf("zone", "pageset"); !ok {
			return nil, errors.New("struct zone of this kernel has no member per_cpu_pageset")
		}
		if l.pcp, ok = v.OffsetOf("per_cpu_pageset", "pcp"); !ok {
			return nil, errors.New("struct per_cpu_pageset of this kernel has no member pcp")
		}
	}
	m, ok := l.bind.Type().Path("lists")
	if !ok || m.Type.Strip().Kind != symbols.Array {
		return nil, fmt.Errorf("%s has no array lists", l.bind.Type())
	}
	if l.lists = count(m.Type); l.lists > 64 {
		return nil, fmt.Errorf("%s claims %d lists: damaged", l.bind.Type(), l.lists)
	}
	kinds, _, err := v.Symbols().Enumerator("MIGRATE_PCPTYPES")
	if err != nil {
		return nil, err
	}
	if kinds <= 0 || kinds > maxTypes {
		return nil, fmt.Errorf("MIGRATE_PCPTYPES is %d: damaged", kinds)
	}
	l.kinds = uint64(kinds)
	return &l, nil
}

// order of the blocks on a list: until 5.12 single pages alone; since then lists for each type and small order, and behind
// them those of huge blocks.
func (l *pcpLayout) order(list, pageSize uint64) uint64 {
	if o := list / l.kinds; o <= costlyOrder {
		return o
	}
	o := uint64(0)
	for n := pageSize / 8; n > 1; n >>= 1 { // as many pages as one table of page table entries maps
		o++
	}
	return o
}

// CPUs are the free pages of a zone that CPUs keep: they are not on the zone's own lists, nor in its count of free pages.
func (b *Buddy) CPUs(z *Zone) ([]CPUPages, error) {
	if b.pcp == nil || z.Present == 0 { // a zone without pages points to what all had at boot
		return nil, nil
	}
	base, err := b.v.Word(z.Addr + vmem.Addr(b.pcp.pageset))
	if err != nil {
		return nil, err
	}
	cpus, err := b.v.PossibleCPUs()
	if err != nil {
		return nil, err
	}
	var out []CPUPages
	for _, cpu := range cpus {
		off, err := b.v.PerCPUOffset(cpu)
		if err != nil {
			return out, err
		}
		c := CPUPages{CPU: cpu, Addr: vmem.Addr(base + off + b.pcp.pcp)}
		s, err := b.pcp.bind.Read(b.v, c.Addr)
		if err != nil {
			b.v.Gap(fmt.Sprintf("zone %s: free pages of CPU %d", z.Name, cpu), err)
			continue
		}
		c.Count, c.High, c.Batch = s.Count, s.High, s.Batch
		n := uint64(0)
		err = b.eachListed(s.Lists, func(_ vmem.Addr, order uint64) bool {
			n += 1 << order
			return true
		})
		if err != nil {
			b.v.Gap(fmt.Sprintf("zone %s: free pages of CPU %d", z.Name, cpu), err)
		} else {
			c.Listed = &n
		}
		out = append(out, c)
	}
	return out, nil
}

// eachListed calls f for each block on the lists of a CPU.
func (b *Buddy) eachListed(lists vmem.Addr, f func(page vmem.Addr, order uint64) bool) error {
	for i := range b.pcp.lists {
		order := b.pcp.order(i, b.v.PageSize())
		for at, err := range walk.List(b.v, lists+vmem.Addr(i*2*b.v.WordSize()), b.pages.off.lru) {
			if err != nil {
				return err
			}
			if pfn, ok := b.pages.PFN(at); !ok || b.pages.Of(pfn) != at {
				return fmt.Errorf("%#x is no struct page: damaged", uint64(at))
			}
			if !f(at, order) {
				return nil
			}
		}
	}
	return nil
}

// Keeper finds the CPU on one of whose lists the page is; ok is false if it is on none.
func (b *Buddy) Keeper(pfn uint64) (cpu int, z Zone, ok bool) {
	if b.pcp == nil {
		return 0, z, false
	}
	zones, err := Zones(b.v)
	if err != nil {
		b.v.Gap("zones", err)
	}
	for _, z := range zones {
		if z.Present == 0 || pfn < z.Start || pfn-z.Start >= z.Spanned {
			continue
		}
		cs, err := b.CPUs(&z)
		if err != nil {
			b.v.Gap("zone "+z.Name, err)
		}
		for _, c := range cs {
			if c.Listed == nil || *c.Listed == 0 {
				continue
			}
			s, err := b.pcp.bind.Read(b.v, c.Addr)
			if err != nil {
				continue
			}
			err = b.eachListed(s.Lists, func(at vmem.Addr, order uint64) bool {
				first, _ := b.pages.PFN(at)
				ok = pfn >= first && pfn-first < 1<<order
				return !ok
			})
			if err == nil && ok {
				return c.CPU, z, true
			}
		}
	}
	return 0, z, false
}

// Pending are the changes of a zone's counter of free pages that CPUs have not added to it yet.
func Pending(v *kernel.View, z *Zone) (int64, error) {
	if z.Present == 0 {
		return 0, nil
	}
	tag, member := "per_cpu_zonestat", "per_cpu_zonestats"
	ptr, ok := v.OffsetOf("zone", member)
	if !ok { // before 5.14
		tag, member = "per_cpu_pageset", "pageset"
		if ptr, ok = v.OffsetOf("zone", member); !ok {
			return 0, errors.New("struct zone of this kernel has no member per_cpu_zonestats")
		}
	}
	diff, ok := v.OffsetOf(tag, "vm_stat_diff") // s8 [], by enum zone_stat_item
	if !ok {
		return 0, fmt.Errorf("struct %s of this kernel has no member vm_stat_diff", tag)
	}
	i, _, err := v.Symbols().Enumerator("NR_FREE_PAGES")
	if err != nil {
		return 0, err
	}
	base, err := v.Word(z.Addr + vmem.Addr(ptr))
	if err != nil {
		return 0, err
	}
	cpus, err := v.PossibleCPUs()
	if err != nil {
		return 0, err
	}
	sum := int64(0)
	for _, cpu := range cpus {
		off, err := v.PerCPUOffset(cpu)
		if err != nil {
			return 0, err
		}
		var p [1]byte
		if err := v.Read(p[:], vmem.Addr(base+off+diff+uint64(i))); err != nil {
			return 0, err
		}
		sum += int64(int8(p[0]))
	}
	return sum, nil
}
