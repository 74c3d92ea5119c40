package cdecl

import (
	"errors"
	"strings"
	"testing"

	"kdx/symbols"
)

// kernelTypes is what a small kernel knows.
type kernelTypes map[string]*symbols.Type

func (k kernelTypes) TypeNamed(kind symbols.Kind, name string) (*symbols.Type, error) {
	if t, ok := k[kind.String()+" "+name]; ok {
		return t, nil
	}
	return nil, symbols.ErrNotFound
}

func (k kernelTypes) Enumerator(name string) (int64, *symbols.Type, error) {
	switch name {
	case "NR_ITEMS":
		return 7, nil, nil
	case "NEGATIVE":
		return -1, nil, nil
	}
	return 0, nil, symbols.ErrNotFound
}

func someKernel() kernelTypes {
	u64 := &symbols.Type{Kind: symbols.Int, Name: "unsigned long long", Size: 8, From: "btf"}
	return kernelTypes{
		"struct task_struct": {Kind: symbols.Struct, Name: "task_struct", Size: 9792, From: "btf"},
		"struct list_head":   {Kind: symbols.Struct, Name: "list_head", Size: 16},
		"union sigval":       {Kind: symbols.Union, Name: "sigval", Size: 8},
		"enum pid_type":      {Kind: symbols.Enum, Name: "pid_type", Size: 4},
		"typedef u64":        symbols.NewType(&symbols.Type{Kind: symbols.Typedef, Name: "u64", Size: 8, From: "btf"}, func(p *symbols.Parts) { p.Elem = u64 }),
		"int unsigned long":  {Kind: symbols.Int, Name: "unsigned long", Size: 8, From: "btf"},
	}
}

func TestParseType(t *testing.T) {
	l := Lookup{Types: someKernel()}
	tests := []struct {
		in, want string
		size     uint64
	}{
		{"struct task_struct", "struct task_struct", 9792},
		{"struct task_struct *", "struct task_struct *", 8},
		{"struct\ttask_struct**", "struct task_struct **", 8},
		{"union sigval", "union sigval", 8},
		{"enum pid_type", "enum pid_type", 4},
		{"u64", "u64", 8},
		{"u8", "u8", 1},
		{"size_t", "size_t", 8},
		{"bool", "_Bool", 1},
		{"void *", "void *", 8},
		{"char [16]", "char [16]", 16},
		{"char[0x10]", "char [16]", 16},
		{"int[2][3]", "int [2][3]", 24},
		{"char []", "char []", 0},
		{"u64 [NR_ITEMS]", "u64 [7]", 56},
		{"struct list_head *[4]", "struct list_head *[4]", 32},
		{"struct list_head (*)[4]", "struct list_head (*)[4]", 8},
		{"int (*)(void *)", "int (*)(void *)", 8},
		{"int (*)(void)", "int (*)(void)", 8},
		{"int (*[2])(const char *, ...)", "int (*[2])(const char *, ...)", 16},
		{"void (*(*)(int))(void)", "void (*(*)(int))(void)", 8},
		{"void (int x, char *)", "void (int x, char *)", 0},
		{"const char * const *", "const char * const *", 8},
		{"char const *", "const char *", 8},
		{"volatile unsigned long", "volatile unsigned long", 8},
		{"const const int", "const int", 4},
		{"struct list_head __percpu *", "struct list_head *", 8},
		{"struct list_head * __rcu", "struct list_head *", 8},
		{"unsigned", "unsigned int", 4},
		{"long", "long", 8},
		{"long unsigned", "unsigned long", 8},
		{"int long unsigned long", "unsigned long long", 8},
		{"short int", "short", 2},
		{"unsigned char", "unsigned char", 1},
		{"signed char", "signed char", 1},
		{"signed", "int", 4},
		{"double", "double", 8},
		{"__int128", "__int128", 16},
		{"_Bool", "_Bool", 1},
		{"struct { int a; char b; }", "struct {...}", 8},
		{"union { int a; u64 b; }", "union {...}", 8},
	}
	for _, tt := range tests {
		got, err := ParseType(l, tt.in)
		if err != nil {
			t.Errorf("ParseType(%q): %v", tt.in, err)
			continue
		}
		if got.String() != tt.want || got.Size != tt.size {
			t.Errorf("ParseType(%q) = %q of %d bytes; want %q of %d", tt.in, got, got.Size, tt.want, tt.size)
		}
	}
	if got, _ := ParseType(l, "unsigned long"); got.From != "btf" {
		t.Errorf("unsigned long is from %q; want the kernel's own", got.From)
	}
}

func TestParseType32(t *testing.T) {
	l := Lookup{PointerSize: 4}
	for in, want := range map[string]uint64{"long": 4, "long long": 8, "void *": 4, "size_t": 4, "char *[3]": 12} {
		if got, err := ParseType(l, in); err != nil || got.Size != want {
			t.Errorf("ParseType(%q) = %v, %v; want %d bytes", in, got, err, want)
		}
	}
}

