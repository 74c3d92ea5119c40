package index

import (
	"bytes"
	"debug/dwarf"
	"encoding/binary"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"kdx/symbols/dwarfinfo"
)

type order interface {
	binary.ByteOrder
	binary.AppendByteOrder
}

// made is DWARF put together by hand: what gcc would not write.
type made struct {
	order             order
	info, abbrev, str []byte
	strOffsets, addr  []byte
	start             int // of the current unit
}

func newMade() *made { return &made{order: binary.LittleEndian, str: []byte{0}} }

// shape adds an abbreviation: pairs of attribute and form.
func (m *made) shape(code byte, tag dwarf.Tag, children bool, pairs ...int) {
	m.abbrev = append(m.abbrev, code, byte(tag), 0)
	if children {
		m.abbrev[len(m.abbrev)-1] = 1
	}
	for _, p := range append(pairs, 0, 0) {
		m.abbrev = binary.AppendUvarint(m.abbrev, uint64(p))
	}
}

// begin starts a unit of version 4 whose abbreviations are at off.
func (m *made) begin(off int) {
	m.start = len(m.info)
	m.u4(0).u2(4).u4(off).u1(8)
}

func (m *made) end() {
	m.order.PutUint32(m.info[m.start:], uint32(len(m.info)-m.start-4))
}

func (m *made) u1(v ...int) *made {
	for _, x := range v {
		m.info = append(m.info, byte(x))
	}
	return m
}
func (m *made) u2(v int) *made { m.info = m.order.AppendUint16(m.info, uint16(v)); return m }
func (m *made) u4(v int) *made { m.info = m.order.AppendUint32(m.info, uint32(v)); return m }
func (m *made) u8(v int) *made { m.info = m.order.AppendUint64(m.info, uint64(v)); return m }

// strp refers to a string of .debug_str.
func (m *made) strp(s string) *made {
	at := strings.Index(string(m.str), "\x00"+s+"\x00") + 1
	if at == 0 {
		at = len(m.str)
		m.str = append(append(m.str, s...), 0)
	}
	return m.u4(at)
}

func (m *made) data(t testing.TB, alt *dwarfinfo.Data) *dwarfinfo.Data {
	t.Helper()
	d := &dwarfinfo.Data{Name: "made", Order: m.order, Info: m.info, Abbrev: m.abbrev, Str: m.str, StrOffsets: m.strOffsets, Addr: m.addr, Alt: alt}
	if err := d.Init(); err != nil {
		t.Fatal(err)
	}
	return d
}

const (
	atName, atSize, atLang           = int(dwarf.AttrName), int(dwarf.AttrByteSize), int(dwarf.AttrLanguage)
	atOrigin, atSpec, atLow          = int(dwarf.AttrAbstractOrigin), int(dwarf.AttrSpecification), int(dwarf.AttrLowpc)
	atDeclaration, atLine            = int(dwarf.AttrDeclaration), int(dwarf.AttrDeclLine)
	fmStrp, fmData1, fmData2, fmAddr = int(dwarfinfo.FormStrp), int(dwarfinfo.FormData1), int(dwarfinfo.FormData2), int(dwarfinfo.FormAddr)
	fmRef4, fmRefAddr, fmPresent     = int(dwarfinfo.FormRef4), int(dwarfinfo.FormRefAddr), int(dwarfinfo.FormFlagPresent)
)

// shapes of most tests; the number is the abbreviation's.
const (
	unitC = 1 + iota
	unitRust
	structFull
	structDecl
	function
	functionOf  // concrete, of an abstract instance in any unit
	functionDef // of a declaration in this unit
	functionDecl
	namespace
	enumClass
	enumerator
	memberOf
	unitPlain
	variableOf
)

