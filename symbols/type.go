package symbols

import (
	"fmt"
	"strings"
	"sync"
)

// Kind of a Type.
type Kind uint8

const (
	Void Kind = iota
	Int       // integers and characters
	Bool
	Float
	Pointer
	Array
	Struct
	Union
	Enum
	Typedef
	Func
	Const
	Volatile
	Restrict
)

var kindNames = [...]string{"void", "int", "bool", "float", "pointer", "array", "struct", "union", "enum", "typedef", "func", "const", "volatile", "restrict"}

func (k Kind) String() string {
	if int(k) < len(kindNames) {
		return kindNames[k]
	}
	return fmt.Sprintf("Kind(%d)", uint8(k))
}

// Flexible is the length of an array without one: a flexible array member.
const Flexible = -1

// Type is a C type. It is immutable to its users; parts that lead to other types are filled in when first asked for, so
// that a struct does not drag in everything that its pointers reach. Safe for many goroutines.
type Type struct {
	Kind Kind
	Name string // tag, typedef name or base type name; "" if anonymous
	Size uint64 // bytes; 0 for Void, Func and what is Incomplete
	// Incomplete: declared but not defined.
	Incomplete bool
	Signed     bool  // Int, Enum
	Char       bool  // Int that holds a character
	Len        int64 // Array: elements, or Flexible
	Variadic   bool  // Func
	From       string

	once    sync.Once
	fill    func(*Parts)
	parts   Parts
	members memberIndex
}

// Parts are a type's references to other types.
type Parts struct {
	Elem        *Type // Pointer, Array, Typedef, Const, Volatile, Restrict: what is pointed to, …; Func: what is returned
	Members     []Member
	Params      []Param
	Enumerators []Enumerator
}

// Member of a Struct or Union. An anonymous struct or union has Name "".
type Member struct {
	Name      string
	Type      *Type
	BitOffset uint64 // from the start of the struct
	BitSize   uint32 // of a bit-field; 0 for other members
}

// Offset in bytes, rounded down for a bit-field.
func (m *Member) Offset() uint64 { return m.BitOffset / 8 }

// Param of a Func.
type Param struct {
	Name string
	Type *Type
}

// Enumerator is a constant of an Enum.
type Enumerator struct {
	Name  string
	Value int64
}

type memberIndex struct {
	once sync.Once
	m    map[string]Member
}

// NewType makes a type whose Parts are found by fill when first needed. fill may be nil if there are none. t's exported
// fields are copied; it must not have been used.
func NewType(t *Type, fill func(*Parts)) *Type {
	t.fill = fill
	return t
}

func (t *Type) load() *Parts {
	t.once.Do(func() {
		if t.fill != nil {
			t.fill(&t.parts)
			t.fill = nil
		}
		if t.parts.Elem == nil {
			t.parts.Elem = VoidType
		}
	})
	return &t.parts
}

// VoidType is the one void.
var VoidType = &Type{Kind: Void, Name: "void"}

// Elem is what a Pointer points to, what an Array holds, what a Typedef or qualifier stands for, what a Func returns.
// It is never nil.
func (t *Type) Elem() *Type { return t.load().Elem }

// Members of a Struct or Union in order.
func (t *Type) Members() []Member { return t.load().Members }

// Params of a Func.
func (t *Type) Params() []Param { return t.load().Params }

// Enumerators of an Enum.
func (t *Type) Enumerators() []Enumerator { return t.load().Enumerators }

// PointerTo makes the pointer type; size is that of the target's pointers, in bytes.
func PointerTo(t *Type, size uint64) *Type {
	return NewType(&Type{Kind: Pointer, Size: size, From: t.From}, func(p *Parts) { p.Elem = t })
}

// ArrayOf makes the array type of n elements, or Flexible.
func ArrayOf(t *Type, n int64) *Type {
	return NewType(&Type{Kind: Array, Size: t.Size * uint64(max(n, 0)), Len: n, From: t.From}, func(p *Parts) { p.Elem = t })
}

// Strip removes typedefs and qualifiers. A chain of them that loops (in damaged data) ends as void.
func (t *Type) Strip() *Type {
	for range 64 {
		switch t.Kind {
		case Typedef, Const, Volatile, Restrict:
			t = t.Elem()
		default:
			return t
		}
	}
	return VoidType
}

// Composite reports whether t, stripped, is a struct or union.
func (t *Type) Composite() bool {
	k := t.Strip().Kind
	return k == Struct || k == Union
}

// Member finds a member by name, also inside anonymous structs and unions; BitOffset is from the start of t.
func (t *Type) Member(name string) (Member, bool) {
	t = t.Strip()
	if t.Kind != Struct && t.Kind != Union {
		return Member{}, false
	}
	t.members.once.Do(func() {
		t.members.m = make(map[string]Member, len(t.Members()))
		budget := maxIndexed
		indexMembers(t.members.m, t, 0, 0, &budget)
	})
	m, ok := t.members.m[name]
	return m, ok
}

// Damaged data can nest anonymous structs without end, or one in many places. Real ones nest 4 deep, and the largest has
// some thousand members.
const (
	maxAnonymousDepth = 16
	maxIndexed        = 1 << 17
)

