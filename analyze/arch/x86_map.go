package arch

import (
	"context"
	"encoding/binary"
	"fmt"

	"kdx/analyze/vmem"
	"kdx/dumpfmt"
)

// Mappings goes through the page tables of the upper half of the address space, where the kernel is; those of the lower half are a task's. See
// vmem.Mapper.
func (s *x86Space) Mappings(ctx context.Context, v vmem.MappingVisitor) error {
	levels := x86Levels[:]
	if s.a.levels == 4 {
		levels = levels[1:]
	}
	w := x86Mapper{s: s, ctx: ctx, v: v}
	if !v.Table(0, 0, s.root) {
		return nil
	}
	return w.table(s.root, levels, 0, x86EntriesPerTable/2)
}

type x86Mapper struct {
	s   *x86Space
	ctx context.Context
	v   vmem.MappingVisitor
}

// table visits the entries of a table of the first of levels, from the first-th on; va is what its first entry maps.
func (w *x86Mapper) table(at dumpfmt.Phys, levels []x86Level, va uint64, first int) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	page, err := w.s.a.img.Page(uint64(at) >> 12)
	if err != nil {
		w.v.Broken(va, fmt.Errorf("%s table at %#x: %w", levels[0].name, uint64(at), err))
		return nil
	}
	l := levels[0]
	size := uint64(1) << l.shift
	for i := first; i < x86EntriesPerTable; i++ {
		entry := binary.LittleEndian.Uint64(page[i*8:]) &^ w.s.a.sme
		if entry&x86Present == 0 {
			continue
		}
		to := va + uint64(i)<<l.shift
		if first > 0 && w.s.a.levels == 4 {
			to |= 0xffff << 48
		} else if first > 0 {
			to |= 0xfe << 56
		}
		if l.shift == 12 || entry&x86PageSize != 0 && (l.shift == 21 || l.shift == 30) {
			w.v.Leaf(to, size, dumpfmt.Phys(entry&x86PhysMask&^(size-1)))
			continue
		}
		next := dumpfmt.Phys(entry & x86PhysMask)
		if len(levels) == 1 || !w.v.Table(to, size, next) {
			continue
		}
		if err := w.table(next, levels[1:], to, 0); err != nil {
			return err
		}
	}
	return nil
}