func (m *made) usual() *made {
	m.shape(unitC, dwarf.TagCompileUnit, true, atLang, fmData1)
	m.shape(unitRust, dwarf.TagCompileUnit, true, atLang, fmData1)
	m.shape(structFull, dwarf.TagStructType, true, atName, fmStrp, atSize, fmData1)
	m.shape(structDecl, dwarf.TagStructType, false, atName, fmStrp, atDeclaration, fmPresent)
	m.shape(function, dwarf.TagSubprogram, true, atName, fmStrp, atLow, fmAddr)
	m.shape(functionOf, dwarf.TagSubprogram, false, atOrigin, fmRefAddr, atLow, fmAddr)
	m.shape(functionDef, dwarf.TagSubprogram, false, atSpec, fmRef4, atLow, fmAddr)
	m.shape(functionDecl, dwarf.TagSubprogram, false, atName, fmStrp, atDeclaration, fmPresent, atLine, fmData1)
	m.shape(namespace, dwarf.TagNamespace, true, atName, fmStrp)
	m.shape(enumClass, dwarf.TagEnumerationType, true, atName, fmStrp, atSize, fmData1, int(dwarf.AttrEnumClass), fmPresent)
	m.shape(enumerator, dwarf.TagEnumerator, false, atName, fmStrp)
	m.shape(memberOf, dwarf.TagMember, false, atName, fmStrp)
	m.shape(unitPlain, dwarf.TagPartialUnit, true)
	m.shape(variableOf, dwarf.TagVariable, false, atOrigin, fmRefAddr)
	m.abbrev = append(m.abbrev, 0)
	return m
}

func find(t *testing.T, x *Index, kind Kind, name string, want ...Hit) {
	t.Helper()
	if got := x.Find(kind, name); !slices.Equal(got, want) {
		t.Errorf("%s: %+v; want %+v", name, got, want)
	}
}

// What clang writes: no siblings, so that each entry is walked over.
func TestNoSiblings(t *testing.T) {
	m := newMade().usual()
	m.begin(0)
	m.u1(unitC, 0x0c)
	outer := len(m.info)
	m.u1(structFull).strp("outer").u1(8, memberOf).strp("m").u1(0)
	m.u1(function).strp("work").u8(0x1000)
	local := len(m.info)
	m.u1(structFull).strp("inside").u1(3, 0).u1(0) // inside the function
	after := len(m.info)
	m.u1(structFull).strp("after").u1(4, 0).u1(0)
	m.end()
	x := open(t, m.data(t, nil), Options{})
	find(t, x, Struct, "outer", Hit{Off: uint64(outer), Size: 8, Count: 1})
	find(t, x, Struct, "inside", Hit{Off: uint64(local), Size: 3, Count: 1, Local: true})
	find(t, x, Struct, "after", Hit{Off: uint64(after), Size: 4, Count: 1})
}

// What link-time optimisation leaves: code in one unit, its name in another.
func TestAcrossUnits(t *testing.T) {
	m := newMade().usual()
	m.begin(0)
	m.u1(unitC, 0x0c)
	abstract := len(m.info)
	m.u1(functionDecl).strp("elsewhere").u1(9, 0)
	m.end()
	m.begin(0)
	m.u1(unitC, 0x0c)
	concrete := len(m.info)
	m.u1(functionOf).u4(abstract).u8(0x2000)
	m.u1(functionOf).u4(0x7fffffff).u8(0x3000) // leads nowhere
	self := len(m.info)
	m.u1(functionOf).u4(self).u8(0x4000) // in a circle
	m.u1(0)
	m.end()
	x := open(t, m.data(t, nil), Options{})
	find(t, x, Function, "elsewhere", Hit{Off: uint64(concrete), Addr: 0x2000, Count: 1, Placed: true})
	if n := slices.Collect(x.Names(Function)); !slices.Equal(n, []string{"elsewhere"}) {
		t.Errorf("functions: %q", n)
	}
}

