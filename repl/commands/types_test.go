package commands

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"

	"kdx/analyze/kernel"
	"kdx/analyze/kerneltest"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"

	"github.com/google/go-cmp/cmp"
)

const typeDecls = `
enum pid_type { PIDTYPE_PID, PIDTYPE_TGID };
struct list_head { struct list_head *next, *prev; };
struct rlimit { unsigned long cur, max; };
struct node { int id; struct list_head list; struct rlimit rlim[2]; char name[8]; struct node *peer; };
struct rq { unsigned int nr_running; struct node *curr; };
union value { u32 word; u8 bytes[4]; };
`

type typesTarget struct {
	*kerneltest.Machine
	a, b, area vmem.Addr
	state      *State
}

func newTypesTarget(t *testing.T) *typesTarget {
	m := kerneltest.New(t, typeDecls)
	x := &typesTarget{Machine: m, a: m.Alloc(256), b: m.Alloc(256)}
	list := vmem.Addr(m.Offset("node", "list"))
	for i, at := range []vmem.Addr{x.a, x.b} {
		m.Set(at, "node", "id", uint64(i+1))
		m.Word(at+list, uint64([]vmem.Addr{x.b, x.a}[i]+list))
		m.Write(at+vmem.Addr(m.Offset("node", "name")), []byte{'n', byte('1' + i)})
		m.Set(at, "node", "rlim[1].max", uint64(100+i))
	}
	m.Word(x.a+vmem.Addr(m.Offset("node", "peer")), uint64(x.b))
	m.Var("node1", x.a, "struct node")
	x.area = m.AllocPage()
	m.Symbol(symbols.Symbol{Name: "__per_cpu_start", Addr: 0, Letter: 'A'})
	m.Symbol(symbols.Symbol{Name: "__per_cpu_end", Addr: 0x1000, Letter: 'A'})
	m.Var("runqueues", 0x40, "struct rq")
	for cpu := range 2 {
		m.Put(x.area+0x40+vmem.Addr(cpu*0x100), 4, uint64(3+cpu))
	}
	offs, mask, ids := m.Alloc(16), m.Alloc(8), m.Alloc(4)
	m.Word(offs, uint64(x.area))
	m.Word(offs+8, uint64(x.area)+0x100)
	m.Word(mask, 3)
	m.Put(ids, 4, 2)
	m.Var("__per_cpu_offset", offs, "unsigned long x[2]")
	m.Var("__cpu_possible_mask", mask, "unsigned long")
	m.Var("__cpu_present_mask", mask, "unsigned long")
	m.Var("nr_cpu_ids", ids, "unsigned int")
	x.state = &State{Kernel: m.Kernel()}
	return x
}

// run runs one line of words that are separated by single spaces.
func (x *typesTarget) run(line string) (view.Result, *kernel.View, error) {
	words := strings.Split(line, " ")
	table := map[string]*Command{"struct": structCommand(), "union": unionCommand(), "*": starCommand(), "p": pCommand(), "whatis": whatisCommand()}
	c := table[words[0]]
	v := x.View()
	f, args, err := ParseFlags(c, words[1:])
	if err != nil {
		return nil, v, err
	}
	r, err := c.Run(&Call{View: v, State: x.state, Cmd: c, Flags: f, Args: args})
	return r, v, err
}

