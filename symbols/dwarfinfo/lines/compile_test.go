package lines

import (
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/objfile"
)

const program = `static int sink;

static inline __attribute__((always_inline)) int inner(int x)
{
	sink += x;
	return x * 3;
}

static inline __attribute__((always_inline)) int middle(int x)
{
	int y = inner(x + 1);
	{
		int z = y;
		sink ^= z;
	}
	return y;
}

__attribute__((noinline)) int outer(int x)
{
	return middle(x) + 7;
}

/* a line without code */

int main(int argc, char **argv)
{
	return outer(argc);
}
`

// compile builds the program as the compiler's flags say. The directory is the tree's root: sub/prog.c lies in it.
func compile(t *testing.T, flags ...string) *dwarfinfo.Data {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("no gcc, which makes the DWARF that is read here")
	}
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "sub"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "sub", "prog.c"), []byte(program), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(gcc, append([]string{"-O2", "-g", "-no-pie", "-o", "prog", "sub/prog.c"}, flags...)...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	f, err := objfile.Open(filepath.Join(dir, "prog"))
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

func symbol(t *testing.T, d *dwarfinfo.Data, name string) elf.Symbol {
	t.Helper()
	syms, err := d.File.ELF.Symbols()
	if err != nil {
		t.Fatal(err)
	}
	for _, s := range syms {
		if s.Name == name {
			return s
		}
	}
	t.Fatalf("no symbol %s", name)
	panic("not reached")
}

func chain(ps []symbols.Place) string {
	var parts []string
	for _, p := range ps {
		mark := ""
		if p.Inlined {
			mark = " inlined"
		}
		parts = append(parts, fmt.Sprintf("%s %s:%d%s", p.Function, p.File, p.Line, mark))
	}
	return strings.Join(parts, " < ")
}

func TestPlaces(t *testing.T) {
	const shift = 0x1000
	for _, flags := range [][]string{{"-gdwarf-5"}, {"-gdwarf-4"}, {"-gdwarf-3"}, {"-gdwarf-2"}, {"-gdwarf-5", "-gdwarf64"}, {"-gdwarf-4", "-flto"}} {
		t.Run(strings.Join(flags, ""), func(t *testing.T) {
			d := compile(t, flags...)
			f := New(d, shift, "test")
			fn := symbol(t, d, "outer")
			seen := map[string]bool{}
			for pc := fn.Value; pc < fn.Value+fn.Size; pc++ {
				ps, err := f.PlacesAt(pc + shift)
				if err != nil {
					t.Fatalf("%#x: %v", pc, err)
				}
				if got := ps[len(ps)-1]; got.Function != "outer" || got.Inlined {
					t.Fatalf("%#x is in %s", pc, chain(ps))
				}
				seen[chain(ps)] = true
			}
			for _, want := range []string{"outer sub/prog.c:22", "inner sub/prog.c:5 inlined < middle sub/prog.c:11 inlined < outer sub/prog.c:21",
				"middle sub/prog.c:14 inlined < outer sub/prog.c:21"} {
				if !seen[want] {
					t.Errorf("no instruction comes from %s; there are %v", want, seen)
				}
			}
			if _, err := f.PlacesAt(1); !errors.Is(err, symbols.ErrNotFound) {
				t.Errorf("address 1: %v; want ErrNotFound", err)
			}
		})
	}
}

func TestCode(t *testing.T) {
	d := compile(t)
	f := New(d, 0, "test")
	for _, x := range []struct {
		file       string
		line, want int
		fn         string
	}{
		{"prog.c", 22, 22, "outer"},
		{"sub/prog.c", 5, 5, "inner"},
		{"/build/x/sub/prog.c", 5, 5, "inner"},
		{"prog.c", 23, 28, "main"}, // neither the comment nor the empty line has code
		{"og.c", 5, 0, ""},
		{"b/prog.c", 5, 0, ""},
		{"prog.c", 40, 0, ""},
		{"prog.c", 0, 0, ""},
	} {
		found, err := f.LineCode(x.file, x.line)
		if x.want == 0 {
			if !errors.Is(err, symbols.ErrNotFound) {
				t.Errorf("%s:%d: %v, %v; want ErrNotFound", x.file, x.line, found, err)
			}
			continue
		}
		if err != nil {
			t.Errorf("%s:%d: %v", x.file, x.line, err)
			continue
		}
		for _, c := range found {
			ps, err := f.PlacesAt(c.Addr)
			if err != nil || c.Line != x.want || ps[0].Line != c.Line || ps[0].File != c.File || ps[0].Function != x.fn || c.End <= c.Addr {
				t.Errorf("%s:%d: %+v, whose place is %s (%v); want line %d of %s", x.file, x.line, c, chain(ps), err, x.want, x.fn)
			}
		}
	}
}

// TestTool holds the places of all code of a small program against addr2line.
func TestTool(t *testing.T) {
	tool, err := exec.LookPath("addr2line")
	if err != nil {
		t.Skip("no addr2line to compare with")
	}
	d := compile(t)
	f := New(d, 0, "test")
	var in strings.Builder
	var want []string
	for _, name := range []string{"outer", "main"} {
		fn := symbol(t, d, name)
		for pc := fn.Value; pc < fn.Value+fn.Size; pc++ {
			fmt.Fprintf(&in, "%#x\n", pc)
			ps, err := f.PlacesAt(pc)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range ps {
				want = append(want, p.Function, fmt.Sprintf("%s:%d", filepath.Base(p.File), p.Line))
			}
		}
	}
	cmd := exec.Command(tool, "-i", "-f", "-s", "-e", d.Name)
	cmd.Stdin = strings.NewReader(in.String())
	out, err := cmd.Output()
	if err != nil {
		t.Fatal(err)
	}
	got := strings.Split(strings.TrimSpace(string(out)), "\n")
	for i := range got {
		got[i], _, _ = strings.Cut(got[i], " (discriminator")
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		t.Errorf("addr2line says\n%s\nkdx\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
