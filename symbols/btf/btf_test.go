package btf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/cilium/ebpf/btf"

	"kdx/symbols"
	"kdx/symbols/internal/memtest"
)

// someTypes is a small kernel: lists, bit-fields, unions, function pointers.
func someTypes() []btf.Type {
	i32 := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	u64 := &btf.Int{Name: "long unsigned int", Size: 8}
	u32 := &btf.Int{Name: "unsigned int", Size: 4}
	char := &btf.Int{Name: "char", Size: 1}
	boolean := &btf.Int{Name: "_Bool", Size: 1, Encoding: btf.Bool}
	list := &btf.Struct{Name: "list_head", Size: 16}
	list.Members = []btf.Member{{Name: "next", Type: &btf.Pointer{Target: list}}, {Name: "prev", Type: &btf.Pointer{Target: list}, Offset: 64}}
	proto := &btf.FuncProto{Return: i32, Params: []btf.FuncParam{{Name: "fmt", Type: &btf.Pointer{Target: &btf.Const{Type: char}}}, {Type: (*btf.Void)(nil)}}}
	pid := &btf.Typedef{Name: "pid_t", Type: &btf.Typedef{Name: "__kernel_pid_t", Type: i32}}
	anon := &btf.Union{Size: 8, Members: []btf.Member{{Name: "word", Type: u64}, {Name: "half", Type: u32}}}
	task := &btf.Struct{Name: "task_struct", Size: 96, Members: []btf.Member{
		{Name: "pid", Type: pid},
		{Name: "running", Type: u32, Offset: 32, BitfieldSize: 1},
		{Name: "policy", Type: u32, Offset: 33, BitfieldSize: 3},
		{Name: "tasks", Type: list, Offset: 64},
		{Type: anon, Offset: 192},
		{Name: "comm", Type: &btf.Array{Type: char, Index: u32, Nelems: 16}, Offset: 256},
		{Name: "handler", Type: &btf.Pointer{Target: proto}, Offset: 384},
		{Name: "hidden", Type: &btf.Pointer{Target: &btf.Fwd{Name: "mm_struct", Kind: btf.FwdStruct}}, Offset: 448},
		{Name: "parent", Type: &btf.Pointer{Target: &btf.Fwd{Name: "list_head", Kind: btf.FwdStruct}}, Offset: 512},
		{Name: "tagged", Type: &btf.Pointer{Target: &btf.TypeTag{Type: i32, Value: "rcu"}}, Offset: 576},
		{Name: "flags", Type: &btf.Volatile{Type: boolean}, Offset: 640},
		{Name: "tail", Type: &btf.Array{Type: &btf.Pointer{Target: (*btf.Void)(nil)}, Index: u32}, Offset: 704},
	}}
	negative := ^uint64(0)
	pidType := &btf.Enum{Name: "pid_type", Size: 4, Values: []btf.EnumValue{{Name: "PIDTYPE_PID"}, {Name: "PIDTYPE_TGID", Value: 1}}}
	signed := &btf.Enum{Name: "how", Size: 4, Signed: true, Values: []btf.EnumValue{{Name: "HOW_BAD", Value: negative}, {Name: "HOW_GOOD", Value: 1}}}
	wide := &btf.Enum{Name: "wide", Size: 8, Values: []btf.EnumValue{{Name: "WIDE", Value: 1 << 40}}}
	runqueues := &btf.Var{Name: "runqueues", Type: task, Linkage: btf.GlobalVar}
	return []btf.Type{i32, u64, u32, char, boolean, list, task, pidType, signed, wide,
		&btf.Func{Name: "printk", Type: proto, Linkage: btf.GlobalFunc},
		runqueues, &btf.Datasec{Name: ".data..percpu", Size: 96, Vars: []btf.VarSecinfo{{Type: runqueues, Size: 96}}},
		&btf.Float{Name: "double", Size: 8},
	}
}

