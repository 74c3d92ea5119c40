package btf

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"sort"

	"github.com/cilium/ebpf/btf"
)

// Kinds of BTF records, from include/uapi/linux/btf.h.
const (
	kindInt       = 1
	kindPointer   = 2
	kindArray     = 3
	kindStruct    = 4
	kindUnion     = 5
	kindEnum      = 6
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

const (
	headerSize = 24
	recordSize = 12   // struct btf_type
	maxDepth   = 2048 // of types held by value; real ones nest some 20 deep
)

// rawTypes is where each type's record lies.
type rawTypes struct {
	order       binary.ByteOrder
	types       []byte   // records; pointers lead nowhere
	strings     []byte   // NUL-terminated
	stringBase  uint32   // offset of the first byte of strings
	stringEnd   uint32   // offset behind the last
	first       uint32   // number of the first type
	offsets     []uint32 // of records, by number - first
	pointers    []uint32 // numbers of pointer types, rising
	targets     []uint32 // what they point to
	signedEnums bool     // an enum says that it is signed
	plainChars  bool     // "signed char" does not say that it is signed

	seen []uint64 // bits of the types whose depth was checked
}

// index finds the records in data and cuts its pointers.
func index(data []byte, first, stringBase uint32) (*rawTypes, error) {
	bo, err := order(data)
	if err != nil {
		return nil, err
	}
	hdr := uint64(bo.Uint32(data[4:]))
	typeOff, typeLen := uint64(bo.Uint32(data[8:])), uint64(bo.Uint32(data[12:]))
	strOff, strLen := uint64(bo.Uint32(data[16:])), uint64(bo.Uint32(data[20:]))
	size := uint64(len(data))
	if hdr < headerSize || hdr+typeOff+typeLen > size || hdr+strOff+strLen > size {
		return nil, fmt.Errorf("the header (types at %#x+%#x, strings at %#x+%#x) leads out of its %d bytes", typeOff, typeLen, strOff, strLen, size)
	}
	r := &rawTypes{
		order:      bo,
		types:      data[hdr+typeOff:][:typeLen],
		strings:    data[hdr+strOff:][:strLen],
		stringBase: stringBase,
		stringEnd:  stringBase + uint32(strLen),
		first:      first,
	}
	r.offsets = make([]uint32, 0, typeLen/36)
	for at := 0; at < len(r.types); {
		n, err := r.record(at)
		if err != nil {
			return nil, fmt.Errorf("type %d: %w", first+uint32(len(r.offsets)), err)
		}
		r.offsets = append(r.offsets, uint32(at))
		at += n
	}
	r.seen = make([]uint64, len(r.offsets)/64+1)
	return r, nil
}

// record takes in the record at offset at and returns its size.
func (r *rawTypes) record(at int) (int, error) {
	if len(r.types)-at < recordSize {
		return 0, fmt.Errorf("its record at %#x is cut off", at)
	}
	info := r.order.Uint32(r.types[at+4:])
	kind, n := info>>24&0x1f, int(info&0xffff)
	extra, ok := trailing(kind, n)
	if !ok {
		return 0, fmt.Errorf("its kind is %d, which this program does not know", kind)
	}
	if len(r.types)-at < recordSize+extra {
		return 0, fmt.Errorf("its record at %#x is cut off", at)
	}
	switch kind {
	case kindPointer:
		to := r.types[at+8:]
		r.pointers = append(r.pointers, r.first+uint32(len(r.offsets)))
		r.targets = append(r.targets, r.order.Uint32(to))
		r.order.PutUint32(to, 0)
	case kindInt:
		name, encoding := r.str(r.order.Uint32(r.types[at:])), r.order.Uint32(r.types[at+recordSize:])>>24
		r.plainChars = r.plainChars || encoding&uint32(btf.Signed) == 0 && string(name) == "signed char"
	case kindEnum, kindEnum64:
		r.signedEnums = r.signedEnums || info>>31 != 0
	}
	return recordSize + extra, nil
}

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

// target is what pointer type id points to.
func (r *rawTypes) target(id btf.TypeID) (btf.TypeID, bool) {
	i := sort.Search(len(r.pointers), func(i int) bool { return r.pointers[i] >= uint32(id) })
	if i == len(r.pointers) || r.pointers[i] != uint32(id) {
		return 0, false
	}
	return btf.TypeID(r.targets[i]), true
}

// at is the record of type id.
func (r *rawTypes) at(id btf.TypeID) ([]byte, bool) {
	i := uint32(id) - r.first
	if uint32(id) < r.first || i >= uint32(len(r.offsets)) {
		return nil, false
	}
	return r.types[r.offsets[i]:], true
}

// str is the string at offset off; nil if there is none.
func (r *rawTypes) str(off uint32) []byte {
	if off < r.stringBase || off-r.stringBase >= uint32(len(r.strings)) {
		return nil
	}
	s := r.strings[off-r.stringBase:]
	if end := bytes.IndexByte(s, 0); end >= 0 {
		return s[:end]
	}
	return nil
}

// child is the k-th type that the record of b refers to by value.
func (r *rawTypes) child(b []byte, k int) (btf.TypeID, bool) {
	info := r.order.Uint32(b[4:])
	kind, n := info>>24&0x1f, int(info&0xffff)
	u32 := func(at int) btf.TypeID { return btf.TypeID(r.order.Uint32(b[at:])) }
	switch kind {
	case kindTypedef, kindVolatile, kindConst, kindRestrict, kindFunc, kindVar, kindDeclTag, kindTypeTag:
		return u32(8), k == 0
	case kindArray:
		if k < 2 {
			return u32(recordSize + 4*k), true
		}
	case kindStruct, kindUnion:
		if k < n {
			return u32(recordSize + 12*k + 4), true
		}
	case kindDatasec:
		if k < n {
			return u32(recordSize + 12*k), true
		}
	case kindFuncProto:
		if k < n {
			return u32(recordSize + 8*k + 4), true
		}
		return u32(8), k == n
	}
	return 0, false
}

// shallow walks what type id holds by value, as the library will, and reports whether that is not too deep.
func (f *Finder) shallow(id btf.TypeID) bool {
	type step struct {
		r    *rawTypes
		b    []byte
		next int
	}
	var stack []step
	enter := func(id btf.TypeID) {
		r := f.owner(id).raw
		b, ok := r.at(id)
		if !ok {
			return // void, or a number that the library will refuse
		}
		i := uint32(id) - r.first
		if r.seen[i/64]>>(i%64)&1 != 0 {
			return
		}
		r.seen[i/64] |= 1 << (i % 64)
		stack = append(stack, step{r: r, b: b})
	}
	for enter(id); len(stack) > 0; {
		if len(stack) > maxDepth {
			return false
		}
		top := &stack[len(stack)-1]
		c, ok := top.r.child(top.b, top.next)
		top.next++
		if !ok {
			stack = stack[:len(stack)-1]
			continue
		}
		enter(c)
	}
	return true
}
