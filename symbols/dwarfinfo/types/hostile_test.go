package types

import (
	"context"
	"debug/dwarf"
	"encoding/binary"
	"testing"
	"time"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/index"
)

// attr is an attribute of a hand-made entry: its form and its bytes.
type attr struct {
	at   dwarf.Attr
	form dwarfinfo.Form
	data []byte
}

// maker writes .debug_info and .debug_abbrev of one unit, an abbreviation an entry.
type maker struct {
	order        binary.ByteOrder
	info, abbrev []byte
	n            byte
}

const firstEntry = 11 // behind the header of version 4

func newMaker(order binary.ByteOrder) *maker {
	m := &maker{order: order, info: make([]byte, firstEntry)}
	m.add(dwarf.TagCompileUnit, true)
	return m
}

// add writes an entry and returns its offset.
func (m *maker) add(tag dwarf.Tag, children bool, attrs ...attr) uint32 {
	at := uint32(len(m.info))
	m.n++
	m.info = append(m.info, m.n)
	has := byte(0)
	if children {
		has = 1
	}
	m.abbrev = append(binary.AppendUvarint(append(m.abbrev, m.n), uint64(tag)), has)
	for _, a := range attrs {
		m.abbrev = binary.AppendUvarint(binary.AppendUvarint(m.abbrev, uint64(a.at)), uint64(a.form))
		m.info = append(m.info, a.data...)
	}
	m.abbrev = append(m.abbrev, 0, 0)
	return at
}

func (m *maker) end() { m.info = append(m.info, 0) }

func (m *maker) str(at dwarf.Attr, s string) attr {
	return attr{at, dwarfinfo.FormString, append([]byte(s), 0)}
}

func (m *maker) u8(at dwarf.Attr, v byte) attr {
	return attr{at, dwarfinfo.FormData1, []byte{v}}
}

func (m *maker) u64(at dwarf.Attr, v uint64) attr {
	b := make([]byte, 8)
	m.order.PutUint64(b, v)
	return attr{at, dwarfinfo.FormData8, b}
}

func (m *maker) ref(at dwarf.Attr, off uint32) attr {
	b := make([]byte, 4)
	m.order.PutUint32(b, off)
	return attr{at, dwarfinfo.FormRef4, b}
}

func (m *maker) block(at dwarf.Attr, b ...byte) attr {
	return attr{at, dwarfinfo.FormBlock1, append([]byte{byte(len(b))}, b...)}
}

func (m *maker) data(t testing.TB) *dwarfinfo.Data {
	t.Helper()
	m.end()
	m.order.PutUint32(m.info, uint32(len(m.info)-4))
	m.order.PutUint16(m.info[4:], 4)
	m.info[10] = 8
	d := &dwarfinfo.Data{Name: "made", Order: m.order, Info: m.info, Abbrev: append(m.abbrev, 0)}
	if err := d.Init(); err != nil {
		t.Fatal(err)
	}
	return d
}

// user does with types all that users do, up to a number of types: finding a member of a struct that holds itself takes a
// while by itself.
type user map[*symbols.Type]bool

func (u user) use(t *symbols.Type, depth int) {
	if depth > 6 || u[t] || len(u) > 100 {
		return
	}
	u[t] = true
	_ = t.String()
	t.Strip()
	t.Member("x")
	u.use(t.Elem(), depth+1)
	for _, m := range t.Members() {
		u.use(m.Type, depth+1)
	}
	for _, p := range t.Params() {
		u.use(p.Type, depth+1)
	}
	t.Enumerators()
}

