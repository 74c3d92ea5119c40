package expr_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"kdx/analyze/expr"
	"kdx/analyze/kernel"
	"kdx/analyze/kerneltest"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

const decls = `
enum pid_type { PIDTYPE_PID, PIDTYPE_TGID, PIDTYPE_MAX = 4 };
struct list_head { struct list_head *next, *prev; };
struct rlimit { unsigned long cur, max; };
struct task {
	int pid;
	unsigned int on_cpu : 1, mask : 31;
	s16 nice;
	u8 policy;
	char comm[16];
	struct list_head tasks;
	struct task *parent;
	struct rlimit rlim[4];
	void *stack;
	enum pid_type type;
	unsigned long flags;
};
union both { u32 word; u8 bytes[4]; };
`

// target is a kernel with two tasks on a list, one per-CPU variable and two CPUs.
func target(t testing.TB) (*kerneltest.Machine, vmem.Addr) {
	m := kerneltest.New(t, decls)
	a, b := m.Alloc(256), m.Alloc(256)
	tasks := vmem.Addr(m.Offset("task", "tasks"))
	for i, x := range []vmem.Addr{a, b} {
		other := []vmem.Addr{b, a}[i]
		m.Set(x, "task", "pid", uint64(100+i))
		m.Word(x+tasks, uint64(other+tasks))
		m.Word(x+tasks+8, uint64(other+tasks))
		m.Word(x+vmem.Addr(m.Offset("task", "parent")), uint64(a))
	}
	m.Put(a+vmem.Addr(m.Offset("task", "on_cpu")), 4, 1|0x7fffffff<<1)
	m.Set(a, "task", "nice", 0xffec)
	m.Set(a, "task", "policy", 200)
	m.Set(a, "task", "type", 1)
	m.Set(a, "task", "flags", 1<<63|2)
	m.Set(a, "task", "rlim[3].max", 1024)
	m.Write(a+vmem.Addr(m.Offset("task", "comm")), []byte("swapper"))
	m.Write(b+vmem.Addr(m.Offset("task", "comm")), []byte("init"))
	m.Var("init_task", a, "struct task")
	jiffies := m.Alloc(8)
	m.Word(jiffies, 4294893441)
	m.Var("jiffies", jiffies, "unsigned long")
	m.Var("unknown", jiffies, "")
	m.Symbol(symbols.Symbol{Name: "schedule", Addr: uint64(kerneltest.Base) + 0x3f0000, Size: 64, Letter: 'T'})

	area := m.AllocPage()
	for _, s := range []symbols.Symbol{{Name: "__per_cpu_start", Addr: 0, Letter: 'A'}, {Name: "__per_cpu_end", Addr: 0x1000, Letter: 'A'}} {
		m.Symbol(s)
	}
	m.Var("counter", 0x40, "int")
	m.Var("current_task", 0x48, "struct task *")
	for cpu := range 2 {
		m.Put(area+0x40+vmem.Addr(cpu*0x100), 4, uint64(7+cpu))
		m.Word(area+0x48+vmem.Addr(cpu*0x100), uint64([]vmem.Addr{a, b}[cpu]))
	}
	offs, mask, ids := m.Alloc(16), m.Alloc(8), m.Alloc(4)
	m.Word(offs, uint64(area))
	m.Word(offs+8, uint64(area)+0x100)
	m.Word(mask, 3)
	m.Put(ids, 4, 2)
	m.Var("__per_cpu_offset", offs, "unsigned long x[2]")
	m.Var("__cpu_possible_mask", mask, "unsigned long")
	m.Var("nr_cpu_ids", ids, "unsigned int")
	return m, a
}

