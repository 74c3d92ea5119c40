package elfcore

import (
	"cmp"
	"slices"

	"kdx/dumpfmt"
)

// segment is one PT_LOAD as it will be written: bytes in the file, then a tail that has none.
type segment struct {
	phys, virt    uint64
	filesz, memsz uint64
	offset        int64 // in the file, if not gone
	tail          kind  // of [filesz, memsz)
	gone          bool  // the bytes should be in the file, but nobody had them
}

// run of pages [start, end) that are in the same state, and in the file one behind the other.
type run struct {
	start, end uint64
	kind       kind
	offset     int64 // of start in the file, if backed
}

// builder makes the segments of one stretch of memory [start, end) that the program headers shall describe.
type builder struct {
	start, end uint64
	virt       uint64 // of start
	flat       bool   // nothing says where it is in virtual memory: all its segments have 0, as in QEMU's dumps
	cur        segment
}

// delta is the same for memory that goes on in virtual memory as it does in physical.
func (b *builder) delta() uint64 {
	if b.flat {
		return 0
	}
	return b.virt - b.start
}

// mapping turns runs of pages into segments. All memory has one builder that covers it; memory that is mapped twice
// (x86-64's kernel text is in the direct map, too) has more, whose segments point to the same bytes of the file.
type mapping struct {
	page    uint64
	cover   []builder // sorted, disjoint
	at      int       // first of cover that goes beyond the runs so far
	seen    int       // the same for covers, which runs ahead
	aliases []builder // sorted by start
	pending run
	emit    func(segment) error
	later   []segment // of aliases: they come behind the others
	keep    bool      // later is wanted
	nLater  int
}

// Limits against headers that map everything many times. Kernels map their image a second time, nothing else.
const (
	maxAliases       = 64
	maxAliasSegments = 1 << 20
)

func newMapping(segments []dumpfmt.Segment, page uint64, emit func(segment) error) *mapping {
	m := &mapping{page: page, emit: emit, keep: true}
	end := uint64(0)
	for _, b := range merged(segments) {
		if b.start < end {
			alias := b
			alias.end = min(b.end, end)
			if len(m.aliases) < maxAliases {
				m.aliases = append(m.aliases, alias)
			}
			b.virt += alias.end - b.start
			b.start = alias.end
		}
		if b.start < b.end {
			m.cover = append(m.cover, b)
			end = b.end
		}
	}
	return m
}

// merged joins segments that go on in physical and virtual memory, such as those of a filtered file, and sorts what is left
// by where it begins, longer ones first.
func merged(segments []dumpfmt.Segment) []builder {
	var all []builder
	// A segment at 0 in virtual memory only may be there; if it isn't in physical memory, nobody knew where.
	flat := slices.ContainsFunc(segments, func(s dumpfmt.Segment) bool { return s.HasPhys && s.Virt == 0 && s.Phys != 0 })
	for _, s := range segments {
		start := uint64(s.Phys)
		if s.HasPhys && s.MemSize > 0 && start+s.MemSize > start {
			all = append(all, builder{start: start, end: start + s.MemSize, virt: s.Virt, flat: flat && s.Virt == 0})
		}
	}
	slices.SortFunc(all, func(a, b builder) int {
		return cmp.Or(cmp.Compare(a.delta(), b.delta()), cmp.Compare(a.start, b.start))
	})
	out := all[:0]
	for _, b := range all {
		if n := len(out); n > 0 && out[n-1].flat == b.flat && out[n-1].delta() == b.delta() && b.start <= out[n-1].end {
			out[n-1].end = max(out[n-1].end, b.end)
		} else {
			out = append(out, b)
		}
	}
	slices.SortFunc(out, func(a, b builder) int { return cmp.Or(cmp.Compare(a.start, b.start), cmp.Compare(b.end, a.end)) })
	return out
}

// covers reports whether the page has at least a byte of the memory described. It is asked in ascending order.
func (m *mapping) covers(pfn uint64) bool {
	for m.seen < len(m.cover) && m.cover[m.seen].end <= pfn*m.page {
		m.seen++
	}
	return m.seen < len(m.cover) && m.cover[m.seen].start < (pfn+1)*m.page
}

// add the next run; each begins where the one before ended.
func (m *mapping) add(r run) error {
	p := &m.pending
	if p.end == r.start && p.kind == r.kind && (r.kind != backed || p.offset+int64((p.end-p.start)*m.page) == r.offset) {
		p.end = r.end
		return nil
	}
	err := m.dispatch(*p)
	*p = r
	return err
}

// finish says that all memory from pfn next on was left out, and emits what is open.
func (m *mapping) finish(next uint64) error {
	last := next
	if n := len(m.cover); n > 0 {
		last = max(next, (m.cover[n-1].end-1)/m.page+1)
	}
	err := m.add(run{next, last, excluded, 0})
	if err == nil {
		err = m.dispatch(m.pending)
	}
	for _, s := range m.later {
		if err == nil {
			err = m.emit(s)
		}
	}
	m.later = nil
	return err
}

func (m *mapping) dispatch(r run) error {
	for m.at < len(m.cover) && m.cover[m.at].start < r.end*m.page {
		b := &m.cover[m.at]
		if err := b.add(r, m.page, m.emit); err != nil {
			return err
		}
		if b.end > r.end*m.page {
			break
		}
		m.at++
	}
	for i := range m.aliases {
		if err := m.aliases[i].add(r, m.page, m.addLater); err != nil {
			return err
		}
	}
	return nil
}

func (m *mapping) addLater(s segment) error {
	m.nLater++
	if m.nLater > maxAliasSegments {
		m.keep, m.later = false, nil
	}
	if m.keep {
		m.later = append(m.later, s)
	}
	return nil
}

// add the part of the run that is in b's memory. When the run reaches its end, the last segment is emitted.
func (b *builder) add(r run, page uint64, emit func(segment) error) error {
	lo, hi := max(b.start, r.start*page), min(b.end, r.end*page)
	if lo >= hi {
		return nil
	}
	off := r.offset + int64(lo-r.start*page)
	if !b.cur.takes(r.kind, off) {
		if err := emit(b.cur); err != nil {
			return err
		}
		b.cur = segment{}
	}
	c := &b.cur
	if c.memsz == 0 {
		*c = segment{phys: lo}
		if !b.flat {
			c.virt = b.virt + (lo - b.start)
		}
	}
	c.memsz += hi - lo
	switch r.kind {
	case backed, lost:
		if c.filesz == 0 {
			c.offset, c.gone = off, r.kind == lost
		}
		c.filesz = c.memsz
	default:
		c.tail = r.kind
	}
	if hi < b.end {
		return nil
	}
	return emit(*c)
}

// takes reports whether memory in this state can be added to the segment.
func (s *segment) takes(k kind, off int64) bool {
	switch {
	case s.memsz == 0:
		return true
	case s.memsz > s.filesz:
		return s.tail == k
	case k == lost:
		return s.gone
	case k == backed:
		return !s.gone && s.offset+int64(s.filesz) == off
	}
	return true
}
