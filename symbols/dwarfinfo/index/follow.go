package index

// origin is what an entry takes from those that it refers to.
type origin struct {
	name  name
	line  uint64
	flags flags
}

// maxHops bounds references to references: a concrete function refers to its abstract instance, which may refer to a
// declaration.
const maxHops = 8

// follow goes along specifications and abstract origins until there is a name.
func (w *worker) follow(u *unit, v *values) (o origin) {
	var next values
	for range maxHops {
		f := fSpec
		if v.has&fOrigin.bit() != 0 {
			f = fOrigin
		}
		if v.has&f.bit() == 0 {
			return o
		}
		at := v.v[f]
		t, p := w.entryAt(u, at, v.alt&f.bit() != 0, &next)
		if p == nil {
			return o
		}
		if o.line == 0 {
			o.line = next.get(fLine)
		}
		if next.is(fExternal) {
			o.flags |= flagExternal
		}
		if n := name(next.get(fName)); n != 0 {
			o.name = n
			if prefix := w.declared[at]; prefix != "" && t == u {
				o.name = w.scopedName([]byte(prefix), n)
			}
			return o
		}
		u, v = t, &next
	}
	return o
}

// entryAt decodes the entry at off; p is nil if there is none.
func (w *worker) entryAt(u *unit, off uint64, alt bool, v *values) (t *unit, p *prog) {
	t = w.unitOf(u, off, alt)
	if t == nil {
		return nil, nil
	}
	code, pos := uleb(t.info, int(off))
	if pos < 0 {
		return nil, nil
	}
	if p = t.tab.find(code); p == nil || t.decode(p, pos, v) < 0 {
		return nil, nil
	}
	return t, p
}

// unitOf is the unit that has the entry at off, which u refers to.
func (w *worker) unitOf(u *unit, off uint64, alt bool) *unit {
	if !alt && off >= u.First && off < u.End {
		return u
	}
	sp := u.space
	if alt {
		sp = sp.alt
	}
	if sp == nil {
		return nil
	}
	du := sp.d.UnitOf(off)
	if du == nil {
		return nil
	}
	key := du.Off | sp.id<<altShift
	if t := w.foreign[key]; t != nil {
		return t
	}
	t, err := w.open(du, sp, false)
	if err != nil {
		return nil
	}
	if w.foreign == nil || len(w.foreign) > maxForeign {
		w.foreign = make(map[uint64]*unit)
	}
	w.foreign[key] = t
	return t
}

// maxForeign bounds the units that are kept open for references between units.
const maxForeign = 1 << 12
