package index

import (
	"debug/dwarf"
	"errors"
	"math"

	"kdx/symbols/dwarfinfo"
)

// opcode is how to step over one attribute or several.
type opcode uint8

const (
	opSkip      opcode = iota // n bytes that nobody wants
	opFixed                   // a number of n bytes
	opULEB                    // a LEB128 number; signed ones are as long
	opRef                     // as opFixed, relative to the unit
	opRefULEB                 // as opULEB, relative to the unit
	opRefAlt                  // an offset of n bytes in the alt file's .debug_info
	opString                  // a string in place
	opStr                     // an offset of n bytes in .debug_str
	opLineStr                 // … in .debug_line_str
	opAltStr                  // … in the alt file's .debug_str
	opStrx                    // an index of n bytes into .debug_str_offsets
	opStrxULEB                // the same as LEB128
	opAddrx                   // an index of n bytes into .debug_addr
	opAddrxULEB               // the same as LEB128
	opBlock                   // a block whose length has n bytes
	opBlockULEB               // a block whose length is LEB128
	opBlock16                 // 16 bytes
	opConst                   // no bytes: consts[n] of the table
	opIndirect                // the form is in the entry
)

// field is an attribute that the scanner wants; the first takes what nobody wants.
type field uint8

const (
	fNone field = iota
	fName
	fSize
	fLine
	fSibling
	fOrigin // DW_AT_abstract_origin
	fSpec   // DW_AT_specification
	fAddr   // DW_AT_low_pc, or DW_AT_location if it is an address
	fRanges
	fType
	fDecl
	fExternal
	fValue // DW_AT_const_value
	fEnumClass
	fLang
	fStrOffsets
	fAddrBase
	fRngBase
	numFields
)

func (f field) bit() uint32 { return 1 << f }

// op is one step. n is a number of bytes, or an index.
type op struct {
	code opcode
	dst  field
	n    uint16
}

// class is what the scanner does with an entry.
type class uint8

const (
	classRaw class = iota // not compiled yet
	classBad              // it makes no sense
	classSkip
	classRoot
	classType
	classEnum
	classFunction
	classVariable
	classNamespace
	classEnumerator
	classMember
)

// prog is a compiled abbreviation.
type prog struct {
	from, to int32 // its ops; as long as it is raw, where its attributes begin in the section's bytes, and its tag
	fixed    int32 // bytes of all attributes, if that is the same for each entry and none is wanted; otherwise -1
	class    class
	kind     Kind
	tag      dwarf.Tag
	typeOp   op    // reads DW_AT_type
	typeAt   int32 // where it is behind the abbreviation's number, if that is the same for each entry; otherwise -1
	children bool
	skip     bool           // by its shape alone it is nothing to index: a type's declaration, or it has no name
	declared bool           // it is a declaration
	form     dwarfinfo.Form // of fRanges
}

// table is a unit's abbreviations, each compiled when it is first met: most are of entries inside functions. Those numbered from 1
// without gaps, as compilers do, are in dense.
type table struct {
	dense  []prog
	sparse map[uint64]*prog
	ops    []op
	consts []uint64
	layout layout
	bytes  []byte // of the abbreviations
}

// find is nil if there is no such abbreviation, or it makes no sense.
func (t *table) find(code uint64) *prog {
	var p *prog
	if code-1 < uint64(len(t.dense)) {
		p = &t.dense[code-1]
	} else if p = t.sparse[code]; p == nil {
		return nil
	}
	if p.class > classBad {
		return p
	}
	if p.class == classBad || !t.compile(p) {
		p.class = classBad
		return nil
	}
	return p
}

// attrGNUAddrBase is DW_AT_GNU_addr_base, for which package debug/dwarf has no name.
const attrGNUAddrBase = 0x2133

// wants are the attributes that a class wants, by their numbers; attributes beyond are GNU's and others', see want.
type wants [0x90]field

func (w *wants) want(attr uint64) field {
	if attr < uint64(len(w)) {
		return w[attr]
	}
	return fNone
}

