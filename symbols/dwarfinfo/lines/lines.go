package lines

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"sync"

	"kdx/internal/mapfile"
	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
)

// Finder knows the source of one file's code. It implements symbols.SourceFinder.
type Finder struct {
	d     *dwarfinfo.Data
	shift uint64
	name  string
	root  func() string // of the source tree
	id    func() string // build-id

	units  unitCache
	names  cache[dwarfinfo.Ref, string]
	places cache[uint64, []symbols.Place]
}

// New makes a finder of what d says, where shift is to be added to the addresses in d to get those of the running kernel. name is
// the finder's.
func New(d *dwarfinfo.Data, shift uint64, name string) *Finder {
	return &Finder{d: d, shift: shift, name: name, root: sync.OnceValue(func() string { return treeRoot(d) }),
		id: sync.OnceValue(func() string {
			if d.File == nil {
				return ""
			}
			return d.File.BuildID()
		})}
}

// Name is the finder's name.
func (f *Finder) Name() string { return f.name }

// PlacesAt returns where the instruction at pc comes from, see symbols.SourceFinder.
func (f *Finder) PlacesAt(pc uint64) ([]symbols.Place, error) {
	if p, ok := f.places.get(pc); ok {
		return slices.Clone(p), nil
	}
	var out []symbols.Place
	err := mapfile.Guard(f.d.Name, func() (err error) {
		out, err = f.placesAt(pc - f.shift)
		return err
	})
	if err != nil {
		return nil, err
	}
	f.places.put(pc, out)
	return slices.Clone(out), nil
}

func (f *Finder) placesAt(pc uint64) ([]symbols.Place, error) {
	u := f.d.UnitAt(pc)
	if u == nil {
		return nil, symbols.ErrNotFound
	}
	t := f.units.get(u)
	var r row
	if found := find(t.seqs, pc); found != nil {
		r = *found
	} else if t.lineErr != nil && !errors.Is(t.lineErr, errNoProgram) {
		return nil, fmt.Errorf("%s: line program of %s: %w", f.d.Name, u.Name(), t.lineErr)
	}
	at := f.place(t, uint64(r.file), r.line, uint32(r.column))
	fn := findFunction(t.functions, pc)
	if fn == nil {
		switch {
		case t.functionsErr != nil:
			return nil, fmt.Errorf("%s: functions of %s: %w", f.d.Name, u.Name(), t.functionsErr)
		case r.line == 0:
			return nil, symbols.ErrNotFound
		}
		return []symbols.Place{at}, nil
	}
	name, calls, err := f.inlined(u, fn.entry, pc)
	if err != nil {
		return nil, fmt.Errorf("%s: inlined functions in the one at %#x of .debug_info: %w", f.d.Name, fn.entry, err)
	}
	out := make([]symbols.Place, 0, len(calls)+1)
	for _, c := range calls {
		at.Function, at.Inlined = c.name, true
		out = append(out, at)
		at = f.place(t, c.file, fit(c.line), fit(c.column))
	}
	at.Function = name
	return append(out, at), nil
}

// place is a line of a file of t's table.
func (f *Finder) place(t *unitTable, file uint64, line, column uint32) symbols.Place {
	p := symbols.Place{BuildID: f.id(), Line: int(line), Column: int(column)}
	if line != 0 {
		names := f.file(t, file)
		p.File, p.Path = names.relative, names.compiled
	}
	return p
}

// fileName is a file's path relative to the source tree's root, where that can be told, and as it was compiled.
type fileName struct{ relative, compiled string }

func (f *Finder) file(t *unitTable, index uint64) fileName {
	t.mu.Lock()
	defer t.mu.Unlock()
	if n, ok := t.names[index]; ok {
		return n
	}
	var n fileName
	if t.header != nil {
		if p := t.header.pathOf(t.unit, index); p != "" {
			n = fileName{f.relative(t.unit, p), p}
			if !path.IsAbs(p) {
				n.compiled = path.Join(t.unit.CompDir(), p)
			}
		}
	}
	if t.names == nil {
		t.names = make(map[uint64]fileName)
	}
	t.names[index] = n
	return n
}
