package btf

import (
	"bytes"
	"errors"
	"fmt"

	"kdx/symbols"
)

// typeID is the number of a type; 0 is void.
type typeID uint32

// Kinds of BTF records, from include/uapi/linux/btf.h.
const (
	kindInt       = 1
	kindPointer   = 2
	kindArray     = 3
	kindStruct    = 4
	kindUnion     = 5
	kindEnum      = 6
	kindForward   = 7
	kindTypedef   = 8
	kindVolatile  = 9
	kindConst     = 10
	kindRestrict  = 11
	kindFunc      = 12
	kindFuncProto = 13
	kindVar       = 14
	kindDatasec   = 15
	kindFloat     = 16
	kindDeclTag   = 17 // 5.16
	kindTypeTag   = 18 // 5.17
	kindEnum64    = 19 // 6.0
)

// What an integer's record says of it.
const (
	intSigned = 1 << 0
	intChar   = 1 << 1
	intBool   = 1 << 2
)

const (
	headerSize = 24
	recordSize = 12   // struct btf_type
	maxDepth   = 2048 // of types that are made of each other; real ones nest some 20 deep
	maxString  = 64 << 10
)

// rawTypes finds records and strings. It has no lock: its Finder's is held.
type rawTypes struct {
	order   order
	types   section // records
	strings section // NUL-terminated
	base    *rawTypes
	// stringBase is the offset of the first byte of strings: a module's go on behind the kernel's.
	stringBase  uint32
	stringEnd   uint32
	first       typeID   // number of the first type
	count       int      // of types
	starts      []uint32 // where each stride-th record lies
	enums       []typeID // in rising order
	constants   []named  // of enums, until there is an index of them
	signedEnums bool     // an enum says that it is signed
	plainChars  bool     // "signed char" does not say that it is signed
	// bitfields are integers with an offset and a width of their own: up to pahole 1.11 a bit-field was a member of such a type.
	bitfields map[typeID][2]uint8

	near []byte // what was read last of the records
	at   uint32 // its offset
}

// stride is how many records there are to one of rawTypes.starts.
const stride = 8

func newRawTypes(mem symbols.Memory, addr, size uint64, base *rawTypes) (*rawTypes, error) {
	head := make([]byte, min(size, headerSize))
	all := section{mem, addr, uint32(size)}
	if err := all.read(head, 0); err != nil {
		return nil, err
	}
	bo, err := orderOf(head)
	if err != nil {
		return nil, err
	}
	hdr := uint64(bo.u32(head[4:]))
	typeOff, typeLen := uint64(bo.u32(head[8:])), uint64(bo.u32(head[12:]))
	strOff, strLen := uint64(bo.u32(head[16:])), uint64(bo.u32(head[20:]))
	if hdr < headerSize || hdr+typeOff+typeLen > size || hdr+strOff+strLen > size {
		return nil, fmt.Errorf("the header (types at %#x+%#x, strings at %#x+%#x) leads out of its %d bytes", typeOff, typeLen, strOff, strLen, size)
	}
	r := &rawTypes{
		order:   bo,
		types:   section{mem, addr + hdr + typeOff, uint32(typeLen)},
		strings: section{mem, addr + hdr + strOff, uint32(strLen)},
		base:    base,
		first:   1,
	}
	if base != nil {
		if base.order != bo {
			return nil, errors.New("its byte order is not that of the kernel's")
		}
		r.first = base.first + typeID(base.count)
		r.stringBase = base.stringEnd
	}
	r.stringEnd = r.stringBase + uint32(strLen)
	return r, nil
}

// record is one record of BTF.
type record struct {
	kind uint32
	n    int    // of members, values, parameters
	flag bool   // kind_flag
	name uint32 // offset of a string
	size uint32 // or a type
	body []byte // what follows
}

func (r *rawTypes) parse(b []byte) record {
	info := r.order.u32(b[4:])
	return record{kind: info >> 24 & 0x1f, n: int(info & 0xffff), flag: info>>31 != 0, name: r.order.u32(b), size: r.order.u32(b[8:]), body: b[recordSize:]}
}

// of is the type that the record is made of, or leads to.
func (x *record) of() typeID { return typeID(x.size) }

// trailing is how many bytes follow a record of that kind with n members.
func trailing(kind uint32, n int) (int, bool) {
	switch kind {
	case kindInt, kindVar, kindDeclTag:
		return 4, true
	case kindArray:
		return 12, true
	case kindStruct, kindUnion, kindDatasec, kindEnum64:
		return 12 * n, true
	case kindEnum, kindFuncProto:
		return 8 * n, true
	}
	return 0, kind >= kindInt && kind <= kindEnum64
}

