package symbols

import "testing"

func structType(name string, size uint64, members ...Member) *Type {
	return NewType(&Type{Kind: Struct, Name: name, Size: size}, func(p *Parts) { p.Members = members })
}

func wrap(kind Kind, name string, t *Type) *Type {
	return NewType(&Type{Kind: kind, Name: name, Size: t.Size}, func(p *Parts) { p.Elem = t })
}

var (
	intType  = &Type{Kind: Int, Name: "int", Size: 4, Signed: true}
	charType = &Type{Kind: Int, Name: "char", Size: 1, Char: true}
)

func TestDeclare(t *testing.T) {
	page := structType("page", 64)
	fn := NewType(&Type{Kind: Func, Variadic: true}, func(p *Parts) {
		p.Elem = intType
		p.Params = []Param{{"fmt", PointerTo(wrap(Const, "", charType), 8)}}
	})
	constChars := wrap(Const, "", ArrayOf(wrap(Const, "", charType), 4))
	tests := []struct {
		typ  *Type
		name string
		want string
	}{
		{intType, "", "int"},
		{VoidType, "", "void"},
		{PointerTo(VoidType, 8), "p", "void *p"},
		{ArrayOf(charType, 16), "comm", "char comm[16]"},
		{ArrayOf(ArrayOf(charType, 3), 2), "a", "char a[2][3]"},
		{ArrayOf(page, Flexible), "pages", "struct page pages[]"},
		{PointerTo(ArrayOf(intType, 4), 8), "p", "int (*p)[4]"},
		{PointerTo(fn, 8), "print", "int (*print)(const char *fmt, ...)"},
		{ArrayOf(PointerTo(fn, 8), 2), "", "int (*[2])(const char *fmt, ...)"},
		{wrap(Const, "", PointerTo(charType, 8)), "p", "char * const p"},
		{PointerTo(wrap(Const, "", PointerTo(charType, 8)), 8), "", "char * const *"},
		{constChars, "s", "const char s[4]"},
		{PointerTo(constChars, 8), "p", "const char (*p)[4]"},
		{wrap(Const, "", ArrayOf(PointerTo(charType, 8), 2)), "s", "char * const s[2]"},
		{wrap(Volatile, "", wrap(Typedef, "u64", intType)), "jiffies", "volatile u64 jiffies"},
		{structType("", 8), "x", "struct {...} x"},
		{&Type{Kind: Enum, Name: "pid_type", Size: 4}, "t", "enum pid_type t"},
	}
	for _, tt := range tests {
		if got := tt.typ.Declare(tt.name); got != tt.want {
			t.Errorf("Declare(%q) = %q; want %q", tt.name, got, tt.want)
		}
	}
}

func TestMember(t *testing.T) {
	inner := structType("", 8, Member{Name: "lo", Type: intType}, Member{Name: "hi", Type: intType, BitOffset: 32})
	list := structType("list_head", 16, Member{Name: "next", Type: intType}, Member{Name: "prev", Type: intType, BitOffset: 64})
	outer := structType("outer", 64,
		Member{Name: "a", Type: intType},
		Member{Type: inner, BitOffset: 64},
		Member{Name: "flag", Type: intType, BitOffset: 131, BitSize: 1},
		Member{Name: "lists", Type: ArrayOf(wrap(Typedef, "list_t", list), 2), BitOffset: 256},
	)
	tests := []struct {
		path string
		want uint64 // bytes
		ok   bool
	}{
		{"a", 0, true}, {"hi", 12, true}, {"flag", 16, true}, {"lists", 32, true}, {"lists[1].prev", 56, true},
		{"nothing", 0, false}, {"a.b", 0, false}, {"a[1]", 0, false}, {"lists[x]", 0, false}, {"", 0, false},
	}
	for _, tt := range tests {
		got, ok := outer.OffsetOf(tt.path)
		if ok != tt.ok || ok && got != tt.want {
			t.Errorf("OffsetOf(%q) = %d, %v; want %d, %v", tt.path, got, ok, tt.want, tt.ok)
		}
	}
	if m, _ := outer.Member("flag"); m.BitSize != 1 || m.BitOffset != 131 {
		t.Errorf("Member(flag) = %+v; want bit 131 of size 1", m)
	}
}

// Damaged data can make a typedef of itself, or a struct that holds itself.
func TestLoops(t *testing.T) {
	var loop *Type
	loop = NewType(&Type{Kind: Typedef, Name: "loop"}, func(p *Parts) { p.Elem = loop })
	if got := loop.Strip(); got != VoidType {
		t.Errorf("Strip of a typedef of itself = %v; want void", got)
	}
	var self *Type
	self = NewType(&Type{Kind: Struct, Name: "self"}, func(p *Parts) { p.Members = []Member{{Type: self}} })
	if _, ok := self.Member("x"); ok {
		t.Error("Member(x) of a struct that holds itself found")
	}
	var ptr *Type
	ptr = NewType(&Type{Kind: Pointer, Size: 8}, func(p *Parts) { p.Elem = ptr })
	if got := ptr.String(); got == "" {
		t.Error("String of a pointer to itself is empty")
	}
}

// Each of 16 anonymous structs holds the next 1000 times.
func TestWideNesting(t *testing.T) {
	typ := structType("", 4, Member{Name: "x", Type: intType})
	for range 16 {
		ms := make([]Member, 1000)
		for i := range ms {
			ms[i].Type = typ
		}
		typ = structType("", 4, ms...)
	}
	if _, ok := typ.Member("y"); ok {
		t.Error("Member(y) found")
	}
	var fn *Type
	fn = NewType(&Type{Kind: Func}, func(p *Parts) {
		for range 100 {
			p.Params = append(p.Params, Param{Type: PointerTo(fn, 8)})
		}
	})
	if s := fn.Declare("f"); len(s) > 1<<20 {
		t.Errorf("declaration of %d bytes", len(s))
	}
}

func TestBaseTypeName(t *testing.T) {
	for from, want := range map[string]string{
		"long unsigned int": "unsigned long", "unsigned long": "unsigned long", "int": "int", "bool": "_Bool",
		"short int": "short", "long long unsigned int": "unsigned long long",
	} {
		if got := BaseTypeName(from); got != want {
			t.Errorf("BaseTypeName(%q) = %q; want %q", from, got, want)
		}
	}
	if got := BaseTypeSpellings("unsigned long"); len(got) != 2 {
		t.Errorf("BaseTypeSpellings(unsigned long) = %q; want two", got)
	}
}
