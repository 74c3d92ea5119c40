package types

import (
	"strings"
	"testing"

	"kdx/symbols"
)

// shape is a type's members as text.
func shape(t *symbols.Type) []string {
	var out []string
	for _, m := range t.Members() {
		out = append(out, m.Type.Declare(m.Name))
	}
	return out
}

const cppSource = `
namespace a { namespace b {
struct Base { int x; static int shared; };
struct Derived : Base { int y; int &ref; struct Inner { char c; } inner; };
enum class Scoped : unsigned char { One = 1, Last = 255 };
} }
struct Plain { void *p; void method(int n) const; };
void Plain::method(int n) const {}
int twice(int n) { return 2 * n; }
a::b::Derived *d; a::b::Scoped s; Plain plain; int Plain::*member; decltype(nullptr) null;
`

func TestCPlusPlus(t *testing.T) {
	f := newFinder(compile(t, "a.cc", cppSource, "g++", "-g", "-shared", "-nostdlib", "-fPIC"))
	d, err := f.TypeNamed(symbols.Struct, "a::b::Derived")
	if err != nil {
		t.Fatal(err)
	}
	if x, ok := d.OffsetOf("x"); !ok || x != 0 {
		t.Errorf("the base's x at %d, %v", x, ok)
	}
	if m, ok := d.Member("inner"); !ok || m.Type.String() != "struct a::b::Derived::Inner" || m.Offset() != 16 {
		t.Errorf("inner is %v at %d", m.Type, m.Offset())
	}
	if _, ok := d.Member("shared"); ok {
		t.Error("a static member is one of the object")
	}
	if v, e, err := f.Enumerator("a::b::Scoped::Last"); err != nil || v != 255 || e.Name != "a::b::Scoped" {
		t.Errorf("Last = %d, %v, %v", v, e, err)
	}
	if v, err := f.VariableType("d"); err != nil || v.String() != "struct a::b::Derived *" {
		t.Errorf("d is %v, %v", v, err)
	}
	if v, err := f.VariableType("member"); err != nil || v.Kind != symbols.Pointer || v.Size != 8 {
		t.Errorf("member is %v, %v", v, err)
	}
	for name, want := range map[string]string{"Plain::method": "void method(const struct Plain * const this, int n)", "twice": "int twice(int n)"} {
		if v, err := f.FunctionType(name); err != nil || v.Declare(name[strings.LastIndex(name, ":")+1:]) != want {
			t.Errorf("%s is %v, %v; want %s", name, v, err, want)
		}
	}
}

const rustSource = `
#![no_std]
#![crate_type = "cdylib"]
#[panic_handler] fn panic(_: &core::panic::PanicInfo) -> ! { loop {} }
pub mod inner {
    pub struct Pair { pub a: u32, pub b: bool, pub c: char }
    pub enum Shape { Empty, Circle(f64), Square { side: u16, name: &'static str } }
    #[repr(u8)] pub enum Plain { One = 1, Two = 2 }
}
#[no_mangle] pub static PAIR: inner::Pair = inner::Pair { a: 1, b: true, c: 'x' };
#[no_mangle] pub static SHAPE: inner::Shape = inner::Shape::Circle(1.0);
#[no_mangle] pub static OTHER: inner::Shape = inner::Shape::Square { side: 1, name: "" };
#[no_mangle] pub static EMPTY: inner::Shape = inner::Shape::Empty;
#[no_mangle] pub static PLAIN: inner::Plain = inner::Plain::Two;
#[no_mangle] pub static NICHE: Option<&'static u32> = Some(&7);
#[no_mangle] pub static TUPLE: (u8, [i64; 3]) = (1, [1, 2, 3]);
`

func TestRust(t *testing.T) {
	d := compile(t, "a.rs", rustSource, "rustc", "-g", "-C", "panic=abort", "-C", "link-arg=-nostdlib")
	f := newFinder(d)
	pair, err := f.VariableType("a::PAIR")
	if err != nil || pair.Name != "a::inner::Pair" || pair.Size != 12 {
		t.Fatalf("PAIR is %v, %v", pair, err)
	}
	if m, _ := pair.Member("b"); m.Type.Kind != symbols.Bool {
		t.Errorf("b is %v", m.Type)
	}
	if m, _ := pair.Member("c"); m.Type.Kind != symbols.Int || !m.Type.Char || m.Type.Size != 4 {
		t.Errorf("c is %v of %d bytes", m.Type, m.Type.Size)
	}
	s, err := f.VariableType("a::SHAPE")
	if err != nil {
		t.Fatal(err)
	}
	discr, ok := s.Member("discriminant")
	if !ok || discr.Type.Kind != symbols.Enum || len(discr.Type.Enumerators()) < 2 {
		t.Fatalf("%v has members %q, the discriminant with %v", s, shape(s), discr)
	}
	if circle, ok := s.Path("Circle.__0"); !ok || circle.Type.Kind != symbols.Float || circle.Offset() != 8 {
		t.Errorf("Circle.0 is %v at %d", circle.Type, circle.Offset())
	}
	if n, ok := s.Path("Square.side"); !ok || n.Type.Size != 2 {
		t.Errorf("Square.side is %v", n.Type)
	}
	for name, want := range map[string]string{"PLAIN": "enum ", "TUPLE": "struct (u8, [i64; 3])"} {
		if v, err := f.VariableType("a::" + name); err != nil || v.String()[:len(want)] != want {
			t.Errorf("%s is %v, %v; want %s", name, v, err, want)
		}
	}
	niche, err := f.VariableType("a::NICHE")
	if err != nil || niche.Size != 8 {
		t.Fatalf("NICHE is %v, %v", niche, err)
	}
	if some, ok := niche.Path("Some.__0"); !ok || some.Type.Kind != symbols.Pointer {
		t.Errorf("NICHE has members %q", shape(niche))
	}
}