func TestTypeCommands(t *testing.T) {
	x := newTypesTarget(t)
	hex := func(a vmem.Addr) string { b, _ := a.MarshalText(); return string(b) }
	bare := func(a vmem.Addr) string { return strings.TrimPrefix(hex(a), "0x") }
	list := vmem.Addr(x.Offset("node", "list"))
	for _, tt := range []struct{ line, want string }{
		{"struct list_head", "struct list_head {\n    struct list_head *next;\n    struct list_head *prev;\n}\nSIZE: 16\n"},
		{"struct list_head -o", "struct list_head {\n   [0] struct list_head *next;\n   [8] struct list_head *prev;\n}\nSIZE: 16\n"},
		{"struct -ox list_head", "struct list_head {\n   [0x0] struct list_head *next;\n   [0x8] struct list_head *prev;\n}\nSIZE: 0x10\n"},
		{"struct node.name", "struct node {\n  [56] char name[8];\n}\n"},
		{"struct node.list.prev,id -o " + bare(x.a), "struct node {\n  [" + bare(x.a+16) + "] struct list_head *list.prev;\n  [" + bare(x.a) + "] int id;\n}\n"},
		{"union value", "union value {\n    u32 word;\n    u8 bytes[4];\n}\nSIZE: 4\n"},
		{"struct node.id,name node1", "  id = 1,\n  name = \"n1\\000\\000\\000\\000\\000\",\n"},
		{"* node.rlim[1].max -x " + hex(x.b), "  rlim[1].max = 0x65\n"},
		{"struct list_head.next,prev node1.list", "  next = " + hex(x.b+list) + ",\n  prev = 0x0\n"}, // no comma behind the last, as gdb writes it
		{"struct -o rq.curr runqueues:a", "[0]: " + bare(x.area+0x40) + "\nstruct rq {\n  [" + bare(x.area+0x48) + "] struct node *curr;\n}\n[1]: " + bare(x.area+0x140) +
			"\nstruct rq {\n  [" + bare(x.area+0x148) + "] struct node *curr;\n}\n"},
		{"struct -o rlimit.max node1.rlim 2", "struct rlimit {\n  [" + bare(x.a+32) + "] unsigned long max;\n}\nstruct rlimit {\n  [" + bare(x.a+48) + "] unsigned long max;\n}\n"},
		{"struct rlimit node1.rlim 2", "struct rlimit {\n  cur = 0,\n  max = 0\n}\n\nstruct rlimit {\n  cur = 0,\n  max = 100\n}\n"},
		{"struct rlimit node1.rlim[1] -c -2", "struct rlimit {\n  cur = 0,\n  max = 0\n}\n\nstruct rlimit {\n  cur = 0,\n  max = 100\n}\n"},
		{"struct node.id -l node.list node1.list.next", "  id = 2,\n"},
		{"struct node.id -l list node1.list.next", "  id = 2,\n"},
		{"struct node.id -l 8 " + bare(x.b+list), "  id = 2,\n"},
		{"struct rq.nr_running runqueues:a", "[0]: " + bare(x.area+0x40) + "\n  nr_running = 3,\n[1]: " + bare(x.area+0x140) + "\n  nr_running = 4,\n"},
		{"struct rq.nr_running 40:1", "[1]: " + bare(x.area+0x140) + "\n  nr_running = 4,\n"},
		{"struct node.id -r node1", bare(x.a) + ":  00000001                              ....\n"},
		{"struct node.peer -p node1", "  struct node *peer = " + hex(x.b) + "\n  -> {\n       id = 2,\n       list = {\n         next = " + hex(x.a+8) + ",\n         prev = 0x0\n       },\n" +
			"       rlim = {{\n           cur = 0,\n           max = 0\n         }, {\n           cur = 0,\n           max = 101\n         }},\n       name = \"n2\\000\\000\\000\\000\\000\",\n       peer = 0x0\n     }\n"},
		{"struct node.peer -p " + hex(x.b), "  struct node *peer = 0x0\n  -> NULL\n"},
		{"p node1.id", "$N = 1\n"},
		{"p node1.peer->id + 1", "$N = 3\n"},
		{"p -x 255", "$N = 0xff\n"},
		{"p /x 255", "$N = 0xff\n"},
		{"p /x nr_cpu_ids", "$N = 0x2\n"}, // gdb names no variable here
		{"p /t 5", "$N = 101\n"},
		{"p nr_cpu_ids", "nr_cpu_ids = $N = 2\n"},
		{"p runqueues", "PER-CPU DATA TYPE:\n  struct rq runqueues;\nPER-CPU ADDRESSES:\n  [0]: " + bare(x.area+0x40) + "\n  [1]: " + bare(x.area+0x140) + "\n"},
		{"p runqueues.nr_running:a", "per_cpu(runqueues.nr_running, 0) = $N = 3\nper_cpu(runqueues.nr_running, 1) = $N = 4\n"},
		{"p runqueues.nr_running:1", "per_cpu(runqueues.nr_running, 1) = $N = 4\n"},
		{"p 1 ? 2 : 3", "$N = 2\n"},
		{"p -1", "$N = -1\n"},
		{"whatis node1", "struct node node1;\n"},
		{"whatis node1.rlim", "struct rlimit [2]\n"},
		{"whatis struct rlimit", "struct rlimit {\n    unsigned long cur;\n    unsigned long max;\n}\nSIZE: 16\n"},
		{"whatis rlimit", "struct rlimit {\n    unsigned long cur;\n    unsigned long max;\n}\nSIZE: 16\n"},
		{"whatis PIDTYPE_TGID", "enum pid_type = 1\n"},
		{"whatis 1UL", "unsigned long\n"},
		{"whatis unsigned long", "unsigned long\nSIZE: 8\n"},
		{"whatis struct node *", "struct node *\nSIZE: 8\n"},
		{"whatis -r 16", "SIZE  TYPE\n  16  list_head\n  16  rlimit\n  16  rq\n"},
		{"whatis -m rlimit", "SIZE  TYPE\n  72  node\n"},
		{"whatis -m node -r 1-20", "SIZE  TYPE\n  16  rq\n"},
	} {
		r, _, err := x.run(tt.line)
		if err != nil {
			t.Errorf("%s: %v", tt.line, err)
			continue
		}
		var b strings.Builder
		if err := r.Text(&b, view.Options{}); err != nil {
			t.Errorf("%s: %v", tt.line, err)
		}
		got := numbers(b.String())
		if d := cmp.Diff(tt.want, got); d != "" {
			t.Errorf("%s: -want +got\n%s", tt.line, d)
		}
		var j bytes.Buffer
		if err := view.WriteJSON(&j, r); err != nil || !json.Valid(j.Bytes()) {
			t.Errorf("%s: JSON: %v\n%s", tt.line, err, j.String())
		}
	}
}

