package reduce

import "kdx/dumpfmt"

// masked is the input as the output will show it: pages that were not chosen are excluded.
type masked struct {
	dumpfmt.Source
	info *dumpfmt.Info
	keep *dumpfmt.PageSet
}

func (m *masked) Info() *dumpfmt.Info { return m.info }

func (m *masked) State(pfn uint64) dumpfmt.PageState {
	st := m.Source.State(pfn)
	if st != dumpfmt.Absent && !m.keep.Has(pfn) {
		return dumpfmt.Excluded
	}
	return st
}

func (m *masked) ReadPage(dst []byte, pfn uint64) error {
	if st := m.State(pfn); st == dumpfmt.Excluded {
		return &dumpfmt.PageError{Addr: dumpfmt.Phys(pfn * m.info.PageSize), PFN: pfn, State: st, Level: -1}
	}
	return m.Source.ReadPage(dst, pfn)
}

// Close leaves the source to its owner.
func (m *masked) Close() error { return nil }
