package vars

import (
	"debug/dwarf"
	"errors"
	"fmt"

	"kdx/symbols/dwarfinfo"
)

// function is a subprogram with code, as its entries say.
type function struct {
	finder *Finder
	block
	low   uint64 // where it is entered, as linked
	sites []site
}

// block is a function, an inlined function or a lexical block.
type block struct {
	entry *dwarfinfo.Entry
	pcs   [][2]uint64
	vars  []*dwarfinfo.Entry
	kids  []*block
}

// site is a call.
type site struct {
	entry  *dwarfinfo.Entry
	ret    uint64 // where the instruction ends, as linked
	tail   bool   // it is a jump
	params []*dwarfinfo.Entry
}

// GNU's names of what became standard in DWARF 5.
const (
	tagGNUCallSite          dwarf.Tag = 0x4109
	tagGNUCallSiteParameter dwarf.Tag = 0x410a

	attrGNUCallSiteValue  dwarf.Attr = 0x2111
	attrGNUCallSiteTarget dwarf.Attr = 0x2113
	attrGNUTailCall       dwarf.Attr = 0x2115

	attrGNUAllTailCallSites dwarf.Attr = 0x2116
	attrGNUAllCallSites     dwarf.Attr = 0x2117
)

// Bounds of what a damaged file may claim of one function; the largest of kernels have some 50,000 entries, 40 deep.
const (
	maxEntries = 1 << 19
	maxDepth   = 256
)

var errTooDeep = errors.New("blocks nested deeper than any compiler nests them")

// functionReader reads the entries below a function.
type functionReader struct {
	r  *dwarfinfo.Reader
	fn *function
	n  int
}

func (f *Finder) readFunction(off uint64) (*function, error) {
	r := &functionReader{r: f.d.Reader(), fn: &function{finder: f}}
	if err := r.r.Seek(off); err != nil {
		return nil, err
	}
	e, err := r.r.Next()
	if err != nil {
		return nil, err
	}
	if e == nil {
		return nil, fmt.Errorf("%s: there is no function at %#x of .debug_info", f.d.Name, off)
	}
	if err := r.block(e, &r.fn.block, 0); err != nil {
		return nil, fmt.Errorf("%s: function at %#x of .debug_info: %w", f.d.Name, off, err)
	}
	low, ok := r.fn.entry.EntryPC()
	if !ok {
		return nil, fmt.Errorf("%s: function at %#x of .debug_info: it has no code", f.d.Name, off)
	}
	r.fn.low = low
	return r.fn, nil
}

// block reads e, which is a block, and all below it.
func (r *functionReader) block(e *dwarfinfo.Entry, b *block, depth int) error {
	if depth > maxDepth {
		return errTooDeep
	}
	b.entry = e.Clone()
	pcs, err := e.PCs()
	if err != nil {
		return err
	}
	b.pcs = pcs
	if !e.Children {
		return nil
	}
	for {
		e, err := r.next()
		if err != nil || e == nil {
			return err
		}
		switch e.Tag {
		case dwarf.TagFormalParameter, dwarf.TagVariable:
			b.vars = append(b.vars, e.Clone())
			err = r.r.Skip(e)
		case dwarf.TagLexDwarfBlock, dwarf.TagInlinedSubroutine:
			kid := new(block)
			b.kids = append(b.kids, kid)
			err = r.block(e, kid, depth+1)
		case dwarf.TagCallSite, tagGNUCallSite:
			err = r.site(e)
		default:
			err = r.r.Skip(e)
		}
		if err != nil {
			return err
		}
	}
}

func (r *functionReader) next() (*dwarfinfo.Entry, error) {
	if r.n++; r.n > maxEntries {
		return nil, fmt.Errorf("more than %d entries", maxEntries)
	}
	return r.r.Next()
}

func (r *functionReader) site(e *dwarfinfo.Entry) error {
	s := site{entry: e.Clone(), tail: e.Flag(dwarf.AttrCallTailCall) || e.Flag(attrGNUTailCall)}
	ret, ok := e.Addr(dwarf.AttrCallReturnPC)
	if !ok {
		ret, ok = e.Addr(dwarf.AttrLowpc) // GNU's
	}
	s.ret = ret
	if e.Children {
		for {
			p, err := r.next()
			if err != nil {
				return err
			}
			if p == nil {
				break
			}
			if p.Tag == dwarf.TagCallSiteParameter || p.Tag == tagGNUCallSiteParameter {
				s.params = append(s.params, p.Clone())
			}
			if err := r.r.Skip(p); err != nil {
				return err
			}
		}
	}
	if ok {
		r.fn.sites = append(r.fn.sites, s)
	}
	return nil
}

// siteBefore is the call whose instruction ends at ret.
func (fn *function) siteBefore(ret uint64) *site {
	for i := range fn.sites {
		if fn.sites[i].ret == ret && !fn.sites[i].tail {
			return &fn.sites[i]
		}
	}
	return nil
}

func holds(pcs [][2]uint64, pc uint64) bool {
	for _, p := range pcs {
		if p[0] <= pc && pc < p[1] {
			return true
		}
	}
	return false
}

// path are the blocks around pc, from b inwards; nil if pc is not in b. A block without code of its own is in the path if one
// in it is.
func (b *block) path(pc uint64) []*block {
	if len(b.pcs) > 0 && !holds(b.pcs, pc) {
		return nil
	}
	for _, k := range b.kids {
		if p := k.path(pc); p != nil {
			return append([]*block{b}, p...)
		}
	}
	if len(b.pcs) == 0 {
		return nil
	}
	return []*block{b}
}
