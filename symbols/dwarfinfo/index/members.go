package index

import "debug/dwarf"

// memberRef is a member of a struct: its name, and the nearest named type that its own is made of.
type memberRef struct {
	name, typ name
	held      bool // the type is part of the struct; otherwise it is pointed to
}

// holder says which members the definition of an entry has. A typedef holds what it names.
type holder struct {
	entry    uint32
	from, to uint32 // in worker.members
}

const (
	// maxMembers bounds the members of all types of one worker; kernels have some 100,000.
	maxMembers = 1 << 21
	// maxOwn bounds those of one type, with the ones of untagged structs inside.
	maxOwn = 1 << 12
	// maxNested bounds untagged structs in untagged structs.
	maxNested = 8
	// maxTypeHops bounds pointers to pointers to arrays of …
	maxTypeHops = 16
)

// addMembers reads those of entry e, whose children begin at pos.
func (w *worker) addMembers(u *unit, e, pos int) {
	from := len(w.members)
	w.readMembers(u, pos, from+maxOwn, 0)
	w.hold(e, from)
}

// hold ends the members of entry e, which began at from.
func (w *worker) hold(e, from int) {
	if len(w.members) > from {
		w.holders = append(w.holders, holder{uint32(e), uint32(from), uint32(len(w.members))})
	}
}

// addNamed makes typedef e hold what ref names.
func (w *worker) addNamed(u *unit, e int, ref uint64, alt bool) {
	from := len(w.members)
	w.addMember(u, 0, ref, alt, from+maxOwn, 0)
	w.hold(e, from)
}

// readMembers reads the members of the struct whose children begin at pos, until there are end of them.
func (w *worker) readMembers(u *unit, pos, end, nested int) {
	var v values
	for depth := 1; depth > 0 && pos < len(u.info) && len(w.members) < min(end, maxMembers); {
		var code uint64
		if code, pos = uleb(u.info, pos); pos < 0 {
			return
		}
		if code == 0 {
			depth--
			continue
		}
		p := u.tab.find(code)
		if p == nil {
			return
		}
		if pos = u.decode(p, pos, &v); pos < 0 {
			return
		}
		if p.children {
			depth++
		}
		if p.class == classMember && v.has&fType.bit() != 0 {
			w.addMember(u, name(v.get(fName)), v.v[fType], v.alt&fType.bit() != 0, end, nested)
		}
	}
}

// addMember adds one whose type is at ref. Those of a struct without a tag count as the outer one's, too.
func (w *worker) addMember(u *unit, n name, ref uint64, alt bool, end, nested int) {
	m := memberRef{name: n, held: true}
	for range maxTypeHops {
		t := w.unitOf(u, ref, alt)
		if t == nil {
			break
		}
		code, pos := uleb(t.info, int(ref))
		if pos < 0 {
			break
		}
		p := t.tab.find(code)
		if p == nil {
			break
		}
		if p.class == classType || p.class == classEnum {
			var v values
			next := t.decode(p, pos, &v)
			if next < 0 {
				break
			}
			if m.typ = name(v.get(fName)); m.typ == 0 && p.children && nested < maxNested && (p.kind == Struct || p.kind == Union) {
				w.readMembers(t, next, end, nested+1)
			}
			break
		}
		if p.tag == dwarf.TagPointerType || p.tag == dwarf.TagReferenceType {
			m.held = false
		}
		if p.typeAt < 0 || pos+int(p.typeAt)+int(p.typeOp.n) > len(t.info) {
			break
		}
		ref = t.number(pos+int(p.typeAt), int(p.typeOp.n))
		if p.typeOp.code == opRef {
			ref += t.Off
		}
		u, alt = t, p.typeOp.code == opRefAlt
	}
	if m.name|m.typ != 0 && len(w.members) < maxMembers {
		w.members = append(w.members, m)
	}
}
