package qemusave

import "sort"

// run is pages that follow each other in memory and in the stream, in the same form. Pages count from the start of the
// machine's memory, without its holes.
type run struct {
	page uint64
	off  int64 // of the first page's bytes
	n    uint32
	form form
}

func (r run) end() uint64 { return r.page + uint64(r.n) }

// form is how a page stands in the stream: a kind, and above it a number that only some kinds need.
type form uint32

const (
	zero     form = iota // not there: its bytes are zero
	filled               // not there: all its bytes are the number
	streamed             // as it is, behind a header of 8 bytes
	mapped               // as it is, next to its neighbours (capability mapped-ram)
	packed               // compressed by zlib to the number of bytes
	kindBits = 3
)

func (f form) kind() form     { return f & (1<<kindBits - 1) }
func (f form) number() uint32 { return uint32(f >> kindBits) }

// stride is from one page's bytes to the next one's.
func (f form) stride(pageSize uint64) uint64 {
	switch f.kind() {
	case streamed:
		return pageSize + pageHeader
	case mapped:
		return pageSize
	}
	return 0
}

// pageIndex collects runs in the order of the stream. A page that was sent again counts as it was sent last.
type pageIndex struct {
	pageSize uint64
	// passes over memory, each sorted; the first is the oldest. Each is more than twice as long as the next, so that joining
	// them costs little however often the stream goes back.
	passes [][]run
	open   []run // the pass that is being read
}

func (x *pageIndex) add(r run) {
	if n := len(x.open); n > 0 {
		last := &x.open[n-1]
		if last.continues(r, x.pageSize) {
			last.n += r.n
			return
		}
		if r.page < last.end() {
			x.close()
		}
	}
	x.open = append(x.open, r)
}

func (r run) continues(next run, pageSize uint64) bool {
	return r.form == next.form && r.form.kind() != packed && r.end() == next.page && r.n < 1<<31 && next.n < 1<<31 &&
		(r.form.stride(pageSize) == 0 || r.off+int64(uint64(r.n)*r.form.stride(pageSize)) == next.off)
}

// close ends the pass.
func (x *pageIndex) close() {
	x.passes = append(x.passes, x.open)
	x.open = nil
	for n := len(x.passes); n > 1 && len(x.passes[n-2]) <= 2*len(x.passes[n-1]); n-- {
		x.passes[n-2] = x.over(x.passes[n-2], x.passes[n-1])
		x.passes = x.passes[:n-1]
	}
}

// finish joins all passes.
func (x *pageIndex) finish() []run {
	x.close()
	for n := len(x.passes); n > 1; n-- {
		x.passes[n-2] = x.over(x.passes[n-2], x.passes[n-1])
		x.passes = x.passes[:n-1]
	}
	return x.passes[0]
}

// over lays new over old. Both are sorted and disjoint.
func (x *pageIndex) over(old, new []run) []run {
	out := make([]run, 0, len(old)+len(new))
	for _, r := range old {
		for r.n > 0 {
			for len(new) > 0 && new[0].end() <= r.page {
				out = append(out, new[0])
				new = new[1:]
			}
			if len(new) == 0 || r.end() <= new[0].page {
				out = append(out, r)
				break
			}
			if r.page < new[0].page {
				head := r
				head.n = uint32(new[0].page - r.page)
				out = append(out, head)
			}
			if r.end() <= new[0].end() {
				break
			}
			r = r.from(new[0].end(), x.pageSize)
		}
	}
	return append(out, new...)
}

func (r run) from(page, pageSize uint64) run {
	skip := page - r.page
	r.off += int64(skip * r.form.stride(pageSize))
	r.page, r.n = page, r.n-uint32(skip)
	return r
}

// find returns the run that holds the page.
func find(runs []run, page uint64) (run, bool) {
	i := sort.Search(len(runs), func(i int) bool { return runs[i].end() > page })
	if i == len(runs) || runs[i].page > page {
		return run{}, false
	}
	return runs[i], true
}
