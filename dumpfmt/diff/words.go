package diff

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"time"

	"kdx/dumpfmt"
	"kdx/dumpfmt/describe"
)

// known is a value that a dump may not have: "" is none.
func known(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// compare gives a Difference unless both say the same.
func compare(what string, a, b *string) *Difference {
	if a == b || a != nil && b != nil && *a == *b {
		return nil
	}
	return &Difference{What: what, A: a, B: b}
}

func list(ds ...*Difference) []Difference {
	out := []Difference{}
	for _, d := range ds {
		if d != nil {
			out = append(out, *d)
		}
	}
	return out
}

// kernel compares what both dumps say; not every format says all.
func kernel(a, b *dumpfmt.Info) []Difference {
	both := func(what, x, y string) *Difference {
		if x == "" || y == "" {
			return nil
		}
		return compare(what, &x, &y)
	}
	order := func(info *dumpfmt.Info) string {
		if info.ByteOrder == binary.BigEndian {
			return "big endian"
		}
		return "little endian"
	}
	release := func(info *dumpfmt.Info) string {
		if info.VMCoreInfo != nil {
			if r, ok := info.VMCoreInfo.Get("OSRELEASE"); ok {
				return r
			}
		}
		return info.UTS.Release
	}
	vmci := func(info *dumpfmt.Info, key string) string {
		if info.VMCoreInfo == nil {
			return ""
		}
		v, _ := info.VMCoreInfo.Get(key)
		return v
	}
	crash := func(info *dumpfmt.Info) string {
		if info.VMCoreInfo == nil {
			return ""
		}
		sec, ok := info.VMCoreInfo.Decimal("CRASHTIME")
		if !ok {
			return ""
		}
		return time.Unix(sec, 0).UTC().Format(time.RFC3339)
	}
	return list(
		both("machine", string(a.Machine), string(b.Machine)),
		both("byte order", order(a), order(b)),
		both("word", fmt.Sprintf("%d bits", a.WordSize*8), fmt.Sprintf("%d bits", b.WordSize*8)),
		both("size of pages", fmt.Sprintf("%d bytes", a.PageSize), fmt.Sprintf("%d bytes", b.PageSize)),
		both("release", release(a), release(b)),
		both("version", a.UTS.Version, b.UTS.Version),
		both("node name", a.UTS.Nodename, b.UTS.Nodename),
		both("build-id", vmci(a, "BUILD-ID"), vmci(b, "BUILD-ID")),
		both("crash time", crash(a), crash(b)),
	)
}

// vmcoreinfo compares the values of all keys.
func vmcoreinfo(a, b *dumpfmt.Info) []Difference {
	if a.VMCoreInfo == nil || b.VMCoreInfo == nil {
		has := func(info *dumpfmt.Info) *string {
			if info.VMCoreInfo == nil {
				return nil
			}
			return known(fmt.Sprintf("%d entries", len(info.VMCoreInfo.Keys())))
		}
		return list(compare("all", has(a), has(b)))
	}
	keys := slices.Concat(a.VMCoreInfo.Keys(), b.VMCoreInfo.Keys())
	slices.Sort(keys)
	var out []*Difference
	for _, key := range slices.Compact(keys) {
		value := func(info *dumpfmt.Info) *string {
			if v, ok := info.VMCoreInfo.Get(key); ok {
				return &v
			}
			return nil
		}
		out = append(out, compare(key, value(a), value(b)))
	}
	return list(out...)
}

// cpus compares registers.
func cpus(a, b *dumpfmt.Info) []Difference {
	var out []*Difference
	for i := range max(len(a.CPUs), len(b.CPUs)) {
		what := fmt.Sprintf("CPU note %d", i)
		ra, rb := registers(a, i), registers(b, i)
		if ra == nil || rb == nil {
			has := func(r []dumpfmt.Register) *string {
				if r == nil {
					return nil
				}
				return known(fmt.Sprintf("%d registers", len(r)))
			}
			out = append(out, compare(what, has(ra), has(rb)))
			continue
		}
		for _, r := range ra {
			out = append(out, compare(what+": "+r.Name, hex(r.Value), value(rb, r.Name)))
		}
		for _, r := range rb {
			if value(ra, r.Name) == nil {
				out = append(out, compare(what+": "+r.Name, nil, hex(r.Value)))
			}
		}
	}
	return list(out...)
}

// registers of a CPU, with those of QEMU's note; nil if there are none. The pid counts as one, if there are notes that say it.
func registers(info *dumpfmt.Info, i int) []dumpfmt.Register {
	if i >= len(info.CPUs) {
		return nil
	}
	c := &info.CPUs[i]
	if c.Regs == nil && c.QEMU == nil {
		return nil
	}
	var out []dumpfmt.Register
	if slices.ContainsFunc(info.Notes, func(n dumpfmt.Note) bool { return n.Name == "CORE" && n.Type == 1 }) {
		out = append(out, dumpfmt.Register{Name: "pid", Value: uint64(uint32(c.PID))})
	}
	out = append(out, c.Regs...)
	if q := c.QEMU; q != nil {
		if c.Regs == nil {
			out = append(out, q.Regs...)
		}
		out = append(out, dumpfmt.Register{Name: "cr0", Value: q.CR0}, dumpfmt.Register{Name: "cr2", Value: q.CR2}, dumpfmt.Register{Name: "cr3", Value: q.CR3},
			dumpfmt.Register{Name: "cr4", Value: q.CR4}, dumpfmt.Register{Name: "idt", Value: q.IDTBase}, dumpfmt.Register{Name: "gdt", Value: q.GDTBase})
	}
	return out
}

func value(regs []dumpfmt.Register, name string) *string {
	for _, r := range regs {
		if r.Name == name {
			return hex(r.Value)
		}
	}
	return nil
}

func hex(v uint64) *string { return known(fmt.Sprintf("%#x", v)) }

// notes compares them by name, type and how many of these came before. What they mean is told elsewhere.
func notes(a, b *dumpfmt.Info) []Difference {
	type key struct {
		name string
		typ  uint32
		nth  int
	}
	index := func(info *dumpfmt.Info) (map[key][]byte, []key) {
		m, order, count := make(map[key][]byte), []key{}, make(map[key]int)
		for _, n := range info.Notes {
			k := key{n.Name, n.Type, 0}
			k.nth = count[k]
			count[key{n.Name, n.Type, 0}]++
			m[k] = n.Desc
			order = append(order, k)
		}
		return m, order
	}
	ma, ka := index(a)
	mb, kb := index(b)
	var out []Difference
	for _, k := range slices.Concat(ka, kb) {
		da, inA := ma[k]
		db, inB := mb[k]
		if inA && inB && bytes.Equal(da, db) || !inA && !inB {
			continue
		}
		size := func(d []byte, in bool) *string {
			if !in {
				return nil
			}
			return known(fmt.Sprintf("%d bytes", len(d)))
		}
		d := Difference{What: fmt.Sprintf("%q type %#x", k.name, k.typ), A: size(da, inA), B: size(db, inB)}
		if k.nth > 0 {
			d.What += fmt.Sprintf(", no. %d", k.nth+1)
		}
		if inA && inB {
			d.A, d.B = known(*d.A+beside(da, db)), known(*d.B+beside(db, da))
		}
		out = append(out, d)
		delete(ma, k) // once is enough
		delete(mb, k)
	}
	return append([]Difference{}, out...)
}

// beside shows the first bytes of a note that are not the other's.
func beside(d, other []byte) string {
	i := 0
	for i < len(d) && i < len(other) && d[i] == other[i] {
		i++
	}
	if i == len(d) {
		return fmt.Sprintf(", ends at %#x", i)
	}
	return fmt.Sprintf(", at %#x: % x", i, d[i:min(i+8, len(d))])
}

// devices compares what drivers dumped.
func devices(a, b *dumpfmt.Info) ([]Difference, error) {
	var out []*Difference
	for i := range max(len(a.Devices), len(b.Devices)) {
		name := func(info *dumpfmt.Info) *string {
			if i >= len(info.Devices) {
				return nil
			}
			return known(fmt.Sprintf("%s, %d bytes", info.Devices[i].Name, info.Devices[i].Size))
		}
		what := fmt.Sprintf("device dump %d", i)
		d := compare(what, name(a), name(b))
		if d == nil {
			at, err := firstOther(a.Devices[i].Data, b.Devices[i].Data)
			if err != nil {
				return nil, fmt.Errorf("%s: %w", what, err)
			}
			if at >= 0 {
				text := fmt.Sprintf("%s, other bytes from %#x on", *name(a), at)
				d = &Difference{What: what, A: &text, B: &text}
			}
		}
		out = append(out, d)
	}
	return list(out...), nil
}

// firstOther is the offset of the first byte that differs; -1 if none does. Both have one size.
func firstOther(a, b *io.SectionReader) (int64, error) {
	bufA, bufB := make([]byte, 64<<10), make([]byte, 64<<10)
	for at := int64(0); at < a.Size(); at += int64(len(bufA)) {
		n := min(int64(len(bufA)), a.Size()-at)
		for _, r := range []struct {
			from *io.SectionReader
			to   []byte
		}{{a, bufA}, {b, bufB}} {
			if _, err := r.from.ReadAt(r.to[:n], at); err != nil && err != io.EOF {
				return 0, err
			}
		}
		for i := range bufA[:n] {
			if bufA[i] != bufB[i] {
				return at + int64(i), nil
			}
		}
	}
	return -1, nil
}

// memory compares the maps of RAM, in whole pages: some formats say where memory ends inside a page.
func memory(a, b *dumpfmt.Info) Memory {
	size := max(a.PageSize, b.PageSize)
	ra, rb := wholePages(a.Ranges, size), wholePages(b.Ranges, size)
	m := Memory{}
	m.OnlyA, m.BytesA = without(ra, rb)
	m.OnlyB, m.BytesB = without(rb, ra)
	return m
}

func wholePages(in []dumpfmt.PhysRange, size uint64) []dumpfmt.PhysRange {
	var out []dumpfmt.PhysRange
	for _, r := range in {
		start := uint64(r.Start) / size * size
		end := (uint64(r.End)-1)/size*size + size
		if n := len(out); n > 0 && uint64(out[n-1].End) >= start {
			out[n-1].End = dumpfmt.Phys(end)
			continue
		}
		out = append(out, dumpfmt.PhysRange{Start: dumpfmt.Phys(start), End: dumpfmt.Phys(end)})
	}
	return out
}

// without lists the first parts of a that b lacks, and counts all their bytes.
func without(a, b []dumpfmt.PhysRange) ([]describe.Range, uint64) {
	out, total := []describe.Range{}, uint64(0)
	add := func(start, end dumpfmt.Phys) {
		if start >= end {
			return
		}
		total += uint64(end - start)
		if len(out) < fewRanges {
			out = append(out, describe.Range{Start: describe.Hex(start), End: describe.Hex(end)})
		}
	}
	for _, r := range a {
		at := r.Start
		for len(b) > 0 && b[0].End <= at {
			b = b[1:]
		}
		for i := 0; i < len(b) && b[i].Start < r.End; i++ {
			add(at, b[i].Start)
			at = max(at, b[i].End)
		}
		add(at, r.End)
	}
	return out, total
}
