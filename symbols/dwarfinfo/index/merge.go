package index

import (
	"cmp"
	"slices"
)

// maxHits bounds the definitions of one name and kind that are kept.
const maxHits = 256

// maxBlob bounds all names together, which may overlap in the file; kernels have 3 MB.
const maxBlob = 128 << 20

// merger makes an index of what the workers found.
type merger struct {
	seed    uint64
	blob    []byte   // all names, one behind the other
	ends    []uint32 // where each name ends in blob
	slots   []uint32 // id+1 of names by their hash
	entries []entry
	owner   []uint32 // name of each entry, or nobody
	order   []uint32 // the entries to keep: by name, kind and rank
	starts  []uint32 // where in order those of each name begin, and one more for the end
	// members by holder.
	members []member
	holders []holder
}

const nobody = ^uint32(0)

// member names a member and its type by their numbers + 1; 0 is none. heldBit of typ says that the type is part of the holder.
type member struct{ name, typ uint32 }

const heldBit = 1 << 31

func (m *merger) name(id uint32) []byte {
	start := uint32(0)
	if id > 0 {
		start = m.ends[id-1]
	}
	return m.blob[start:m.ends[id]]
}

// id is the number of a name, which is added if it is new.
func (m *merger) id(text []byte) uint32 {
	if 2*len(m.ends) >= len(m.slots) {
		m.reserve(len(m.slots)/2 + 1)
	}
	mask := uint64(len(m.slots) - 1)
	for k := hashName(text, m.seed) & mask; ; k = (k + 1) & mask {
		s := m.slots[k]
		if s == 0 {
			m.blob = append(m.blob, text...)
			m.ends = append(m.ends, uint32(len(m.blob)))
			m.slots[k] = uint32(len(m.ends))
			return uint32(len(m.ends) - 1)
		}
		if string(m.name(s-1)) == string(text) {
			return s - 1
		}
	}
}

// reserve makes room for n names.
func (m *merger) reserve(n int) {
	size := 1 << 12
	for size < 2*n {
		size *= 2
	}
	m.slots = make([]uint32, size)
	mask := uint64(len(m.slots) - 1)
	for i := range m.ends {
		k := hashName(m.name(uint32(i)), m.seed) & mask
		for m.slots[k] != 0 {
			k = (k + 1) & mask
		}
		m.slots[k] = uint32(i + 1)
	}
}

// hashName is a name's hash; eight bytes at a time.
func hashName[T string | []byte](text T, seed uint64) uint64 {
	h := seed ^ uint64(len(text))
	for len(text) > 8 {
		h = mix(uint64(text[0])|uint64(text[1])<<8|uint64(text[2])<<16|uint64(text[3])<<24|
			uint64(text[4])<<32|uint64(text[5])<<40|uint64(text[6])<<48|uint64(text[7])<<56, h, seed)
		text = text[8:]
	}
	v := uint64(0)
	for i := range len(text) {
		v |= uint64(text[i]) << (8 * i)
	}
	return mix(v, h, seed)
}

// untaggedEnum marks enums without a tag while the workers' findings are put together.
const untaggedEnum Kind = 15

// join takes over what o found. Definitions that both met are counted together.
func (w *worker) join(o *worker) {
	w.entries = slices.Grow(w.entries, len(o.entries))
	moved := make([]uint32, len(o.entries)) // index+1 of entries that are new here
	var buf [maxInPlace]byte
	for i := range o.entries {
		e := o.entries[i]
		if e.name>>nameShift == secArena {
			e.name = w.names.inPlace(o.secs.text(e.name, &o.names, &buf))
		}
		switch {
		case e.kind == Enumerator:
			parent := moved[e.aux]
			if parent == 0 {
				continue // of an enum that this one met, too
			}
			e.aux = uint64(parent - 1)
		case e.shared():
			if at, fresh := w.intern(e); fresh {
				moved[i] = uint32(at + 1)
			}
			continue
		}
		if len(w.entries) < maxEntries {
			w.entries = append(w.entries, e)
		}
	}
	w.joinMembers(o, moved)
	*o = worker{}
}

