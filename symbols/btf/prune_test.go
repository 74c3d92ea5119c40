package btf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"kdx/symbols"
)

// deep says all of a type, and of what it leads to, some pointers deep.
func deep(t *symbols.Type, depth int) string {
	var b strings.Builder
	fmt.Fprint(&b, t.Kind, t.Name, t.Size, t.Incomplete, t.Signed, t.Char, t.Len, t.Variadic)
	if depth == 0 {
		return b.String()
	}
	for _, m := range t.Members() {
		fmt.Fprint(&b, "{", m.Name, m.BitOffset, m.BitSize, deep(m.Type, depth-1), "}")
	}
	for _, e := range t.Enumerators() {
		fmt.Fprint(&b, "[", e.Name, e.Value, "]")
	}
	for _, p := range t.Params() {
		fmt.Fprint(&b, "(", p.Name, deep(p.Type, depth-1), ")")
	}
	if e := t.Elem(); e != symbols.VoidType {
		b.WriteString(deep(e, depth-1))
	}
	return b.String()
}

func TestPrune(t *testing.T) {
	word := &btf.Int{Name: "unsigned long", Size: 8}
	second := &btf.Struct{Name: "list_head", Size: 8, Members: []btf.Member{{Name: "other", Type: word}}} // another of that name
	user := &btf.Struct{Name: "uses_second", Size: 8, Members: []btf.Member{{Name: "l", Type: second}}}
	mode := &btf.Enum{Name: "mode", Size: 4, Values: []btf.EnumValue{{Name: "MODE_ALL", Value: 0xffffffff}}}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		full := mustRead(t, marshal(t, order, append(someTypes(), user, mode, &btf.Struct{Name: "of_no_use", Size: 8, Members: []btf.Member{{Name: "x", Type: word}}})...))
		want := Wanted{
			Types:     []Name{{symbols.Struct, "task_struct"}, {symbols.Typedef, "pid_t"}, {symbols.Struct, "uses_second"}, {symbols.Struct, "not_here"}, {symbols.Enum, "pid_type"}},
			Variables: []string{"runqueues", "not_here"},
			Constants: []string{"WIDE", "MODE_ALL", "NOT_HERE"},
		}
		data, err := full.Prune(want)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := btf.LoadSpecFromReader(strings.NewReader(string(data))); err != nil {
			t.Errorf("another reader: %v", err)
		}
		f, err := Parse(data, nil, full.Name(), Options{Declared: full.TypeNamed})
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range want.Types {
			a, err1 := full.TypeNamed(n.Kind, n.Name)
			b, err2 := f.TypeNamed(n.Kind, n.Name)
			if (err1 == nil) != (err2 == nil) {
				t.Errorf("%v: %v; want %v", n, err2, err1)
				continue
			}
			if err1 == nil && deep(a, 6) != deep(b, 6) {
				t.Errorf("%v is\n%s; want\n%s", n, deep(b, 6), deep(a, 6))
			}
		}
		if _, err := f.TypeNamed(symbols.Struct, "of_no_use"); !errors.Is(err, symbols.ErrNotFound) {
			t.Errorf("a struct that was not wanted: %v", err)
		}
		if v, err := f.VariableType("runqueues"); err != nil || v.Name != "task_struct" {
			t.Errorf("VariableType(runqueues) = %v, %v", v, err)
		}
		for _, name := range want.Constants {
			a, t1, err1 := full.Enumerator(name)
			b, t2, err2 := f.Enumerator(name)
			if a != b || !errors.Is(err2, err1) || err1 == nil && deep(t1, 2) != deep(t2, 2) {
				t.Errorf("Enumerator(%s) = %d, %v; want %d, %v", name, b, err2, a, err1)
			}
		}
	}
	full := mustRead(t, marshal(t, binary.LittleEndian, someTypes()...))
	if _, err := full.Prune(Wanted{Types: []Name{{symbols.Pointer, "x"}}}); err == nil {
		t.Error("a pointer has no name, but can be wanted")
	}
}