func marshal(tb testing.TB, order binary.ByteOrder, types ...btf.Type) []byte {
	tb.Helper()
	b, err := btf.NewBuilder(types, nil)
	if err != nil {
		tb.Fatal(err)
	}
	data, err := b.Marshal(nil, &btf.MarshalOptions{Order: order})
	if err != nil {
		tb.Fatal(err)
	}
	return data
}

const addr = 0xffffffff82000000

func mustRead(t *testing.T, data []byte) *Finder {
	t.Helper()
	f, err := Read(new(memtest.Memory).Put(addr, data), addr, addr+uint64(len(data)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	return f
}

func TestTypes(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		t.Run(order.String(), func(t *testing.T) { checkTypes(t, mustRead(t, marshal(t, order, someTypes()...))) })
	}
}

func checkTypes(t *testing.T, f *Finder) {
	task, err := f.TypeNamed(symbols.Struct, "task_struct")
	if err != nil {
		t.Fatal(err)
	}
	if task.Size != 96 || task.From != f.Name() {
		t.Errorf("task_struct: size %d from %q; want 96 from %q", task.Size, task.From, f.Name())
	}
	tests := []struct {
		member, decl string
		bit          uint64
		bits         uint32
		size         uint64
	}{
		{"pid", "pid_t pid", 0, 0, 4},
		{"running", "unsigned int running", 32, 1, 4},
		{"policy", "unsigned int policy", 33, 3, 4},
		{"tasks", "struct list_head tasks", 64, 0, 16},
		{"half", "unsigned int half", 192, 0, 4}, // inside an anonymous union
		{"comm", "char comm[16]", 256, 0, 16},
		{"handler", "int (*handler)(const char *fmt, ...)", 384, 0, 8},
		{"hidden", "struct mm_struct *hidden", 448, 0, 8},
		{"tagged", "int *tagged", 576, 0, 8},
		{"flags", "volatile _Bool flags", 640, 0, 1},
		{"tail", "void *tail[]", 704, 0, 0},
	}
	for _, tt := range tests {
		m, ok := task.Member(tt.member)
		if !ok {
			t.Errorf("no member %s", tt.member)
			continue
		}
		if got := m.Type.Declare(tt.member); got != tt.decl {
			t.Errorf("%s is %q; want %q", tt.member, got, tt.decl)
		}
		if m.BitOffset != tt.bit || m.BitSize != tt.bits || m.Type.Size != tt.size {
			t.Errorf("%s at bit %d of %d bits, %d bytes; want %d, %d, %d", tt.member, m.BitOffset, m.BitSize, m.Type.Size, tt.bit, tt.bits, tt.size)
		}
	}
	list, _ := f.TypeNamed(symbols.Struct, "list_head")
	parent, _ := task.Member("parent")
	if parent.Type.Elem() != list {
		t.Error("a declared struct is not the defined one of its name")
	}
	hidden, _ := task.Member("hidden")
	if !hidden.Type.Elem().Incomplete {
		t.Error("a struct that is nowhere defined is not Incomplete")
	}
	next, _ := list.Member("next")
	if next.Type.Elem() != list {
		t.Error("list_head.next does not lead to the same type")
	}
	tail, _ := task.Member("tail")
	if tail.Type.Len != symbols.Flexible {
		t.Errorf("length of a flexible array = %d; want Flexible", tail.Type.Len)
	}
	checkLookups(t, f)
}

func checkLookups(t *testing.T, f *Finder) {
	for _, tt := range []struct {
		kind symbols.Kind
		name string
		want string
	}{
		{symbols.Int, "unsigned long", "unsigned long"},
		{symbols.Int, "long unsigned int", "unsigned long"},
		{symbols.Bool, "_Bool", "_Bool"},
		{symbols.Typedef, "pid_t", "pid_t"},
		{symbols.Enum, "wide", "enum wide"},
		{symbols.Float, "double", "double"},
	} {
		if got, err := f.TypeNamed(tt.kind, tt.name); err != nil || got.String() != tt.want {
			t.Errorf("TypeNamed(%s, %s) = %v, %v; want %s", tt.kind, tt.name, got, err, tt.want)
		}
	}
	for _, tt := range []struct {
		kind symbols.Kind
		name string
	}{{symbols.Struct, "pid_t"}, {symbols.Struct, "mm_struct"}, {symbols.Struct, ""}, {symbols.Pointer, "int"}, {symbols.Bool, "int"}} {
		if got, err := f.TypeNamed(tt.kind, tt.name); !errors.Is(err, symbols.ErrNotFound) {
			t.Errorf("TypeNamed(%s, %q) = %v, %v; want ErrNotFound", tt.kind, tt.name, got, err)
		}
	}
	for name, want := range map[string]int64{"PIDTYPE_TGID": 1, "HOW_BAD": -1, "WIDE": 1 << 40} {
		if got, typ, err := f.Enumerator(name); err != nil || got != want || typ.Kind != symbols.Enum {
			t.Errorf("Enumerator(%s) = %d, %v, %v; want %d", name, got, typ, err, want)
		}
	}
	if got := slices.Collect(f.EnumeratorNames("PIDTYPE_T")); len(got) != 1 || got[0] != "PIDTYPE_TGID" {
		t.Errorf("EnumeratorNames(PIDTYPE_T) = %q; want PIDTYPE_TGID", got)
	}
	if _, _, err := f.Enumerator("PIDTYPE"); !errors.Is(err, symbols.ErrNotFound) {
		t.Errorf("Enumerator(PIDTYPE): %v; want ErrNotFound", err)
	}
	if v, err := f.VariableType("runqueues"); err != nil || v.String() != "struct task_struct" {
		t.Errorf("VariableType(runqueues) = %v, %v", v, err)
	}
	fn, err := f.FunctionType("printk")
	if err != nil || fn.Kind != symbols.Func || !fn.Variadic || fn.Declare("printk") != "int printk(const char *fmt, ...)" {
		t.Errorf("FunctionType(printk) = %v, %v", fn, err)
	}
	if _, err := f.VariableType("printk"); !errors.Is(err, symbols.ErrNotFound) {
		t.Errorf("VariableType(printk): %v; want ErrNotFound", err)
	}
	var names []string
	for k, n := range f.TypeNames() {
		names = append(names, k.String()+" "+n)
	}
	if !slices.Contains(names, "struct task_struct") || !slices.Contains(names, "int unsigned long") || slices.Contains(names, "func printk") {
		t.Errorf("TypeNames yields %q", names)
	}
}

// Before pahole 1.24 enums did not say whether they are signed.
func TestOldEnums(t *testing.T) {
	minus1, flag := uint64(0xffffffff), uint64(0x80000000)
	f := mustRead(t, marshal(t, binary.LittleEndian,
		&btf.Enum{Name: "e", Size: 4, Values: []btf.EnumValue{{Name: "NONE", Value: minus1}, {Name: "ONE", Value: 1}}},
		&btf.Enum{Name: "flags", Size: 4, Values: []btf.EnumValue{{Name: "HIGH", Value: flag}}}))
	for name, want := range map[string]int64{"NONE": -1, "HIGH": 0x80000000} {
		if got, _, err := f.Enumerator(name); err != nil || got != want {
			t.Errorf("Enumerator(%s) = %d, %v; want %d", name, got, err, want)
		}
	}
}

// Before pahole 1.19 no character said that it is signed.
func TestOldChars(t *testing.T) {
	for _, says := range []btf.IntEncoding{0, btf.Signed} {
		data := marshal(t, binary.LittleEndian, &btf.Int{Name: "char", Size: 1}, &btf.Int{Name: "signed char", Size: 1, Encoding: says}, &btf.Int{Name: "unsigned char", Size: 1})
		f, err := Parse(data, nil, "btf", Options{SignedChar: true})
		if err != nil {
			t.Fatal(err)
		}
		for name, want := range map[string]bool{"char": says == 0, "signed char": true, "unsigned char": false} {
			if c, err := f.TypeNamed(symbols.Int, name); err != nil || c.Signed != want || !c.Char {
				t.Errorf("where signed char says %v, %s is signed: %v, %v; want %v", says, name, c.Signed, err, want)
			}
		}
	}
}

// What is made of a declared type has the size of the defined one.
func TestForwardSize(t *testing.T) {
	def := &btf.Struct{Name: "s", Size: 4, Members: []btf.Member{{Name: "x", Type: &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}}}}
	proto := &btf.FuncProto{Return: (*btf.Void)(nil), Params: []btf.FuncParam{{Name: "s", Type: &btf.Const{Type: &btf.Fwd{Name: "s", Kind: btf.FwdStruct}}}}}
	f := mustRead(t, marshal(t, binary.LittleEndian, def, &btf.Func{Name: "f", Type: proto}))
	if fn, err := f.FunctionType("f"); err != nil || fn.Params()[0].Type.Size != 4 {
		t.Errorf("f is %v, %v; want a parameter of 4 bytes", fn, err)
	}
}

