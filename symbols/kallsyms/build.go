package kallsyms

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"sync"

	"kdx/symbols"
	"kdx/symbols/internal/nameindex"
)

// layout is one way to read the table's addresses.
type layout struct {
	name string
	// address of entry i; absolute says that it is not a place in the kernel's image.
	address func(raw []byte, i int) (addr uint64, absolute bool)
	words   bool // from kallsyms_addresses
}

// layouts lists what the known parts allow, the newest first.
func layouts(loc Location, opt Options) []layout {
	order := opt.order()
	word := opt.wordSize()
	var out []layout
	if loc.Offsets != 0 {
		u32 := func(raw []byte, i int) uint32 { return order.Uint32(raw[4*i:]) }
		// 7.1: each offset counts from its own place.
		out = append(out, layout{name: "place-relative", address: func(raw []byte, i int) (uint64, bool) {
			return opt.mask(loc.Offsets + uint64(4*i) + uint64(int64(int32(u32(raw, i))))), false
		}})
		if loc.RelativeBase == 0 && word == 4 {
			// 7.1 on 32-bit machines that can't be relocated.
			out = append(out, layout{name: "offsets are addresses", address: func(raw []byte, i int) (uint64, bool) {
				return uint64(u32(raw, i)), false
			}})
		}
	}
	if loc.Addresses != 0 {
		// Up to 4.5, and later without CONFIG_KALLSYMS_BASE_RELATIVE (ia64, or an image beyond 2 GiB).
		out = append(out, layout{name: "addresses", words: true, address: func(raw []byte, i int) (uint64, bool) {
			return opt.word(raw[word*i:]), false
		}})
	}
	return out
}

// relativeLayouts are those that need the value of kallsyms_relative_base.
func relativeLayouts(base uint64, opt Options) []layout {
	order := opt.order()
	return []layout{
		// 4.6 to 6.14 on SMP x86-64, where per-CPU variables have small absolute addresses: those that are not negative
		// are absolute, the others count back from base-1.
		{name: "absolute-percpu", address: func(raw []byte, i int) (uint64, bool) {
			off := int32(order.Uint32(raw[4*i:]))
			if off >= 0 {
				return uint64(off), true
			}
			return opt.mask(base - 1 - uint64(int64(off))), false
		}},
		{name: "relative", address: func(raw []byte, i int) (uint64, bool) {
			return opt.mask(base + uint64(order.Uint32(raw[4*i:]))), false
		}},
	}
}

// build reads the addresses and joins them with the names.
func build(mem symbols.Memory, loc Location, opt Options, names *nameTable) (*Table, error) {
	cands := layouts(loc, opt)
	var baseErr error
	if loc.RelativeBase != 0 && loc.Offsets != 0 {
		var b [8]byte
		if _, err := mem.ReadMemory(b[:opt.wordSize()], loc.RelativeBase); err != nil {
			baseErr = fmt.Errorf("kallsyms: relative base at %#x: %w", loc.RelativeBase, err)
		} else {
			cands = append(relativeLayouts(opt.word(b[:]), opt), cands...)
		}
	}
	n := names.len()
	var offsets, words []byte
	var offsetHoles, wordHoles []span
	if loc.Offsets != 0 {
		offsets, offsetHoles = readHoles(mem, loc.Offsets, 4*n)
	}
	if loc.Addresses != 0 {
		words, wordHoles = readHoles(mem, loc.Addresses, opt.wordSize()*n)
	}
	best, err := decide(cands, offsets, words, names, opt, loc.Names)
	if err != nil {
		return nil, errors.Join(err, baseErr)
	}
	raw, holes, size := offsets, offsetHoles, 4
	if best.words {
		raw, holes, size = words, wordHoles, opt.wordSize()
	}
	t := &Table{names: names, layout: best.name, missing: names.err}
	t.fill(raw, holes, size, best)
	t.index = sync.OnceValue(func() *nameindex.Index { return nameindex.New(t.Len(), t.names.name) })
	if t.Len() == 0 {
		return nil, fmt.Errorf("kallsyms: no address is readable: %w", holes[0].err)
	}
	return t, nil
}

