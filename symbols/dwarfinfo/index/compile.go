package index

import (
	"debug/dwarf"
	"errors"
	"fmt"

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
	classSkip class = iota
	classRoot
	classType
	classEnum
	classFunction
	classVariable
	classNamespace
	classEnumerator
)

// prog is a compiled abbreviation.
type prog struct {
	from, to int32 // its ops
	fixed    int32 // bytes of all attributes, if that is the same for each entry and none is wanted; otherwise -1
	class    class
	kind     Kind
	children bool
	skip     bool           // by its shape alone it is nothing to index: a declaration, or it has no name
	form     dwarfinfo.Form // of fRanges
}

// table is a unit's compiled abbreviations. Those numbered from 1 without gaps, as compilers do, are in dense.
type table struct {
	dense  []prog
	sparse map[uint64]*prog
	ops    []op
	consts []uint64
}

func (t *table) find(code uint64) *prog {
	if code-1 < uint64(len(t.dense)) {
		return &t.dense[code-1]
	}
	return t.sparse[code]
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
	otherWants = wants{dwarf.AttrSibling: fSibling}
	rootWants  = wants{dwarf.AttrLanguage: fLang, dwarf.AttrStrOffsetsBase: fStrOffsets, dwarf.AttrAddrBase: fAddrBase,
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
		s[i].wants = &otherWants
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
	return s
}()

func shapeOf(tag uint64) shape {
	if tag < uint64(len(shapes)) {
		return shapes[tag]
	}
	return shape{wants: &otherWants}
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

// compile reads the abbreviations at off of section and returns them with the number of bytes that it read. With an error,
// what comes before the damage is in the table.
func compile(section []byte, off uint64, l layout) (t *table, read int, err error) {
	t = new(table)
	if off > uint64(len(section)) {
		return t, 0, errAbbrev
	}
	b := section[off:]
	pos := 0
	leb := func() uint64 {
		v, n := uleb(b, pos)
		pos = n
		return v
	}
	for {
		code := leb()
		if pos < 0 {
			return t, len(b), errAbbrev
		}
		if code == 0 {
			return t, pos, nil
		}
		tag := leb()
		if pos < 0 || pos >= len(b) {
			return t, len(b), errAbbrev
		}
		s := shapeOf(tag)
		p := prog{class: s.class, kind: s.kind, children: b[pos] != 0, from: int32(len(t.ops))}
		pos++
		var got uint32
		for {
			attr := leb()
			if pos < 0 {
				return t, len(b), errAbbrev
			}
			form := leb()
			var implicit int64
			if pos >= 0 && dwarfinfo.Form(form) == dwarfinfo.FormImplicitConst {
				implicit, pos = sleb(b, pos)
			}
			if pos < 0 {
				return t, len(b), errAbbrev
			}
			if attr == 0 && form == 0 {
				break
			}
			dst := s.wants.want(attr)
			if attr == attrGNUAddrBase && p.class == classRoot {
				dst = fAddrBase
			}
			if dst == fSibling && !p.children {
				dst = fNone
			}
			if dst == fRanges {
				p.form = dwarfinfo.Form(form)
			}
			if dst == fDecl && (dwarfinfo.Form(form) == dwarfinfo.FormFlagPresent || attr == uint64(dwarf.AttrSignature)) {
				p.skip = true
			}
			got |= dst.bit()
			if !t.add(&p, dwarfinfo.Form(form), dst, implicit, l) {
				return t, pos, fmt.Errorf("form %#x is not known", form)
			}
			if len(t.ops)-int(p.from) > maxOps {
				return t, pos, errors.New("an abbreviation has too many attributes")
			}
		}
		p.finish(t, got)
		t.put(code, p)
	}
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
	case classType, classNamespace:
		if got&(fName.bit()|fSpec.bit()) == 0 && p.class == classType {
			p.skip = true
		}
	case classFunction, classVariable:
		if got&(fName.bit()|fSpec.bit()|fOrigin.bit()) == 0 {
			p.skip = true
		}
	}
	p.fixed = -1
	if p.children && got&fSibling.bit() != 0 {
		return
	}
	if p.class != classSkip && !p.skip {
		return
	}
	n := int32(0)
	for _, o := range t.ops[p.from:p.to] {
		switch o.code {
		case opSkip, opFixed, opRef, opRefAlt, opStr, opLineStr, opAltStr, opStrx, opAddrx:
			n += int32(o.n)
		case opBlock16:
			n += 16
		case opConst:
		default:
			return
		}
	}
	p.fixed = n
}

// add appends the step over an attribute. Steps over what nobody wants become one.
func (t *table) add(p *prog, form dwarfinfo.Form, dst field, implicit int64, l layout) bool {
	o, ok := stepOf(form, l)
	if !ok {
		return false
	}
	if dst == fAddr && p.class == classVariable && o.code != opBlock && o.code != opBlockULEB && o.code != opIndirect {
		dst = fValue // a list of locations
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
	if last := len(t.ops) - 1; o.code == opSkip && last >= int(p.from) && t.ops[last].code == opSkip {
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
