package mm

import (
	"errors"
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// VmapArea is a mapped range of vmalloc space.
type VmapArea struct {
	Addr       vmem.Addr // of the vmap_area
	Start, End vmem.Addr
	VM         vmem.Addr // vm_struct; 0 for areas without (vm_map_ram)
}

type vmapStruct struct {
	Start vmem.Addr `k:"va_start"`
	End   vmem.Addr `k:"va_end"`
	VM    vmem.Addr `k:"vm"`
}

// VmapAreas yields the mapped areas: of one list by rising address, or of the lists of several nodes (6.9), each so.
func VmapAreas(v *kernel.View) iter.Seq2[VmapArea, error] {
	return func(yield func(VmapArea, error) bool) {
		heads, err := vmapHeads(v)
		if err != nil {
			yield(VmapArea{}, err)
			return
		}
		link, ok := v.OffsetOf("vmap_area", "list")
		if !ok {
			yield(VmapArea{}, errors.New("struct vmap_area of this kernel has no member list"))
			return
		}
		bind, err := kernel.Bind[vmapStruct](v.Kernel, "vmap_area")
		if err != nil {
			yield(VmapArea{}, err)
			return
		}
		for _, head := range heads {
			for addr, err := range walk.List(v, head, link) {
				var a vmapStruct
				if err == nil {
					a, err = bind.Read(v, addr)
				}
				if err != nil {
					if !yield(VmapArea{}, fmt.Errorf("vmalloc areas: %w", err)) {
						return
					}
					continue
				}
				if !yield(VmapArea{addr, a.Start, a.End, a.VM}, nil) {
					return
				}
			}
		}
	}
}

// vmapHeads are the heads of the lists of areas: vmap_area_list, or since 6.9 those of vmap_nodes.
func vmapHeads(v *kernel.View) ([]vmem.Addr, error) {
	if sym, err := v.Symbol("vmap_area_list"); err == nil {
		return []vmem.Addr{vmem.Addr(sym.Addr)}, nil
	}
	nodes, err := v.UintAt("vmap_nodes", v.WordSize())
	if err != nil {
		return nil, err
	}
	n, err := v.UintAt("nr_vmap_nodes", 4)
	if err != nil {
		return nil, err
	}
	t, err := v.Struct("vmap_node")
	if err != nil {
		return nil, err
	}
	head, ok := t.OffsetOf("busy.head")
	if !ok {
		return nil, fmt.Errorf("%s has no member busy.head", t)
	}
	const limit = 4096 // the kernel makes at most 128, one for each two CPUs
	var out []vmem.Addr
	for i := range min(n, limit) {
		out = append(out, vmem.Addr(nodes+i*t.Size+head))
	}
	return out, nil
}

// maxAreaPages bounds how much of an area is looked at: 4 GiB in pages of 4 KiB.
const maxAreaPages = 1 << 20

// AreaPage is the address at which an area maps a page; ok is false if it does not.
func AreaPage(v *kernel.View, a *VmapArea, pfn uint64) (at vmem.Addr, ok bool, err error) {
	size := v.PageSize()
	if a.End < a.Start || uint64(a.End-a.Start)/size > maxAreaPages {
		return 0, false, fmt.Errorf("the vmalloc area at %#x ends at %#x: damaged, or too large to look at each of its pages", uint64(a.Start), uint64(a.End))
	}
	for at := a.Start; at < a.End; at += vmem.Addr(size) {
		if err := v.Step(); err != nil {
			return 0, false, err
		}
		f, err := v.Arch().Kernel().Translate(uint64(at))
		if notThere(err) {
			continue // a guard page
		}
		if err != nil {
			return 0, false, err
		}
		if uint64(f.Phys)/size == pfn {
			return at, true, nil
		}
	}
	return 0, false, nil
}
