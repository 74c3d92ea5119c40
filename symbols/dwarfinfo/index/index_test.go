package index

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
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
