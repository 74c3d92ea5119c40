package index

import (
	"encoding/binary"
	"errors"
	"math"
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

func (m *merger) image() ([]byte, error) {
	starts := m.group()
	if len(m.blob) > math.MaxUint32-1 || len(m.recs) > math.MaxUint32-1 {
		return nil, errors.New("there are more names than an index can hold")
	}
	n := len(m.ends)
	slots := 16
	for slots < 2*n {
		slots *= 2
	}
	at := make(map[uint32]int, len(m.holders)) // entry → record
	for i := range m.recs {
		if k := m.recs[i].kind; k == Struct || k == Union || k == Typedef {
			at[m.recs[i].entry-1] = i
		}
	}
	m.holders = slices.DeleteFunc(m.holders, func(h holder) bool { _, ok := at[h.entry]; return !ok })
	members := 0
	for _, h := range m.holders {
		members += int(h.to - h.from)
	}
	b := make([]byte, headerSize+slotSize*slots+nameSize*(n+1)+recordSize*len(m.recs)+holderSize*len(m.holders)+memberSize*members+len(m.blob))
	copy(b, magic)
	le.PutUint64(b[8:], m.seed)
	le.PutUint32(b[16:], uint32(n))
	le.PutUint32(b[20:], uint32(len(m.recs)))
	le.PutUint32(b[24:], uint32(slots))
	le.PutUint32(b[28:], uint32(len(m.holders)))
	le.PutUint32(b[32:], uint32(members))
	x, err := parseImage(b)
	if err != nil {
		return nil, err
	}
	mask := uint64(slots - 1)
	begin := uint32(0)
	for i := range n + 1 {
		p := x.names[nameSize*i:]
		le.PutUint32(p, begin)
		le.PutUint32(p[4:], starts[i])
		if i == n {
			break
		}
		kinds := uint32(0)
		for j := starts[i]; j < starts[i+1]; j++ {
			kinds |= 1 << m.recs[j].kind
			m.recs[j].owner = uint32(i)
		}
		le.PutUint32(p[8:], kinds)
		begin = m.ends[i]
		k := hashName(m.name(uint32(i)), m.seed) & mask
		for le.Uint32(x.slots[slotSize*k:]) != 0 {
			k = (k + 1) & mask
		}
		le.PutUint32(x.slots[slotSize*k:], uint32(i+1))
	}
	for i := range m.recs {
		p, r := x.recs[recordSize*i:recordSize*(i+1)], &m.recs[i]
		le.PutUint64(p, r.off)
		le.PutUint64(p[8:], r.aux)
		le.PutUint32(p[16:], r.count)
		p[20], p[21] = byte(r.kind), byte(r.flags)
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
		le.PutUint32(p, uint32(at[h.entry]))
		le.PutUint32(p[4:], m.recs[at[h.entry]].owner)
		le.PutUint32(p[8:], uint32(end))
	}
	return b, nil
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
