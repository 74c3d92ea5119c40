package types

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"kdx/symbols"
)

const cSource = `
typedef unsigned int u32;
typedef _Bool boolean;
enum how { HOW_BAD = -1, HOW_GOOD = 1 };
enum flags { FLAG_A = 1, FLAG_HIGH = 0x80000000 };
enum small { SMALL = 0xff } __attribute__((packed));
enum wide { WIDE = 1ull << 40 };
struct list_head { struct list_head *next, *prev; };
struct elsewhere;
struct late;
union both { unsigned long word; u32 half[2]; };
struct task {
	int pid;
	u32 running : 1, policy : 3;
	unsigned long : 7;
	unsigned long big : 40;
	signed char tiny : 2;
	struct list_head tasks;
	union { unsigned long word; struct { u32 lo, hi; }; };
	char comm[16];
	int matrix[3][5];
	int (*handler)(const char *, ...);
	struct elsewhere *hidden;
	const struct late *late;
	volatile boolean flag;
	const char *const name;
	__int128 wide128;
	double ratio;
	enum how how;
	_Atomic int counter;
	void *restrict tail;
	char zero[0];
	struct list_head flexible[];
};
struct late { long x; };
struct packed { char a; int b; } __attribute__((packed, aligned(1)));
static struct task statics;
struct task *tasks[4] = { &statics };
extern int grown[];
int grown[7];
volatile int jiffies;
struct late late;
struct packed packed;
enum flags flags; enum small small; enum wide wide; union both both;
static inline __attribute__((always_inline)) int inlined(struct late *l, u32 n) { return l->x + n; }
int outer(struct late *l, char **argv, ...) { return inlined(l, 3); }
__attribute__((noinline)) static int copied(int used, int unused) { return used * 2; }
void nothing(void) { jiffies = copied(jiffies, 3); }
int vla(int n) { int a[n]; a[0] = n; return a[n / 2] + jiffies; }
`

var cTests = []struct {
	member, decl string
	bit          uint64
	bits         uint32
	size         uint64
}{
	{"pid", "int pid", 0, 0, 4},
	{"running", "u32 running", 32, 1, 4},
	{"policy", "u32 policy", 33, 3, 4},
	{"big", "unsigned long big", 64, 40, 8},
	{"tiny", "signed char tiny", 104, 2, 1},
	{"tasks", "struct list_head tasks", 128, 0, 16},
	{"word", "unsigned long word", 256, 0, 8},
	{"hi", "u32 hi", 288, 0, 4},
	{"comm", "char comm[16]", 320, 0, 16},
	{"matrix", "int matrix[3][5]", 448, 0, 60},
	{"handler", "int (*handler)(const char *, ...)", 960, 0, 8},
	{"hidden", "struct elsewhere *hidden", 1024, 0, 8},
	{"late", "const struct late *late", 1088, 0, 8},
	{"flag", "volatile boolean flag", 1152, 0, 1},
	{"name", "const char * const name", 1216, 0, 8},
	{"wide128", "__int128 wide128", 1280, 0, 16},
	{"ratio", "double ratio", 1408, 0, 8},
	{"how", "enum how how", 1472, 0, 4},
	{"counter", "int counter", 1504, 0, 4},
	{"tail", "void * restrict tail", 1536, 0, 8},
	{"zero", "char zero[0]", 1600, 0, 0},
	{"flexible", "struct list_head flexible[]", 1600, 0, 0},
}

// TestC: what GCC says, in each version of DWARF.
func TestC(t *testing.T) {
	for _, flags := range []string{"-gdwarf-2 -gstrict-dwarf", "-gdwarf-3 -gstrict-dwarf", "-gdwarf-4", "-gdwarf-4 -fdebug-types-section", "-gdwarf-5",
		"-gdwarf-5 -fdebug-types-section", "-gdwarf-5 -flto"} {
		t.Run(flags, func(t *testing.T) {
			d := compile(t, "a.c", cSource, append([]string{"gcc", "-g", "-O2", "-shared", "-nostdlib", "-fPIC", "-w"}, strings.Fields(flags)...)...)
			if strings.Contains(flags, "4 -fdebug-types") {
				return // types are in .debug_types, which only ends the test if it is a panic
			}
			checkC(t, newFinder(d))
		})
	}
}

// TestClang: the same of another compiler, where there is one.
func TestClang(t *testing.T) {
	for _, flags := range []string{"-gdwarf-2", "-gdwarf-4", "-gdwarf-5", "-gdwarf-5 -fdebug-types-section"} {
		t.Run(flags, func(t *testing.T) {
			d := compile(t, "a.c", cSource, append([]string{"clang", "-g", "-O2", "-shared", "-nostdlib", "-fPIC", "-w"}, strings.Fields(flags)...)...)
			checkC(t, newFinder(d))
		})
	}
}