// Up to pahole 1.11 a bit-field was an int with an offset and a width of its own.
func TestLegacyBitfields(t *testing.T) {
	data := marshal(t, binary.LittleEndian, &btf.Struct{Name: "s", Size: 4, Members: []btf.Member{{Name: "b", Type: &btf.Int{Name: "unsigned int", Size: 4}, Offset: 8}}})
	eachRecord(t, data, func(_ typeID, at uint32, x record) {
		if x.kind == kindInt {
			binary.LittleEndian.PutUint32(data[headerSize+at+recordSize:], 3<<16|5) // at bit 3, 5 bits wide
		}
	})
	s, err := mustRead(t, data).TypeNamed(symbols.Struct, "s")
	if err != nil {
		t.Fatal(err)
	}
	if m := s.Members()[0]; m.BitOffset != 11 || m.BitSize != 5 {
		t.Errorf("b at bit %d of %d bits; want 11 of 5", m.BitOffset, m.BitSize)
	}
}

// eachRecord goes through the records of BTF.
func eachRecord(tb testing.TB, data []byte, yield func(id typeID, at uint32, x record)) *rawTypes {
	tb.Helper()
	r, err := newRawTypes(bytesMemory(data), 0, uint64(len(data)), nil)
	if err != nil {
		tb.Fatal(err)
	}
	if err := r.each(func(id typeID, at uint32, x record) error { yield(id, at, x); return nil }); err != nil {
		tb.Fatal(err)
	}
	return r
}

