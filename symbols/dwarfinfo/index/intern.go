package index

// mix is the hash of two numbers and a seed that nobody knows before: files can't be made to collide.
func mix(a, b, seed uint64) uint64 {
	h := (a ^ seed) * 0x9e3779b97f4a7c15
	h ^= h >> 32
	h = (h ^ b ^ seed>>7) * 0xd6e8feb86659fd93
	h ^= h >> 29
	h *= 0xa0761d6478bd642f
	return h ^ h>>32
}

// shared reports whether units may have the same definition: all but what has an address, and enumerators, which go with
// their enum.
func (e *entry) shared() bool {
	switch e.kind {
	case Enumerator:
		return false
	case Function, Variable:
		return e.aux == 0
	}
	return true
}

// intern adds a definition, or its count where an equal one of its name is known. It returns the entry's index.
func (w *worker) intern(e entry) (i int, fresh bool) {
	mask := uint64(len(w.slots) - 1)
	for k := mix(uint64(e.name), e.sig^uint64(e.kind)<<60, w.seed) & mask; ; k = (k + 1) & mask {
		s := w.slots[k]
		if s == 0 {
			if len(w.entries) >= maxEntries {
				return 0, false
			}
			w.entries = append(w.entries, e)
			w.slots[k] = uint32(len(w.entries))
			if w.interned++; w.interned > len(w.slots)/2 {
				w.grow()
			}
			return len(w.entries) - 1, true
		}
		o := &w.entries[s-1]
		if o.name == e.name && o.sig == e.sig && o.kind == e.kind {
			o.count += e.count
			if o.flags&flagDeclared > e.flags&flagDeclared || o.flags&flagPlaced < e.flags&flagPlaced {
				o.off, o.flags = e.off, e.flags
			}
			o.flags &^= flagLocal &^ e.flags // known outside functions, too
			return int(s - 1), false
		}
	}
}

func (w *worker) grow() {
	old := w.slots
	w.slots = make([]uint32, 2*len(old))
	mask := uint64(len(w.slots) - 1)
	for _, s := range old {
		if s == 0 {
			continue
		}
		e := &w.entries[s-1]
		k := mix(uint64(e.name), e.sig^uint64(e.kind)<<60, w.seed) & mask
		for w.slots[k] != 0 {
			k = (k + 1) & mask
		}
		w.slots[k] = s
	}
}