func indexMembers(into map[string]Member, t *Type, base uint64, depth int, budget *int) {
	if depth > maxAnonymousDepth {
		return
	}
	for _, m := range t.Members() {
		if *budget--; *budget < 0 {
			return
		}
		m.BitOffset += base
		if m.Name == "" {
			if s := m.Type.Strip(); s.Kind == Struct || s.Kind == Union {
				indexMembers(into, s, m.BitOffset, depth+1, budget)
			}
			continue
		}
		if _, ok := into[m.Name]; !ok {
			into[m.Name] = m
		}
	}
}

// Path resolves "a.b.c" and "a[2].b" from t: the member's type and its offset. Pointers are not followed.
func (t *Type) Path(path string) (Member, bool) {
	cur := Member{Type: t}
	for part := range strings.SplitSeq(path, ".") {
		name, index, indexed := strings.Cut(part, "[")
		m, ok := cur.Type.Member(name)
		if !ok {
			return Member{}, false
		}
		m.BitOffset += cur.BitOffset
		for indexed {
			var n uint64
			if _, err := fmt.Sscanf(index, "%d]", &n); err != nil {
				return Member{}, false
			}
			a := m.Type.Strip()
			if a.Kind != Array {
				return Member{}, false
			}
			m = Member{Name: m.Name, Type: a.Elem(), BitOffset: m.BitOffset + n*a.Elem().Size*8}
			_, index, indexed = strings.Cut(index, "[")
		}
		cur = m
	}
	return cur, true
}

// OffsetOf is the byte offset of the member at path; ok is false if there is none.
func (t *Type) OffsetOf(path string) (uint64, bool) {
	m, ok := t.Path(path)
	return m.Offset(), ok
}

// EnumeratorName is the name of an Enum's value.
func (t *Type) EnumeratorName(v int64) (string, bool) {
	for _, e := range t.Strip().Enumerators() {
		if e.Value == v {
			return e.Name, true
		}
	}
	return "", false
}

// String is the type as C spells it, without a declared name.
func (t *Type) String() string { return t.Declare("") }

// Declare is a C declaration of name with this type: "int (*handler)(int, void *)", "char comm[16]".
func (t *Type) Declare(name string) string {
	budget := maxDeclared
	return declare(t, name, 0, &budget)
}

// maxDeclared bounds the types in one declaration, as damaged data can make functions that take each other.
const maxDeclared = 1000

func declare(t *Type, inner string, depth int, budget *int) string {
	if *budget--; depth > 32 || *budget < 0 {
		return "…"
	}
	switch t.Kind {
	case Pointer:
		e := t.Elem()
		inner = "*" + inner
		switch e.unqualified().Kind {
		case Array, Func:
			inner = "(" + inner + ")"
		}
		return declare(e, inner, depth+1, budget)
	case Array:
		n := ""
		if t.Len >= 0 {
			n = fmt.Sprint(t.Len)
		}
		return declare(t.Elem(), inner+"["+n+"]", depth+1, budget)
	case Func:
		return declare(t.Elem(), inner+"("+paramList(t, depth, budget)+")", depth+1, budget)
	case Const, Volatile, Restrict:
		switch e := t.Elem(); e.Kind {
		case Pointer:
			q := " " + t.Kind.String()
			if inner != "" {
				q += " "
			}
			return declare(e, q+inner, depth+1, budget)
		case Array:
			return declare(qualifyElements(t.Kind, e), inner, depth+1, budget)
		case t.Kind:
			return declare(e, inner, depth+1, budget)
		}
		return t.Kind.String() + " " + declare(t.Elem(), inner, depth+1, budget)
	}
	base := t.base()
	if inner == "" {
		return base
	}
	return base + " " + inner
}

// unqualified is t without const, volatile and restrict around it.
func (t *Type) unqualified() *Type {
	for range 32 { // damaged data can qualify itself
		switch t.Kind {
		case Const, Volatile, Restrict:
			t = t.Elem()
		default:
			return t
		}
	}
	return t
}

// qualifyElements is array a with its elements qualified, which is how C spells a qualified array. Compilers qualify both.
func qualifyElements(kind Kind, a *Type) *Type {
	elem := a.Elem()
	if elem.Kind != kind {
		to := elem
		elem = NewType(&Type{Kind: kind, Size: to.Size, From: to.From}, func(p *Parts) { p.Elem = to })
	}
	return ArrayOf(elem, a.Len)
}

func (t *Type) base() string {
	switch t.Kind {
	case Struct, Union, Enum:
		if t.Name == "" {
			return t.Kind.String() + " {...}"
		}
		return t.Kind.String() + " " + t.Name
	}
	return t.Name
}

func paramList(t *Type, depth int, budget *int) string {
	var ps []string
	for _, p := range t.Params() {
		ps = append(ps, declare(p.Type, p.Name, depth+1, budget))
	}
	if t.Variadic {
		ps = append(ps, "...")
	}
	if len(ps) == 0 {
		return "void"
	}
	return strings.Join(ps, ", ")
}
