package vars

import (
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdx/internal/mapfile"
	"kdx/symbols"
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/objfile"
)

const program = `
int sink;
__attribute__((noipa)) void other(void) { asm volatile("" ::: "memory"); }
__attribute__((noipa)) int callee(int a, long b, int kept) { other(); sink += kept; other(); return 0; }
__attribute__((noipa)) int caller(int n) { int k = callee(42, n + 1, 3); return k + n; }
__attribute__((noipa)) int jumper(int x) { return callee(x * 2, 7, 4); }
__attribute__((noipa)) int outer(int n) { int k = jumper(21); return k + n; }
__attribute__((noipa)) int pointer(int (*f)(int, long, int), int n) { int k = f(1, 2, 3); return k + n; }
static inline __attribute__((always_inline)) int square(int v) { int w = v * v; other(); return w + sink; }
__attribute__((noipa)) int around(int n) { int before = n + 1; { int inner = square(before); other(); return inner + before; } }
struct pair { int *p; int n; };
__attribute__((noipa)) int constants(void) { int local = 5; struct pair q = { &local, 9 }; other(); return *q.p + q.n; }
void _start(void) { caller(1); outer(2); pointer(callee, 3); around(4); constants(); for (;;); }
`

// compiled is the program with debug information of a version.
func compiled(t *testing.T, version string) *Finder {
	t.Helper()
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Skip("gcc is not installed, and the test's program must be compiled")
	}
	dir := t.TempDir()
	src, exe := filepath.Join(dir, "a.c"), filepath.Join(dir, "a")
	if err := os.WriteFile(src, []byte(program), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command(gcc, "-O2", "-g", "-gdwarf-"+version, "-fno-pie", "-no-pie", "-nostdlib", "-static", "-fcf-protection=none", "-o", exe, src).CombinedOutput()
	if err != nil {
		t.Skipf("gcc can't compile for this machine: %s", out)
	}
	f, err := objfile.Open(exe)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	if f.ELF.Machine.String() != "EM_X86_64" {
		t.Skip("the frames of the test are x86-64's")
	}
	d, err := dwarfinfo.Open(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return New(d, shift, ints{}, "test")
}

const shift = 0x10000000

type ints struct{}

func (ints) TypeAt(dwarfinfo.Ref) *symbols.Type {
	return &symbols.Type{Kind: symbols.Int, Name: "int", Size: 4, Signed: true}
}

// named finds a function of the program.
func named(t *testing.T, f *Finder, name string) *function {
	t.Helper()
	for _, u := range f.d.Units() {
		for _, c := range f.codeOf(u).code {
			fn, err := f.function(c.off)
			if err != nil {
				t.Fatal(err)
			}
			if nameOf(fn.entry) == name {
				return fn
			}
		}
	}
	t.Fatalf("there is no function %s", name)
	return nil
}

// frame is a frame that stands behind a call, in running addresses.
type frame struct {
	ret, target uint64
	regs        map[int]uint64
	caller      *frame
	jumps       map[uint64]uint64
}

func (f *frame) ReadMemory([]byte, uint64) (int, error) { return 0, errors.New("no memory") }
func (f *frame) PC() uint64                             { return f.ret - 1 }
func (f *frame) Reg(n int) (uint64, error) {
	if u, ok := f.regs[n]; ok {
		return u, nil
	}
	return 0, &symbols.LostError{Why: fmt.Sprintf("register %d is lost", n)}
}
func (f *frame) CFA() (uint64, bool) { return 0x7000, true }
func (f *frame) Caller() symbols.FrameState {
	if f.caller == nil {
		return nil
	}
	return f.caller
}
func (f *frame) Call() (uint64, uint64, bool)   { return f.ret, f.target, true }
func (f *frame) Jump(end uint64) (uint64, bool) { to, ok := f.jumps[end]; return to, ok }

// behind is a frame of fn behind its last call.
func behind(fn *function) *frame {
	f := &frame{regs: map[int]uint64{3: 100, 6: 200, 12: 300}, jumps: make(map[uint64]uint64)}
	for _, s := range fn.sites {
		if !s.tail {
			f.ret = max(f.ret, s.ret+shift)
		}
	}
	return f
}

func values(t *testing.T, f *Finder, at *frame) map[string]string {
	t.Helper()
	scopes, err := f.ScopesAt(at.PC())
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]string)
	for _, s := range scopes {
		for i := range s.Vars {
			loc, err := s.Vars[i].Locate(at)
			text := fmt.Sprint(err)
			if err == nil {
				p := loc.Pieces[0]
				switch p.Kind {
				case symbols.PieceValue:
					text = fmt.Sprint(uint32(p.Bytes[0]) | uint32(p.Bytes[1])<<8)
				case symbols.PieceLost:
					text = "lost: " + p.Why
				default:
					text = fmt.Sprint(p.Kind)
				}
			}
			out[s.Function+"."+s.Vars[i].Name] = text
		}
	}
	return out
}

