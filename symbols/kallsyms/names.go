package kallsyms

import (
	"fmt"
	"runtime"
	"slices"
	"sync"

	"kdx/symbols"
)

// nameTable is the expanded names in the order of the table. Those that don't decode have letter 0.
type nameTable struct {
	parts   []string // expanded names, one string a goroutine that made them
	at      []uint32 // where name i starts: part<<30 | offset
	length  []uint16
	letters []byte
	marks   map[string][]int // the entries named _stext, _sdata and _edata
	bad     int              // entries that don't decode or were not reached
	long    bool             // two-byte lengths
	err     error            // why entries are missing
}

const (
	partShift = 30
	maxParts  = 1 << (32 - partShift)
)

func (t *nameTable) name(i int) string {
	at := t.at[i]
	part := t.parts[at>>partShift]
	at &= 1<<partShift - 1
	return part[at : at+uint32(t.length[i])]
}

// copy is a table whose letters may be changed by another reader.
func (t *nameTable) copy() *nameTable {
	c := *t
	c.letters = slices.Clone(t.letters)
	return &c
}

func (t *nameTable) len() int { return len(t.letters) }

// readNames reads kallsyms_names and expands it, with two-byte lengths (6.1: a set bit 7 says that a second byte
// follows) or one-byte lengths (up to 6.0), whichever decodes better.
func readNames(mem symbols.Memory, loc Location, opt Options, n int, tokens *tokenSet) (*nameTable, error) {
	data, readErr := nameBytes(mem, loc, n)
	if len(data) == 0 {
		return nil, fmt.Errorf("kallsyms: names at %#x: %w", loc.Names, readErr)
	}
	find := func(long bool) ([]record, bool) { return walk(data, n, long) }
	if readErr != nil {
		if d, holes, markers, ok := readMarked(mem, loc, opt, n); ok {
			data = d
			find = func(long bool) ([]record, bool) { return walkMarked(data, holes, markers, n, long) }
		}
	}
	var best *nameTable
	for _, long := range []bool{true, false} {
		recs, sawLong := find(long)
		if best != nil && !sawLong {
			break // no length has bit 7: both rules say the same
		}
		t := expand(data, recs, n, long, tokens)
		if best == nil || t.bad < best.bad {
			best = t
		}
		if best.bad == 0 {
			break
		}
	}
	switch {
	case best.bad == 0:
		return best, nil
	case best.bad == n, readErr == nil && best.bad > n/20:
		return nil, fmt.Errorf("kallsyms: %d of %d names at %#x don't decode: the table is damaged, or this is not its place", best.bad, n, loc.Names)
	case readErr != nil:
		best.err = fmt.Errorf("kallsyms: names at %#x: %d of %d are missing: %w", loc.Names, best.bad, n, readErr)
	default:
		best.err = fmt.Errorf("kallsyms: names at %#x: %d of %d are damaged", loc.Names, best.bad, n)
	}
	return best, nil
}

// nameBytes reads the bytes that hold n names, and some more.
func nameBytes(mem symbols.Memory, loc Location, n int) ([]byte, error) {
	bound := nameBound(loc)
	var data []byte
	for want := uint64(n) * 24; ; want *= 2 {
		want = min(want, bound)
		var err error
		data, err = readUpTo(mem, data, loc.Names+uint64(len(data)), int(want)-len(data))
		if err != nil || want == bound {
			return data, err
		}
		if recs, _ := walk(data, n, true); len(recs) == n {
			return data, nil
		}
	}
}

// nameBound is how many bytes the names have at most: another part of the table begins behind them.
func nameBound(loc Location) uint64 {
	bound := uint64(maxNameBytes)
	for _, other := range []uint64{loc.NumSyms, loc.TokenTable, loc.TokenIndex, loc.Offsets, loc.Addresses, loc.RelativeBase, loc.Markers} {
		if other > loc.Names {
			bound = min(bound, other-loc.Names)
		}
	}
	return bound
}

// record is where a compressed name lies in the table.
type record struct{ at, n uint32 }

// walk finds the names. It stops where data ends, or at a length of 0, which no name has. sawLong tells whether a length
// byte had bit 7 set.
func walk(data []byte, n int, long bool) (recs []record, sawLong bool) {
	recs = make([]record, 0, min(n, len(data)/2+1)) // a name takes two bytes at least
	at := 0
	for range n {
		if at >= len(data) {
			break
		}
		size := int(data[at])
		at++
		if size&0x80 != 0 {
			sawLong = true
			if long && at < len(data) {
				size = size&0x7f | int(data[at])<<7
				at++
			}
		}
		if size == 0 || size > len(data)-at {
			break
		}
		recs = append(recs, record{uint32(at), uint32(size)})
		at += size
	}
	return recs, sawLong
}

// expand decompresses the names on a few goroutines. n is how many there should be; the table has those that were found.
func expand(data []byte, recs []record, n int, long bool, tokens *tokenSet) *nameTable {
	t := &nameTable{
		at:      make([]uint32, len(recs)),
		length:  make([]uint16, len(recs)),
		letters: make([]byte, len(recs)),
		marks:   make(map[string][]int),
		long:    long,
	}
	workers := min(runtime.GOMAXPROCS(0), maxParts, len(recs)/4096+1)
	t.parts = make([]string, workers)
	bad := make([]int, workers)
	marks := make([]map[string][]int, workers)
	var wg sync.WaitGroup
	for w := range workers {
		from, to := len(recs)*w/workers, len(recs)*(w+1)/workers
		wg.Go(func() { bad[w], marks[w] = t.expandPart(data, recs[from:to], from, w, tokens) })
	}
	wg.Wait()
	t.bad = n - len(recs)
	for w := range workers {
		t.bad += bad[w]
		for name, is := range marks[w] {
			t.marks[name] = append(t.marks[name], is...)
		}
	}
	return t
}

// expandPart decompresses the names of recs, which start at index first, as part w. It gives up where most of what it
// sees is no name, or where names take more room than any kernel's.
func (t *nameTable) expandPart(data []byte, recs []record, first, w int, tokens *tokenSet) (bad int, marks map[string][]int) {
	marks = make(map[string][]int)
	if len(recs) == 0 {
		return 0, marks
	}
	packed := 0
	for _, r := range recs {
		packed += int(r.n)
	}
	buf := make([]byte, 0, packed*5/2+inlineToken)
	defer func() { t.parts[w] = string(buf) }() // also on giving up: the names so far have their letters
	missing := 0
	for k, r := range recs {
		i := first + k
		if r.n == 0 { // beyond a missing page
			missing++
			continue
		}
		at := len(buf)
		var ok bool
		buf = slices.Grow(buf, int(r.n)*4)
		buf, t.letters[i], ok = tokens.append(buf, data[r.at:r.at+r.n])
		if !ok {
			t.letters[i] = 0
			if bad++; bad > 64+k/4 {
				return bad + missing + len(recs) - k - 1, marks
			}
			continue
		}
		t.at[i] = uint32(w)<<partShift | uint32(at)
		t.length[i] = uint16(len(buf) - at)
		switch name := buf[at:]; string(name) {
		case "_stext", "_sdata", "_edata":
			marks[string(name)] = append(marks[string(name)], i)
		}
		if len(buf) > maxExpanded/maxParts {
			return bad + missing + len(recs) - k - 1, marks
		}
	}
	return bad + missing, marks
}