// decide picks the layout that gives _stext its known address or, without one, the one whose addresses rise and lie near
// the table (near).
func decide(cands []layout, offsets, words []byte, names *nameTable, opt Options, near uint64) (layout, error) {
	if len(cands) == 0 {
		return layout{}, errors.New("kallsyms: no layout of addresses is possible with what is known of the table")
	}
	size := func(c layout) (raw []byte, n int) {
		if c.words {
			return words, len(words) / opt.wordSize()
		}
		return offsets, len(offsets) / 4
	}
	if opt.Stext != 0 && len(names.marks["_stext"]) > 0 {
		for _, c := range cands {
			raw, n := size(c)
			for _, i := range names.marks["_stext"] {
				if i >= n {
					continue
				}
				if a, _ := c.address(raw, i); a == opt.Stext {
					return c, nil
				}
			}
		}
		raw, n := size(cands[0])
		if i := names.marks["_stext"][0]; i < n {
			a, _ := cands[0].address(raw, i)
			return layout{}, fmt.Errorf("kallsyms: no known layout gives _stext its address %#x (%s gives %#x)", opt.Stext, cands[0].name, a)
		}
	}
	best, fewest := layout{}, -1
	for _, c := range cands {
		raw, n := size(c)
		if odd := countOdd(c, raw, min(n, names.len()), near); n > 0 && (fewest < 0 || odd < fewest) {
			best, fewest = c, odd
		}
	}
	if fewest < 0 || fewest > names.len()/20+maxAbsolute {
		return layout{}, fmt.Errorf("kallsyms: no known layout gives sensible addresses (%d of %d are out of order or far from the table)", fewest, names.len())
	}
	return best, nil
}

// maxAbsolute is how many absolute symbols are sensible: a kernel has some 400 per-CPU variables.
const maxAbsolute = 1024

// countOdd counts addresses that fall, are absolute, or are far from the table, which is in the same image.
func countOdd(c layout, raw []byte, n int, near uint64) int {
	const reach = 2 << 30
	odd, prev := 0, uint64(0)
	for i := range n {
		a, absolute := c.address(raw, i)
		if a < prev || absolute || a-near+reach > 2*reach {
			odd++
		}
		prev = a
	}
	return odd
}

// fill sets the addresses, drops entries that lack a name or an address, and sorts if the table is not sorted.
func (t *Table) fill(raw []byte, holes []span, size int, l layout) {
	n := t.names.len()
	t.addrs = make([]uint64, n)
	dropped, sorted := 0, true
	prev := uint64(0)
	for i := range n {
		if size*(i+1) > len(raw) {
			t.names.letters[i] = 0
			dropped++
			continue
		}
		a, absolute := l.address(raw, i)
		t.addrs[i] = a
		if t.names.letters[i] == 0 {
			dropped++
			continue
		}
		if absolute {
			t.absolute = max(t.absolute, a+1)
		}
		sorted = sorted && a >= prev
		prev = a
	}
	for _, h := range holes {
		for i := h.from / size; i < min((h.to+size-1)/size, n); i++ {
			t.addrs[i] = 0
			if t.names.letters[i] != 0 {
				t.names.letters[i] = 0
				dropped++
			}
		}
	}
	if len(holes) > 0 && t.missing == nil {
		t.missing = fmt.Errorf("kallsyms: addresses of %d of %d symbols are missing: %w", dropped, n, holes[0].err)
	}
	t.fixLetters()
	if dropped > 0 || !sorted {
		t.compact(dropped)
	}
}

// fixLetters calls data data: since 7.2 x86-64 links .data executable, and nm(1) takes its symbols for text.
func (t *Table) fixLetters() {
	from, to := t.names.marks["_sdata"], t.names.marks["_edata"]
	if len(from) != 1 || len(to) != 1 {
		return
	}
	lo, hi := t.addrs[from[0]], t.addrs[to[0]]
	for i, a := range t.addrs {
		if l := t.names.letters[i]; l|0x20 == 't' && a >= lo && a < hi {
			t.names.letters[i] = l - ('t' - 'd')
		}
	}
}

func (t *Table) compact(dropped int) {
	n := t.names.len()
	keep := make([]uint32, 0, n-dropped)
	for i := range n {
		if t.names.letters[i] != 0 {
			keep = append(keep, uint32(i))
		}
	}
	slices.SortStableFunc(keep, func(a, b uint32) int { return cmp.Compare(t.addrs[a], t.addrs[b]) })
	t.cuts = make(map[int]uint64)
	for k, i := range keep {
		if end, cut := t.lostBehind(int(i)); cut {
			t.cuts[k] = end
		}
	}
	t.addrs = pick(t.addrs, keep)
	t.names.at = pick(t.names.at, keep)
	t.names.length = pick(t.names.length, keep)
	t.names.letters = pick(t.names.letters, keep)
}

// lostBehind reports whether entries with other addresses are lost behind entry i, and the first such address, 0 if it is
// not known.
func (t *Table) lostBehind(i int) (uint64, bool) {
	for j := i + 1; j < len(t.addrs) && t.names.letters[j] == 0; j++ {
		if a := t.addrs[j]; a == 0 || a > t.addrs[i] {
			return a, true
		}
	}
	return 0, false
}

func pick[T any](from []T, which []uint32) []T {
	out := make([]T, len(which))
	for k, i := range which {
		out[k] = from[i]
	}
	return out
}
