package x86cpu

import (
	"encoding/binary"
	"testing"

	"kdx/dumpfmt"
	"kdx/internal/elfnote"
)

// TestAdd reads the notes as any dump's are read.
func TestAdd(t *testing.T) {
	info := &dumpfmt.Info{Files: []string{"vm"}, ByteOrder: binary.LittleEndian, WordSize: 8, Machine: dumpfmt.MachineX86_64}
	Add(info, nil)
	if len(info.Notes) != 0 {
		t.Fatalf("%d notes of no CPUs", len(info.Notes))
	}
	Add(info, []State{
		{RAX: 1, RBX: 2, RSP: 3, RIP: 4, RFLAGS: 5, R15: 6, CR: [5]uint64{7, 0, 8, 9, 10}, IDT: elfnote.Segment{Base: 11, Limit: 12},
			GS: elfnote.Segment{Base: 13, Selector: 14}, CS: elfnote.Segment{Selector: 0x10}, KernelGSBase: 15, HasKernelGSBase: true},
		{RIP: 99, CR: [5]uint64{3: 77}},
	})
	if len(info.Notes) != 4 || len(info.CPUs) != 2 || len(info.Warnings) != 0 {
		t.Fatalf("%d notes, %d CPUs, warnings %q", len(info.Notes), len(info.CPUs), info.Warnings)
	}
	c := &info.CPUs[0]
	for name, want := range map[string]uint64{"rax": 1, "orig_rax": 0, "rbx": 2, "rsp": 3, "rip": 4, "eflags": 5, "r15": 6, "gs_base": 13, "gs": 14, "cs": 0x10} {
		if v, ok := c.Reg(name); !ok || v != want {
			t.Errorf("%s = %d, %v; want %d", name, v, ok, want)
		}
	}
	if q := c.QEMU; q == nil || q.CR0 != 7 || q.CR2 != 8 || q.CR3 != 9 || q.CR4 != 10 || q.IDTBase != 11 || q.GSBase != 13 || q.KernelGSBase != 15 || !q.HasKernelGSBase {
		t.Errorf("QEMU = %+v", q)
	}
	if q := info.CPUs[1].QEMU; q == nil || q.CR3 != 77 || q.HasKernelGSBase || info.CPUs[1].PID != 2 {
		t.Errorf("QEMU = %+v, PID %d", q, info.CPUs[1].PID)
	}
}
