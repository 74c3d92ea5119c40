// Package diff compares two dumps by what they hold: pages, notes, registers, what they say of the kernel and its memory.
// Formats, compressions and the order of things in the files do not count.
package diff

import (
	"bytes"
	"context"
	"slices"

	"kdx/dumpfmt"
	"kdx/dumpfmt/describe"
	"kdx/dumpfmt/internal/sweep"
)

// Options of Compare. The zero value is good.
type Options struct {
	Workers  int  // goroutines that read; 0: as many as there are cores
	Common   bool // only what both hold counts: not pages, notes and registers that one lacks, nor the map of memory
	AllPages bool // list all ranges of pages, up to 262,144 a kind, not only the first
	// Progress is told how much was read; nil if nobody wants to know.
	Progress func(what string, done, total int64)
}

// Report is what Compare found. Its JSON form is a contract: names are kept.
type Report struct {
	Same bool `json:"same"`
	// Common: what only one of the dumps holds did not count.
	Common bool `json:"common"`
	A      Dump `json:"a"`
	B      Dump `json:"b"`

	Kernel     []Difference `json:"kernel"` // what both dumps say of the kernel and machine, in other words
	Memory     Memory       `json:"memory"`
	Pages      *Pages       `json:"pages"` // null if the pages are not of one size
	CPUs       []Difference `json:"cpus"`  // registers, and who has none
	VMCoreInfo []Difference `json:"vmcoreinfo"`
	Notes      []Difference `json:"notes"`
	Erased     []Difference `json:"erase_info"`
	Devices    []Difference `json:"device_dumps"`
}

// Dump is one of the two.
type Dump struct {
	Files     []string `json:"files"`
	Format    string   `json:"format"`
	PageSize  uint64   `json:"page_size"`  // bytes
	DumpLevel *int     `json:"dump_level"` // null if unknown
}

// Difference is what the dumps say differently. A dump that says nothing has null.
type Difference struct {
	What string  `json:"what"`
	A    *string `json:"a"`
	B    *string `json:"b"`
}

// Memory is RAM that only one of the dumps describes, in whole pages.
type Memory struct {
	OnlyA []describe.Range `json:"only_in_a"` // the first ranges
	OnlyB []describe.Range `json:"only_in_b"`
	// BytesA and BytesB are how much that is.
	BytesA uint64 `json:"bytes_only_in_a"`
	BytesB uint64 `json:"bytes_only_in_b"`
}

// Pages says how many pages are the same in both dumps, and which are not.
type Pages struct {
	Same      uint64 `json:"same"`      // both hold them, with the same bytes
	Different uint64 `json:"different"` // both hold them, with other bytes
	OnlyA     uint64 `json:"only_in_a"`
	OnlyB     uint64 `json:"only_in_b"`
	// NotTold are holes of a filtered ELF file where the other dump has a page of zeros, or none: it may be the same.
	NotTold    uint64 `json:"not_told"`
	Unreadable uint64 `json:"unreadable"` // held by neither, and at least one should
	// States are the pages that are in another state in A than in B, such as "excluded" and "absent".
	States []States `json:"states"`
	// Ranges are the first ranges of each kind but the same, all with Options.AllPages.
	Ranges     []Range `json:"ranges"`
	RangesMore uint64  `json:"ranges_more,omitempty"` // beyond those
}

// States counts pages by their state in both dumps.
type States struct {
	A     string `json:"a"`
	B     string `json:"b"`
	Pages uint64 `json:"pages"`
}

// Range is neighbouring pages [From, To), by pfn, that differ in the same way.
type Range struct {
	Kind string       `json:"kind"` // "different", "only_in_a", "only_in_b", "not_told" or "unreadable"
	From describe.Hex `json:"from"`
	To   describe.Hex `json:"to"`
	A    string       `json:"a"` // state
	B    string       `json:"b"`
}

// Unsure reports whether pages could not be compared, though nothing else differs.
func (r *Report) Unsure() bool { return r.Same && r.Pages != nil && r.Pages.Unreadable > 0 }

// Compare reads both dumps. The error is the context's, or says what kept it from doing so.
func Compare(ctx context.Context, a, b *dumpfmt.Image, opt Options) (*Report, error) {
	ia, ib := a.Info(), b.Info()
	for _, info := range []*dumpfmt.Info{ia, ib} {
		if err := sweep.Bounded(info); err != nil {
			return nil, err
		}
	}
	if opt.Progress == nil {
		opt.Progress = func(string, int64, int64) {}
	}
	r := &Report{Common: opt.Common, A: dump(ia), B: dump(ib), Kernel: kernel(ia, ib), CPUs: cpus(ia, ib), VMCoreInfo: vmcoreinfo(ia, ib),
		Notes: notes(ia, ib), Erased: list(compare("erased", known(ia.EraseInfo), known(ib.EraseInfo)))}
	var err error
	if r.Devices, err = devices(ia, ib); err != nil {
		return nil, err
	}
	if opt.Common {
		for _, ds := range []*[]Difference{&r.CPUs, &r.VMCoreInfo, &r.Notes, &r.Erased, &r.Devices} {
			*ds = slices.DeleteFunc(*ds, func(d Difference) bool { return d.A == nil || d.B == nil })
		}
	}
	r.Memory = memory(ia, ib)
	if ia.PageSize == ib.PageSize {
		if r.Pages, err = pages(ctx, a, b, opt); err != nil {
			return nil, err
		}
	}
	r.Same = len(r.differ()) == 0
	return r, nil
}

func dump(info *dumpfmt.Info) Dump {
	d := Dump{Files: info.Files, Format: info.Format, PageSize: info.PageSize}
	if info.DumpLevel >= 0 {
		d.DumpLevel = &info.DumpLevel
	}
	return d
}

