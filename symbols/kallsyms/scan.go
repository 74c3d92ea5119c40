package kallsyms

import (
	"fmt"

	"kdx/symbols"
)

const (
	scanBlock   = 1 << 20
	likelyText  = 8 << 20 // code that a distribution's kernel begins with; where it is less, the search takes longer
	maxScan     = 1 << 30
	usualBehind = 3 << 20
	maxBehind   = 16 << 20 // the farthest that names start before the token table
	fewestNames = 256      // a kernel has thousands
	maxIndexes  = 4096     // places where 256 numbers rise
	maxWalked   = 16 << 20 // names looked at in all, most of them in the right place
	maxTries    = 8        // a kernel has one token table; a hostile dump may have thousands
)

// Scan finds the table in the kernel's image between start and end, for kernels whose VMCOREINFO does not give its place
// (before 6.0). start may be the address of _stext; end may lie beyond the image. Missing pages are skipped.
//
// It looks for token_index, 256 rising numbers that fit a table of 256 short strings just before it; from there for
// num_syms and names, and then for addresses on either side, which moved behind the names in 6.4.
func Scan(mem symbols.Memory, start, end uint64, opt Options) (Location, error) {
	if end <= start || end-start > maxScan {
		return Location{}, fmt.Errorf("kallsyms: can't search from %#x to %#x", start, end)
	}
	var lastErr error
	tried := 0
	candidates := 0
	budget := maxWalked
	for index := range tokenIndexes(mem, start, end, opt) {
		if candidates++; candidates > maxIndexes {
			break
		}
		table, tokens, ok := tokensBefore(mem, index, opt)
		if !ok {
			continue
		}
		if tried++; tried > maxTries {
			break
		}
		loc, err := namesBefore(mem, Location{TokenTable: table, TokenIndex: index}, start, tokens, opt, &budget)
		if err == nil {
			return loc, nil
		}
		lastErr = err
	}
	if lastErr != nil {
		return Location{}, lastErr
	}
	return Location{}, fmt.Errorf("kallsyms: no symbol table in the kernel's image from %#x to %#x", start, end)
}

// tokenIndexes yields the addresses that may be token_index. What is surely code comes last.
func tokenIndexes(mem symbols.Memory, start, end uint64, opt Options) func(func(uint64) bool) {
	behind := start
	if end-start > likelyText {
		behind += likelyText
	}
	return func(yield func(uint64) bool) {
		for at := range tokenIndexesIn(mem, behind, end, opt) {
			if !yield(at) {
				return
			}
		}
		for at := range tokenIndexesIn(mem, start, min(behind+512, end), opt) {
			if !yield(at) {
				return
			}
		}
	}
}

func tokenIndexesIn(mem symbols.Memory, start, end uint64, opt Options) func(func(uint64) bool) {
	return func(yield func(uint64) bool) {
		buf := make([]byte, scanBlock+512)
		misses := 0
		for at := start &^ 3; at < end; {
			want := int(min(uint64(len(buf)), end-at))
			n, err := mem.ReadMemory(buf[:want], at)
			n = max(n, 0)
			for _, i := range scanBlockFor(buf[:n], opt) {
				if !yield(at + uint64(i)) {
					return
				}
			}
			if err == nil {
				at += uint64(min(want, scanBlock))
				continue
			}
			if misses++; misses > maxScan/pageStep/16 {
				return
			}
			at = (at+uint64(n))&^(pageStep-1) + pageStep
		}
	}
}

// scanBlockFor lists the offsets in b where 256 numbers rise as token_index does.
func scanBlockFor(b []byte, opt Options) []int {
	var found []int
	order := opt.order()
	for i := 0; i+512 <= len(b); i += 4 {
		// 0, then the first token's length and its NUL: cheap to refuse.
		if b[i]|b[i+1] != 0 {
			continue
		}
		prev := uint16(0)
		k := 1
		for ; k < 256; k++ {
			v := order.Uint16(b[i+2*k:])
			if v < prev+2 || v > prev+maxName {
				break
			}
			prev = v
		}
		if k == 256 {
			found = append(found, i)
		}
	}
	return found
}

