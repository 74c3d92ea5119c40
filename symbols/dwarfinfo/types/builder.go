package types

import (
	"debug/dwarf"
	"iter"
	"sync"

	"kdx/internal/mapfile"
	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/index"
)

// Index knows names, where their definitions are, and which types hold which. It is an *index.Index.
type Index interface {
	Find(kind index.Kind, name string) []index.Hit
	Names(kind index.Kind) iter.Seq[string]
	NamesWithPrefix(prefix string, kinds ...index.Kind) []string
	Types(lo, hi uint64) []index.Type
	Holding(word string) []index.Type
}

// Builder makes the neutral types of entries of one file and its Alt. It is safe for many goroutines.
//
// A type that is only declared where it is used is the definition of that name, if there is one or all have one size;
// otherwise it is Incomplete. Only such types open the index.
type Builder struct {
	name    string
	data    *dwarfinfo.Data
	index   func() (Index, error)
	readers sync.Pool
	scopes  sync.Map // *dwarfinfo.Unit → func() []scope

	mu    sync.Mutex
	types map[dwarfinfo.Ref]*symbols.Type
}

// maxTypes bounds the cache, after which it starts anew: `whatis -m` asks for the 120,000 members of a kernel's structs. What
// it held stays valid, but is made again when asked for again.
const maxTypes = 1 << 17

// maxChain bounds entries that stand for each other (typedefs, qualifiers, origins, arrays of arrays). Real ones are some six
// long.
const maxChain = 48

// NewBuilder makes a builder for d. open opens the index of d, by the first question that needs it. name tells where the types
// are from.
func NewBuilder(d *dwarfinfo.Data, open func() (Index, error), name string) *Builder {
	b := &Builder{name: name, data: d, index: symbols.Once(open), types: make(map[dwarfinfo.Ref]*symbols.Type)}
	b.readers.New = func() any { return d.Reader() }
	return b
}

// TypeAt is the type of the entry that ref names: a type, or a function's prototype. What can't be read is an incomplete
// struct "?".
func (b *Builder) TypeAt(ref dwarfinfo.Ref) *symbols.Type {
	var t *symbols.Type
	_ = mapfile.Guard(b.data.Name, func() error {
		t = b.at(ref, 0)
		return nil
	})
	if t == nil {
		return b.bad()
	}
	return t
}

// find asks the index, which it opens.
func (b *Builder) find(kind index.Kind, name string) ([]index.Hit, error) {
	ix, err := b.index()
	if err != nil {
		return nil, err
	}
	return ix.Find(kind, name), nil
}

// bad stands for what can't be read.
func (b *Builder) bad() *symbols.Type {
	return &symbols.Type{Kind: symbols.Struct, Name: "?", Incomplete: true, From: b.name}
}

