// Package linear reads memory that lies page by page, as it was, in one or more files: suspended virtual machines,
// stand-alone dumps, images with a list of addresses. A format describes the runs; what a Source must do beyond its Info
// is here.
package linear

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"

	"kdx/dumpfmt"
)

// Run is physical memory [Start, Start+Size) that lies in a file from Offset on. Start and Size are multiples of the page
// size.
type Run struct {
	Start, Size uint64 // bytes
	Offset      int64  // bytes; ignored for Zero
	File        int    // index of the file
	Zero        bool   // the dump says that this memory is zero; it is in no file
	// Missing is Excluded or Unreadable if the dump says that of this memory; it is in no file. Otherwise it is 0.
	Missing dumpfmt.PageState
}

// filed reports whether the memory is, or should be, in a file.
func (r Run) filed() bool { return !r.Zero && r.Missing == 0 }

func (r Run) end() uint64 { return r.Start + r.Size }

// Memory is a dump's memory. It is a whole dumpfmt.Source.
type Memory struct {
	info  *dumpfmt.Info
	files []*dumpfmt.File
	runs  []Run // sorted, disjoint
	shift uint
}

// New makes a Source of the runs and fills Ranges, MaxPFN and Truncated of info, whose PageSize must be set. Where runs overlap,
// the one that begins lower counts, and a warning says so. It takes over the files only if it succeeds.
func New(info *dumpfmt.Info, files []*dumpfmt.File, runs []Run) (*Memory, error) {
	m := &Memory{info: info, files: files}
	for 1<<m.shift < info.PageSize {
		m.shift++
	}
	for _, r := range runs {
		if r.Start|r.Size != (r.Start|r.Size)>>m.shift<<m.shift {
			return nil, fmt.Errorf("%s: memory at %#x, %#x bytes: not whole pages", files[0].Name, r.Start, r.Size)
		}
		if r.end() < r.Start || r.Offset < 0 || r.File >= len(files) {
			return nil, fmt.Errorf("%s: memory at %#x, %#x bytes, at byte %#x of the file can't be", files[0].Name, r.Start, r.Size, uint64(r.Offset))
		}
	}
	var twice *Run
	if m.runs, twice = Join(runs); twice != nil {
		info.Warn("the headers name memory at %#x twice; the range that begins lower counts", twice.Start)
	}
	m.describe()
	return m, nil
}

// Join sorts runs, cuts away what overlaps, and joins neighbours. twice is one of those that overlapped; nil without.
func Join(runs []Run) (joined []Run, twice *Run) {
	sorted := slices.DeleteFunc(slices.Clone(runs), func(r Run) bool { return r.Size == 0 })
	slices.SortStableFunc(sorted, func(a, b Run) int { return cmp.Compare(a.Start, b.Start) })
	out := sorted[:0]
	for _, r := range sorted {
		if n := len(out); n > 0 && out[n-1].end() > r.Start {
			if twice == nil {
				twice = &Run{Start: r.Start, Size: r.Size, Offset: r.Offset, File: r.File}
			}
			cut := out[n-1].end() - r.Start
			if cut >= r.Size {
				continue
			}
			r.Start, r.Size = r.Start+cut, r.Size-cut
			if r.filed() {
				r.Offset += int64(cut)
			}
		}
		if n := len(out); n > 0 && out[n-1].continues(r) {
			out[n-1].Size += r.Size
			continue
		}
		out = append(out, r)
	}
	return slices.Clip(out), twice
}

func (r Run) continues(next Run) bool {
	if r.end() != next.Start || r.File != next.File || r.Zero != next.Zero || r.Missing != next.Missing {
		return false
	}
	return !r.filed() || r.Offset+int64(r.Size) == next.Offset
}

func (m *Memory) describe() {
	info := m.info
	for _, r := range m.runs {
		if n := len(info.Ranges); n > 0 && uint64(info.Ranges[n-1].End) == r.Start {
			info.Ranges[n-1].End = dumpfmt.Phys(r.end())
		} else {
			info.Ranges = append(info.Ranges, dumpfmt.PhysRange{Start: dumpfmt.Phys(r.Start), End: dumpfmt.Phys(r.end())})
		}
		info.MaxPFN = r.end() >> m.shift
		info.Filtered = info.Filtered || r.Missing == dumpfmt.Excluded
		if r.filed() && m.inFile(r) < r.Size {
			info.Truncated, info.Incomplete = true, true
		}
	}
	if info.Truncated {
		info.Warn("%s is truncated: memory of the dump lies behind its end", m.files[0].Name)
	}
}

// inFile is how much of a run its file has, in bytes and whole pages.
func (m *Memory) inFile(r Run) uint64 {
	left := m.files[r.File].Size - r.Offset
	if left <= 0 {
		return 0
	}
	return min(r.Size, uint64(left)>>m.shift<<m.shift)
}

// Info is what the headers say.
func (m *Memory) Info() *dumpfmt.Info { return m.info }

