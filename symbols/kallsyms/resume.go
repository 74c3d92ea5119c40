package kallsyms

import (
	"kdx/symbols"
)

// readMarked reads names around missing pages. The kernel keeps markers, the offset of every 256th name, to find one
// without reading all; behind a hole they say where the next name starts. ok is false if there are none.
func readMarked(mem symbols.Memory, loc Location, opt Options, n int) (data []byte, holes []span, markers []uint64, ok bool) {
	if loc.TokenTable <= loc.Names || loc.TokenTable-loc.Names > maxNameBytes {
		return nil, nil, nil, false
	}
	if markers, ok = readMarkers(mem, loc, opt, n); !ok {
		return nil, nil, nil, false
	}
	data, holes = readHoles(mem, loc.Names, int(loc.TokenTable-loc.Names))
	return data, holes, markers, len(holes) > 0
}

// readMarkers finds the markers: they lie before the token table, or before seqs_of_names (3 bytes a name) that lie
// there in 6.2 and 6.3.
func readMarkers(mem symbols.Memory, loc Location, opt Options, n int) ([]uint64, bool) {
	count := uint64(n+255) / 256
	for _, unit := range []uint64{4, uint64(opt.wordSize())} {
		size := count * unit
		starts := []uint64{loc.Markers}
		for _, seqs := range []uint64{0, 3 * uint64(n)} {
			for pad := range uint64(16) {
				if end := loc.TokenTable - seqs - pad; end%4 == size%4 && end-size > loc.Names {
					starts = append(starts, end-size)
				}
			}
		}
		for _, at := range starts {
			if at == 0 || at+size > loc.TokenTable {
				continue
			}
			b := make([]byte, size)
			if _, err := mem.ReadMemory(b, at); err != nil {
				continue
			}
			if m, ok := parseMarkers(b, int(unit), at-loc.Names, opt); ok {
				return m, true
			}
		}
	}
	return nil, false
}

// parseMarkers accepts numbers that begin with 0 and rise by what 256 names can take, up to the end of the names.
func parseMarkers(b []byte, unit int, end uint64, opt Options) ([]uint64, bool) {
	out := make([]uint64, 0, len(b)/unit)
	for i := 0; i < len(b); i += unit {
		v := uint64(opt.order().Uint32(b[i:]))
		if unit == 8 {
			v = opt.order().Uint64(b[i:])
		}
		switch k := len(out); {
		case v >= end, k == 0 && v != 0, k > 0 && (v < out[k-1]+256*2 || v > out[k-1]+256*maxName):
			return nil, false
		}
		out = append(out, v)
	}
	return out, len(out) > 0
}

// walkMarked is walk with markers: a name that touches a hole, and those behind it up to the next marker, are records of
// no length.
func walkMarked(data []byte, holes []span, markers []uint64, n int, long bool) (recs []record, sawLong bool) {
	recs = make([]record, n)
	for k, start := range markers {
		if start >= uint64(len(data)) {
			break
		}
		block := recs[k*256 : min(k*256+256, n)]
		end := len(data)
		for _, h := range holes {
			if uint64(h.to) > start {
				end = max(h.from, int(start))
				break
			}
		}
		found, saw := walk(data[start:end], len(block), long)
		sawLong = sawLong || saw
		for i, r := range found {
			block[i] = record{r.at + uint32(start), r.n}
		}
	}
	return recs, sawLong
}