func (w *worker) joinMembers(o *worker, moved []uint32) {
	var buf [maxInPlace]byte
	rename := func(n name) name {
		if n>>nameShift == secArena {
			return w.names.inPlace(o.secs.text(n, &o.names, &buf))
		}
		return n
	}
	for _, h := range o.holders {
		if moved[h.entry] == 0 || len(w.members) >= maxMembers {
			continue
		}
		from := len(w.members)
		for _, m := range o.members[h.from:h.to] {
			w.members = append(w.members, memberRef{rename(m.name), rename(m.typ), m.held})
		}
		w.hold(int(moved[h.entry]-1), from)
	}
}

// add takes over what a worker found.
func (m *merger) add(w *worker) {
	m.entries = w.entries
	m.owner = make([]uint32, len(w.entries))
	m.blob = make([]byte, 0, 16*len(w.entries))
	m.reserve(len(w.entries) / 2)
	var buf [maxInPlace]byte
	for i := range w.entries {
		e := &w.entries[i]
		m.owner[i] = nobody
		if e.kind == untaggedEnum {
			continue
		}
		text := w.secs.text(e.name, &w.names, &buf)
		if len(text) == 0 || len(m.blob)+len(text) > maxBlob {
			continue
		}
		m.owner[i] = m.id(text)
	}
	m.addMembers(w)
}

// addMembers takes over the members, by the worker's entries.
func (m *merger) addMembers(w *worker) {
	m.holders = w.holders
	m.members = make([]member, 0, len(w.members))
	var buf [maxInPlace]byte
	id := func(n name) uint32 {
		text := w.secs.text(n, &w.names, &buf)
		if len(text) == 0 || len(m.blob)+len(text) > maxBlob {
			return 0
		}
		return m.id(text) + 1
	}
	for _, r := range w.members {
		x := member{id(r.name), id(r.typ)}
		if r.held && x.typ != 0 {
			x.typ |= heldBit
		}
		m.members = append(m.members, x)
	}
}

// group orders the entries by name, and those of one name by kind and by how good an answer they are.
func (m *merger) group() {
	starts := make([]uint32, len(m.ends)+1)
	for _, id := range m.owner {
		if id != nobody {
			starts[id+1]++
		}
	}
	for i := range m.ends {
		starts[i+1] += starts[i]
	}
	at := slices.Clone(starts)
	order := make([]uint32, starts[len(m.ends)])
	for i, id := range m.owner {
		if id != nobody {
			order[at[id]] = uint32(i)
			at[id]++
		}
	}
	end := uint32(0)
	for i := range m.ends {
		all := order[starts[i]:starts[i+1]]
		if len(all) > 1 {
			slices.SortFunc(all, func(a, b uint32) int { return better(&m.entries[a], &m.entries[b]) })
		}
		starts[i] = end
		end += uint32(m.bound(order[end:], all))
	}
	starts[len(m.ends)] = end
	m.order, m.starts = order[:end], starts
}

// better orders entries of one name.
func better(a, b *entry) int {
	return cmp.Or(cmp.Compare(a.kind, b.kind),
		cmp.Compare(b.flags&flagPlaced, a.flags&flagPlaced),
		cmp.Compare(a.flags&flagDeclared, b.flags&flagDeclared),
		cmp.Compare(b.flags&flagExternal, a.flags&flagExternal),
		cmp.Compare(a.flags&flagLocal, b.flags&flagLocal),
		cmp.Compare(b.count, a.count),
		cmp.Compare(a.off, b.off)) // those of the alt file last
}

// bound copies the entries of one name to out, at most maxHits of a kind, and without functions' abstract instances whose code is
// there, too. It returns how many there are.
func (m *merger) bound(out, all []uint32) int {
	n, first := 0, 0
	for i := range all {
		if i > 0 && m.entries[all[i-1]].kind != m.entries[all[i]].kind {
			first = n
		}
		if n-first == maxHits || m.known(out[first:n], &m.entries[all[i]]) {
			continue
		}
		out[n] = all[i]
		n++
	}
	return n
}

// known reports whether e is one of those, whose name lies elsewhere, or an abstract instance or a declaration of one.
func (m *merger) known(those []uint32, e *entry) bool {
	if e.flags&flagPlaced != 0 || e.kind == Enumerator {
		return false
	}
	if e.flags&flagDeclared != 0 && len(those) > 0 {
		return true
	}
	for _, i := range those {
		o := &m.entries[i]
		switch {
		case o.sig&lineMask != e.sig&lineMask:
		case e.kind == Function || e.kind == Variable:
			return true
		case o.aux == e.aux:
			o.count += e.count
			return true
		}
	}
	return false
}