// shape is what is wanted of a tag.
type shape struct {
	class class
	kind  Kind
	wants *wants
}

var (
	memberWants = wants{dwarf.AttrName: fName, dwarf.AttrType: fType, dwarf.AttrSibling: fSibling}
	otherWants  = wants{dwarf.AttrSibling: fSibling}
	rootWants   = wants{dwarf.AttrLanguage: fLang, dwarf.AttrStrOffsetsBase: fStrOffsets, dwarf.AttrAddrBase: fAddrBase,
		dwarf.AttrRnglistsBase: fRngBase, dwarf.AttrLowpc: fAddr}
	namedWants = wants{dwarf.AttrName: fName, dwarf.AttrSibling: fSibling}
	typeWants  = wants{dwarf.AttrName: fName, dwarf.AttrByteSize: fSize, dwarf.AttrDeclLine: fLine, dwarf.AttrSibling: fSibling,
		dwarf.AttrDeclaration: fDecl, dwarf.AttrSpecification: fSpec, dwarf.AttrSignature: fDecl, dwarf.AttrEnumClass: fEnumClass}
	typedefWants = wants{dwarf.AttrName: fName, dwarf.AttrDeclLine: fLine, dwarf.AttrType: fType, dwarf.AttrSibling: fSibling,
		dwarf.AttrDeclaration: fDecl}
	functionWants = wants{dwarf.AttrName: fName, dwarf.AttrDeclLine: fLine, dwarf.AttrSibling: fSibling, dwarf.AttrDeclaration: fDecl,
		dwarf.AttrSpecification: fSpec, dwarf.AttrAbstractOrigin: fOrigin, dwarf.AttrLowpc: fAddr, dwarf.AttrRanges: fRanges,
		dwarf.AttrExternal: fExternal}
	variableWants = wants{dwarf.AttrName: fName, dwarf.AttrDeclLine: fLine, dwarf.AttrSibling: fSibling, dwarf.AttrDeclaration: fDecl,
		dwarf.AttrSpecification: fSpec, dwarf.AttrAbstractOrigin: fOrigin, dwarf.AttrLocation: fAddr, dwarf.AttrConstValue: fValue,
		dwarf.AttrExternal: fExternal}
)

var shapes = func() (s [0x50]shape) {
	for i := range s {
		s[i] = shape{classSkip, 0, &otherWants}
	}
	root := shape{classRoot, 0, &rootWants}
	s[dwarf.TagCompileUnit], s[dwarf.TagPartialUnit], s[dwarf.TagTypeUnit], s[dwarf.TagSkeletonUnit] = root, root, root, root
	s[dwarf.TagStructType] = shape{classType, Struct, &typeWants}
	s[dwarf.TagClassType] = shape{classType, Struct, &typeWants}
	s[dwarf.TagUnionType] = shape{classType, Union, &typeWants}
	s[dwarf.TagEnumerationType] = shape{classEnum, Enum, &typeWants}
	s[dwarf.TagTypedef] = shape{classType, Typedef, &typedefWants}
	s[dwarf.TagBaseType] = shape{classType, Base, &typeWants}
	s[dwarf.TagSubprogram] = shape{classFunction, Function, &functionWants}
	s[dwarf.TagVariable] = shape{classVariable, Variable, &variableWants}
	s[dwarf.TagNamespace] = shape{classNamespace, 0, &namedWants}
	s[dwarf.TagModule] = shape{classNamespace, 0, &namedWants}
	s[dwarf.TagEnumerator] = shape{classEnumerator, Enumerator, &namedWants}
	s[dwarf.TagMember] = shape{classMember, 0, &memberWants}
	return s
}()

func shapeOf(tag uint64) shape {
	if tag < uint64(len(shapes)) {
		return shapes[tag]
	}
	return shape{classSkip, 0, &otherWants}
}

// layout is what the sizes of forms depend on.
type layout struct {
	version  int
	addrSize int
	offSize  int
}

var errAbbrev = errors.New("its abbreviations end early")

