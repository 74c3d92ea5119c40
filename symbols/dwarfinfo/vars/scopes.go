package vars

import (
	"debug/dwarf"
	"sort"

	"kdx/internal/mapfile"
	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
)

// maxOrigins bounds chains of entries that stand for each other, which a damaged file can close to a ring.
const maxOrigins = 16

// origins calls see for e and the entries that it stands for (DW_AT_abstract_origin, DW_AT_specification), until see returns
// false.
func origins(e *dwarfinfo.Entry, see func(*dwarfinfo.Entry) bool) {
	for range maxOrigins {
		if !see(e) {
			return
		}
		ref, ok := e.RefTo(dwarf.AttrAbstractOrigin)
		if !ok {
			if ref, ok = e.RefTo(dwarf.AttrSpecification); !ok {
				return
			}
		}
		next, err := ref.Data.Entry(ref.Off)
		if err != nil {
			return
		}
		e = next
	}
}

// nameOf is e's name, or that of what it stands for.
func nameOf(e *dwarfinfo.Entry) string {
	name := ""
	origins(e, func(e *dwarfinfo.Entry) bool {
		name = e.Str(dwarf.AttrName)
		return name == ""
	})
	return name
}

// scopes of the instruction at pc, as linked.
func (f *Finder) scopes(fn *function, pc uint64) []symbols.Scope {
	var out []symbols.Scope
	path := fn.path(pc)
	for end := len(path); end > 0; {
		start := end - 1 // the block that is a function, inlined or not
		for start > 0 && path[start].entry.Tag != dwarf.TagInlinedSubroutine {
			start--
		}
		out = append(out, f.scope(fn, path[start:end], start > 0))
		end = start
	}
	return out
}

// scope of a function and the blocks in it.
func (f *Finder) scope(fn *function, blocks []*block, inlined bool) symbols.Scope {
	s := symbols.Scope{Function: nameOf(blocks[0].entry), Inlined: inlined}
	var params, locals []*dwarfinfo.Entry
	for i := len(blocks) - 1; i >= 0; i-- {
		vars := blocks[i].vars
		if i == 0 {
			vars = f.withLost(blocks[0])
		}
		for _, e := range vars {
			if e.Tag == dwarf.TagFormalParameter {
				params = append(params, e)
			} else {
				locals = append(locals, e)
			}
		}
	}
	for _, e := range append(params, locals...) {
		if v, ok := f.variable(fn, e, !inlined); ok {
			s.Vars = append(s.Vars, v)
		}
	}
	return s
}

// withLost are a function's own variables, with those that only the source's function has: the compiler leaves out of a copy
// what the copy does not need. Parameters come in the source's order.
func (f *Finder) withLost(b *block) []*dwarfinfo.Entry {
	ref, ok := b.entry.RefTo(dwarf.AttrAbstractOrigin)
	if !ok {
		return b.vars
	}
	have := make(map[uint64]bool)
	b.note(ref.Data, have)
	out := append([]*dwarfinfo.Entry(nil), b.vars...)
	for e, err := range ref.Data.Children(ref.Off) {
		if err != nil || len(out) > maxEntries {
			break
		}
		if (e.Tag == dwarf.TagFormalParameter || e.Tag == dwarf.TagVariable) && !have[e.Off] {
			out = append(out, e.Clone())
		}
	}
	place := make(map[*dwarfinfo.Entry]uint64)
	for _, e := range out {
		place[e] = e.Off
		if o, ok := e.RefTo(dwarf.AttrAbstractOrigin); ok {
			place[e] = o.Off
		}
	}
	sort.SliceStable(out, func(i, j int) bool { return place[out[i]] < place[out[j]] })
	return out
}

// note notes which entries of d the variables in b stand for.
func (b *block) note(d *dwarfinfo.Data, have map[uint64]bool) {
	for _, e := range b.vars {
		if o, ok := e.RefTo(dwarf.AttrAbstractOrigin); ok && o.Data == d {
			have[o.Off] = true
		}
	}
	for _, k := range b.kids {
		if k.entry.Tag != dwarf.TagInlinedSubroutine {
			k.note(d, have)
		}
	}
}

// variable makes the Variable of an entry; ok is false for what has no name or is declared only. own says that it belongs to
// the function itself, not to one that was inlined.
func (f *Finder) variable(fn *function, e *dwarfinfo.Entry, own bool) (symbols.Variable, bool) {
	v := symbols.Variable{Param: e.Tag == dwarf.TagFormalParameter, Type: symbols.VoidType}
	typed := false
	origins(e, func(e *dwarfinfo.Entry) bool {
		if v.Name == "" {
			v.Name = e.Str(dwarf.AttrName)
		}
		if ref, ok := e.RefTo(dwarf.AttrType); ok && !typed {
			v.Type, typed = f.types.TypeAt(ref), true
		}
		return v.Name == "" || !typed
	})
	v.Locate = func(s symbols.FrameState) (symbols.Location, error) {
		var loc symbols.Location
		err := mapfile.Guard(f.d.Name, func() (err error) {
			loc, err = newContext(fn, s).locate(e, own && v.Param)
			return err
		})
		return loc, err
	}
	return v, v.Name != "" && !e.Flag(dwarf.AttrDeclaration)
}