func TestEntryValues(t *testing.T) {
	for _, version := range []string{"5", "4"} {
		f := compiled(t, version)
		callee := named(t, f, "callee")
		enter := callee.low + shift

		at := behind(callee)
		at.caller = behind(named(t, f, "caller"))
		at.caller.target = enter
		got := values(t, f, at)
		if got["callee.a"] != "42" || got["callee.b"] != "101" {
			t.Errorf("DWARF %s: called directly: %v", version, got)
		}

		jumper := named(t, f, "jumper")
		at.caller = behind(named(t, f, "outer"))
		at.caller.target = jumper.low + shift
		for _, s := range jumper.sites {
			if s.tail {
				at.caller.jumps[s.ret+shift] = enter
			}
		}
		got = values(t, f, at)
		if got["callee.a"] != "42" || got["callee.b"] != "7" {
			t.Errorf("DWARF %s: called by way of a jump: %v", version, got)
		}
		clear(at.caller.jumps) // where the jump leads is not known
		if got = values(t, f, at); !strings.HasPrefix(got["callee.a"], "lost: ") {
			t.Errorf("DWARF %s: called by way of an unknown jump: %v", version, got)
		}

		at.caller = behind(named(t, f, "pointer")) // which says nothing of the pointer
		if got = values(t, f, at); !strings.HasPrefix(got["callee.a"], "lost: ") {
			t.Errorf("DWARF %s: called through a pointer: %v", version, got)
		}
		at.caller = nil
		if got = values(t, f, at); !strings.HasPrefix(got["callee.a"], "lost: ") {
			t.Errorf("DWARF %s: called by nobody: %v", version, got)
		}
	}
}

func TestScopes(t *testing.T) {
	f := compiled(t, "5")
	fn := named(t, f, "around")
	scopes, err := f.ScopesAt(fn.sites[0].ret + shift - 1)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, s := range scopes {
		for _, v := range s.Vars {
			names = append(names, fmt.Sprintf("%s.%s %v %v", s.Function, v.Name, v.Param, s.Inlined))
		}
	}
	want := []string{"square.v true true", "square.w false true", "around.n true false"}
	if len(scopes) != 2 || len(names) < 4 || !slices.Equal(names[:3], want) || !slices.Contains(names, "around.before false false") {
		t.Errorf("in the inlined function: %v; want %v and before", names, want)
	}
	if _, err := f.ScopesAt(0x1000); !errors.Is(err, symbols.ErrNotFound) {
		t.Errorf("outside all code: %v", err)
	}
}

func TestImplicitPointer(t *testing.T) {
	f := compiled(t, "5")
	fn := named(t, f, "constants")
	at := behind(fn)
	scopes, err := f.ScopesAt(at.PC())
	if err != nil {
		t.Fatal(err)
	}
	for i := range scopes[0].Vars {
		v := &scopes[0].Vars[i]
		if v.Name != "q" {
			continue
		}
		loc, err := v.Locate(at)
		if err != nil || len(loc.Pieces) < 2 {
			t.Fatalf("%v %v", loc, err)
		}
		p := loc.Pieces[0]
		if p.Kind != symbols.PieceImplicitPointer || p.Pointee.Name != "local" || p.BitSize != 64 {
			t.Errorf("q.p: %+v", p)
		}
		return
	}
	t.Error("there is no variable q")
}

func FuzzScopes(f *testing.F) {
	// A unit with a function, in it an inlined function, a parameter and a call, all of which stand for each other.
	abbrev := []byte{
		1, 0x11, 1, 0x11, 0x01, 0x12, 0x06, 0, 0, // compile unit: low_pc addr, high_pc data4
		2, 0x2e, 1, 0x11, 0x01, 0x12, 0x06, 0x31, 0x13, 0x7a, 0x19, 0, 0, // subprogram: …, abstract_origin ref4, call_all_calls
		3, 0x1d, 1, 0x31, 0x13, 0x11, 0x01, 0x12, 0x06, 0, 0, // inlined subroutine
		4, 0x05, 0, 0x31, 0x13, 0x02, 0x18, 0, 0, // parameter: abstract_origin, location exprloc
		5, 0x48, 1, 0x7d, 0x01, 0x82, 0x19, 0, 0, // call site: call_return_pc, call_tail_call
		6, 0x49, 0, 0x02, 0x18, 0x7e, 0x18, 0, 0, // its parameter: location, call_value
		0}
	info := []byte{0, 0, 0, 0, 5, 0, 1, 8, 0, 0, 0, 0,
		1, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, // at 0x0c
		2, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0x19, 0, 0, 0, // at 0x19, its own origin
		4, 0x3c, 0, 0, 0, 3, 0xa3, 1, 0x55, // at 0x2a
		3, 0x19, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, // at 0x33
		4, 0x2a, 0, 0, 0, 1, 0x55, 0, // at 0x44
		5, 0x10, 0x10, 0, 0, 0, 0, 0, 0, 6, 1, 0x55, 3, 0xa3, 1, 0x55, 0,
		0, 0}
	info[0] = byte(len(info) - 4)
	f.Add(info, abbrev)
	f.Fuzz(func(t *testing.T, info, abbrev []byte) {
		d := &dwarfinfo.Data{Name: "fuzz", Order: binary.LittleEndian, Info: info, Abbrev: abbrev}
		if d.Init() != nil {
			return
		}
		v := New(d, 0, ints{}, "fuzz")
		at := &frame{ret: 0x1010, target: 0x1000, regs: map[int]uint64{5: 1}, jumps: map[uint64]uint64{0x1010: 0x1000}}
		at.caller = at // a stack without end
		scopes, err := v.ScopesAt(at.PC())
		if err != nil && errors.As(err, new(*mapfile.FaultError)) || err != nil && strings.Contains(err.Error(), "mistake in kdx") {
			t.Fatal(err)
		}
		for _, s := range scopes {
			for i := range s.Vars {
				if _, err := s.Vars[i].Locate(at); err != nil && strings.Contains(err.Error(), "mistake in kdx") {
					t.Fatal(err)
				}
			}
		}
	})
}
