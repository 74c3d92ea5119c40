package kernel_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"kdx/analyze/kernel"
	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/symbols"
)

const decls = `
struct list_head { struct list_head *next, *prev; };
struct flags { unsigned int a : 3; unsigned int b : 5; int c : 4; unsigned int d : 20; };
struct late { u64 pad; u8 x; unsigned int y : 7; };
struct inner { s16 neg; u8 bytes[4]; };
struct outer {
	int id;
	union { u32 word; u8 first; };
	struct inner in[2];
	struct list_head link;
	char name[8];
	struct outer *self;
	char *text;
};
`

func outer(t *testing.T) (*kerneltest.Machine, vmem.Addr) {
	m := kerneltest.New(t, decls)
	a := m.Alloc(128)
	m.Set(a, "outer", "id", 0xfffffffe)
	m.Set(a, "outer", "word", 0x11223344)
	m.Set(a, "outer", "in[1].neg", 0xfff0)
	m.Set(a, "outer", "self", uint64(a))
	m.Write(a+vmem.Addr(m.Offset("outer", "name")), []byte("kworker"))
	m.Write(a+vmem.Addr(m.Offset("outer", "in"))+8, []byte{1, 2, 3, 4})
	return m, a
}

func TestValueNavigation(t *testing.T) {
	m, a := outer(t)
	x := m.View().ObjectOf("outer", a)
	for _, tt := range []struct {
		name string
		x    kernel.Value
		want int64
	}{
		{"id", x.Field("id"), -2},
		{"member of an anonymous union", x.Field("word"), 0x11223344},
		{"another view of it", x.Field("first"), 0x44},
		{"path", x.Field("in[1].neg"), -16},
		{"index", x.Field("in").Index(1).Field("neg"), -16},
		{"follows a pointer", x.Field("self").Field("self").Field("id"), -2},
		{"deref", x.Field("self").Deref().Field("id"), -2},
		{"container_of", x.Field("link").ContainerOf("outer", "link").Field("id"), -2},
		{"element of the pointer", x.Field("self").Index(0).Field("id"), -2},
	} {
		if got, err := tt.x.Int(); err != nil || got != tt.want {
			t.Errorf("%s: Int() = %d, %v; want %d", tt.name, got, err, tt.want)
		}
	}
	if got, err := x.Field("name").CString(100); err != nil || got != "kworker" {
		t.Errorf("CString() = %q, %v; want kworker", got, err)
	}
}

func TestValueSticky(t *testing.T) {
	m, a := outer(t)
	x := m.View().ObjectOf("outer", a)
	for _, tt := range []struct {
		x    kernel.Value
		want string
	}{
		{x.Field("nosuch").Field("id"), "no member nosuch"},
		{x.Field("id").Deref(), "is no pointer"},
		{x.Field("text").Deref(), "is NULL"},
		{x.Field("id").Index(2), "neither array nor pointer"},
		{x.Field("link").ContainerOf("nosuch", "link"), "not found"},
		{kernel.Value{}, "no value"},
		{m.View().ObjectOf("nosuch", a).Field("x"), "not found"},
	} {
		if _, err := tt.x.Uint(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("error = %v; want one with %q", err, tt.want)
		}
	}
}

func TestValueBitFields(t *testing.T) {
	m := kerneltest.New(t, decls)
	a := m.Alloc(32)
	m.Put(a, 4, 5|9<<3|0xd<<8|0xabcde<<12)
	m.Put(a+16, 8, ^uint64(0))
	m.Put(a+16+8, 1, 0x7f)
	m.Put(a+16+9, 1, 0x2a)
	x := m.View().ObjectOf("flags", a)
	for path, want := range map[string]int64{"a": 5, "b": 9, "c": -3, "d": 0xabcde} {
		if got, err := x.Field(path).Int(); err != nil || got != want {
			t.Errorf("%s: Int() = %d, %v; want %d", path, got, err, want)
		}
	}
	// The bytes of a bit-field are its value, not what surrounds it.
	if p, err := x.Field("b").Bytes(); err != nil || len(p) != 4 || p[0] != 9 || p[1] != 0 {
		t.Errorf("Bytes() = %v, %v; want 9 0 0 0", p, err)
	}
	if _, ok := x.Field("b").Addr(); ok {
		t.Error("a bit-field has an Addr")
	}
}

func TestValueAtTheEndOfMemory(t *testing.T) {
	m := kerneltest.New(t, decls)
	a, next := m.AllocPage(), m.AllocPage()
	m.Exclude(next)
	at := a + 4096 - 8
	m.Put(at, 8, uint64(at))
	v := m.View()
	x := v.ObjectOf("list_head", at)
	if p, err := x.Field("next").Pointer(); err != nil || p != at {
		t.Errorf("Pointer() = %#x, %v; want %#x", p, err, at)
	}
	_, err := x.Field("prev").Uint()
	var pe *dumpfmt.PageError
	if !errors.As(err, &pe) || pe.State != dumpfmt.Excluded {
		t.Errorf("error = %v; want an excluded page", err)
	}
}

func TestComputedValue(t *testing.T) {
	m, _ := outer(t)
	v := m.View()
	flexible := symbols.ArrayOf(&symbols.Type{Kind: symbols.Int, Name: "char", Size: 1, Signed: true}, symbols.Flexible)
	if s, err := v.NewValue(flexible, nil).CString(10); err == nil {
		t.Errorf("CString() of a flexible array that lies nowhere = %q; want an error", s)
	}
	tt, err := v.Struct("inner")
	if err != nil {
		t.Fatal(err)
	}
	x := v.NewValue(tt, []byte{0xff, 0xff, 1, 2})
	if n, err := x.Field("neg").Int(); err != nil || n != -1 {
		t.Errorf("neg = %d, %v; want -1", n, err)
	}
	if _, err := x.Field("bytes").Index(3).Uint(); err == nil {
		t.Error("an element behind the value's bytes could be read")
	}
}

func TestHugeTypeCostsNothing(t *testing.T) {
	m, a := outer(t)
	huge := &symbols.Type{Kind: symbols.Struct, Name: "huge", Size: 1 << 40}
	if _, err := m.View().Object(huge, a).Bytes(); err == nil {
		t.Error("Bytes() of a terabyte: no error")
	}
}

func TestCancelledView(t *testing.T) {
	m, a := outer(t)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	v := m.ViewContext(ctx)
	var err error
	for range 10_000 {
		if err = v.Step(); err != nil {
			break
		}
	}
	if !errors.Is(err, context.Canceled) {
		t.Errorf("Step() = %v; want context.Canceled", err)
	}
	_ = a
}

func TestIsPerCPU(t *testing.T) {
	m, _ := outer(t)
	m.Symbol(symbols.Symbol{Name: "__per_cpu_start", Addr: 0, Letter: 'A'})
	m.Symbol(symbols.Symbol{Name: "__per_cpu_end", Addr: 0x30000, Letter: 'A'})
	v := m.View()
	for addr, want := range map[vmem.Addr]bool{0: true, 0x2ffff: true, 0x30000: false, kerneltest.Base: false} {
		if got := v.IsPerCPU(addr); got != want {
			t.Errorf("IsPerCPU(%#x) = %v; want %v", uint64(addr), got, want)
		}
	}
}
