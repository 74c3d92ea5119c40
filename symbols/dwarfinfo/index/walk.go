package index

import "fmt"

// step says how to go on behind an entry's attributes.
type step uint8

const (
	stepOver step = iota // to its sibling, if the entry says where that is
	stepInto             // to its children
	stepDone             // its children have been read
)

// scan indexes a unit's entries.
func (w *worker) scan(u *unit) error {
	w.prefix, w.scopes, w.function = w.prefix[:0], w.scopes[:0], 0
	clear(w.declared)
	info := u.info
	v := &w.v
	depth := 0
	for pos := int(u.First); pos < len(info); {
		at := pos
		code := uint64(info[pos])
		pos++
		if code >= 0x80 {
			if code, pos = uleb(info, at); pos < 0 {
				return u.damaged(at, "a number without end")
			}
		}
		if code == 0 {
			if depth--; depth <= 0 {
				return nil
			}
			w.leave(depth)
			continue
		}
		p := u.tab.find(code)
		if p == nil {
			return u.damaged(at, fmt.Sprintf("abbreviation %d does not exist", code))
		}
		how := stepOver
		if p.fixed >= 0 {
			if pos += int(p.fixed); pos > len(info) {
				return u.damaged(at, "it goes beyond the unit")
			}
			v.has = 0
		} else if pos = u.decode(p, pos, v); pos < 0 {
			return u.damaged(at, "its attributes make no sense")
		}
		if p.class != classSkip {
			how, pos = w.visit(u, p, at, pos, depth)
			if pos < 0 {
				return u.damaged(at, "its enumerators make no sense")
			}
		}
		if !p.children || how == stepDone {
			if depth == 0 {
				return nil
			}
			continue
		}
		if how == stepOver && v.has&fSibling.bit() != 0 {
			if s := v.v[fSibling]; s > uint64(pos) && s <= uint64(len(info)) {
				pos = int(s)
				continue
			}
		}
		depth++
		if p.class == classFunction && w.function == 0 {
			w.function = depth
		}
	}
	return nil
}

// leave ends the scopes whose entries' children are over; depth is that of the entry to come.
func (w *worker) leave(depth int) {
	if depth < w.function {
		w.function = 0
	}
	for n := len(w.scopes); n > 0 && depth < w.scopes[n-1].depth; n-- {
		w.prefix = w.prefix[:w.scopes[n-1].length]
		w.scopes = w.scopes[:n-1]
	}
}

// visit does what the class of the entry at `at` asks for, whose attributes are in w.v and end at pos.
func (w *worker) visit(u *unit, p *prog, at, pos, depth int) (step, int) {
	switch p.class {
	case classRoot:
		return stepInto, pos
	case classNamespace:
		w.push(name(w.v.get(fName)), depth, p.children)
		return stepInto, pos
	case classType:
		w.addType(u, p, at, pos)
		if u.scoped && p.children {
			w.push(name(w.v.get(fName)), depth, true)
			return stepInto, pos
		}
	case classEnum:
		return w.addEnum(u, p, at, pos)
	case classFunction:
		if w.function == 0 {
			w.addCode(u, p, at)
		}
	case classVariable:
		if w.function == 0 {
			w.addCode(u, p, at)
		}
	}
	return stepOver, pos
}

// push enters a scope, whose children begin one deeper than depth.
func (w *worker) push(n name, depth int, children bool) {
	if !children || n == 0 {
		return
	}
	text := w.secs.text(n, &w.names, &w.buf)
	if len(text) == 0 || len(w.prefix)+len(text) > maxPrefix {
		return
	}
	w.scopes = append(w.scopes, scope{depth + 1, len(w.prefix)})
	w.prefix = append(append(w.prefix, text...), "::"...)
}

// maxPrefix bounds what the scopes put before a name; what is deeper has the outer ones' names.
const maxPrefix = 1 << 11

// qualify puts the current scope before a name.
func (w *worker) qualify(n name) name {
	if len(w.prefix) == 0 || n == 0 {
		return n
	}
	return w.scopedName(w.prefix, n)
}

func (w *worker) scopedName(prefix []byte, n name) name {
	text := w.secs.text(n, &w.names, &w.buf)
	if len(text) == 0 {
		return 0
	}
	end := len(prefix)
	full := append(prefix[:end:end], text...)
	return w.names.inPlace(full)
}

func (w *worker) local() flags {
	if w.function != 0 {
		return flagLocal
	}
	return 0
}

func (u *unit) place(at int) uint64 { return uint64(at) | u.space.id<<altShift }

// signature of a definition: equal ones of one name are the same. Sizes come first, then the line.
func signature(size, line uint64) uint64 { return size<<lineBits ^ line&lineMask }

const (
	lineBits = 24
	lineMask = 1<<lineBits - 1
)

func (w *worker) addType(u *unit, p *prog, at, pos int) {
	v := &w.v
	if p.skip || v.is(fDecl) {
		return
	}
	n := name(v.get(fName))
	line := v.get(fLine)
	if n == 0 {
		o := w.follow(u, v)
		if n = o.name; n == 0 {
			return
		}
		line = max(line, o.line)
	} else {
		n = w.qualify(n)
	}
	size := v.get(fSize)
	ref, hasType := v.v[fType], v.has&fType.bit() != 0
	alt := v.alt&fType.bit() != 0
	e, fresh := w.intern(entry{name: n, sig: signature(size, line), off: u.place(at), aux: size, count: 1, kind: p.kind, flags: w.local()})
	if !fresh {
		return
	}
	if p.children && p.kind != Typedef {
		w.addMembers(u, e, pos)
	}
	if p.kind != Typedef || !hasType {
		return
	}
	w.addNamed(u, e, ref, alt)
	if size, ok := w.untagged(u, ref, alt); ok {
		w.entries[e].aux = size
		w.entries[e].flags |= flagUntagged
	}
}