func TestScopes(t *testing.T) {
	m := newMade().usual()
	m.begin(0)
	m.u1(unitRust, 0x1c)
	m.u1(namespace).strp("core").u1(namespace).strp("option")
	option := len(m.info)
	m.u1(structFull).strp("Option<u8>").u1(2)
	method := len(m.info)
	m.u1(functionDecl).strp("take").u1(1, 0) // in Option
	enum := len(m.info)
	m.u1(enumClass).strp("Order").u1(1)
	less := len(m.info)
	m.u1(enumerator).strp("Less").u1(0)
	m.u1(0, 0)
	code := len(m.info)
	m.u1(functionDef).u4(method - m.start).u8(0x5000)
	bare := len(m.info)
	m.u1(structFull).strp("Bare").u1(1, 0)
	m.u1(0)
	m.end()
	x := open(t, m.data(t, nil), Options{})
	find(t, x, Struct, "core::option::Option<u8>", Hit{Off: uint64(option), Size: 2, Count: 1})
	find(t, x, Enum, "core::option::Order", Hit{Off: uint64(enum), Size: 1, Count: 1})
	find(t, x, Enumerator, "core::option::Order::Less", Hit{Off: uint64(less), Parent: uint64(enum), Count: 1})
	find(t, x, Function, "core::option::Option<u8>::take", Hit{Off: uint64(code), Addr: 0x5000, Count: 1, Placed: true})
	find(t, x, Struct, "Bare", Hit{Off: uint64(bare), Size: 1, Count: 1})
}

// Units are damaged one by one; the others are indexed.
func TestDamage(t *testing.T) {
	m := newMade().usual()
	m.begin(0)
	m.u1(unitC, 0x0c, structFull).strp("first").u1(1, 0, 99) // no such abbreviation
	m.end()
	m.begin(0x7000) // no abbreviations at all
	m.u1(unitC, 0x0c, 0)
	m.end()
	m.begin(0)
	m.u1(unitC, 0x0c, structFull) // ends in the middle
	m.end()
	m.begin(0)
	m.u1(unitC, 0x0c)
	last := len(m.info)
	m.u1(structFull).strp("last").u1(7, 0, 0)
	m.end()
	var log strings.Builder
	x := open(t, m.data(t, nil), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	find(t, x, Struct, "last", Hit{Off: uint64(last), Size: 7, Count: 1})
	for _, want := range []string{"abbreviation 99 does not exist", ".debug_abbrev at 0x7000", "attributes make no sense"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("the log does not say %q:\n%s", want, log.String())
		}
	}
}

// Equal definitions are one hit; others of the same name are kept, that of most units first.
func TestVariants(t *testing.T) {
	m := newMade().usual()
	for i := range 5 {
		m.begin(0)
		m.u1(unitC, 0x0c, structFull).strp("s")
		m.u1([]int{4, 8, 8, 16, 8}[i], 0, 0)
		m.end()
	}
	x := open(t, m.data(t, nil), Options{Jobs: 2})
	hits := x.Find(Struct, "s")
	if len(hits) != 3 || hits[0].Size != 8 || hits[0].Count != 3 {
		t.Errorf("%+v", hits)
	}
	if types := x.Types(5, 10); len(types) != 1 || types[0].Name != "s" || types[0].Size != 8 {
		t.Errorf("of 5 to 10 bytes: %+v", types)
	}
}

func TestBigEndian(t *testing.T) {
	m := newMade()
	m.order = binary.BigEndian
	m.usual()
	m.begin(0)
	m.u1(unitC, 0x0c)
	at := len(m.info)
	m.u1(function).strp("work").u8(0x1234).u1(0, 0)
	m.end()
	find(t, open(t, m.data(t, nil), Options{}), Function, "work", Hit{Off: uint64(at), Addr: 0x1234, Count: 1, Placed: true})
}

// dwz moves what files share to another file.
func TestAlt(t *testing.T) {
	a := newMade().usual()
	a.begin(0)
	a.u1(unitPlain)
	common := len(a.info)
	a.u1(structFull).strp("common").u1(32, 0)
	abstract := len(a.info)
	a.u1(functionDecl).strp("shared_fn").u1(3, 0)
	a.end()
	m := newMade()
	m.shape(1, dwarf.TagCompileUnit, true, atLang, fmData1)
	m.shape(2, dwarf.TagSubprogram, false, atOrigin, int(dwarfinfo.FormGNURefAlt), atLow, fmAddr)
	m.shape(3, dwarf.TagStructType, false, atName, int(dwarfinfo.FormGNUStrpAlt), atSize, fmData1)
	m.abbrev = append(m.abbrev, 0)
	m.begin(0)
	m.u1(1, 0x0c)
	code := len(m.info)
	m.u1(2).u4(abstract).u8(0x100)
	own := len(m.info)
	m.u1(3).u4(strings.Index(string(a.str), "common")).u1(16, 0)
	m.end()
	x := open(t, m.data(t, a.data(t, nil)), Options{})
	find(t, x, Function, "shared_fn", Hit{Off: uint64(code), Addr: 0x100, Count: 1, Placed: true})
	find(t, x, Struct, "common", Hit{Off: uint64(own), Size: 16, Count: 1}, Hit{Off: uint64(common), Alt: true, Size: 32, Count: 1})
}