func checkC(t *testing.T, f *Finder) {
	task, err := f.TypeNamed(symbols.Struct, "task")
	if err != nil {
		t.Fatal(err)
	}
	if task.Size != 208 || task.From != "test" || task.Incomplete {
		t.Errorf("task: size %d from %q, incomplete %v", task.Size, task.From, task.Incomplete)
	}
	for _, tt := range cTests {
		m, ok := task.Member(tt.member)
		if !ok {
			t.Errorf("no member %s", tt.member)
			continue
		}
		// DWARF 2 knows no restrict.
		if got := m.Type.Declare(tt.member); got != tt.decl && !(strings.Contains(t.Name(), "dwarf-2") && got == strings.Replace(tt.decl, " restrict ", "", 1)) {
			t.Errorf("%s is %q; want %q", tt.member, got, tt.decl)
		}
		if m.BitOffset != tt.bit || m.BitSize != tt.bits || m.Type.Size != tt.size {
			t.Errorf("%s at bit %d of %d bits, %d bytes; want %d, %d, %d", tt.member, m.BitOffset, m.BitSize, m.Type.Size, tt.bit, tt.bits, tt.size)
		}
	}
	late, _ := task.Member("late")
	if x, ok := late.Type.Elem().OffsetOf("x"); !ok || x != 0 {
		t.Errorf("late leads to %v, which has no x", late.Type.Elem())
	}
	hidden, _ := task.Member("hidden")
	if !hidden.Type.Elem().Incomplete {
		t.Error("a struct that is nowhere defined is not Incomplete")
	}
	checkEnums(t, f)
	checkDeclared(t, f)
}

func checkEnums(t *testing.T, f *Finder) {
	for _, tt := range []struct {
		constant string
		value    int64
		enum     string
		size     uint64
		signed   bool
	}{{"HOW_BAD", -1, "how", 4, true}, {"HOW_GOOD", 1, "how", 4, true}, {"FLAG_HIGH", 0x80000000, "flags", 4, false}, {"SMALL", 0xff, "small", 1, false},
		{"WIDE", 1 << 40, "wide", 8, false}} {
		v, typ, err := f.Enumerator(tt.constant)
		if err != nil || v != tt.value || typ.Name != tt.enum || typ.Size != tt.size || typ.Signed != tt.signed {
			t.Errorf("%s = %d of %v, %v; want %d of %s", tt.constant, v, typ, err, tt.value, tt.enum)
		}
	}
	if _, _, err := f.Enumerator("HOW"); !errors.Is(err, symbols.ErrNotFound) {
		t.Errorf("Enumerator(HOW): %v; want ErrNotFound", err)
	}
}

func checkDeclared(t *testing.T, f *Finder) {
	for name, want := range map[string]string{"statics": "struct task statics", "tasks": "struct task *tasks[4]", "grown": "int grown[7]",
		"jiffies": "volatile int jiffies", "packed": "struct packed packed"} {
		if v, err := f.VariableType(name); err != nil || v.Declare(name) != want {
			t.Errorf("VariableType(%s) = %v, %v; want %s", name, v, err, want)
		}
	}
	for name, want := range map[string]string{"outer": "int outer(struct late *l, char **argv, ...)", "nothing": "void nothing(void)",
		"inlined": "int inlined(struct late *l, u32 n)", "copied": "int copied(int used, int unused)"} {
		if v, err := f.FunctionType(name); err != nil || v.Declare(name) != want {
			t.Errorf("FunctionType(%s) = %v, %v; want %s", name, v, err, want)
		}
	}
	for _, tt := range []struct {
		kind symbols.Kind
		name string
		want string
	}{{symbols.Int, "unsigned long", "unsigned long"}, {symbols.Int, "long unsigned int", "unsigned long"}, {symbols.Bool, "_Bool", "_Bool"},
		{symbols.Typedef, "boolean", "boolean"}, {symbols.Union, "both", "union both"}, {symbols.Float, "double", "double"}} {
		if got, err := f.TypeNamed(tt.kind, tt.name); err != nil || got.String() != tt.want {
			t.Errorf("TypeNamed(%s, %s) = %v, %v; want %s", tt.kind, tt.name, got, err, tt.want)
		}
	}
	for _, tt := range []struct {
		kind symbols.Kind
		name string
	}{{symbols.Struct, "boolean"}, {symbols.Struct, "elsewhere"}, {symbols.Struct, ""}, {symbols.Pointer, "int"}, {symbols.Bool, "int"}} {
		if got, err := f.TypeNamed(tt.kind, tt.name); !errors.Is(err, symbols.ErrNotFound) {
			t.Errorf("TypeNamed(%s, %q) = %v, %v; want ErrNotFound", tt.kind, tt.name, got, err)
		}
	}
	var all []string
	for k, n := range f.TypeNames() {
		all = append(all, k.String()+" "+n)
	}
	for _, want := range []string{"struct task", "union both", "enum how", "typedef u32", "int unsigned long", "bool _Bool"} {
		if !slices.Contains(all, want) {
			t.Errorf("TypeNames yields %q; want %s", all, want)
		}
	}
}

// TestGoroutines: one type for all who ask.
func TestGoroutines(t *testing.T) {
	f := newFinder(compile(t, "a.c", cSource, "gcc", "-g", "-shared", "-nostdlib", "-fPIC", "-w"))
	got := make([]string, 8)
	var wg sync.WaitGroup
	for i := range got {
		wg.Go(func() {
			task, err := f.TypeNamed(symbols.Struct, "task")
			if err != nil {
				return
			}
			for _, m := range task.Members() {
				got[i] += fmt.Sprintf("%p %s;", m.Type, m.Type.Declare(m.Name))
			}
		})
	}
	wg.Wait()
	for i := range got {
		if got[i] != got[0] || got[i] == "" {
			t.Errorf("goroutine %d got %s; the first %s", i, got[i], got[0])
		}
	}
}
