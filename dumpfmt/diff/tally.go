package diff

import (
	"kdx/dumpfmt"
	"kdx/dumpfmt/describe"
)

// run is neighbouring pages [from, to) of one kind, in the same states.
type run struct {
	from, to uint64
	kind     kind
	a, b     dumpfmt.PageState
}

func (r run) continues(x run) bool {
	return r.to == x.from && r.kind == x.kind && r.a == x.a && r.b == x.b
}

const (
	fewRanges = 10 // of each kind
	// allRanges bounds what a list of all ranges takes in memory.
	allRanges = 1 << 18
)

// tally counts runs, which come in ascending order.
type tally struct {
	keep   [kinds]int // ranges that are listed
	counts [kinds]uint64
	listed [kinds]int
	more   uint64
	states map[[2]dumpfmt.PageState]uint64
	ranges []Range
	last   run
	joins  bool // the last range listed is that of the last run
}

func newTally(opt Options) *tally {
	t := &tally{states: make(map[[2]dumpfmt.PageState]uint64)}
	for k := range kinds {
		switch {
		case kindNames[k] == "", opt.Common && (k == onlyA || k == onlyB):
		case opt.AllPages:
			t.keep[k] = allRanges
		default:
			t.keep[k] = fewRanges
		}
	}
	return t
}

func (t *tally) add(x run) {
	n := x.to - x.from
	t.counts[x.kind] += n
	if x.a != x.b {
		t.states[[2]dumpfmt.PageState{x.a, x.b}] += n
	}
	joins := t.last.to > t.last.from && t.last.continues(x)
	t.last = x
	if t.keep[x.kind] == 0 {
		return
	}
	switch {
	case joins && t.joins:
		t.ranges[len(t.ranges)-1].To = describe.Hex(x.to)
	case joins:
	case t.listed[x.kind] == t.keep[x.kind]:
		t.more++
		t.joins = false
	default:
		t.listed[x.kind]++
		t.ranges = append(t.ranges, Range{Kind: kindNames[x.kind], From: describe.Hex(x.from), To: describe.Hex(x.to), A: x.a.String(), B: x.b.String()})
		t.joins = true
	}
}

func (t *tally) pages() *Pages {
	p := &Pages{Same: t.counts[same], Different: t.counts[different], OnlyA: t.counts[onlyA], OnlyB: t.counts[onlyB], NotTold: t.counts[notTold],
		Unreadable: t.counts[unreadable], States: []States{}, Ranges: append([]Range{}, t.ranges...), RangesMore: t.more}
	for a := dumpfmt.Absent; a <= dumpfmt.Unreadable; a++ {
		for b := dumpfmt.Absent; b <= dumpfmt.Unreadable; b++ {
			if n := t.states[[2]dumpfmt.PageState{a, b}]; n > 0 {
				p.States = append(p.States, States{A: a.String(), B: b.String(), Pages: n})
			}
		}
	}
	return p
}