// each goes through all records, in the order of their numbers. A record is good until the next.
func (r *rawTypes) each(yield func(id typeID, at uint32, x record) error) error {
	w := newWindow(&r.types)
	id := r.first
	for at := uint32(0); at < r.types.size; {
		b, err := w.at(at, recordSize)
		if err != nil {
			return err
		}
		n, err := r.length(b)
		if err == nil && len(b) < n {
			if b, err = w.at(at, n); err == nil && len(b) < n {
				err = errCut
			}
		}
		// All records that are whole in the window.
		for err == nil && len(b) >= n {
			if err := yield(id, at, r.parse(b[:n])); err != nil {
				return err
			}
			b, at, id = b[n:], at+uint32(n), id+1
			if len(b) < recordSize {
				break
			}
			n, err = r.length(b)
		}
		if err != nil {
			return fmt.Errorf("type %d: its record at %#x %w", id, at, err)
		}
	}
	return nil
}

var errCut = errors.New("is cut off")

// length of the record that b begins with, bytes.
func (r *rawTypes) length(b []byte) (int, error) {
	if len(b) < recordSize {
		return 0, errCut
	}
	info := r.order.u32(b[4:])
	extra, ok := trailing(info>>24&0x1f, int(info&0xffff))
	if !ok {
		return 0, fmt.Errorf("says that its kind is %d, which this program does not know", info>>24&0x1f)
	}
	return recordSize + extra, nil
}

// scan goes through all records once, and makes the index of the types' names.
func (r *rawTypes) scan() (nameIndex, error) {
	r.starts = make([]uint32, 0, r.types.size/(36*stride))
	var names []named
	var signedChars []named // integers that don't say that they are signed
	err := r.each(func(id typeID, at uint32, x record) error {
		if r.count%stride == 0 {
			r.starts = append(r.starts, at)
		}
		r.count++
		switch x.kind {
		case kindInt:
			r.integer(id, x)
			if r.order.u32(x.body)>>24&intSigned == 0 {
				signedChars = append(signedChars, newNamed(x.name, id))
			}
		case kindEnum, kindEnum64:
			r.signedEnums = r.signedEnums || x.flag
			r.enums = append(r.enums, id)
			for off := range r.constantsOf(x) {
				r.constants = append(r.constants, newNamed(off, id))
			}
		}
		if x.isNamed(typeKinds) {
			names = append(names, newNamed(x.name, id))
		}
		return nil
	})
	if err != nil {
		return nameIndex{}, err
	}
	for _, n := range signedChars {
		name, err := r.str(n.offset())
		if err != nil {
			return nameIndex{}, err
		}
		r.plainChars = r.plainChars || name == "signed char"
	}
	return r.newIndex(names)
}

func (r *rawTypes) integer(id typeID, x record) {
	word := r.order.u32(x.body)
	if at, width := uint8(word>>16), uint8(word); at != 0 || uint32(width) != x.size*8 {
		if r.bitfields == nil {
			r.bitfields = make(map[typeID][2]uint8)
		}
		r.bitfields[id] = [2]uint8{at, width}
	}
}

// errChanged: a running kernel was read.
var errChanged = errors.New("the records have changed since they were first read")

// nearby is how much is read at once where a record is looked for, bytes.
const nearby = 512

// chunk is n bytes of the records from off on, or more. The slice is good until the next call.
func (r *rawTypes) chunk(off uint32, n int) ([]byte, error) {
	if off < r.at || uint64(off)+uint64(n) > uint64(r.at)+uint64(len(r.near)) {
		if uint64(off)+uint64(n) > uint64(r.types.size) {
			return nil, errChanged
		}
		want := min(int(r.types.size-off), max(n, nearby))
		if cap(r.near) < want {
			r.near = make([]byte, want)
		}
		r.near, r.at = r.near[:want], off
		if err := r.types.read(r.near, off); err != nil {
			r.near = r.near[:0]
			return nil, err
		}
	}
	return r.near[off-r.at:], nil
}

// record is that of type id, which is of this BTF; ok is false if there is none. It is good until the next call.
func (r *rawTypes) record(id typeID) (x record, ok bool, err error) {
	i := int(id) - int(r.first)
	if i < 0 || i >= r.count {
		return record{}, false, nil
	}
	off := r.starts[i/stride]
	for left := i % stride; ; left-- {
		b, err := r.chunk(off, recordSize)
		if err != nil {
			return record{}, false, err
		}
		n, err := r.length(b)
		if err != nil {
			return record{}, false, errChanged
		}
		if left == 0 {
			if b, err = r.chunk(off, n); err != nil {
				return record{}, false, err
			}
			return r.parse(b[:n]), true, nil
		}
		off += uint32(n)
	}
}

// str is the string at offset off; "" if there is none.
func (r *rawTypes) str(off uint32) (string, error) {
	if off < r.stringBase && r.base != nil {
		return r.base.str(off)
	}
	if off < r.stringBase || off >= r.stringEnd {
		return "", nil
	}
	off -= r.stringBase
	var some [64]byte
	buf := some[:]
	for {
		p := buf[:min(len(buf), int(r.strings.size-off))]
		if err := r.strings.read(p, off); err != nil {
			return "", err
		}
		if end := bytes.IndexByte(p, 0); end >= 0 {
			return string(p[:end]), nil
		}
		if len(p) < len(buf) || len(buf) >= maxString {
			return "", nil
		}
		buf = make([]byte, len(buf)*8)
	}
}