// untagged is the size of the struct or union at ref if it has no tag.
func (w *worker) untagged(u *unit, ref uint64, alt bool) (size uint64, ok bool) {
	var v values
	_, p := w.entryAt(u, ref, alt, &v)
	if p == nil || p.class != classType || p.kind != Struct && p.kind != Union || v.get(fName) != 0 || v.is(fDecl) {
		return 0, false
	}
	return v.get(fSize), true
}

// addEnum indexes an enumeration and, when it is met for the first time, its enumerators, which begin at pos.
func (w *worker) addEnum(u *unit, p *prog, at, pos int) (step, int) {
	v := &w.v
	if v.is(fDecl) || p.skip {
		return stepOver, pos
	}
	tag := name(v.get(fName))
	kind := Enum
	size, line, sibling := v.get(fSize), v.get(fLine), v.get(fSibling)
	hasSibling := v.has&fSibling.bit() != 0
	inner := tag != 0 && v.is(fEnumClass)
	if tag == 0 {
		// Without a tag it goes by its first enumerator.
		if tag = w.firstEnumerator(u, p, pos); tag == 0 {
			return stepOver, pos
		}
		kind = untaggedEnum
	}
	i, fresh := w.intern(entry{name: w.qualify(tag), sig: signature(size, line), off: u.place(at), aux: size, count: 1, kind: kind, flags: w.local()})
	if !fresh || !p.children {
		w.v.has, w.v.v[fSibling] = 0, sibling
		if hasSibling {
			w.v.has = fSibling.bit()
		}
		return stepOver, pos
	}
	prefix := len(w.prefix)
	if inner {
		w.prefix = append(append(w.prefix, w.secs.text(tag, &w.names, &w.buf)...), "::"...)
	}
	pos = w.enumerators(u, i, pos)
	w.prefix = w.prefix[:prefix]
	return stepDone, pos
}

func (w *worker) firstEnumerator(u *unit, p *prog, pos int) name {
	if !p.children {
		return 0
	}
	code, pos := uleb(u.info, pos)
	if pos < 0 {
		return 0
	}
	q := u.tab.find(code)
	if q == nil || q.class != classEnumerator {
		return 0
	}
	var v values
	if u.decode(q, pos, &v) < 0 {
		return 0
	}
	return name(v.get(fName))
}

// enumerators indexes those of the enum whose entry is e, and returns where its siblings begin; -1 if there is damage.
func (w *worker) enumerators(u *unit, e, pos int) int {
	var v values
	local := w.entries[e].flags & flagLocal
	for depth := 1; depth > 0 && pos < len(u.info); {
		at := pos
		var code uint64
		if code, pos = uleb(u.info, pos); pos < 0 {
			return -1
		}
		if code == 0 {
			depth--
			continue
		}
		q := u.tab.find(code)
		if q == nil {
			return -1
		}
		if pos = u.decode(q, pos, &v); pos < 0 {
			return -1
		}
		if q.children {
			depth++
		}
		if n := name(v.get(fName)); q.class == classEnumerator && n != 0 && len(w.entries) < maxEntries {
			w.entries = append(w.entries, entry{name: w.qualify(n), off: u.place(at), aux: uint64(e), count: 1, kind: Enumerator, flags: local})
		}
	}
	return pos
}

// addCode indexes a function or variable.
func (w *worker) addCode(u *unit, p *prog, at int) {
	v := &w.v
	if p.skip {
		return
	}
	if p.declared || v.is(fDecl) {
		w.addDeclared(u, p, at)
		return
	}
	e := entry{name: name(v.get(fName)), off: u.place(at), aux: v.get(fAddr), count: 1, kind: p.kind}
	line := v.get(fLine)
	if v.is(fExternal) {
		e.flags |= flagExternal
	}
	if e.name != 0 {
		e.name = w.qualify(e.name)
	} else {
		o := w.follow(u, v)
		if e.name = o.name; e.name == 0 {
			return
		}
		e.flags |= o.flags
		if line == 0 {
			line = o.line
		}
	}
	e.sig = signature(0, line)
	switch {
	case v.has&(fAddr.bit()|fValue.bit()) != 0:
		e.flags |= flagPlaced
	case v.has&fRanges.bit() != 0:
		e.flags |= flagPlaced
		e.aux = u.firstRange(v.v[fRanges], p.form)
	}
	if e.shared() {
		w.intern(e)
		return
	}
	if len(w.entries) < maxEntries {
		w.entries = append(w.entries, e)
	}
}

// addDeclared indexes the declaration of a function or variable: the only thing that is known of what was written in assembler or
// comes from the linker.
func (w *worker) addDeclared(u *unit, p *prog, at int) {
	n := name(w.v.get(fName))
	if n == 0 {
		return
	}
	if len(w.prefix) > 0 && u.scoped {
		if w.declared == nil {
			w.declared = make(map[uint64]string)
		}
		w.declared[uint64(at)] = string(w.prefix)
	}
	w.intern(entry{name: w.qualify(n), sig: signature(0, w.v.get(fLine)), off: u.place(at), count: 1, kind: p.kind, flags: flagDeclared})
}
