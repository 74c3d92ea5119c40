package lines

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"math"
	"path"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"kdx/internal/mapfile"
	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
)

// maxCode bounds the places of one line: the busiest lines of the kernel's headers have some 10,000.
const maxCode = 1 << 17

// LineCode returns the code of a source line, see symbols.SourceFinder.
func (f *Finder) LineCode(file string, line int) ([]symbols.LineCode, error) {
	if line <= 0 || file == "" {
		return nil, symbols.ErrNotFound
	}
	s := search{f: f, file: path.Clean(file), line: uint64(line), best: make(map[string]*lineCode)}
	s.base = []byte(path.Base(s.file))
	var next atomic.Int64
	var wg sync.WaitGroup
	units := f.d.Units()
	for range min(runtime.GOMAXPROCS(0), len(units)) {
		wg.Go(func() {
			for {
				i := next.Add(1) - 1
				if i >= int64(len(units)) {
					return
				}
				if err := mapfile.Guard(f.d.Name, func() error { return s.unit(units[i]) }); err != nil {
					s.fail(fmt.Errorf("%s: line program of %s: %w", f.d.Name, units[i].Name(), err))
				}
			}
		})
	}
	wg.Wait()
	return s.result()
}

// search is for a line's code in all units.
type search struct {
	f    *Finder
	file string
	base []byte // last component of file
	line uint64

	mu    sync.Mutex
	best  map[string]*lineCode // by path
	count int
	err   error // of the first unit that could not be read
}

// lineCode is the code of one line of a file.
type lineCode struct {
	line uint64
	runs [][2]uint64
}

func (s *search) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.err = err
	}
}

func (s *search) result() ([]symbols.LineCode, error) {
	if s.count > maxCode {
		return nil, fmt.Errorf("%s:%d has code at more than %d places", s.file, s.line, maxCode)
	}
	best := s.best
	if exact := best[s.file]; exact != nil { // kernel/fork.c is not meant to be found as x/kernel/fork.c
		best = map[string]*lineCode{s.file: exact}
	}
	var out []symbols.LineCode
	for p, c := range best {
		for _, r := range c.runs {
			out = append(out, symbols.LineCode{File: p, Line: int(c.line), Addr: r[0] + s.f.shift, End: r[1] + s.f.shift})
		}
	}
	if len(out) == 0 {
		return nil, cmp.Or(s.err, symbols.ErrNotFound)
	}
	slices.SortFunc(out, func(a, b symbols.LineCode) int {
		return cmp.Or(strings.Compare(a.File, b.File), cmp.Compare(a.Addr, b.Addr))
	})
	return joined(out), nil
}

// joined makes one of places that follow each other without a gap: columns, and rows without code, had divided them.
func joined(sorted []symbols.LineCode) []symbols.LineCode {
	out := sorted[:1]
	for _, c := range sorted[1:] {
		last := &out[len(out)-1]
		if c.File == last.File && c.Addr <= last.End {
			last.End = max(last.End, c.End)
			continue
		}
		out = append(out, c)
	}
	return out
}

// unit searches one unit: its table of files, and its program if the file is there.
func (s *search) unit(u *dwarfinfo.Unit) error {
	h, err := readHeader(u)
	if errors.Is(err, errNoProgram) {
		return nil
	}
	if err != nil {
		return err
	}
	wanted := make(map[uint64]string) // paths by index
	for i := range h.files {
		name := h.files[i].name
		if h.version < 5 && i == 0 {
			name = []byte(u.Name())
		}
		if !bytes.HasSuffix(name, s.base) {
			continue
		}
		if p := s.f.relative(u, h.pathOf(u, uint64(i))); s.matches(p) {
			wanted[uint64(i)] = p
		}
	}
	if len(wanted) == 0 {
		return nil
	}
	return s.program(h, wanted)
}

// matches reports whether a path ends as the wanted file does, or, as crash and gdb print whole paths, the other way round.
func (s *search) matches(p string) bool {
	return endsIn(p, s.file) || strings.Contains(p, "/") && endsIn(s.file, p)
}

func endsIn(p, end string) bool {
	rest, ok := strings.CutSuffix(p, end)
	return ok && (rest == "" || strings.HasSuffix(rest, "/"))
}

// program collects the code of the line, or of the first behind it, for each of the wanted files.
func (s *search) program(h *header, wanted map[uint64]string) error {
	found := make(map[string]*lineCode)
	var run struct {
		lo, line uint64
		path     string // "" if the rows are of other files
	}
	err := h.run(func(m *state, end bool) error {
		p := wanted[m.file]
		if !end && p == run.path && (p == "" || m.line == run.line) {
			return nil
		}
		// Rows that the next one of the same address replaces have no code.
		if run.path != "" && run.line >= s.line && run.line <= math.MaxInt32 && m.addr > run.lo {
			c := found[run.path]
			if c == nil || run.line < c.line {
				c = &lineCode{line: run.line}
				found[run.path] = c
			}
			if run.line == c.line && len(c.runs) <= maxCode {
				c.runs = append(c.runs, [2]uint64{run.lo, m.addr})
			}
		}
		run.lo, run.line, run.path = m.addr, m.line, p
		if end {
			run.path = ""
		}
		return nil
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	for p, c := range found {
		have := s.best[p]
		if have == nil || c.line < have.line {
			if have != nil {
				s.count -= len(have.runs)
			}
			have = &lineCode{line: c.line}
			s.best[p] = have
		}
		if have.line == c.line {
			if s.count += len(c.runs); s.count <= maxCode {
				have.runs = append(have.runs, c.runs...)
			}
		}
	}
	return err
}