// A module's BTF continues the kernel's numbers and strings.
func TestModule(t *testing.T) {
	base := marshal(t, binary.LittleEndian, someTypes()...)
	mod := splitBTF(t, base)
	mem := new(memtest.Memory).Put(addr, base).Put(addr+0x1000000, mod)
	f, err := Read(mem, addr, addr+uint64(len(base)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ReadModule(mem, f, addr+0x1000000, uint64(len(mod)), "nvme")
	if err != nil {
		t.Fatal(err)
	}
	if m.Name() != "btf:nvme" {
		t.Errorf("Name() = %q; want btf:nvme", m.Name())
	}
	dev, err := m.TypeNamed(symbols.Struct, "nvme_dev")
	if err != nil {
		t.Fatal(err)
	}
	member, ok := dev.Member("task")
	if !ok {
		t.Fatal("nvme_dev has no member task")
	}
	task, _ := f.TypeNamed(symbols.Struct, "task_struct")
	if got := member.Type.Elem(); got != task {
		t.Errorf("nvme_dev.task leads to %v; want the kernel's task_struct", got)
	}
	if _, err := m.TypeNamed(symbols.Struct, "task_struct"); !errors.Is(err, symbols.ErrNotFound) {
		t.Errorf("TypeNamed(task_struct) of a module: %v; want ErrNotFound, as it is the kernel's", err)
	}
	if _, err := ReadModule(mem, nil, addr, 1, "x"); err == nil {
		t.Error("ReadModule without the kernel's BTF: no error")
	}
	if _, err := ReadModule(mem, f, 0, 0, "x"); !errors.Is(err, symbols.ErrNotFound) {
		t.Errorf("ReadModule without BTF: %v; want ErrNotFound", err)
	}
}

// splitBTF makes "struct nvme_dev { struct task_struct *task; }" over base.
func splitBTF(tb testing.TB, base []byte) []byte {
	task, count := uint32(0), uint32(0)
	r := eachRecord(tb, base, func(id typeID, _ uint32, x record) {
		count = uint32(id)
		if x.kind == kindStruct && x.size == 96 {
			task = uint32(id)
		}
	})
	le := binary.LittleEndian
	first := count + 1
	strs := []byte("nvme_dev\x00task\x00")
	var types []byte
	for _, w := range []uint32{
		0, kindPointer << 24, task,
		r.stringEnd, kindStruct<<24 | 1, 8, r.stringEnd + 9, first, 0,
	} {
		types = le.AppendUint32(types, w)
	}
	out := le.AppendUint32(nil, 0x01eb9f)
	for _, w := range []uint32{24, 0, uint32(len(types)), uint32(len(types)), uint32(len(strs))} {
		out = le.AppendUint32(out, w)
	}
	return append(append(out, types...), strs...)
}

func TestBad(t *testing.T) {
	good := marshal(t, binary.LittleEndian, someTypes()...)
	change := func(at int, b ...byte) []byte {
		d := slices.Clone(good)
		copy(d[at:], b)
		return d
	}
	tests := []struct {
		name string
		data []byte
		want string
	}{
		{"empty", nil, "nothing"},
		{"short", good[:10], "too short"},
		{"not BTF", change(0, 1, 2), "not BTF"},
		{"types lead out", change(12, 0xff, 0xff, 0xff, 0x7f), "leads out"},
		{"strings lead out", change(20, 0xff, 0xff, 0xff, 0xff), "leads out"},
		{"cut off", good[:len(good)/2], "leads out"},
		{"kind unknown", change(24+7, 31), "kind is 31"},
		{"huge vlen", change(24+4, 0xff, 0xff, 0, kindStruct), "cut off"},
	}
	for _, tt := range tests {
		_, err := Read(new(memtest.Memory).Put(addr, tt.data), addr, addr+uint64(len(tt.data)), Options{})
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want an error with %q", tt.name, err, tt.want)
		}
	}
	mem := new(memtest.Memory).Put(addr, good).Hole(addr+100, 50)
	if _, err := Read(mem, addr, addr+uint64(len(good)), Options{}); !errors.Is(err, memtest.ErrMissing) {
		t.Errorf("BTF with a missing page: %v; want that page's error", err)
	}
	if _, err := Read(mem, addr, addr+(1<<30), Options{}); err == nil {
		t.Error("BTF of a gigabyte: no error")
	}
}

// chain is n typedefs, each of the one before or, looping, of the next.
func chain(n int, kind uint32, loop bool) []byte {
	le := binary.LittleEndian
	var types []byte
	for i := range n {
		to := uint32(i)
		if loop {
			to = uint32((i+1)%n) + 1
		}
		for _, w := range []uint32{1, kind << 24, to} {
			types = le.AppendUint32(types, w)
		}
	}
	strs := []byte("\x00t\x00")
	out := le.AppendUint32(nil, 0x01eb9f)
	for _, w := range []uint32{24, 0, uint32(len(types)), uint32(len(types)), uint32(len(strs))} {
		out = le.AppendUint32(out, w)
	}
	return append(append(out, types...), strs...)
}

// Types that lead to each other without end.
func TestDeepTypes(t *testing.T) {
	f := mustRead(t, chain(1<<20, kindTypedef, false))
	if _, err := f.typeOfLocked(1 << 20); !errors.Is(err, errDeep) {
		t.Errorf("a typedef of a million typedefs: %v; want %v", err, errDeep)
	}
	f = mustRead(t, chain(4, kindTypedef, true))
	if _, err := f.TypeNamed(symbols.Typedef, "t"); !errors.Is(err, errDeep) {
		t.Errorf("typedefs in a loop: %v; want %v", err, errDeep)
	}
	f = mustRead(t, chain(4, kindTypeTag, true)) // found by fuzzing
	if _, err := f.typeOfLocked(2); !errors.Is(err, errDeep) {
		t.Errorf("tags in a loop: %v; want %v", err, errDeep)
	}
	f = mustRead(t, chain(100000, kindPointer, true)) // pointers are followed on demand only
	if _, err := f.typeOfLocked(5); err != nil {
		t.Errorf("a pointer in a loop: %v", err)
	}
}

func (f *Finder) typeOfLocked(id typeID) (*symbols.Type, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.typeOf(id)
}

func TestConcurrent(t *testing.T) {
	base := marshal(t, binary.LittleEndian, someTypes()...)
	mod := splitBTF(t, base)
	mem := new(memtest.Memory).Put(addr, base).Put(addr+0x1000000, mod)
	f, err := Read(mem, addr, addr+uint64(len(base)), Options{})
	if err != nil {
		t.Fatal(err)
	}
	m, err := ReadModule(mem, f, addr+0x1000000, uint64(len(mod)), "nvme")
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for range 50 {
				walkType(m, symbols.Struct, "nvme_dev")
				walkType(f, symbols.Struct, "task_struct")
				_, _, _ = f.Enumerator("WIDE")
				_, _ = f.FunctionType("printk")
			}
		})
	}
	wg.Wait()
}

