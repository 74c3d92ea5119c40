package vars

import (
	"debug/dwarf"
	"fmt"
	"sort"
	"sync"

	"kdx/internal/mapfile"
	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
)

// TypeSource makes types of entries.
type TypeSource interface {
	TypeAt(dwarfinfo.Ref) *symbols.Type
}

// Finder knows the variables of one file. It implements symbols.VariableFinder.
type Finder struct {
	d     *dwarfinfo.Data
	shift uint64
	types TypeSource
	name  string
	peers func(pc uint64) *Finder

	units sync.Map // *dwarfinfo.Unit → *unitCode
	mu    sync.Mutex
	fns   map[uint64]*function // by offset of the entry
}

// New makes a finder of d's variables. shift is what the running kernel's addresses are above those of the file; name is for
// messages.
func New(d *dwarfinfo.Data, shift uint64, types TypeSource, name string) *Finder {
	return &Finder{d: d, shift: shift, types: types, name: name, fns: make(map[uint64]*function)}
}

// SetPeers tells the finder who knows code of other files: what a function was called with stands with its caller, which may be of
// the kernel or of another module. at may return nil. It must be called before the finder is used.
func (f *Finder) SetPeers(at func(pc uint64) *Finder) { f.peers = at }

// Name is the finder's.
func (f *Finder) Name() string { return f.name }

// Covers reports whether the file has code at pc.
func (f *Finder) Covers(pc uint64) bool {
	covers := false
	_ = mapfile.Guard(f.d.Name, func() error {
		covers = f.d.UnitAt(pc-f.shift) != nil
		return nil
	})
	return covers
}

// ScopesAt returns the functions that the instruction at pc is in, see symbols.VariableFinder.
func (f *Finder) ScopesAt(pc uint64) ([]symbols.Scope, error) {
	var out []symbols.Scope
	err := mapfile.Guard(f.d.Name, func() error {
		fn, err := f.functionAt(pc - f.shift)
		if err != nil {
			return err
		}
		out = f.scopes(fn, pc-f.shift)
		return nil
	})
	return out, err
}

// unitCode are the functions of a unit by address, as linked.
type unitCode struct {
	code []codeRange
	err  error
}

type codeRange struct{ lo, hi, off uint64 }

// Bounds of what a damaged file may claim: the largest units of kernels have some thousand functions, and C++ and Rust nest
// namespaces some ten deep.
const (
	maxFunctions = 1 << 18
	maxNesting   = 64
)

func (f *Finder) codeOf(u *dwarfinfo.Unit) *unitCode {
	if c, ok := f.units.Load(u); ok {
		return c.(*unitCode)
	}
	c := new(unitCode)
	c.err = c.read(f.d, u.First, 0)
	sort.SliceStable(c.code, func(i, j int) bool { return c.code[i].lo < c.code[j].lo })
	f.units.Store(u, c)
	return c
}

func (c *unitCode) read(d *dwarfinfo.Data, parent uint64, depth int) error {
	for e, err := range d.Children(parent) {
		if err != nil {
			return err
		}
		switch e.Tag {
		case dwarf.TagSubprogram:
			pcs, err := e.PCs()
			if err != nil {
				return err
			}
			for _, p := range pcs {
				c.code = append(c.code, codeRange{p[0], p[1], e.Off})
			}
			if len(c.code) > maxFunctions {
				return fmt.Errorf("%s: a unit with more than %d functions", d.Name, maxFunctions)
			}
		case dwarf.TagNamespace, dwarf.TagModule, dwarf.TagStructType, dwarf.TagClassType:
			if !e.Children || depth == maxNesting {
				continue
			}
			if err := c.read(d, e.Off, depth+1); err != nil {
				return err
			}
		}
	}
	return nil
}

// functionAt is the function that holds pc, an address as linked.
func (f *Finder) functionAt(pc uint64) (*function, error) {
	u := f.d.UnitAt(pc)
	if u == nil {
		return nil, symbols.ErrNotFound
	}
	c := f.codeOf(u)
	i := sort.Search(len(c.code), func(i int) bool { return c.code[i].lo > pc })
	for i--; i >= 0; i-- {
		if pc < c.code[i].hi {
			return f.function(c.code[i].off)
		}
		if pc-c.code[i].lo > 16<<20 {
			break // no function is that long, and functions overlap in damaged files only
		}
	}
	if c.err != nil {
		return nil, c.err
	}
	return nil, symbols.ErrNotFound
}

// maxCached bounds the functions that are kept, as foreach bt asks for a few over and over.
const maxCached = 512

func (f *Finder) function(off uint64) (*function, error) {
	f.mu.Lock()
	fn := f.fns[off]
	f.mu.Unlock()
	if fn != nil {
		return fn, nil
	}
	fn, err := f.readFunction(off)
	if err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.fns) >= maxCached {
		clear(f.fns)
	}
	f.fns[off] = fn
	return fn, nil
}