// maxDense bounds the numbers of abbreviations that are kept in a slice; there are fewer than this in any unit.
const maxDense = 1 << 20

// read finds the abbreviations at off of section and returns how many bytes they have. With an error, what comes before the
// damage is in the table.
func (t *table) read(section []byte, off uint64, l layout) (read int, err error) {
	*t = table{dense: t.dense[:0], ops: t.ops[:0], consts: t.consts[:0], layout: l}
	if off > uint64(len(section)) {
		return 0, errAbbrev
	}
	b := section[off:]
	t.bytes = b[:min(len(b), math.MaxInt32)]
	b = t.bytes
	for pos := 0; ; {
		var code, tag uint64
		if code, pos = uleb(b, pos); pos < 0 {
			return len(b), errAbbrev
		}
		if code == 0 {
			return pos, nil
		}
		if tag, pos = uleb(b, pos); pos < 0 || pos >= len(b) {
			return len(b), errAbbrev
		}
		p := prog{children: b[pos] != 0, from: int32(pos + 1), to: int32(min(tag, math.MaxInt32))}
		if pos = skipAttrs(b, pos+1); pos < 0 {
			return len(b), errAbbrev
		}
		t.put(code, p)
	}
}

// skipAttrs goes behind the attributes at pos; -1 if there is no end of them.
func skipAttrs(b []byte, pos int) int {
	for pos+1 < len(b) {
		attr, form := b[pos], b[pos+1]
		if attr < 0x80 && form < 0x80 && form != byte(dwarfinfo.FormImplicitConst) {
			pos += 2
			if attr|form == 0 {
				return pos
			}
			continue
		}
		var wide uint64
		if _, pos = uleb(b, pos); pos < 0 {
			return -1
		}
		if wide, pos = uleb(b, pos); pos < 0 {
			return -1
		}
		if dwarfinfo.Form(wide) == dwarfinfo.FormImplicitConst {
			if _, pos = sleb(b, pos); pos < 0 {
				return -1
			}
		}
	}
	return -1
}

// compile makes p ready for use; false if it makes no sense.
func (t *table) compile(p *prog) bool {
	b, pos := t.bytes, int(p.from)
	s := shapeOf(uint64(p.to))
	q := prog{class: s.class, kind: s.kind, tag: dwarf.Tag(p.to), typeAt: -1, children: p.children, from: int32(len(t.ops))}
	size := int32(0) // of the attributes so far, -1 if that varies
	var got uint32
	for {
		var attr, wide uint64
		if attr, pos = uleb(b, pos); pos < 0 {
			return false
		}
		if wide, pos = uleb(b, pos); pos < 0 {
			return false
		}
		form := dwarfinfo.Form(wide)
		var implicit int64
		if form == dwarfinfo.FormImplicitConst {
			if implicit, pos = sleb(b, pos); pos < 0 {
				return false
			}
		}
		if attr == 0 && wide == 0 {
			break
		}
		dst := s.wants.want(attr)
		if got&dst.bit() != 0 {
			dst = fNone // a second time
		}
		switch {
		case attr == attrGNUAddrBase && q.class == classRoot:
			dst = fAddrBase
		case dst == fSibling && !q.children:
			dst = fNone
		case dst == fRanges:
			q.form = form
		case dst == fDecl && (form == dwarfinfo.FormFlagPresent || attr == uint64(dwarf.AttrSignature)):
			q.declared = true
		}
		got |= dst.bit()
		if o, ok := stepOf(form, t.layout); ok && size >= 0 {
			if attr == uint64(dwarf.AttrType) && (o.code == opRef || o.code == opFixed || o.code == opRefAlt) {
				q.typeOp, q.typeAt = o, size
			}
			size = plus(size, o)
		}
		if wide > math.MaxUint16 || !t.add(&q, form, dst, implicit) || len(t.ops)-int(q.from) > maxOps {
			t.ops = t.ops[:q.from]
			return false
		}
	}
	q.finish(t, got)
	*p = q
	return true
}

// maxOps bounds the attributes of an abbreviation; real ones have some twenty.
const maxOps = 1 << 10