// at is TypeAt for callers that are guarded. depth counts entries that were met on the way here and are not finished.
func (b *Builder) at(ref dwarfinfo.Ref, depth int) *symbols.Type {
	if depth > maxChain || ref.Data == nil {
		return b.bad()
	}
	b.mu.Lock()
	t, ok := b.types[ref]
	b.mu.Unlock()
	if ok {
		return t
	}
	_ = b.entry(ref, func(e *dwarfinfo.Entry) { t = b.convert(e, depth) })
	if t == nil {
		return b.bad()
	}
	if t.Incomplete {
		return t // for now: who cancels the opening of the index may ask again
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if earlier, ok := b.types[ref]; ok {
		return earlier
	}
	if len(b.types) >= maxTypes {
		b.types = make(map[dwarfinfo.Ref]*symbols.Type)
	}
	b.types[ref] = t
	return t
}

// entry calls f with the entry at ref.
func (b *Builder) entry(ref dwarfinfo.Ref, f func(*dwarfinfo.Entry)) error {
	r, done := b.reader(ref.Data)
	defer done()
	if err := r.Seek(ref.Off); err != nil {
		return err
	}
	e, err := r.Next()
	if e != nil {
		f(e)
	}
	return err
}

func (b *Builder) reader(d *dwarfinfo.Data) (*dwarfinfo.Reader, func()) {
	if d != b.data {
		return d.Reader(), func() {}
	}
	r := b.readers.Get().(*dwarfinfo.Reader)
	return r, func() { b.readers.Put(r) }
}

// maxChildren bounds the members of one type. Real ones have some thousand.
const maxChildren = 1 << 17

// children calls f with the direct children of the entry at ref, until it returns false or one can't be read.
func (b *Builder) children(ref dwarfinfo.Ref, f func(*dwarfinfo.Entry) bool) {
	r, done := b.reader(ref.Data)
	defer done()
	if r.Seek(ref.Off) != nil {
		return
	}
	if e, err := r.Next(); err != nil || e == nil || !e.Children {
		return
	}
	for range maxChildren {
		e, err := r.Next()
		if err != nil || e == nil || !f(e) || r.Skip(e) != nil {
			return
		}
	}
}

// lazy is NewType with the parts filled in under guard.
func (b *Builder) lazy(t *symbols.Type, fill func(*symbols.Parts)) *symbols.Type {
	t.From = b.name
	return symbols.NewType(t, func(p *symbols.Parts) {
		_ = mapfile.Guard(b.data.Name, func() error {
			fill(p)
			return nil
		})
	})
}

// target is what an entry's DW_AT_type names.
type target struct {
	ref  dwarfinfo.Ref
	void bool
}

// targetOf is e's; a ref without Data is in a file that was not found.
func targetOf(e *dwarfinfo.Entry) target {
	if e.Field(dwarf.AttrType) == nil {
		return target{void: true}
	}
	ref, ok := e.RefTo(dwarf.AttrType)
	if !ok {
		ref.Data = nil
	}
	return target{ref: ref}
}

func (b *Builder) to(t target, depth int) *symbols.Type {
	if t.void {
		return symbols.VoidType
	}
	return b.at(t.ref, depth)
}

// typeOf is the type that e's DW_AT_type names: void if it has none.
func (b *Builder) typeOf(e *dwarfinfo.Entry, depth int) *symbols.Type {
	return b.to(targetOf(e), depth+1)
}

// Tags and attributes that package debug/dwarf has no name for.
const (
	tagAtomicType    dwarf.Tag = 0x47   // DWARF 5
	tagImmutableType dwarf.Tag = 0x4b   // DWARF 5
	tagLLVMPtrAuth   dwarf.Tag = 0x4300 // LLVM's __ptrauth
)

// convert makes the type of e, which is its reader's. Other types that e leads to are made when they are asked for, but for
// those whose size decides e's.
func (b *Builder) convert(e *dwarfinfo.Entry, depth int) *symbols.Type {
	switch e.Tag {
	case dwarf.TagBaseType:
		return b.base(e)
	case dwarf.TagPointerType, dwarf.TagReferenceType, dwarf.TagRvalueReferenceType, dwarf.TagPtrToMemberType:
		return b.pointer(e)
	case dwarf.TagStructType, dwarf.TagClassType, dwarf.TagInterfaceType:
		return b.composite(symbols.Struct, e, depth)
	case dwarf.TagUnionType:
		return b.composite(symbols.Union, e, depth)
	case dwarf.TagEnumerationType:
		return b.enum(e, depth)
	case dwarf.TagArrayType:
		return b.array(e, depth)
	case dwarf.TagTypedef, dwarf.TagTemplateAlias:
		return b.wrapper(symbols.Typedef, b.nameOf(e), e, depth)
	case dwarf.TagConstType:
		return b.wrapper(symbols.Const, "", e, depth)
	case dwarf.TagVolatileType:
		return b.wrapper(symbols.Volatile, "", e, depth)
	case dwarf.TagRestrictType:
		return b.wrapper(symbols.Restrict, "", e, depth)
	case tagAtomicType, dwarf.TagPackedType, tagImmutableType, dwarf.TagSharedType, tagLLVMPtrAuth, dwarf.TagSubrangeType:
		return b.typeOf(e, depth) // nothing that C's layout shows
	case dwarf.TagSubroutineType, dwarf.TagSubprogram, dwarf.TagInlinedSubroutine:
		return b.prototype(e, depth)
	case dwarf.TagUnspecifiedType:
		return &symbols.Type{Kind: symbols.Void, Name: e.Str(dwarf.AttrName), From: b.name}
	}
	return b.bad()
}

// Encodings of base types, DW_ATE_*.
const (
	encBoolean      = 0x02
	encComplexFloat = 0x03
	encFloat        = 0x04
	encSigned       = 0x05
	encSignedChar   = 0x06
	encUnsignedChar = 0x08
	encImaginary    = 0x09
	encDecimalFloat = 0x0f
	encUTF          = 0x10
	maxBase         = 64      // bytes; vectors are arrays
	maxSize         = 1 << 32 // bytes of a struct or array; what claims more is damaged
	maxPointer      = 16      // of C++ members, two words
	encSignedFixed  = 0x0d
)

func (b *Builder) base(e *dwarfinfo.Entry) *symbols.Type {
	size, _ := e.Uint(dwarf.AttrByteSize)
	if size > maxBase {
		return b.bad()
	}
	name := e.Str(dwarf.AttrName)
	t := &symbols.Type{Kind: symbols.Int, Name: symbols.BaseTypeName(name), Size: size, From: b.name}
	switch enc, _ := e.Uint(dwarf.AttrEncoding); enc {
	case encBoolean:
		t.Kind = symbols.Bool
	case encFloat, encComplexFloat, encImaginary, encDecimalFloat:
		t.Kind = symbols.Float
	case encSigned, encSignedFixed:
		t.Signed = true
	case encSignedChar:
		t.Signed, t.Char = true, true
	case encUnsignedChar, encUTF:
		t.Char = true
	}
	return t
}

func (b *Builder) pointer(e *dwarfinfo.Entry) *symbols.Type {
	size, ok := e.Uint(dwarf.AttrByteSize)
	if !ok || size > maxPointer {
		size = uint64(e.Unit.AddrSize)
	}
	to := targetOf(e)
	return b.lazy(&symbols.Type{Kind: symbols.Pointer, Size: size}, func(p *symbols.Parts) { p.Elem = b.to(to, 0) })
}

func (b *Builder) wrapper(kind symbols.Kind, name string, e *dwarfinfo.Entry, depth int) *symbols.Type {
	to := targetOf(e)
	size := b.to(to, depth+1).Size
	return b.lazy(&symbols.Type{Kind: kind, Name: name, Size: size}, func(p *symbols.Parts) { p.Elem = b.to(to, 0) })
}