// tokensBefore finds the token table that ends just before index.
func tokensBefore(mem symbols.Memory, index uint64, opt Options) (uint64, *tokenSet, bool) {
	var raw [512]byte
	if _, err := mem.ReadMemory(raw[:], index); err != nil {
		return 0, nil, false
	}
	last := uint64(opt.order().Uint16(raw[510:]))
	buf := make([]byte, last+maxName+16)
	if index < uint64(len(buf)) {
		return 0, nil, false
	}
	from := index - uint64(len(buf))
	if _, err := mem.ReadMemory(buf, from); err != nil {
		// It may begin where the page before is missing.
		cut := int((from|(pageStep-1))+1-from) % len(buf)
		if _, err := mem.ReadMemory(buf[cut:], from+uint64(cut)); err != nil {
			return 0, nil, false
		}
	}
	// The table's last string ends in the index's alignment. Its start is aligned, too.
	for size := last + 2; size <= uint64(len(buf)); size++ {
		at := index - size
		if at%4 != 0 {
			continue
		}
		table := buf[uint64(len(buf))-size:]
		if set, ok := tokensFit(table, raw[:], opt); ok {
			return at, set, true
		}
	}
	return 0, nil, false
}

// tokensFit checks that each token starts just behind the NUL of the one before.
func tokensFit(table, index []byte, opt Options) (*tokenSet, bool) {
	for i := 255; i > 0; i-- {
		if at := opt.order().Uint16(index[2*i:]); int(at) >= len(table) || table[at-1] != 0 {
			return nil, false
		}
	}
	set, err := parseTokens(table, index, opt)
	if err != nil {
		return nil, false
	}
	good := 0
	for i := range set {
		if set[i].good {
			good++
		}
	}
	return set, good >= 32 // unused codes stand for nothing
}

// namesBefore searches backwards from the token table for num_syms and names, and completes loc. Most kernels' names take
// less than 3 MiB; what is before is read only if they do not.
func namesBefore(mem symbols.Memory, loc Location, start uint64, tokens *tokenSet, opt Options, budget *int) (Location, error) {
	found, err := namesWithin(mem, loc, max(start, loc.TokenTable-min(loc.TokenTable, usualBehind)), tokens, opt, budget)
	if err == nil || loc.TokenTable-start <= usualBehind {
		return found, err
	}
	return namesWithin(mem, loc, max(start, loc.TokenTable-min(loc.TokenTable, maxBehind)), tokens, opt, budget)
}

// namesWithin is namesBefore from address low on.
func namesWithin(mem symbols.Memory, loc Location, low uint64, tokens *tokenSet, opt Options, budget *int) (Location, error) {
	low = (low + 3) &^ 3
	tail := tailOf(mem, low, loc.TokenTable)
	base := loc.TokenTable - uint64(len(tail))
	skip := int(-base & 3)
	var lastErr error
	for i := (len(tail)-skip-8)&^3 + skip; i >= 0 && *budget > 0; i -= 4 {
		says := opt.order().Uint32(tail[i:])
		if says > maxSymbols {
			continue
		}
		count := int(says)
		// A name takes some 12 bytes, never fewer than 3 on average; seqs_of_names 3 more.
		if count < fewestNames || count*3 > len(tail)-i || count*64 < len(tail)-i {
			continue
		}
		for _, pad := range []int{4, 8} { // labels were aligned to words before 6.20
			markers, ok := namesAndMarkers(tail[i+pad:], count, tokens, opt, budget)
			if !ok {
				continue
			}
			found := loc
			found.NumSyms, found.Names = base+uint64(i), base+uint64(i+pad)
			found.Markers = found.Names + uint64(markers)
			found, err := complete(mem, found, count, tokens, opt)
			if err == nil {
				return found, nil
			}
			lastErr = err
		}
	}
	if lastErr != nil {
		return Location{}, lastErr
	}
	return Location{}, fmt.Errorf("kallsyms: a token table at %#x, but no names before it", loc.TokenTable)
}