func (t *table) put(code uint64, p prog) {
	if code == uint64(len(t.dense))+1 && code < maxDense {
		t.dense = append(t.dense, p)
		return
	}
	if t.sparse == nil {
		t.sparse = make(map[uint64]*prog)
	}
	t.sparse[code] = &p
}

// finish derives what the shape alone decides.
func (p *prog) finish(t *table, got uint32) {
	p.to = int32(len(t.ops))
	switch p.class {
	case classType:
		p.skip = p.declared || got&(fName.bit()|fSpec.bit()) == 0
	case classEnum:
		p.skip = p.declared
	case classFunction, classVariable:
		p.skip = got&(fName.bit()|fSpec.bit()|fOrigin.bit()) == 0
	}
	p.fixed = -1
	if p.children && got&fSibling.bit() != 0 {
		return
	}
	if p.class != classSkip && p.class != classMember && p.class != classEnumerator && !p.skip {
		return
	}
	for _, o := range t.ops[p.from:p.to] {
		if p.fixed = plus(max(p.fixed, 0), o); p.fixed < 0 {
			return
		}
	}
	p.fixed = max(p.fixed, 0)
}

// plus is size and what o steps over; -1 if that differs from entry to entry.
func plus(size int32, o op) int32 {
	switch o.code {
	case opSkip, opFixed, opRef, opRefAlt, opStr, opLineStr, opAltStr, opStrx, opAddrx:
		if size < math.MaxInt32/2 {
			return size + int32(o.n)
		}
		return -1
	case opBlock16:
		return size + 16
	case opConst:
		return size
	}
	return -1
}

// add appends the step over an attribute. Steps over what nobody wants become one.
func (t *table) add(p *prog, form dwarfinfo.Form, dst field, implicit int64) bool {
	o, ok := stepOf(form, t.layout)
	if !ok {
		return false
	}
	if dst == fAddr && p.class == classVariable && o.code != opBlock && o.code != opBlockULEB && o.code != opIndirect {
		dst = fValue // a list of locations
	}
	if dst == fName && (o.code < opString || o.code > opStrxULEB) {
		dst = fNone
	}
	o.dst = dst
	if o.code == opConst {
		if dst == fNone {
			return true
		}
		v := uint64(implicit)
		if form == dwarfinfo.FormFlagPresent {
			v = 1
		}
		if len(t.consts) > 0xffff {
			return false
		}
		o.n = uint16(len(t.consts))
		t.consts = append(t.consts, v)
		t.ops = append(t.ops, o)
		return true
	}
	if dst == fNone {
		switch o.code {
		case opFixed, opRef, opRefAlt, opStr, opLineStr, opAltStr, opStrx, opAddrx:
			o.code = opSkip
		case opBlock16:
			o.code, o.n = opSkip, 16
		case opRefULEB, opStrxULEB, opAddrxULEB:
			o.code = opULEB
		}
	}
	if last := len(t.ops) - 1; o.code == opSkip && last >= int(p.from) && t.ops[last].code == opSkip && t.ops[last].n < math.MaxUint16/2 {
		t.ops[last].n += o.n
		return true
	}
	t.ops = append(t.ops, o)
	return true
}