// numbers makes "$12" of the value history "$N".
func numbers(s string) string {
	var b strings.Builder
	for {
		before, after, ok := strings.Cut(s, "$")
		b.WriteString(before)
		if !ok {
			return b.String()
		}
		b.WriteString("$N")
		s = strings.TrimLeft(after, "0123456789")
	}
}

func TestTypeCommandErrors(t *testing.T) {
	x := newTypesTarget(t)
	for _, tt := range []struct{ line, want string }{
		{"struct", "name a struct"}, {"struct nosuch", "no type nosuch"}, {"struct noed", "did you mean node?"}, {"struct node.idd", "no member idd; did you mean id?"},
		{"struct node 0x10", "no address of the kernel"}, {"struct node node1 0", "no count"}, {"struct node node1 99999999", "no count"}, {"struct node nosuch", "no symbol nosuch"},
		{"struct rq runqueues", "runqueues:0"}, {"struct rq runqueues:9", "CPUs 0 to 1"}, {"struct node node1:0", "not per-CPU"}, {"struct node -r", "-r wants the address"}, {"struct node -a", "-a wants the address"}, {"struct node -ar node1", "rd -S"},
		{"struct node -l node.nosuch node1", "no member nosuch"}, {"struct node node1 2 3", "more than"},
		{"p", "give an expression"}, {"p /q 1", "none of the formats"}, {"p runqueues", ""}, {"p runqueues.nr_running", "per-CPU"}, {"p node1.id:0", "not per-CPU"}, {"p nosuch", "no symbol"},
		{"whatis", "name a type"}, {"whatis nosuch", "no symbol nosuch"}, {"whatis -r x", "a size in bytes"}, {"whatis -r 5-1", "a size in bytes"}, {"whatis -r 5 node", "no further argument"},
	} {
		_, _, err := x.run(tt.line)
		if tt.want == "" && err == nil {
			continue
		}
		if err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v; want an error with %q", tt.line, err, tt.want)
		}
	}
}