// TestLoops: entries that are made of themselves.
func TestLoops(t *testing.T) {
	m := newMaker(binary.LittleEndian)
	at := uint32(len(m.info))
	var refs []uint32
	one := func(tag dwarf.Tag, children bool, attrs ...attr) {
		refs = append(refs, m.add(tag, children, attrs...))
	}
	one(dwarf.TagTypedef, false, m.str(dwarf.AttrName, "a"), m.ref(dwarf.AttrType, at))
	one(dwarf.TagConstType, false, m.ref(dwarf.AttrType, uint32(len(m.info))))
	one(dwarf.TagPointerType, false, m.ref(dwarf.AttrType, uint32(len(m.info))))
	one(dwarf.TagArrayType, true, m.ref(dwarf.AttrType, uint32(len(m.info))))
	m.add(dwarf.TagSubrangeType, false, m.u8(dwarf.AttrCount, 3))
	m.end()
	self := uint32(len(m.info))
	one(dwarf.TagStructType, true, m.str(dwarf.AttrName, "s"), m.u8(dwarf.AttrByteSize, 8))
	m.add(dwarf.TagMember, false, m.str(dwarf.AttrName, "again"), m.ref(dwarf.AttrType, self))
	m.add(dwarf.TagMember, false, m.ref(dwarf.AttrType, self))
	m.end()
	one(dwarf.TagStructType, false, m.str(dwarf.AttrName, "sig"), m.ref(dwarf.AttrSignature, self), m.u8(dwarf.AttrDeclaration, 1))
	one(dwarf.TagSubprogram, false, m.ref(dwarf.AttrSpecification, uint32(len(m.info))))
	one(dwarf.TagSubprogram, false, m.ref(dwarf.AttrAbstractOrigin, uint32(len(m.info))))
	one(dwarf.TagVariable, false, m.str(dwarf.AttrName, "v"), m.ref(dwarf.AttrSpecification, uint32(len(m.info))), m.u8(dwarf.AttrConstValue, 1))
	one(dwarf.TagEnumerationType, false, m.str(dwarf.AttrName, "e"), m.ref(dwarf.AttrType, uint32(len(m.info))))
	one(dwarf.TagTypedef, false, m.str(dwarf.AttrName, "out"), m.ref(dwarf.AttrType, 1<<30))
	one(dwarf.TagTypedef, false, m.str(dwarf.AttrName, "header"), m.ref(dwarf.AttrType, 2))
	d := m.data(t)
	f := newFinder(d)
	u := user{}
	begin := time.Now()
	for _, off := range refs {
		u.use(f.TypeAt(dwarfinfo.Ref{Data: d, Off: uint64(off)}), 0)
	}
	if _, err := f.VariableType("v"); err != nil {
		t.Errorf("VariableType(v): %v", err)
	}
	u.use(f.TypeAt(dwarfinfo.Ref{Data: d, Off: 1 << 40}), 0)
	u.use(f.TypeAt(dwarfinfo.Ref{}), 0)
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}

// TestLies: sizes, lengths and places that can't be.
func TestLies(t *testing.T) {
	m := newMaker(binary.LittleEndian)
	char := m.add(dwarf.TagBaseType, false, m.str(dwarf.AttrName, "char"), m.u8(dwarf.AttrByteSize, 1), m.u8(dwarf.AttrEncoding, 6))
	array := func(limit attr) uint32 {
		off := m.add(dwarf.TagArrayType, true, m.ref(dwarf.AttrType, char))
		m.add(dwarf.TagSubrangeType, false, limit)
		m.end()
		return off
	}
	wide := m.add(dwarf.TagBaseType, false, m.str(dwarf.AttrName, "wide"), m.u64(dwarf.AttrByteSize, 1<<60))
	huge := m.add(dwarf.TagStructType, false, m.str(dwarf.AttrName, "huge"), m.u64(dwarf.AttrByteSize, 1<<60))
	arrays := map[uint32]int64{array(m.u64(dwarf.AttrCount, 1<<60)): symbols.Flexible, array(m.u64(dwarf.AttrCount, 1<<63)): symbols.Flexible,
		array(m.u64(dwarf.AttrUpperBound, 1<<63-1)): symbols.Flexible, array(m.u64(dwarf.AttrUpperBound, ^uint64(0))): 0,
		array(attr{dwarf.AttrUpperBound, dwarfinfo.FormData4, []byte{255, 255, 255, 255}}): 0, array(m.u8(dwarf.AttrUpperBound, 7)): 8,
		array(m.block(dwarf.AttrUpperBound, 0x30)): symbols.Flexible, array(m.ref(dwarf.AttrUpperBound, char)): symbols.Flexible}
	s := m.add(dwarf.TagStructType, true, m.str(dwarf.AttrName, "s"), m.u8(dwarf.AttrByteSize, 8))
	member := func(name string, attrs ...attr) {
		m.add(dwarf.TagMember, false, append([]attr{m.str(dwarf.AttrName, name), m.ref(dwarf.AttrType, char)}, attrs...)...)
	}
	member("plus", m.block(dwarf.AttrDataMemberLoc, 0x23, 3))
	member("constu", m.block(dwarf.AttrDataMemberLoc, 0x10, 4, 0x22))
	member("lit", m.block(dwarf.AttrDataMemberLoc, 0x35, 0x22))
	member("const1u", m.block(dwarf.AttrDataMemberLoc, 0x08, 6, 0x22))
	member("last", m.u8(dwarf.AttrDataMemberLoc, 7))
	for name, bad := range map[string]attr{"outside": m.u8(dwarf.AttrDataMemberLoc, 8), "far": m.u64(dwarf.AttrDataMemberLoc, 1<<61), "deref": m.block(dwarf.AttrDataMemberLoc, 0x06),
		"none": m.block(dwarf.AttrDataMemberLoc), "cut": m.block(dwarf.AttrDataMemberLoc, 0x23), "wrap": m.u64(dwarf.AttrDataMemberLoc, 1<<63),
		"bits": m.u64(dwarf.AttrBitSize, 1<<40), "negative": m.u64(dwarf.AttrDataBitOffset, 1<<63), "static": m.u8(dwarf.AttrExternal, 1)} {
		if bad.at == dwarf.AttrDataBitOffset {
			member(name, m.u8(dwarf.AttrBitSize, 1), bad)
			continue
		}
		member(name, bad)
	}
	m.end()
	d := m.data(t)
	f := newFinder(d)
	at := func(off uint32) *symbols.Type { return f.TypeAt(dwarfinfo.Ref{Data: d, Off: uint64(off)}) }
	for off, want := range arrays {
		if got := at(off); got.Kind != symbols.Array || got.Len != want || got.Size != uint64(max(want, 0)) {
			t.Errorf("array at %#x: %v of %d bytes; want length %d", off, got, got.Size, want)
		}
	}
	if got := at(huge); !got.Incomplete {
		t.Errorf("a struct of 2^60 bytes is believed: %v, %d", got, got.Size)
	}
	if got := at(wide); !got.Incomplete {
		t.Errorf("an integer of 2^60 bytes is believed: %v, %d", got, got.Size)
	}
	got := at(s).Members()
	want := map[string]uint64{"plus": 3, "constu": 4, "lit": 5, "const1u": 6, "last": 7}
	for _, m := range got {
		if off, ok := want[m.Name]; !ok || m.Offset() != off {
			t.Errorf("member %s at %d", m.Name, m.Offset())
		}
	}
	if len(got) != len(want) {
		t.Errorf("members %v; want %v", got, want)
	}
}

