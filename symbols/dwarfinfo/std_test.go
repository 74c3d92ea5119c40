package dwarfinfo

import (
	"bytes"
	"debug/dwarf"
	"encoding/binary"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kdx/symbols/objfile"
)

const source = `
struct node { struct node *next; int value : 5; unsigned rest : 27; };
enum color { RED = -1, GREEN = 7 };
typedef struct { char a[24]; } bag;
int counter = 5;
static inline int once(int x) { return x + counter; }
int cold(int);
int use(struct node *n, enum color c, bag *g) { if (__builtin_expect(n->value == 3, 0)) return cold(c); return once(n->value) + c + g->a[0]; }
int other(int x) { return use(0, x, 0) * 2; }
`

func compileC(t testing.TB, flags ...string) string {
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
	args := append([]string{"-shared", "-fPIC", "-nostdlib", "-O2", "-ffunction-sections", "-Wl,--unresolved-symbols=ignore-all", "-o", out, in}, flags...)
	if msg, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, msg)
	}
	return out
}

func openFile(t testing.TB, path string) *Data {
	t.Helper()
	f, err := objfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	d, err := Open(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

var versions = [][]string{{"-gdwarf-4"}, {"-gdwarf-5"}, {"-gdwarf-3", "-gstrict-dwarf"}, {"-gdwarf-5", "-gdwarf64"}, {"-gdwarf-4", "-gz=zlib"}}

// Each entry is what the standard library reads.
func TestAsStandardLibrary(t *testing.T) {
	for _, flags := range versions {
		d := openFile(t, compileC(t, flags...))
		std, err := d.File.ELF.DWARF()
		if err != nil {
			t.Fatal(err)
		}
		want, got := std.Reader(), d.Reader()
		for _, u := range d.Units() {
			if err := got.Seek(u.First); err != nil {
				t.Fatal(err)
			}
			want.Seek(dwarf.Offset(u.First))
			for got.off < u.End {
				w, err := want.Next()
				if err != nil || w == nil {
					t.Fatalf("%v: the standard library: %v, %v", flags, w, err)
				}
				g, err := got.Next()
				if err != nil {
					t.Fatalf("%v: %v", flags, err)
				}
				compare(t, g, w)
			}
			pcs, err := u.PCs()
			if err != nil || len(pcs) == 0 {
				t.Errorf("%v: the unit has code at %#x, %v", flags, pcs, err)
			}
			for _, p := range pcs {
				if d.UnitAt(p[0]) != u || d.UnitAt(p[1]-1) != u {
					t.Errorf("%v: no unit at %#x", flags, p)
				}
			}
		}
		if u := d.UnitAt(1); u != nil {
			t.Errorf("%v: %s is at address 1", flags, u.Name())
		}
	}
}

func compare(t *testing.T, g *Entry, w *dwarf.Entry) {
	t.Helper()
	if g == nil || w.Tag == 0 {
		if g != nil || w.Tag != 0 {
			t.Fatalf("%v; want %v", g, w)
		}
		return
	}
	if g.Off != uint64(w.Offset) || g.Tag != w.Tag || g.Children != w.Children || len(g.Fields) != len(w.Field) {
		t.Fatalf("%+v; want %+v", g, w)
	}
	for _, f := range w.Field {
		ok := true
		switch v := f.Val.(type) {
		case string:
			ok = g.Str(f.Attr) == v
		case uint64:
			a, isAddr := g.Addr(f.Attr)
			ok = isAddr && a == v
		case int64:
			u, isUint := g.Uint(f.Attr)
			ok = isUint && (u == uint64(v) || g.Field(f.Attr).Form == FormData1 && uint64(uint8(v)) == u)
		case dwarf.Offset:
			r, isRef := g.RefTo(f.Attr)
			ok = isRef && r.Off == uint64(v)
		case bool:
			ok = g.Flag(f.Attr) == v
		case []byte:
			ok = bytes.Equal(g.Field(f.Attr).Block, v)
		}
		if !ok {
			t.Errorf("%#x: %v is %+v; want %v (%T)", g.Off, f.Attr, g.Field(f.Attr), f.Val, f.Val)
		}
	}
}

// A table of addresses that lies is not believed; without one, units are asked.
func TestAranges(t *testing.T) {
	path := compileC(t, "-gdwarf-5")
	d := openFile(t, path)
	pcs, err := d.Units()[0].PCs()
	if err != nil || len(pcs) == 0 {
		t.Fatal(pcs, err)
	}
	pc := pcs[0][0]
	lies := binary.LittleEndian.AppendUint32(nil, 44)
	lies = append(lies, 2, 0)
	lies = binary.LittleEndian.AppendUint32(lies, 0x1000) // no such unit
	lies = append(lies, 8, 0, 0, 0, 0, 0)
	for _, v := range []uint64{pc, 1, 0, 0} {
		lies = binary.LittleEndian.AppendUint64(lies, v)
	}
	for name, table := range map[string][]byte{"none": nil, "lies": lies, "cut": d.Aranges[:10]} {
		o := openFile(t, path)
		o.Aranges = table
		if err := o.Init(); err != nil {
			t.Fatal(err)
		}
		if o.UnitAt(pc) == nil {
			t.Errorf("%s: no unit at %#x", name, pc)
		}
	}
}

func FuzzEntries(f *testing.F) {
	for _, flags := range versions[:4] {
		d := openFile(f, compileC(f, flags...))
		f.Add(d.Info, d.Abbrev, d.Str, d.RngLists, d.Aranges)
		f.Add(d.Info, d.Abbrev, d.Str, d.Ranges, d.Aranges)
	}
	f.Fuzz(func(t *testing.T, info, abbrev, str, lists, aranges []byte) {
		d := &Data{Name: "fuzz", Order: binary.LittleEndian, Info: info, Abbrev: abbrev, Str: str, LineStr: str, StrOffsets: lists, Addr: lists,
			Ranges: lists, RngLists: lists, Aranges: aranges}
		if d.Init() != nil {
			return
		}
		d.Alt = d
		d.UnitAt(0x1000)
		r := d.Reader()
		for _, u := range d.Units() {
			u.Name()
			u.PCs()
			if r.Seek(u.First) != nil {
				continue
			}
			for r.off < u.End {
				e, err := r.Next()
				if err != nil {
					break
				}
				if e == nil {
					continue
				}
				for i := range e.Fields {
					a := e.Fields[i].Attr
					e.Str(a)
					e.Addr(a)
					if ref, ok := e.RefTo(a); ok {
						_, _ = ref.Data.Entry(ref.Off)
					}
				}
				_, _ = e.PCs()
				e.EntryPC()
			}
		}
	})
}
