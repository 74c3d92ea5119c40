package index

import (
	"encoding/binary"
	"errors"
	"slices"
)

// An image is an index as bytes, little-endian, looked up in place:
//
//	header   magic, seed of the hash, number of names, records, slots, holders and members
//	slots    4 bytes each: number of a name + 1, by the name's hash; 0 is free
//	names    12 bytes each, and one more for the end: where its text begins in the blob, its first record, its kinds (a bit each)
//	records  24 bytes each: offset, aux, count, kind, flags
//	holders  12 bytes each: number of a record and of its name, where its members end; they begin where the last one's end
//	members  8 bytes each: number of a name + 1; the same of its type, with a bit if the type is held rather than pointed to
//	blob     the names' bytes, in the order of names
//
// Nothing in it is believed: an offset beyond its part is no answer.
type image struct {
	slots, names, recs, holders, members, blob []byte
	seed                                       uint64
	count                                      uint32 // of names
}

const (
	magic      = "kdxDWi\x00\x01" // the last byte is the version
	headerSize = 40
	holderSize = 12
	memberSize = 8
	slotSize   = 4
	nameSize   = 12
	recordSize = 24
)

var le = binary.LittleEndian

// image writes what the merger has.
func (m *merger) image() ([]byte, error) {
	m.group()
	n := len(m.ends)
	at := m.holding()
	members := 0
	for _, h := range m.holders {
		members += int(h.to - h.from)
	}
	b := make([]byte, headerSize+slotSize*len(m.slots)+nameSize*(n+1)+recordSize*len(m.order)+holderSize*len(m.holders)+memberSize*members+len(m.blob))
	copy(b, magic)
	le.PutUint64(b[8:], m.seed)
	for i, v := range []int{n, len(m.order), len(m.slots), len(m.holders), members} {
		le.PutUint32(b[16+4*i:], uint32(v))
	}
	x, err := parseImage(b)
	if err != nil {
		return nil, err
	}
	for i, s := range m.slots {
		le.PutUint32(x.slots[slotSize*i:], s)
	}
	begin := uint32(0)
	for i, start := range m.starts {
		p := x.names[nameSize*i:]
		le.PutUint32(p, begin)
		le.PutUint32(p[4:], start)
		if i == n {
			break
		}
		kinds := uint32(0)
		for _, e := range m.order[start:m.starts[i+1]] {
			kinds |= 1 << m.entries[e].kind
		}
		le.PutUint32(p[8:], kinds)
		begin = m.ends[i]
	}
	for i, e := range m.order {
		m.writeRecord(x.recs[recordSize*i:recordSize*(i+1)], &m.entries[e])
	}
	copy(x.blob, m.blob)
	end := 0
	for i, h := range m.holders {
		for _, r := range m.members[h.from:h.to] {
			le.PutUint32(x.members[memberSize*end:], r.name)
			le.PutUint32(x.members[memberSize*end+4:], r.typ)
			end++
		}
		p := x.holders[holderSize*i:]
		le.PutUint32(p, at[i])
		le.PutUint32(p[4:], m.owner[h.entry])
		le.PutUint32(p[8:], uint32(end))
	}
	return b, nil
}

func (m *merger) writeRecord(p []byte, e *entry) {
	aux, f := e.aux, e.flags
	if e.kind == Enumerator {
		aux = m.entries[e.aux].off &^ (1 << altShift)
	}
	if e.off>>altShift != 0 {
		f |= flagAlt
	}
	le.PutUint64(p, e.off&^(1<<altShift))
	le.PutUint64(p[8:], aux)
	le.PutUint32(p[16:], e.count)
	p[20], p[21] = byte(e.kind), byte(f)
}

// holding drops the holders whose entries are not kept, and returns the records of the others.
func (m *merger) holding() (records []uint32) {
	at := make([]uint32, len(m.entries))
	for i, e := range m.order {
		at[e] = uint32(i + 1)
	}
	m.holders = slices.DeleteFunc(m.holders, func(h holder) bool { return at[h.entry] == 0 })
	for _, h := range m.holders {
		records = append(records, at[h.entry]-1)
	}
	return records
}

var errImage = errors.New("it is no index of this version")

// parseImage takes an image apart. Its parts have the sizes that its header says.
func parseImage(b []byte) (*image, error) {
	if len(b) < headerSize || string(b[:8]) != magic {
		return nil, errImage
	}
	x := &image{seed: le.Uint64(b[8:]), count: le.Uint32(b[16:])}
	recs, slots := uint64(le.Uint32(b[20:])), uint64(le.Uint32(b[24:]))
	holders, members := uint64(le.Uint32(b[28:])), uint64(le.Uint32(b[32:]))
	if slots == 0 || slots&(slots-1) != 0 || uint64(x.count) > slots/2 {
		return nil, errImage
	}
	rest := b[headerSize:]
	for _, part := range []struct {
		into *[]byte
		size uint64
	}{{&x.slots, slots * slotSize}, {&x.names, (uint64(x.count) + 1) * nameSize}, {&x.recs, recs * recordSize},
		{&x.holders, holders * holderSize}, {&x.members, members * memberSize}} {
		if part.size > uint64(len(rest)) {
			return nil, errImage
		}
		*part.into, rest = rest[:part.size], rest[part.size:]
	}
	x.blob = rest
	return x, nil
}

// name is the text of name i, empty if it makes no sense.
func (x *image) name(i uint32) []byte {
	p := x.names[nameSize*uint64(i):]
	from, to := le.Uint32(p), le.Uint32(p[nameSize:])
	if from > to || uint64(to) > uint64(len(x.blob)) {
		return nil
	}
	return x.blob[from:to]
}

func (x *image) kinds(i uint32) uint32 { return le.Uint32(x.names[nameSize*uint64(i)+8:]) }

// records are those of name i.
func (x *image) records(i uint32) []byte {
	p := x.names[nameSize*uint64(i):]
	from, to := uint64(le.Uint32(p[4:])), uint64(le.Uint32(p[nameSize+4:]))
	if from > to || to*recordSize > uint64(len(x.recs)) {
		return nil
	}
	return x.recs[from*recordSize : to*recordSize]
}

// find is the number of a name.
func (x *image) find(text string) (i uint32, ok bool) {
	n := uint64(len(x.slots) / slotSize)
	k := hashName(text, x.seed) & (n - 1)
	for range n {
		s := le.Uint32(x.slots[slotSize*k:])
		if s == 0 || s > x.count {
			return 0, false
		}
		if string(x.name(s-1)) == text {
			return s - 1, true
		}
		k = (k + 1) & (n - 1)
	}
	return 0, false
}

// record is a definition as the index keeps it.
type record struct {
	off   uint64 // in .debug_info
	aux   uint64 // types: size; functions and variables: address; enumerators: offset of the enum
	count uint32
	kind  Kind
	flags flags
}

func readRecord(p []byte) record {
	return record{off: le.Uint64(p), aux: le.Uint64(p[8:]), count: le.Uint32(p[16:]), kind: Kind(p[20]), flags: flags(p[21])}
}

func (r record) hit() Hit {
	h := Hit{Off: r.off, Count: int(r.count), Local: r.flags&flagLocal != 0, External: r.flags&flagExternal != 0,
		Placed: r.flags&flagPlaced != 0, Untagged: r.flags&flagUntagged != 0, Alt: r.flags&flagAlt != 0, Declared: r.flags&flagDeclared != 0}
	switch r.kind {
	case Enumerator:
		h.Parent = r.aux
	case Function, Variable:
		h.Addr = r.aux
	default:
		h.Size = r.aux
	}
	return h
}