func show(t *testing.T, x kernel.Value) string {
	t.Helper()
	var b strings.Builder
	if err := view.WriteValue(&b, x, view.Style{}); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestEval(t *testing.T) {
	m, a := target(t)
	v := m.View()
	hex := func(a vmem.Addr) string { b, _ := a.MarshalText(); return string(b) }
	second := a + 256
	for _, tt := range []struct{ src, want, typ string }{
		// Literals and their types.
		{"1", "1", "int"}, {"2147483648", "2147483648", "long"}, {"0x80000000", "2147483648", "unsigned int"}, {"0xffffffffffffffff", "18446744073709551615", "unsigned long"},
		{"1u", "1", "unsigned int"}, {"1L", "1", "long"}, {"1ull", "1", "unsigned long"}, {"0b101", "5", "int"}, {"0777", "511", "int"}, {"0", "0", "int"},
		{"'a'", "97 'a'", "char"}, {`'\n'`, `10 '\n'`, "char"}, {`'\x41'`, "65 'A'", "char"}, {`'\0'`, `0 '\000'`, "char"}, {`"abc"`, `"abc"`, "char [4]"},
		// Arithmetic with C's conversions.
		{"1+2*3", "7", "int"}, {"(1+2)*3", "9", "int"}, {"10/3", "3", "int"}, {"-7/2", "-3", "int"}, {"-7%3", "-1", "int"}, {"7-9U", "4294967294", "unsigned int"},
		{"~0", "-1", "int"}, {"~0UL", "18446744073709551615", "unsigned long"}, {"-1 > 0U", "1", "int"}, {"-1L < 0U", "1", "int"}, {"1UL<<40", "1099511627776", "unsigned long"},
		{"-8>>1", "-4", "int"}, {"0x80000000>>31", "1", "unsigned int"}, {"6&3|8^1", "11", "int"}, {"1<2&&2<3", "1", "int"}, {"0||!3", "0", "int"},
		{"1 ? 2 : 3", "2", "int"}, {"0 ? 1 : 0 ? 2 : 3", "3", "int"}, {"1,2", "2", "int"}, {"2147483647+1", "-2147483648", "int"}, {"5 == 5", "1", "int"},
		{"0 && *(int *)0", "0", "int"}, {"1 || *(int *)0", "1", "int"},
		// Casts.
		{"(u8)300", "44 ','", "u8"}, {"(short)-1", "-1", "short"}, {"(unsigned short)-1", "65535", "unsigned short"}, {"(bool)5", "true", "_Bool"},
		{"(u64)-1", "18446744073709551615", "u64"}, {"(long unsigned int)1", "1", "unsigned long"}, {"(enum pid_type)1", "PIDTYPE_TGID", "enum pid_type"},
		{"(struct task *)0", "(struct task *) 0x0", "struct task *"}, {"(void (*)(int, char *))0", "(void (*)(int, char *)) 0x0", "void (*)(int, char *)"},
		{"(const char **)0", "(const char **) 0x0", "const char **"}, {"(task *)0", "(struct task *) 0x0", "struct task *"}, {"(int)'a' + 1", "98", "int"},
		// Variables, members, pointers.
		{"jiffies", "4294893441", "unsigned long"}, {"jiffies+1", "4294893442", "unsigned long"}, {"init_task.pid", "100", "int"}, {"init_task->pid", "100", "int"},
		{"(&init_task)->pid", "100", "int"}, {"(*(&init_task)).pid", "100", "int"}, {"init_task.comm", `"swapper\000\000\000\000\000\000\000\000"`, "char [16]"},
		{"init_task.comm[1]", "119 'w'", "char"}, {"*init_task.comm", "115 's'", "char"}, {"init_task.rlim[3].max", "1024", "unsigned long"}, {"init_task.rlim[1+2].max/2", "512", "unsigned long"},
		{"init_task.nice", "-20", "s16"}, {"init_task.nice - 1", "-21", "int"}, {"init_task.policy + 100", "300", "int"}, {"init_task.on_cpu", "1", "unsigned int"},
		{"init_task.mask - 1", "2147483646", "int"}, {"init_task.type", "PIDTYPE_TGID", "enum pid_type"}, {"init_task.type == PIDTYPE_TGID", "1", "int"}, {"PIDTYPE_MAX + 1", "5", "unsigned int"},
		{"init_task.flags >> 62", "2", "unsigned long"}, {"init_task.parent->parent->pid", "100", "int"}, {"init_task.parent == &init_task", "1", "int"}, {"!init_task.parent", "0", "int"},
		{"&init_task.tasks", "(struct list_head *) " + hex(a+vmem.Addr(m.Offset("task", "tasks"))), "struct list_head *"},
		{"&init_task + 1", "(struct task *) " + hex(a+vmem.Addr(taskSize(t, m))), "struct task *"}, {"&init_task.rlim[3] - &init_task.rlim[0]", "3", "long"},
		{"*init_task.rlim@2", "{{\n    cur = 0,\n    max = 0\n  }, {\n    cur = 0,\n    max = 0\n  }}", "struct rlimit [2]"},
		{"'jiffies'", "4294893441", "unsigned long"}, {"*(unsigned long *)&unknown", "4294893441", "unsigned long"}, {"(unsigned long)unknown", "4294893441", "unsigned long"},
		{"*(u32 *)&jiffies", "4294893441", "u32"}, {"((union both *)&jiffies)->bytes[0]", "129 '\\201'", "u8"},
		{"container_of(init_task.tasks.next, struct task, tasks)->pid", "101", "int"}, {"container_of(&init_task.tasks, struct task, tasks) == &init_task", "1", "int"},
		{"offsetof(struct task, rlim[1].max)", "80", "unsigned long"}, {"(unsigned long)&((struct task *)0)->tasks", "32", "unsigned long"},
		{"sizeof(int)", "4", "unsigned long"}, {"sizeof(struct list_head)", "16", "unsigned long"}, {"sizeof(struct task *)", "8", "unsigned long"}, {"sizeof init_task.comm", "16", "unsigned long"},
		{"sizeof(u32 [4])", "16", "unsigned long"}, {"sizeof(task)", "144", "unsigned long"}, {"sizeof(((struct task *)0)->rlim)", "64", "unsigned long"}, {"sizeof(init_task) / sizeof(init_task.rlim[0])", "9", "unsigned long"},
		{"(u64)&schedule - (u64)schedule", "0", "u64"}, {"true + false", "1", "int"}, {"NULL == 0", "1", "int"},
		{"per_cpu(counter, 1)", "8", "int"}, {"*per_cpu_ptr(&counter, 0)", "7", "int"}, {"per_cpu(current_task, 1)->comm[0]", "105 'i'", "char"},
		{"&counter", "(int *) 0x40", "int *"}, {"sizeof(counter)", "4", "unsigned long"},
		{hexInt(second) + " == (unsigned long)init_task.tasks.next - 32", "1", "int"},
	} {
		x, err := expr.Eval(v, tt.src, expr.NoCPU)
		if err != nil {
			t.Errorf("%s: %v", tt.src, err)
			continue
		}
		if got := show(t, x); got != tt.want {
			t.Errorf("%s = %s; want %s", tt.src, got, tt.want)
		}
		if got := x.Type().String(); got != tt.typ {
			t.Errorf("%s is %s; want %s", tt.src, got, tt.typ)
		}
		typ, _, err := expr.TypeOf(m.View(), tt.src, expr.NoCPU)
		if err != nil || typ.String() != tt.typ && !strings.Contains(tt.src, "@") {
			t.Errorf("TypeOf(%s) = %v, %v; want %s", tt.src, typ, err, tt.typ)
		}
	}
}

func hexInt(a vmem.Addr) string { b, _ := a.MarshalText(); return string(b) }

func taskSize(t *testing.T, m *kerneltest.Machine) uint64 {
	s, err := m.Kernel().Struct("task")
	if err != nil {
		t.Fatal(err)
	}
	return s.Size
}

func TestErrorsPointAtThePlace(t *testing.T) {
	m, _ := target(t)
	v := m.View()
	for _, tt := range []struct {
		src  string
		pos  int
		want string
	}{
		{"", 0, "no expression"}, {"1 +", 3, "ends where a value"}, {"(1", 2, `wants ")"`}, {"1 2", 2, "should end here"}, {")", 0, "can't stand here"},
		{"init_task.nosuch", 10, "struct task has no member nosuch"}, {"init_task.pdi", 10, "did you mean pid?"}, {"nosuch + 1", 0, "no symbol nosuch"},
		{"init_tsk", 0, "did you mean init_task?"}, {"(struct taks *)0", 8, "did you mean task?"}, {"1 = 2", 2, "no assignment"}, {"init_task.pid++", 13, "can't be changed"},
		{"--jiffies", 0, "can't be changed"}, {"init_task.pid += 1", 14, "no assignment"}, {"schedule(1)", 8, "can't be called"}, {"5/0", 1, "division by zero"}, {"5%0", 1, "division by zero"},
		{"1<<40", 1, "64 bits"}, {"unknown + 1", 0, "*(unsigned long *)&unknown"}, {"unknown.x", 0, "do not say what type unknown has"}, {"*init_task.stack", 0, "cast the pointer"},
		{"init_task.pid.x", 14, "no struct"}, {"&1", 0, "lies in memory"}, {"&init_task.on_cpu", 0, "bit-field"}, {"init_task + 1", 0, "is no number"}, {"(struct rlimit)5", 0, "can't be cast"},
		{"counter", 0, "counter:0"}, {"counter + 1", 0, "is per-CPU"}, {"&current_task->pid", 1, "per-CPU"}, {"09", 0, "is no number"}, {"12ffff", 0, "0x12ffff"}, {"ffff888", 0, "0xffff888"},
		{"99999999999999999999", 0, "64 bits"}, {"1.5", 0, "floating point"}, {"'", 0, "not closed"}, {"`", 0, "unexpected"}, {"$5", 0, "no value $5"}, {"container_of(1, struct task, nosuch)", 29, "no member nosuch"},
		{"((struct task *)0)->pid", 20, "NULL pointer"}, {"init_task.rlim[0", 16, `wants "]"`}, {"sizeof(struct nosuch)", 14, "no struct nosuch"}, {"struct task", 0, "is a type"}, {"1 ? 2", 5, `wants ":"`},
		{"per_cpu(counter, 9)", 17, "CPU 9"}, {strings.Repeat("(", 300), 100, "deep"}, {strings.Repeat("-", 1000) + "1", 0, "can't be changed"}, {strings.Repeat("- ", 1000) + "1", 398, "deep"},
		{"jiffies@0", 8, "count"}, {"1 @ 2", 2, "lie in memory"},
	} {
		x, err := expr.Eval(v, tt.src, expr.NoCPU)
		if err == nil {
			_, err = x.Bytes()
			if err == nil || !strings.Contains(tt.want, "NULL") {
				t.Errorf("%.40s: no error; want one with %q", tt.src, tt.want)
			}
			continue
		}
		var e *expr.Error
		if !errors.As(err, &e) {
			t.Errorf("%.40s: %T %v; want an *Error", tt.src, err, err)
			continue
		}
		if !strings.Contains(e.Msg, tt.want) {
			t.Errorf("%.40s: %q; want one with %q", tt.src, e.Msg, tt.want)
		}
		if e.Pos != tt.pos {
			t.Errorf("%.40s: error at %d; want %d (%s)", tt.src, e.Pos, tt.pos, e.Msg)
		}
	}
}

func TestErrorText(t *testing.T) {
	m, _ := target(t)
	_, err := expr.Eval(m.View(), "init_task.pdi + 1", expr.NoCPU)
	want := "struct task has no member pdi; did you mean pid?\n  init_task.pdi + 1\n            ^"
	if err == nil || err.Error() != want {
		t.Errorf("error = %v; want %s", err, want)
	}
}

func TestPerCPUOption(t *testing.T) {
	m, _ := target(t)
	v := m.View()
	for cpu, want := range []string{"7", "8"} {
		x, err := expr.Eval(v, "counter", expr.Options{CPU: cpu})
		if err != nil || show(t, x) != want {
			t.Errorf("counter of CPU %d: %v; want %s", cpu, err, want)
		}
	}
	if x, err := expr.Eval(v, "current_task->comm", expr.Options{CPU: 1}); err != nil || !strings.HasPrefix(show(t, x), `"init`) {
		t.Errorf("current_task->comm of CPU 1: %v; want init", err)
	}
	if _, err := expr.Eval(v, "counter", expr.Options{CPU: 5}); err == nil {
		t.Error("counter of CPU 5: no error")
	}
}

func TestHistory(t *testing.T) {
	m, _ := target(t)
	v := m.View()
	var opt = expr.Options{CPU: -1}
	for _, src := range []string{"10", "20", "init_task"} {
		x, err := expr.Eval(v, src, opt)
		if err != nil {
			t.Fatal(err)
		}
		opt.History = append(opt.History, x)
	}
	for src, want := range map[string]string{"$1": "10", "$2 + 1": "21", "$.pid": "100", "$$": "20", "$$2": "10", "$3.pid": "100"} {
		x, err := expr.Eval(m.View(), src, opt)
		if err != nil || show(t, x) != want {
			t.Errorf("%s: %v; want %s", src, err, want)
		}
	}
}

func TestClassify(t *testing.T) {
	m, _ := target(t)
	m.Var("list_head", m.Alloc(8), "int") // a variable of a tag's name
	v := m.View()
	for _, tt := range []struct {
		word string
		want expr.Class
		name string
	}{
		{"task", expr.Struct, "task"}, {"task.pid,comm", expr.Struct, "task"}, {"both", expr.Union, "both"}, {"init_task", expr.Variable, "init_task"}, {"init_task.pid", expr.Variable, "init_task"},
		{"counter:0", expr.Variable, "counter"}, {"schedule", expr.Function, "schedule"}, {"pid_type", expr.Enum, "pid_type"}, {"PIDTYPE_PID", expr.Enumerator, "PIDTYPE_PID"},
		{"list_head", expr.Struct, "list_head"}, {"nosuch", expr.None, "nosuch"}, {"", expr.None, ""}, {"-x", expr.None, ""}, {"0xffff", expr.None, ""},
	} {
		if got, name := expr.Classify(v, tt.word); got != tt.want || name != tt.name {
			t.Errorf("Classify(%q) = %v, %q; want %v, %q", tt.word, got, name, tt.want, tt.name)
		}
	}
}

func FuzzExpr(f *testing.F) {
	for _, s := range []string{"1+2*3", "init_task.comm[1]", "&init_task.tasks", "*(u32 *)&jiffies", "container_of(init_task.tasks.next, struct task, tasks)->pid",
		"sizeof(struct task *)", "(void (*)(int, ...))0", "1 ? 2 : 3", "per_cpu(counter, 1)", "$1", `"a\n"`, "'a'", "*init_task.rlim@2", "offsetof(struct task, rlim[1].max)",
		"((((1))))", "~-!1", "0x7fffffffffffffff+1", "-9223372036854775807/-1", "(-9223372036854775807-1)%-1", "(u8 [16])unknown", "init_task.rlim[-1]", "\"abc\"[9]", "(struct task)init_task.rlim",
		"(int [3])init_task", "&*init_task.comm", "'jiffies'", "unknown@3", "sizeof(((struct task *)0)->rlim)", "(bool)init_task.parent", "1 << -1", "$$$", "{", "a->b.c[d]"} {
		f.Add(s)
	}
	m, _ := target(f)
	k := m.Kernel()
	f.Fuzz(func(t *testing.T, src string) {
		v := k.View(context.Background())
		x, err := expr.Eval(v, src, expr.Options{CPU: -1, History: []kernel.Value{v.Global("init_task")}})
		if err != nil {
			var e *expr.Error
			if !errors.As(err, &e) || e.Pos < 0 || e.Pos > len(src) {
				t.Fatalf("%q: %T %v", src, err, err)
			}
			_ = err.Error()
			return
		}
		if x.Err() != nil || x.Type() == nil {
			t.Fatalf("%q: a value without type: %v", src, x.Err())
		}
		var b strings.Builder
		if err := view.WriteValue(&b, x, view.Style{}); err != nil {
			t.Logf("%q: %v", src, err)
		}
		b.Reset()
		_ = view.WriteJSONValue(&b, x)
		_, _, _ = expr.TypeOf(v, src, expr.NoCPU)
		expr.Classify(v, src)
	})
}