// stepOf is the step over a form.
func stepOf(form dwarfinfo.Form, l layout) (op, bool) {
	fixed := func(c opcode, n int) (op, bool) { return op{code: c, n: uint16(n)}, true }
	switch form {
	case dwarfinfo.FormAddr:
		return fixed(opFixed, l.addrSize)
	case dwarfinfo.FormData1, dwarfinfo.FormFlag:
		return fixed(opFixed, 1)
	case dwarfinfo.FormData2:
		return fixed(opFixed, 2)
	case dwarfinfo.FormData4:
		return fixed(opFixed, 4)
	case dwarfinfo.FormData8:
		return fixed(opFixed, 8)
	case dwarfinfo.FormSecOffset:
		return fixed(opFixed, l.offSize)
	case dwarfinfo.FormUdata, dwarfinfo.FormSdata, dwarfinfo.FormLoclistx, dwarfinfo.FormRnglistx:
		return fixed(opULEB, 0)
	case dwarfinfo.FormFlagPresent, dwarfinfo.FormImplicitConst:
		return fixed(opConst, 0)
	case dwarfinfo.FormData16:
		return fixed(opBlock16, 0)
	case dwarfinfo.FormString:
		return fixed(opString, 0)
	case dwarfinfo.FormStrp:
		return fixed(opStr, l.offSize)
	case dwarfinfo.FormLineStrp:
		return fixed(opLineStr, l.offSize)
	case dwarfinfo.FormStrpSup, dwarfinfo.FormGNUStrpAlt:
		return fixed(opAltStr, l.offSize)
	case dwarfinfo.FormStrx1:
		return fixed(opStrx, 1)
	case dwarfinfo.FormStrx2:
		return fixed(opStrx, 2)
	case dwarfinfo.FormStrx3:
		return fixed(opStrx, 3)
	case dwarfinfo.FormStrx4:
		return fixed(opStrx, 4)
	case dwarfinfo.FormStrx, dwarfinfo.FormGNUStrIndex:
		return fixed(opStrxULEB, 0)
	case dwarfinfo.FormAddrx1:
		return fixed(opAddrx, 1)
	case dwarfinfo.FormAddrx2:
		return fixed(opAddrx, 2)
	case dwarfinfo.FormAddrx3:
		return fixed(opAddrx, 3)
	case dwarfinfo.FormAddrx4:
		return fixed(opAddrx, 4)
	case dwarfinfo.FormAddrx, dwarfinfo.FormGNUAddrIndex:
		return fixed(opAddrxULEB, 0)
	case dwarfinfo.FormRef1:
		return fixed(opRef, 1)
	case dwarfinfo.FormRef2:
		return fixed(opRef, 2)
	case dwarfinfo.FormRef4:
		return fixed(opRef, 4)
	case dwarfinfo.FormRef8:
		return fixed(opRef, 8)
	case dwarfinfo.FormRefUdata:
		return fixed(opRefULEB, 0)
	case dwarfinfo.FormRefAddr:
		if l.version == 2 {
			return fixed(opFixed, l.addrSize)
		}
		return fixed(opFixed, l.offSize)
	case dwarfinfo.FormRefSig8:
		return fixed(opSkip, 8)
	case dwarfinfo.FormRefSup4:
		return fixed(opRefAlt, 4)
	case dwarfinfo.FormRefSup8:
		return fixed(opRefAlt, 8)
	case dwarfinfo.FormGNURefAlt:
		return fixed(opRefAlt, l.offSize)
	case dwarfinfo.FormBlock1:
		return fixed(opBlock, 1)
	case dwarfinfo.FormBlock2:
		return fixed(opBlock, 2)
	case dwarfinfo.FormBlock4:
		return fixed(opBlock, 4)
	case dwarfinfo.FormBlock, dwarfinfo.FormExprloc:
		return fixed(opBlockULEB, 0)
	case dwarfinfo.FormIndirect:
		return fixed(opIndirect, 0)
	}
	return op{}, false
}

// uleb reads an unsigned LEB128 number at pos of b; next is behind it, or -1 if b ends in it.
func uleb(b []byte, pos int) (v uint64, next int) {
	for shift := 0; pos >= 0 && pos < len(b) && shift < 133; shift += 7 {
		c := b[pos]
		pos++
		if shift < 64 {
			v |= uint64(c&0x7f) << shift
		}
		if c < 0x80 {
			return v, pos
		}
	}
	return 0, -1
}

func sleb(b []byte, pos int) (v int64, next int) {
	for shift := 0; pos < len(b) && shift < 133; shift += 7 {
		c := b[pos]
		pos++
		if shift < 64 {
			v |= int64(c&0x7f) << shift
		}
		if c < 0x80 {
			if c&0x40 != 0 && shift+7 < 64 {
				v |= -1 << (shift + 7)
			}
			return v, pos
		}
	}
	return 0, -1
}