// Close closes the files.
func (m *Memory) Close() error {
	var errs []error
	for _, f := range m.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

func (m *Memory) find(pfn uint64) (Run, bool) {
	if pfn >= m.info.MaxPFN {
		return Run{}, false
	}
	addr := pfn << m.shift
	i := sort.Search(len(m.runs), func(i int) bool { return m.runs[i].end() > addr })
	if i == len(m.runs) || m.runs[i].Start > addr {
		return Run{}, false
	}
	return m.runs[i], true
}

// State of one page.
func (m *Memory) State(pfn uint64) dumpfmt.PageState {
	r, ok := m.find(pfn)
	switch {
	case !ok:
		return dumpfmt.Absent
	case r.Zero:
		return dumpfmt.Zero
	case r.Missing != 0:
		return r.Missing
	case pfn<<m.shift-r.Start >= m.inFile(r):
		return dumpfmt.Unreadable
	}
	return dumpfmt.Present
}

var (
	errBehindEnd = errors.New("the file ends before it (truncated dump)")
	errNever     = errors.New("the dump says that it could not be read when it was made")
)

// ReadPage reads one page.
func (m *Memory) ReadPage(dst []byte, pfn uint64) error {
	addr := pfn << m.shift
	pe := &dumpfmt.PageError{Addr: dumpfmt.Phys(addr), PFN: pfn, State: m.State(pfn), Level: -1}
	switch pe.State {
	case dumpfmt.Zero:
		clear(dst)
		return nil
	case dumpfmt.Absent, dumpfmt.Excluded:
		return pe
	case dumpfmt.Unreadable:
		pe.Err = errBehindEnd
		if r, _ := m.find(pfn); !r.filed() {
			pe.Err = errNever
		}
		return pe
	}
	r, _ := m.find(pfn)
	f, off := m.files[r.File], r.Offset+int64(addr-r.Start)
	if _, err := f.ReadFull(dst[:m.info.PageSize], off); err != nil {
		pe.State, pe.Err = dumpfmt.Unreadable, fmt.Errorf("reading %s at byte %#x: %w", f.Name, off, err)
		return pe
	}
	return nil
}

// rangeWindow is how many bytes ReadRange reads at a time.
const rangeWindow = 512 << 10

// ReadRange reads with large reads what lies together.
func (m *Memory) ReadRange(ctx context.Context, from, to uint64, each dumpfmt.PageFunc) error {
	buf := make([]byte, min(max(rangeWindow, m.info.PageSize), max(to-from, 1)<<m.shift))
	to = min(to, m.info.MaxPFN)
	for pfn := from; pfn < to; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		r, ok := m.find(pfn)
		if !ok {
			next, ok := m.next(pfn)
			if !ok {
				return nil
			}
			pfn = next
			continue
		}
		n, err := m.readRun(r, buf, pfn, to, each)
		if err != nil {
			return err
		}
		pfn += n
		if n > 0 {
			continue
		}
		if err := dumpfmt.ReadOne(m, buf[:m.info.PageSize], pfn, m.State(pfn), each); err != nil {
			return err
		}
		pfn++
	}
	return nil
}

// next is the first page behind pfn that a run has.
func (m *Memory) next(pfn uint64) (uint64, bool) {
	addr := pfn << m.shift
	i := sort.Search(len(m.runs), func(i int) bool { return m.runs[i].Start > addr })
	if i == len(m.runs) {
		return 0, false
	}
	return m.runs[i].Start >> m.shift, true
}

// readRun reads pages of one run that are in its file, as many as fit; none if they can't be read together.
func (m *Memory) readRun(r Run, buf []byte, pfn, to uint64, each dumpfmt.PageFunc) (uint64, error) {
	at := pfn<<m.shift - r.Start
	if !r.filed() || at >= m.inFile(r) {
		return 0, nil
	}
	n := min(uint64(len(buf))>>m.shift, (m.inFile(r)-at)>>m.shift, to-pfn)
	if _, err := m.files[r.File].ReadFull(buf[:n<<m.shift], r.Offset+int64(at)); err != nil {
		return 0, nil // page by page, each with its own error
	}
	for i := range n {
		if err := each(pfn+i, dumpfmt.Present, buf[i<<m.shift:][:m.info.PageSize], nil); err != nil {
			return 0, err
		}
	}
	return n, nil
}

// Count counts by whole runs.
func (m *Memory) Count(context.Context) (dumpfmt.Counts, error) {
	var c dumpfmt.Counts
	for _, r := range m.runs {
		if r.Zero {
			c.Add(dumpfmt.Zero, r.Size>>m.shift)
			continue
		}
		if r.Missing != 0 {
			c.Add(r.Missing, r.Size>>m.shift)
			continue
		}
		have := m.inFile(r)
		c.Add(dumpfmt.Present, have>>m.shift)
		c.Add(dumpfmt.Unreadable, (r.Size-have)>>m.shift)
	}
	return c, nil
}
