package index

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"

	"kdx/symbols/dwarfinfo"
	"kdx/symbols/objfile"
)

// compileC builds C source and opens its debug information.
func compileC(t testing.TB, source string, flags ...string) *dwarfinfo.Data {
	t.Helper()
	cc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("there is no gcc to compile with")
	}
	dir := t.TempDir()
	in, out := filepath.Join(dir, "a.c"), filepath.Join(dir, "a.so")
	if err := os.WriteFile(in, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	args := append([]string{"-shared", "-fPIC", "-nostdlib", "-O2", "-g", "-o", out, in}, flags...)
	if msg, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, msg)
	}
	return openFile(t, out)
}

func openFile(t testing.TB, path string) *dwarfinfo.Data {
	t.Helper()
	f, err := objfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	d, err := dwarfinfo.Open(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func open(t testing.TB, d *dwarfinfo.Data, opt Options) *Index {
	t.Helper()
	x, err := Open(t.Context(), d, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := x.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			t.Error(err)
		}
	})
	return x
}

const source = `
struct node { struct node *next; int value; };
union both { int i; float f; };
enum color { RED, GREEN = 7 };
enum { NAMELESS = 3 };
typedef struct { char a[24]; } bag;
typedef struct node node_t;
struct nowhere;
struct nowhere *forward;
extern int later;
int later = 5;
static int hidden;
static inline __attribute__((noinline)) int twice(int x) { return 2 * x + hidden; }
static inline int once(int x) { return x + 1; }
int use(struct node *n, union both *b, enum color c, bag *g, node_t *t)
{
	hidden += c;
	return twice(once(n->value)) + b->i + c + NAMELESS + g->a[0] + t->value + later;
}
`

func TestC(t *testing.T) {
	for _, version := range []string{"-gdwarf-4", "-gdwarf-5"} {
		t.Run(version, func(t *testing.T) {
			x := open(t, compileC(t, source, version), Options{})
			for _, c := range []struct {
				kind Kind
				name string
				size uint64
			}{{Struct, "node", 16}, {Union, "both", 4}, {Enum, "color", 4}, {Typedef, "bag", 24}, {Typedef, "node_t", 0}, {Base, "int", 4}} {
				hits := x.Find(c.kind, c.name)
				if len(hits) != 1 || hits[0].Size != c.size {
					t.Errorf("%s: %+v; want one of %d bytes", c.name, hits, c.size)
				}
			}
			for _, name := range []string{"RED", "GREEN", "NAMELESS"} {
				if hits := x.Find(Enumerator, name); len(hits) != 1 || hits[0].Parent == 0 || hits[0].Parent >= hits[0].Off {
					t.Errorf("%s: %+v", name, hits)
				}
			}
			for _, name := range []string{"later", "hidden", "forward"} {
				if hits := x.Find(Variable, name); len(hits) != 1 || hits[0].Addr == 0 || hits[0].External != (name != "hidden") {
					t.Errorf("%s: %+v", name, hits)
				}
			}
			if hits := x.Find(Function, "use"); len(hits) != 1 || hits[0].Addr == 0 || !hits[0].External {
				t.Errorf("use: %+v", hits)
			}
			if hits := x.Find(Function, "once"); len(hits) != 1 || hits[0].Placed {
				t.Errorf("once: %+v", hits)
			}
			if hits := x.Find(Struct, "nowhere"); hits != nil {
				t.Errorf("a declaration was indexed: %+v", hits)
			}
		})
	}
}

func typeNames(types []Type) (names []string) {
	for _, t := range types {
		names = append(names, t.Name)
	}
	return names
}

func TestMembers(t *testing.T) {
	x := open(t, compileC(t, `
struct leaf { int value; };
typedef struct leaf leaf_t;
struct a { struct leaf *const pointer; };
struct b { long l; union { char c[40]; struct { leaf_t array[3]; }; }; };
struct c { char c[100]; struct b inner; };
struct d { char c[200]; struct b *only_points; };
typedef struct { struct a first; } e;
struct f { void (*call)(struct leaf *); };
struct a a; struct c c; struct d d; e untagged; struct f f;
`), Options{})
	for _, c := range []struct {
		what string
		got  []Type
		want []string
	}{
		{"holding leaf", x.Holding("leaf"), []string{"a", "e", "b", "c"}},
		{"with value", x.WithMember("value"), []string{"leaf", "b", "c"}},
		{"with array", x.WithMember("array"), []string{"b", "c"}},
		{"with call", x.WithMember("call"), []string{"f"}},
		{"with nothing", x.WithMember("nothing"), nil},
	} {
		if got := typeNames(c.got); !slices.Equal(got, c.want) {
			t.Errorf("%s: %q; want %q", c.what, got, c.want)
		}
	}
}

func TestNames(t *testing.T) {
	x := open(t, compileC(t, source), Options{})
	for _, c := range []struct {
		got, want []string
	}{
		{x.NamesWithPrefix("no"), []string{"node", "node_t"}},
		{x.NamesWithPrefix("no", Typedef, Enum), []string{"node_t"}},
		{x.NamesWithPrefix("nowhere"), nil},
		{slices.Sorted(x.Names(Enumerator)), []string{"GREEN", "NAMELESS", "RED"}},
		{slices.Sorted(x.Names(Struct)), []string{"node"}},
	} {
		if !slices.Equal(c.got, c.want) {
			t.Errorf("%q; want %q", c.got, c.want)
		}
	}
	for range x.Names(Function) {
		break
	}
}

// What is declared and defined nowhere was written in assembler; what is also defined is there once.
func TestDeclared(t *testing.T) {
	x := open(t, compileC(t, `
extern int in_assembler;
extern int defined;
int defined = 1;
int use(void) { return in_assembler + defined; }
`, "-Wl,--unresolved-symbols=ignore-all"), Options{})
	if hits := x.Find(Variable, "in_assembler"); len(hits) != 1 || !hits[0].Declared || hits[0].Placed {
		t.Errorf("in_assembler: %+v", hits)
	}
	if hits := x.Find(Variable, "defined"); len(hits) != 1 || hits[0].Declared || !hits[0].Placed {
		t.Errorf("defined: %+v", hits)
	}
}