// TestBitOffsets: DWARF 2 counts from the most significant bit of the storage, so that byte order matters.
func TestBitOffsets(t *testing.T) {
	for order, want := range map[binary.ByteOrder]uint64{binary.LittleEndian: 32 + 32 - 5 - 3, binary.BigEndian: 32 + 5} {
		m := newMaker(order)
		u32 := m.add(dwarf.TagBaseType, false, m.str(dwarf.AttrName, "unsigned int"), m.u8(dwarf.AttrByteSize, 4), m.u8(dwarf.AttrEncoding, 7))
		s := m.add(dwarf.TagStructType, true, m.str(dwarf.AttrName, "s"), m.u8(dwarf.AttrByteSize, 8))
		m.add(dwarf.TagMember, false, m.str(dwarf.AttrName, "b"), m.ref(dwarf.AttrType, u32), m.u8(dwarf.AttrByteSize, 4), m.u8(dwarf.AttrBitOffset, 5),
			m.u8(dwarf.AttrBitSize, 3), m.u8(dwarf.AttrDataMemberLoc, 4))
		m.end()
		d := m.data(t)
		got := newFinder(d).TypeAt(dwarfinfo.Ref{Data: d, Off: uint64(s)})
		if b, ok := got.Member("b"); !ok || b.BitOffset != want || b.BitSize != 3 {
			t.Errorf("%v: b at bit %d of %d; want %d", order, b.BitOffset, b.BitSize, want)
		}
	}
}

// TestAmbiguous: a declaration of a name that has definitions of different sizes is none of them.
func TestAmbiguous(t *testing.T) {
	for _, sizes := range [][2]byte{{8, 8}, {8, 16}} {
		m := newMaker(binary.LittleEndian)
		decl := m.add(dwarf.TagStructType, false, m.str(dwarf.AttrName, "s"), m.u8(dwarf.AttrDeclaration, 1))
		for i, size := range sizes {
			m.add(dwarf.TagStructType, false, m.str(dwarf.AttrName, "s"), m.u8(dwarf.AttrByteSize, size), m.u8(dwarf.AttrDeclLine, byte(i)))
		}
		d := m.data(t)
		got := newFinder(d).TypeAt(dwarfinfo.Ref{Data: d, Off: uint64(decl)})
		if got.Incomplete != (sizes[0] != sizes[1]) || !got.Incomplete && got.Size != 8 {
			t.Errorf("of sizes %v: %v of %d bytes, incomplete %v", sizes, got, got.Size, got.Incomplete)
		}
	}
}