func TestParseDecl(t *testing.T) {
	l := Lookup{Types: someKernel()}
	tests := []struct{ in, name, decl string }{
		{"struct list_head modules", "modules", "struct list_head modules"},
		{"static unsigned long volatile jiffies;", "jiffies", "volatile unsigned long jiffies"},
		{"char *(*names[4])(int)", "names", "char *(*names[4])(int)"},
		{"u64 x[2]", "x", "u64 x[2]"},
		{"int f(struct list_head *l, ...)", "f", "int f(struct list_head *l, ...)"},
		{"const char linux_banner[]", "linux_banner", "const char linux_banner[]"},
		{"int (x)", "x", "int x"},
	}
	for _, tt := range tests {
		name, got, err := ParseDecl(l, tt.in)
		if err != nil {
			t.Errorf("ParseDecl(%q): %v", tt.in, err)
			continue
		}
		if d := got.Declare(name); name != tt.name || d != tt.decl {
			t.Errorf("ParseDecl(%q) = %q, %q; want %q, %q", tt.in, name, d, tt.name, tt.decl)
		}
	}
}

func TestParseTypePrefix(t *testing.T) {
	l := Lookup{Types: someKernel()}
	for _, tt := range []struct{ in, want, rest string }{
		{"struct task_struct *)x", "struct task_struct *", ")x"},
		{"unsigned long) + 1", "unsigned long", ") + 1"},
		{"u64)", "u64", ")"},
		{"int (*)(void))p", "int (*)(void)", ")p"},
		{"int , x", "int", ", x"},
		{"struct list_head, next)", "struct list_head", ", next)"},
		{"char [4])", "char [4]", ")"},
		{"u64 jiffies", "u64", "jiffies"},
	} {
		got, rest, err := ParseTypePrefix(l, tt.in)
		if err != nil || got.String() != tt.want || rest != tt.rest {
			t.Errorf("ParseTypePrefix(%q) = %v, %q, %v; want %q, %q", tt.in, got, rest, err, tt.want, tt.rest)
		}
	}
}

func TestLayout(t *testing.T) {
	l := Lookup{Types: someKernel()}
	got, err := ParseType(l, "struct { char a; struct { short b; int c[3]; } s; void *p; char z; }")
	if err != nil {
		t.Fatal(err)
	}
	for path, want := range map[string]uint64{"a": 0, "s": 4, "s.b": 4, "s.c": 8, "p": 24, "z": 32} {
		if off, ok := got.OffsetOf(path); !ok || off != want {
			t.Errorf("offset of %s = %d, %v; want %d", path, off, ok, want)
		}
	}
	if got.Size != 40 {
		t.Errorf("size = %d; want 40", got.Size)
	}
}

func TestErrors(t *testing.T) {
	l := Lookup{Types: someKernel()}
	tests := []struct {
		in   string
		is   error
		want string
	}{
		{"", ErrNotType, "not a type"},
		{"init_task", ErrNotType, "init_task"},
		{"1 + 2", ErrNotType, "not a type"},
		{"struct nothing *", symbols.ErrNotFound, "struct nothing"},
		{"int (*)(struct nothing *)", symbols.ErrNotFound, "struct nothing"},
		{"struct", nil, "too early"},
		{"struct 5", nil, "column 8"},
		{"int *x", nil, "unexpected"},
		{"int [", nil, "too early"},
		{"int [x]", symbols.ErrNotFound, "x"},
		{"int [NEGATIVE]", nil, "-1"},
		{"int [99999999999999999999]", nil, "no length"},
		{"int [1000000000][1000000000]", nil, "too large"},
		{"void [3]", nil, "impossible"},
		{"unsigned float", nil, "no C type"},
		{"short long", nil, "no C type"},
		{"long long long", nil, "no C type"},
		{"int char", nil, "don't go together"},
		{"struct task_struct int", nil, "does not go with"},
		{"float char", nil, "don't go together"},
		{strings.Repeat("int (", 50), nil, ""},
		{"int " + strings.Repeat("(*", 100), nil, "too deep"},
		{"int " + strings.Repeat("*", 5000), nil, "too many"},
		{"struct { int a", nil, "too early"},
		{"struct { int a b; }", nil, "unexpected"},
	}
	for _, tt := range tests {
		got, err := ParseType(l, tt.in)
		if err == nil || tt.is != nil && !errors.Is(err, tt.is) || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("ParseType(%.40q) = %v, %v; want an error with %q", tt.in, got, err, tt.want)
		}
	}
	if _, _, err := ParseDecl(l, "int"); err == nil {
		t.Error("ParseDecl(int): no error; want that the name is missing")
	}
	if _, _, err := ParseDecl(l, "int x y"); err == nil {
		t.Error("ParseDecl(int x y): no error")
	}
}

func FuzzCDecl(f *testing.F) {
	for _, s := range []string{"struct task_struct *", "int (*[2])(const char *, ...)", "u64 x[NR_ITEMS]", "struct { int a; } y;", "void (*(*)(int))(void)", "char const * const *[3][]"} {
		f.Add(s)
	}
	l := Lookup{Types: someKernel()}
	f.Fuzz(func(t *testing.T, s string) {
		if typ, err := ParseType(l, s); err == nil {
			again, err := ParseType(l, typ.String())
			if err == nil && again.Size != typ.Size {
				t.Errorf("%q is %q of %d bytes, but that reads as %d bytes", s, typ, typ.Size, again.Size)
			}
		}
		if name, typ, err := ParseDecl(l, s); err == nil {
			_ = typ.Declare(name)
		}
		if _, rest, err := ParseTypePrefix(l, s); err == nil && !strings.HasSuffix(s, rest) {
			t.Errorf("ParseTypePrefix(%q) leaves %q, which is no end of it", s, rest)
		}
	})
}