// differ names what is not the same.
func (r *Report) differ() []string {
	var out []string
	for _, s := range []struct {
		differs bool
		what    string
	}{
		{len(r.Kernel) > 0, "kernel"},
		{!r.Common && r.Memory.BytesA+r.Memory.BytesB > 0, "map of memory"},
		{r.Pages == nil, "size of pages"},
		{r.Pages != nil && (r.Pages.Different > 0 || !r.Common && r.Pages.OnlyA+r.Pages.OnlyB > 0), "pages"},
		{len(r.CPUs) > 0, "registers"},
		{len(r.VMCoreInfo) > 0, "VMCOREINFO"},
		{len(r.Notes) > 0, "notes"},
		{len(r.Erased) > 0, "record of erased data"},
		{len(r.Devices) > 0, "device dumps"},
	} {
		if s.differs {
			out = append(out, s.what)
		}
	}
	return out
}

// side holds a chunk of one dump.
type side struct {
	states []dumpfmt.PageState
	zero   []bool
}

// worker compares chunks.
type worker struct {
	a, b  side
	room  []byte // a's pages
	equal []bool
	none  []byte // a page of zeros
}

// chunkBytes is how much of a dump a worker holds; at least some pages.
const (
	chunkBytes = 1 << 20
	minChunk   = 16
)

func chunkPages(pageSize uint64) uint64 { return max(minChunk, chunkBytes/pageSize) }

func newWorker(pageSize uint64) *worker {
	n := chunkPages(pageSize)
	newSide := func() side { return side{make([]dumpfmt.PageState, n), make([]bool, n)} }
	return &worker{a: newSide(), b: newSide(), room: make([]byte, n*pageSize), equal: make([]bool, n), none: make([]byte, pageSize)}
}

func pages(ctx context.Context, a, b *dumpfmt.Image, opt Options) (*Pages, error) {
	ia, ib := a.Info(), b.Info()
	t := newTally(opt)
	total, done := int64(sweep.Pages(ia)+sweep.Pages(ib)), int64(0)
	err := sweep.Run(ctx, opt.Workers, sweep.Chunks(chunkPages(ia.PageSize), ia, ib),
		func() *worker { return newWorker(ia.PageSize) },
		func(ctx context.Context, w *worker, c sweep.Chunk) ([]run, error) { return w.compare(ctx, a, b, c) },
		func(_ sweep.Chunk, runs []run) error {
			for _, x := range runs {
				t.add(x)
				n := int64(x.to - x.from)
				if x.a != dumpfmt.Absent {
					done += n
				}
				if x.b != dumpfmt.Absent {
					done += n
				}
			}
			opt.Progress("comparing pages", done, total)
			return nil
		})
	if err != nil {
		return nil, err
	}
	return t.pages(), nil
}

// compare reads a chunk of both dumps and returns its runs of pages that are alike, leaving out what neither has.
func (w *worker) compare(ctx context.Context, a, b *dumpfmt.Image, c sweep.Chunk) ([]run, error) {
	size := a.Info().PageSize
	for _, s := range []*side{&w.a, &w.b} {
		clear(s.states)
		clear(s.zero)
	}
	clear(w.equal)
	err := a.ReadRange(ctx, c.From, c.To, func(pfn uint64, st dumpfmt.PageState, page []byte, _ error) error {
		i := pfn - c.From
		w.a.states[i] = st
		if page != nil {
			copy(w.room[i*size:], page)
			w.a.zero[i] = bytes.Equal(page, w.none)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	err = b.ReadRange(ctx, c.From, c.To, func(pfn uint64, st dumpfmt.PageState, page []byte, _ error) error {
		i := pfn - c.From
		w.b.states[i] = st
		if page != nil {
			w.b.zero[i] = bytes.Equal(page, w.none)
			w.equal[i] = w.a.states[i].Readable() && bytes.Equal(page, w.room[i*size:][:size])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	var out []run
	for i := range w.equal {
		x := run{from: c.From + uint64(i), to: c.From + uint64(i) + 1, a: w.a.states[i], b: w.b.states[i]}
		if x.a == dumpfmt.Absent && x.b == dumpfmt.Absent {
			continue
		}
		x.kind = classify(x.a, x.b, w.equal[i], w.a.zero[i], w.b.zero[i])
		if n := len(out); n > 0 && out[n-1].continues(x) {
			out[n-1].to = x.to
		} else {
			out = append(out, x)
		}
	}
	return out, nil
}

// kind of a run of pages.
type kind uint8

const (
	same    kind = iota
	neither      // holds them
	different
	onlyA
	onlyB
	notTold
	unreadable
	kinds
)

var kindNames = [kinds]string{different: "different", onlyA: "only_in_a", onlyB: "only_in_b", notTold: "not_told", unreadable: "unreadable"}

// classify a page by its state in both dumps. A hole of a filtered ELF file was a page of zeros or one that was left out;
// where the other dump holds other bytes than zeros, it was left out.
func classify(a, b dumpfmt.PageState, equal, zeroA, zeroB bool) kind {
	holds := func(s dumpfmt.PageState) bool { return s == dumpfmt.Present || s == dumpfmt.Zero }
	hole := func(s dumpfmt.PageState) bool { return s == dumpfmt.ZeroOrExcluded }
	switch {
	case holds(a) && holds(b):
		if equal {
			return same
		}
		return different
	case holds(a):
		if hole(b) && zeroA {
			return notTold
		}
		return onlyA
	case holds(b):
		if hole(a) && zeroB {
			return notTold
		}
		return onlyB
	case a == dumpfmt.Unreadable || b == dumpfmt.Unreadable:
		return unreadable
	case hole(a) != hole(b):
		return notTold
	}
	return neither
}