// TestCancelled: what was not found because opening the index was cancelled is found afterwards.
func TestCancelled(t *testing.T) {
	m := newMaker(binary.LittleEndian)
	decl := m.add(dwarf.TagStructType, false, m.str(dwarf.AttrName, "s"), m.u8(dwarf.AttrDeclaration, 1))
	m.add(dwarf.TagStructType, false, m.str(dwarf.AttrName, "s"), m.u8(dwarf.AttrByteSize, 8))
	d := m.data(t)
	cancelled := true
	f := New(d, func() (Index, error) {
		if cancelled {
			return nil, context.Canceled
		}
		return index.Open(context.Background(), d, index.Options{})
	}, "test")
	ref := dwarfinfo.Ref{Data: d, Off: uint64(decl)}
	if !f.TypeAt(ref).Incomplete {
		t.Error("a definition is found without index")
	}
	cancelled = false
	if got := f.TypeAt(ref); got.Incomplete || got.Size != 8 {
		t.Errorf("afterwards: %v of %d bytes", got, got.Size)
	}
}

// TestBounded: the cache of types has an end.
func TestBounded(t *testing.T) {
	m := newMaker(binary.LittleEndian)
	off := m.add(dwarf.TagPointerType, false)
	d := m.data(t)
	f := newFinder(d)
	for i := range maxTypes {
		f.types[dwarfinfo.Ref{Data: d, Off: 1<<40 + uint64(i)}] = symbols.VoidType
	}
	if p := f.TypeAt(dwarfinfo.Ref{Data: d, Off: uint64(off)}); p.Kind != symbols.Pointer || len(f.types) > maxTypes {
		t.Errorf("%v; %d types are kept", p, len(f.types))
	}
}

func FuzzTypes(f *testing.F) {
	m := newMaker(binary.LittleEndian)
	char := m.add(dwarf.TagBaseType, false, m.str(dwarf.AttrName, "char"), m.u8(dwarf.AttrByteSize, 1), m.u8(dwarf.AttrEncoding, 6))
	s := m.add(dwarf.TagStructType, true, m.str(dwarf.AttrName, "s"), m.u8(dwarf.AttrByteSize, 8))
	m.add(dwarf.TagMember, false, m.str(dwarf.AttrName, "x"), m.ref(dwarf.AttrType, char), m.u8(dwarf.AttrBitOffset, 5), m.u8(dwarf.AttrBitSize, 3))
	m.add(dwarf.TagMember, false, m.str(dwarf.AttrName, "y"), m.ref(dwarf.AttrType, s), m.block(dwarf.AttrDataMemberLoc, 0x23, 4))
	part := m.add(dwarf.TagVariantPart, true, m.ref(dwarf.AttrDiscr, uint32(len(m.info))+5))
	m.add(dwarf.TagMember, false, m.ref(dwarf.AttrType, char))
	m.add(dwarf.TagVariant, true, m.u8(dwarf.AttrDiscrValue, 1))
	m.add(dwarf.TagMember, false, m.str(dwarf.AttrName, "V"), m.ref(dwarf.AttrType, part))
	m.end()
	m.end()
	m.end()
	a := m.add(dwarf.TagArrayType, true, m.ref(dwarf.AttrType, s))
	m.add(dwarf.TagSubrangeType, false, m.u8(dwarf.AttrUpperBound, 3))
	m.end()
	m.add(dwarf.TagEnumerationType, true, m.str(dwarf.AttrName, "e"), m.ref(dwarf.AttrType, char))
	m.add(dwarf.TagEnumerator, false, m.str(dwarf.AttrName, "E"), attr{dwarf.AttrConstValue, dwarfinfo.FormSdata, []byte{0x7f}})
	m.end()
	m.add(dwarf.TagSubprogram, true, m.str(dwarf.AttrName, "fn"), m.ref(dwarf.AttrType, a), m.ref(dwarf.AttrSpecification, s))
	m.add(dwarf.TagFormalParameter, false, m.str(dwarf.AttrName, "p"), m.ref(dwarf.AttrType, a))
	m.add(dwarf.TagUnspecifiedParameters, false)
	m.end()
	d := m.data(f)
	f.Add(d.Info, d.Abbrev, uint64(s))
	f.Fuzz(func(t *testing.T, info, abbrev []byte, at uint64) {
		d := &dwarfinfo.Data{Name: "fuzz", Order: binary.LittleEndian, Info: info, Abbrev: abbrev, Str: []byte("s\x00char\x00fn\x00")}
		if d.Init() != nil {
			return
		}
		finder, u := newFinder(d), user{}
		u.use(finder.TypeAt(dwarfinfo.Ref{Data: d, Off: at}), 0)
		for off := range uint64(min(len(info), 400)) {
			u.use(finder.TypeAt(dwarfinfo.Ref{Data: d, Off: off}), 0)
		}
		n := 0
		for kind, name := range finder.TypeNames() {
			if ty, err := finder.TypeNamed(kind, name); err == nil {
				u.use(ty, 0)
			}
			if n++; n > 50 {
				break
			}
		}
		finder.VariableType("s")
		finder.FunctionType("fn")
		finder.Enumerator("E")
	})
}