// tailOf is the memory that ends at end and reaches down to low, or to the page that is missing.
func tailOf(mem symbols.Memory, low, end uint64) []byte {
	var blocks [][]byte
	total := 0
	for top := end; top > low && total < maxBehind; {
		from := max(low, top-min(top, scanBlock))
		b := make([]byte, top-from)
		n, err := mem.ReadMemory(b, from)
		if err != nil {
			// Behind the hole there may be more, up to the next hole.
			from = (from+uint64(max(n, 0)))&^(pageStep-1) + pageStep
			low = max(low, from)
			continue
		}
		blocks = append(blocks, b)
		total += len(b)
		top = from
	}
	out := make([]byte, 0, total)
	for i := len(blocks) - 1; i >= 0; i-- {
		out = append(out, blocks[i]...)
	}
	return out
}

// namesAndMarkers checks that data begins with count names and that kallsyms_markers follow, which repeat where every
// 256th name starts. It returns the offset of the markers.
func namesAndMarkers(data []byte, count int, tokens *tokenSet, opt Options, budget *int) (markers int, ok bool) {
	for _, long := range []bool{true, false} {
		recs, _ := walk(data, min(count, 32), long)
		if len(recs) < 32 {
			continue
		}
		for _, r := range recs {
			if _, _, ok := tokens.append(nil, data[r.at:r.at+r.n]); !ok {
				return 0, false
			}
		}
		if *budget -= count; *budget < 0 {
			return 0, false
		}
		recs, sawLong := walk(data, count, long)
		if len(recs) == count {
			if at, ok := findMarkers(data, recs, long, opt); ok {
				return at, true
			}
		}
		if !sawLong {
			break
		}
	}
	return 0, false
}

// findMarkers looks for the markers just behind the last name. They are 32-bit numbers since 4.20, words before.
func findMarkers(data []byte, recs []record, long bool, opt Options) (int, bool) {
	last := recs[len(recs)-1]
	end := int(last.at + last.n)
	for _, unit := range []int{4, opt.wordSize()} {
		for at := end; at <= end+16; at++ {
			if markersFit(data, at, unit, recs, long, opt) {
				return at, true
			}
		}
	}
	return 0, false
}

func markersFit(data []byte, at, unit int, recs []record, long bool, opt Options) bool {
	n := (len(recs) + 255) / 256
	if at+n*unit > len(data) {
		return false
	}
	for k := range n {
		r := recs[k*256]
		start := r.at - 1
		if long && r.n > 0x7f {
			start--
		}
		b := data[at+k*unit:]
		v := uint64(opt.order().Uint32(b))
		if unit == 8 {
			v = opt.order().Uint64(b)
		}
		if v != uint64(start) {
			return false
		}
	}
	return true
}

// complete finds the addresses that belong to loc's names. What decodes is right.
func complete(mem symbols.Memory, loc Location, count int, tokens *tokenSet, opt Options) (Location, error) {
	names, err := readNames(mem, loc, opt, count, tokens)
	if err != nil {
		return Location{}, err
	}
	word := uint64(opt.wordSize())
	n := uint64(count)
	align := func(a, to uint64) uint64 { return (a + to - 1) &^ (to - 1) }
	var tries []Location
	for _, unit := range []uint64{8, 4} {
		l := loc
		// Before 6.4: offsets, relative_base, num_syms, names; or addresses, num_syms, names.
		l.RelativeBase = (loc.NumSyms - word) &^ (unit - 1)
		l.Offsets = (l.RelativeBase - 4*n) &^ (unit - 1)
		tries = append(tries, l)
		l = loc
		l.Addresses = (loc.NumSyms - word*n) &^ (unit - 1)
		tries = append(tries, l)
		// Since 6.4: token_index, offsets, relative_base; since 7.1 without the base.
		l = loc
		l.Offsets = loc.TokenIndex + 512
		tries = append(tries, l)
		l.RelativeBase = align(l.Offsets+4*n, unit)
		tries = append(tries, l)
	}
	for _, l := range tries {
		if _, err = build(mem, l, opt, names.copy()); err == nil {
			return l, nil
		}
	}
	return Location{}, fmt.Errorf("kallsyms: names at %#x, but not their addresses: %w", loc.Names, err)
}