// Names of clang's DWARF 5 are indexes into .debug_str_offsets, addresses into .debug_addr.
func TestIndexed(t *testing.T) {
	m := newMade()
	m.shape(1, dwarf.TagCompileUnit, true, atLow, int(dwarfinfo.FormAddrx), atLang, fmData2, int(dwarf.AttrStrOffsetsBase), int(dwarfinfo.FormSecOffset), int(dwarf.AttrAddrBase), int(dwarfinfo.FormSecOffset))
	m.shape(2, dwarf.TagSubprogram, false, atName, int(dwarfinfo.FormStrx1), atLow, int(dwarfinfo.FormAddrx))
	m.shape(3, dwarf.TagVariable, false, atName, int(dwarfinfo.FormStrx), int(dwarf.AttrLocation), int(dwarfinfo.FormExprloc))
	m.shape(4, dwarf.TagVariable, false, atName, int(dwarfinfo.FormString), int(dwarf.AttrLocation), int(dwarfinfo.FormExprloc))
	m.abbrev = append(m.abbrev, 0)
	m.str = []byte("\x00alpha\x00beta\x00")
	m.strOffsets = binary.LittleEndian.AppendUint32(make([]byte, 8), 1)
	m.strOffsets = binary.LittleEndian.AppendUint32(m.strOffsets, 7)
	m.addr = binary.LittleEndian.AppendUint64(make([]byte, 8), 0xa0)
	m.addr = binary.LittleEndian.AppendUint64(m.addr, 0xb0)
	m.start = 0
	m.u4(0).u2(5).u1(dwarfinfo.UnitCompile, 8).u4(0)
	m.u1(1, 0).u2(0x1d).u4(8).u4(8)
	f := len(m.info)
	m.u1(2, 0, 1)
	v := len(m.info)
	m.u1(3, 1, 2, opLocAddrx, 0)
	s := len(m.info)
	m.u1(4)
	m.info = append(m.info, "a_name_in_place\x00"...)
	m.u1(9, opLocAddr).u8(0xc0)
	m.u1(0)
	m.end()
	x := open(t, m.data(t, nil), Options{})
	find(t, x, Function, "alpha", Hit{Off: uint64(f), Addr: 0xb0, Count: 1, Placed: true})
	find(t, x, Variable, "beta", Hit{Off: uint64(v), Addr: 0xa0, Count: 1, Placed: true})
	find(t, x, Variable, "a_name_in_place", Hit{Off: uint64(s), Addr: 0xc0, Count: 1, Placed: true})
}

// Units that claim overlapping abbreviations, and names that grow by scopes in scopes, cost no more than files of their size may.
func TestOverlap(t *testing.T) {
	m := newMade()
	m.abbrev = bytes.Repeat([]byte{1, byte(dwarf.TagStructType), 1, 0x80 | byte(dwarf.AttrName), 0, byte(dwarfinfo.FormStrp), 0, 0}, 32<<10)
	for i := range 20000 {
		m.begin(8 * i)
		m.u1(1).u4(0).u1(0)
		m.end()
	}
	var log strings.Builder
	open(t, m.data(t, nil), Options{Log: slog.New(slog.NewTextHandler(&log, nil))})
	if !strings.Contains(log.String(), "together are too long") {
		t.Errorf("the log: %s", log.String())
	}
	m = newMade().usual()
	m.begin(0)
	m.u1(unitRust, 0x1c)
	for range 3000 {
		m.u1(namespace).strp(strings.Repeat("long", 20))
	}
	for range 50000 {
		m.u1(structFull).strp("inside").u1(1, 0)
	}
	m.end()
	x := open(t, m.data(t, nil), Options{})
	if n := slices.Collect(x.Names(Struct)); len(n) > 1 {
		t.Errorf("%d names", len(n))
	}
}