// walkType asks a type and what it leads to everything.
func walkType(f symbols.TypeFinder, kind symbols.Kind, name string) {
	t, err := f.TypeNamed(kind, name)
	if err != nil {
		return
	}
	budget := 500
	var visit func(t *symbols.Type)
	visit = func(t *symbols.Type) {
		if budget--; budget < 0 {
			return
		}
		_ = t.String()
		for _, m := range t.Members() {
			visit(m.Type)
		}
		for _, p := range t.Params() {
			visit(p.Type)
		}
		_ = t.Enumerators()
		if e := t.Elem(); e != symbols.VoidType {
			visit(e)
		}
	}
	visit(t)
}

func FuzzBTF(f *testing.F) {
	base := marshal(f, binary.LittleEndian, someTypes()...)
	f.Add(base)
	f.Add(marshal(f, binary.BigEndian, someTypes()...))
	f.Add(splitBTF(f, base))
	f.Add(chain(50, kindConst, true))
	f.Add(chain(4, kindTypeTag, true))
	f.Fuzz(func(t *testing.T, data []byte) {
		kernel, err := Parse(slices.Clone(data), nil, "btf", Options{})
		if err == nil {
			useAll(kernel)
		}
		kernel, err = Parse(slices.Clone(base), nil, "btf", Options{})
		if err != nil {
			t.Fatal(err)
		}
		if m, err := Parse(slices.Clone(data), kernel, "btf:m", Options{}); err == nil {
			useAll(m)
		}
	})
}