func TestValueHistory(t *testing.T) {
	x := newTypesTarget(t)
	for _, tt := range []struct{ line, want string }{{"p 41", "$1 = 41\n"}, {"p node1", ""}, {"p $1 + 1", "$3 = 42\n"}, {"p $2.id", "$4 = 1\n"}} {
		r, _, err := x.run(tt.line)
		if err != nil {
			t.Fatalf("%s: %v", tt.line, err)
		}
		var b strings.Builder
		if err := r.Text(&b, view.Options{}); err != nil {
			t.Fatal(err)
		}
		if tt.want != "" && b.String() != tt.want {
			t.Errorf("%s: %q; want %q", tt.line, b.String(), tt.want)
		}
	}
}

func TestObjectsOnExcludedPages(t *testing.T) {
	x := newTypesTarget(t)
	gone := x.AllocPage()
	x.Exclude(gone)
	at := strings.TrimPrefix(func() string { b, _ := gone.MarshalText(); return string(b) }(), "0x")
	for _, tt := range []struct{ line, text, json string }{
		{"struct list_head " + at, "struct list_head <page excluded>\n", `{"type":"struct list_head","objects":[{"address":"0x` + at + `","value":null}]}` + "\n"},
		{"struct list_head.prev " + at, "  prev = <page excluded>\n", `{"type":"struct list_head","objects":[{"address":"0x` + at + `","value":{"prev":null}}]}` + "\n"},
	} {
		r, v, err := x.run(tt.line)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := r.Text(&b, view.Options{}); err != nil || b.String() != tt.text {
			t.Errorf("%s: %q, %v; want %q", tt.line, b.String(), err, tt.text)
		}
		if gaps, _ := v.Gaps(); len(gaps) != 1 || !strings.Contains(gaps[0].String(), "dump level 31") {
			t.Errorf("%s: gaps %v; want one that says why", tt.line, gaps)
		}
		b.Reset()
		if err := view.WriteJSON(&b, r); err != nil || b.String() != tt.json {
			t.Errorf("%s: JSON %q, %v; want %q", tt.line, b.String(), err, tt.json)
		}
	}
}

// A kernel that knows no slab caches, stacks or tasks: the values are shown, and that nothing can be told of pointers is said.
func TestAnnotateWithout(t *testing.T) {
	x := newTypesTarget(t)
	r, v, err := x.run("struct node.id,peer -a node1")
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	if err := r.Text(&b, view.Options{}); err != nil || !strings.HasPrefix(b.String(), "  id = 1,\n  peer = 0x") {
		t.Errorf("%q, %v", b.String(), err)
	}
	if gaps, _ := v.Gaps(); len(gaps) == 0 {
		t.Error("no gap says that nothing could be told of pointers")
	}
}

// The session's radix is a command's default, which -d overrides.
func TestRadix(t *testing.T) {
	x := newTypesTarget(t)
	x.state.Hex = true
	for _, tt := range []struct{ line, want string }{
		{"p 255", "$N = 0xff\n"}, {"p -d 255", "$N = 255\n"}, {"p /d 255", "$N = 255\n"}, {"struct node.id -d node1", "  id = 1,\n"}, {"struct node.id node1", "  id = 0x1,\n"},
		{"struct node.name -d", "struct node {\n  [56] char name[8];\n}\n"},
	} {
		r, _, err := x.run(tt.line)
		if err != nil {
			t.Fatal(err)
		}
		var b strings.Builder
		if err := r.Text(&b, view.Options{Hex: true}); err != nil {
			t.Fatal(err)
		}
		if got := numbers(b.String()); got != tt.want {
			t.Errorf("%s: %q; want %q", tt.line, got, tt.want)
		}
	}
}
