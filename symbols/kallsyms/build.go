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
	// address of entry i, whose bytes are b; absolute says that it is not a place in the kernel's image.
	address func(b []byte, i int) (addr uint64, absolute bool)
	words   bool // from kallsyms_addresses
}

// in is the address of entry i of a table of such.
func (l layout) in(raw []byte, i int, opt Options) (uint64, bool) {
	return l.address(raw[l.size(opt)*i:], i)
}

// size of an entry in bytes.
func (l layout) size(opt Options) int {
	if l.words {
		return opt.wordSize()
	}
	return 4
}

// layouts lists what the known parts allow, the newest first.
func layouts(loc Location, opt Options) []layout {
	order := opt.order()
	var out []layout
	if loc.Offsets != 0 {
		// 7.1: each offset counts from its own place.
		out = append(out, layout{name: "place-relative", address: func(b []byte, i int) (uint64, bool) {
			return opt.mask(loc.Offsets + uint64(4*i) + uint64(int64(int32(order.Uint32(b))))), false
		}})
		if loc.RelativeBase == 0 && opt.wordSize() == 4 {
			// 7.1 on 32-bit machines that can't be relocated.
			out = append(out, layout{name: "offsets are addresses", address: func(b []byte, i int) (uint64, bool) {
				return uint64(order.Uint32(b)), false
			}})
		}
	}
	if loc.Addresses != 0 {
		// Up to 4.5, and later without CONFIG_KALLSYMS_BASE_RELATIVE (ia64, or an image beyond 2 GiB).
		out = append(out, layout{name: "addresses", words: true, address: func(b []byte, i int) (uint64, bool) {
			return opt.word(b), false
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
		{name: "absolute-percpu", address: func(b []byte, i int) (uint64, bool) {
			off := int32(order.Uint32(b))
			if off >= 0 {
				return uint64(off), true
			}
			return opt.mask(base - 1 - uint64(int64(off))), false
		}},
		{name: "relative", address: func(b []byte, i int) (uint64, bool) {
			return opt.mask(base + uint64(order.Uint32(b))), false
		}},
	}
}

// candidates are the layouts that are possible. The error says why there are no more.
func candidates(mem symbols.Memory, loc Location, opt Options) ([]layout, error) {
	out := layouts(loc, opt)
	if loc.RelativeBase == 0 || loc.Offsets == 0 {
		return out, nil
	}
	var b [8]byte
	if _, err := mem.ReadMemory(b[:opt.wordSize()], loc.RelativeBase); err != nil {
		return out, fmt.Errorf("kallsyms: relative base at %#x: %w", loc.RelativeBase, err)
	}
	return append(relativeLayouts(opt.word(b[:]), opt), out...), nil
}

// build reads the addresses and joins them with the names.
func build(mem symbols.Memory, loc Location, opt Options, names *nameTable) (*Table, error) {
	cands, baseErr := candidates(mem, loc, opt)
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
	raw, holes := offsets, offsetHoles
	if best.words {
		raw, holes = words, wordHoles
	}
	t := &unpacked{names: names, missing: names.err}
	absolute := t.fill(raw, holes, best.size(opt), best)
	t.index = sync.OnceValue(func() *nameindex.Index { return nameindex.New(t.len(), t.names.name) })
	if t.len() == 0 {
		return nil, fmt.Errorf("kallsyms: no address is readable: %w", holes[0].err)
	}
	return &Table{entries: t, absolute: absolute, layout: best.name, long: names.long, missing: t.missing, cuts: t.cuts}, nil
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
				if a, _ := c.in(raw, i, opt); a == opt.Stext {
					return c, nil
				}
			}
		}
		raw, n := size(cands[0])
		if i := names.marks["_stext"][0]; i < n {
			a, _ := cands[0].in(raw, i, opt)
			return layout{}, fmt.Errorf("kallsyms: no known layout gives _stext its address %#x (%s gives %#x)", opt.Stext, cands[0].name, a)
		}
	}
	best, fewest := layout{}, -1
	for _, c := range cands {
		raw, n := size(c)
		if odd := countOdd(c, raw, min(n, names.len()), near, opt); n > 0 && (fewest < 0 || odd < fewest) {
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
func countOdd(c layout, raw []byte, n int, near uint64, opt Options) int {
	const reach = 2 << 30
	odd, prev := 0, uint64(0)
	for i := range n {
		a, absolute := c.in(raw, i, opt)
		if a < prev || absolute || a-near+reach > 2*reach {
			odd++
		}
		prev = a
	}
	return odd
}

// fill sets the addresses, drops entries that lack a name or an address, and sorts if the table is not sorted. What it returns lies above all
// absolute addresses.
func (t *unpacked) fill(raw []byte, holes []span, size int, l layout) (absolute uint64) {
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
		a, isAbsolute := l.address(raw[size*i:], i)
		t.addrs[i] = a
		if t.names.letters[i] == 0 {
			dropped++
			continue
		}
		if isAbsolute {
			absolute = max(absolute, a+1)
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
	return absolute
}

// fixLetters calls data data: since 7.2 x86-64 links .data executable, and nm(1) takes its symbols for text.
func (t *unpacked) fixLetters() {
	from, to := t.names.marks["_sdata"], t.names.marks["_edata"]
	if len(from) != 1 || len(to) != 1 {
		return
	}
	lo, hi := t.addrs[from[0]], t.addrs[to[0]]
	for i, a := range t.addrs {
		if a >= lo && a < hi {
			t.names.letters[i] = dataLetter(t.names.letters[i])
		}
	}
}

func dataLetter(l byte) byte {
	if l|0x20 == 't' {
		return l - ('t' - 'd')
	}
	return l
}

func (t *unpacked) compact(dropped int) {
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
func (t *unpacked) lostBehind(i int) (uint64, bool) {
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