func useAll(f *Finder) {
	n := 0
	if data, err := f.Prune(Wanted{Types: []Name{{symbols.Struct, "task_struct"}}, Constants: []string{"WIDE"}}); err == nil {
		if _, err := Parse(data, nil, "pruned", Options{}); err != nil {
			panic(err)
		}
	}
	for kind, name := range f.TypeNames() {
		if n++; n > 100 {
			return
		}
		walkType(f, kind, name)
		_, _ = f.VariableType(name)
		_, _ = f.FunctionType(name)
		_, _, _ = f.Enumerator(name)
	}
}

func BenchmarkRead(b *testing.B) {
	var types []btf.Type
	for i := range 3000 {
		ts := someTypes()
		ts[6].(*btf.Struct).Name = fmt.Sprintf("task_struct_%d", i)
		types = append(types, ts...)
	}
	data := marshal(b, binary.LittleEndian, types...)
	mem := new(memtest.Memory).Put(addr, data)
	b.SetBytes(int64(len(data)))
	b.ReportAllocs()
	for b.Loop() {
		f, err := Read(mem, addr, addr+uint64(len(data)), Options{})
		if err != nil {
			b.Fatal(err)
		}
		if _, err := f.TypeNamed(symbols.Struct, "task_struct_7"); err != nil {
			b.Fatal(err)
		}
	}
}
