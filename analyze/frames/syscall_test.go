package frames

import (
	"testing"

	"kdx/analyze/unwind"
	"kdx/symbols"
)

func TestSyscallArguments(t *testing.T) {
	regs := symbols.NewType(&symbols.Type{Kind: symbols.Struct, Name: "pt_regs", Size: 168}, nil)
	toRegs := symbols.NewType(&symbols.Type{Kind: symbols.Pointer, Size: 8}, func(p *symbols.Parts) { p.Elem = regs })
	long := &symbols.Type{Kind: symbols.Int, Name: "long int", Size: 8, Signed: true}
	gone := func(symbols.FrameState) (symbols.Location, error) {
		return symbols.Location{Pieces: []symbols.Piece{{Kind: symbols.PieceLost, Why: symbols.OptimisedOut}}}, nil
	}
	there := func(symbols.FrameState) (symbols.Location, error) {
		return symbols.Location{Pieces: []symbols.Piece{{Kind: symbols.PieceValue, Bytes: []byte{77}}}}, nil
	}
	call := &syscall{&unwind.PtRegs{RDI: 1, RSI: 2, RDX: 3, R10: 4, R8: 5, R9: 6, OrigRAX: 202}, 0xf58}
	for _, tc := range []struct {
		function string
		vars     []symbols.Variable
		want     []int // 0: lost
	}{
		{"__do_sys_futex", []symbols.Variable{{Name: "a", Type: long, Param: true, Locate: gone}, {Name: "x", Type: long, Locate: gone}, {Name: "b", Type: long, Param: true, Locate: there},
			{Name: "c", Type: long, Param: true, Locate: gone}, {Name: "d", Type: long, Param: true, Locate: gone}}, []int{1, 0, 77, 3, 4}},
		{"__se_sys_x", []symbols.Variable{{Name: "a", Type: long, Param: true, Locate: gone}}, []int{1}},
		{"__x64_sys_x", []symbols.Variable{{Name: "regs", Type: toRegs, Param: true, Locate: gone}}, []int{0xf58}},
		{"__do_sys_pause", []symbols.Variable{{Name: "__unused", Type: toRegs, Param: true, Locate: gone}}, []int{0xf58}},
		{"do_syscall_x64", []symbols.Variable{{Name: "regs", Type: toRegs, Param: true, Locate: gone}, {Name: "nr", Type: long, Param: true, Locate: gone}}, []int{0xf58, 202}},
		{"do_syscall_64", []symbols.Variable{{Name: "regs", Type: toRegs, Param: true, Locate: gone}, {Name: "nr", Type: long, Param: true, Locate: gone}}, []int{0xf58, 0}},
		{"__do_sys_execve", []symbols.Variable{{Name: "a", Type: long, Param: true, Locate: gone}}, []int{0}},
		{"do_futex", []symbols.Variable{{Name: "a", Type: long, Param: true, Locate: gone}}, []int{0}},
	} {
		got := call.extend([]symbols.Scope{{Function: tc.function, Vars: tc.vars}})[0].Vars
		for i, want := range tc.want {
			loc, err := got[i].Locate(nil)
			u := 0
			for n, b := range loc.Pieces[0].Bytes {
				u |= int(b) << (8 * n)
			}
			if err != nil || u != want || loc.AtEntry != (want != 0 && want != 77) {
				t.Errorf("%s: %s = %#x, at entry %v, %v; want %#x", tc.function, got[i].Name, u, loc.AtEntry, err, want)
			}
		}
	}
	var none *syscall
	if s := none.extend([]symbols.Scope{{Function: "x"}}); len(s) != 1 {
		t.Errorf("without a call there are %d scopes; want 1", len(s))
	}
}
