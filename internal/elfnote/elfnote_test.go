package elfnote

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"
)

func scanAll(b []byte, order binary.ByteOrder) ([]Record, error) {
	var out []Record
	err := Scan(bytes.NewReader(b), int64(len(b)), order, func(r Record) bool {
		out = append(out, r)
		return true
	})
	return out, err
}

func TestScan(t *testing.T) {
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		b := Append(nil, order, "CORE", 1, make([]byte, 336))
		b = append(b, make([]byte, 24)...) // the kernel's terminators inside
		b = Append(b, order, "VMCOREINFO", 0, []byte("OSRELEASE=6.1\n!"))
		// A writer that doesn't count the NUL.
		var h [12]byte
		order.PutUint32(h[:], 4)
		order.PutUint32(h[4:], 2)
		order.PutUint32(h[8:], 7)
		b = append(append(append(b, h[:]...), "QEMU"...), 1, 2, 0, 0)
		got, err := scanAll(b, order)
		if err != nil || len(got) != 3 {
			t.Fatalf("Scan() = %v, %v; want 3 records", got, err)
		}
		if got[1].Name != "VMCOREINFO" || string(b[got[1].Offset:][:got[1].Size]) != "OSRELEASE=6.1\n!" {
			t.Errorf("second record = %+v", got[1])
		}
		if got[2].Name != "QEMU" || got[2].Type != 7 || b[got[2].Offset] != 1 {
			t.Errorf("third record = %+v", got[2])
		}
		if _, err := scanAll(b[:len(b)-6], order); err == nil {
			t.Error("notes that are cut inside a descriptor gave no error")
		}
	}
}

func TestScanManyRecordsOverWindows(t *testing.T) {
	var b []byte
	for i := range 3000 {
		b = Append(b, binary.LittleEndian, "CORE", uint32(i), make([]byte, i%300))
	}
	got, err := scanAll(b, binary.LittleEndian)
	if err != nil || len(got) != 3000 || got[2999].Type != 2999 {
		t.Errorf("Scan() gave %d records, error = %v", len(got), err)
	}
}

func TestPRStatus(t *testing.T) {
	for _, test := range []struct {
		machine string
		order   binary.ByteOrder
		size    int // of the whole note on a real system
		count   int
		first   string
		check   string // one register by name
		at      int    // its offset in the note
		width   int
	}{
		{"x86_64", binary.LittleEndian, 336, 27, "r15", "rip", 112 + 16*8, 8},
		{"i386", binary.LittleEndian, 144, 17, "ebx", "eip", 72 + 12*4, 4},
		{"aarch64", binary.LittleEndian, 392, 34, "x0", "pc", 112 + 32*8, 8},
		{"arm", binary.LittleEndian, 148, 18, "r0", "pc", 72 + 15*4, 4},
		{"ppc64", binary.BigEndian, 504, 44, "gpr0", "nip", 112 + 32*8, 8},
		{"ppc64le", binary.LittleEndian, 504, 44, "gpr0", "dsisr", 112 + 42*8, 8},
		{"s390x", binary.BigEndian, 336, 35, "psw_mask", "acr15", 112 + 18*8 + 15*4, 4},
		{"s390x", binary.BigEndian, 336, 35, "psw_mask", "orig_gpr2", 112 + 18*8 + 16*4, 8},
		{"riscv64", binary.LittleEndian, 376, 32, "pc", "t6", 112 + 31*8, 8},
		{"loongarch64", binary.LittleEndian, 480, 35, "r0", "era", 112 + 33*8, 8},
	} {
		desc := make([]byte, test.size)
		pidAt := 32
		if test.machine == "i386" || test.machine == "arm" {
			pidAt = 24
		}
		test.order.PutUint32(desc[pidAt:], 4711)
		if test.width == 8 {
			test.order.PutUint64(desc[test.at:], 0xdeadbeefcafe)
		} else {
			test.order.PutUint32(desc[test.at:], 0xdeadbeef)
		}
		want := map[int]uint64{8: 0xdeadbeefcafe, 4: 0xdeadbeef}[test.width]
		pid, regs, err := PRStatus(test.machine, 8, test.order, desc)
		if err != nil || pid != 4711 || len(regs) != test.count || regs[0].Name != test.first {
			t.Errorf("PRStatus(%s) = %d, %d registers, %v; want 4711, %d, nil", test.machine, pid, len(regs), err, test.count)
			continue
		}
		for _, r := range regs {
			if r.Name == test.check && r.Value != want || r.Name != test.check && r.Value != 0 {
				t.Errorf("%s: %s = %#x", test.machine, r.Name, r.Value)
			}
		}
		if _, _, err := PRStatus(test.machine, 8, test.order, desc[:test.size/2]); err == nil {
			t.Errorf("%s: half a note gave no error", test.machine)
		}
	}
	if pid, regs, err := PRStatus("vax", 4, binary.LittleEndian, make([]byte, 100)); pid != 0 || regs != nil || err != nil {
		t.Errorf("PRStatus(vax) = %v, %v, %v; want no registers and no error", pid, regs, err)
	}
}

func TestQEMU(t *testing.T) {
	le := binary.LittleEndian
	desc := make([]byte, 440)
	le.PutUint32(desc, 1)
	le.PutUint32(desc[4:], 440)
	le.PutUint64(desc[136:], 0x1234)                     // rip
	le.PutUint64(desc[152+9*24+16:], 0xfffffe0000000000) // idt base
	le.PutUint64(desc[392+3*8:], 0x2610000)              // cr3
	le.PutUint64(desc[432:], math.MaxUint64)             // kernel_gs_base
	s, err := ParseQEMU(desc)
	if err != nil || s.CR[3] != 0x2610000 || s.IDT.Base != 0xfffffe0000000000 || !s.HasKernelGSBase || s.Regs[16].Value != 0x1234 {
		t.Errorf("ParseQEMU() = %+v, %v", s, err)
	}
	le.PutUint32(desc[4:], 432)
	if s, err := ParseQEMU(desc); err != nil || s.HasKernelGSBase {
		t.Errorf("a note of 432 bytes: HasKernelGSBase = %v, %v", s.HasKernelGSBase, err)
	}
	for _, bad := range [][]byte{nil, desc[:431], append([]byte{2}, desc[1:]...), append([]byte{1, 0, 0, 0, 9, 0}, desc[6:]...)} {
		if _, err := ParseQEMU(bad); err == nil {
			t.Errorf("a bad note of %d bytes gave no error", len(bad))
		}
	}
}

func FuzzNotes(f *testing.F) {
	f.Add(Append(nil, binary.LittleEndian, "CORE", 1, make([]byte, 336)), false)
	f.Add(Append(Append(nil, binary.BigEndian, "CORE", 1, make([]byte, 504)), binary.BigEndian, "QEMU", 0, make([]byte, 440)), true)
	f.Add([]byte("\x05\x00\x00\x00\xff\xff\xff\xff\x01\x00\x00\x00CORE"), false)
	f.Fuzz(func(t *testing.T, b []byte, big bool) {
		var order binary.ByteOrder = binary.LittleEndian
		if big {
			order = binary.BigEndian
		}
		recs, _ := scanAll(b, order)
		for _, r := range recs {
			desc := b[r.Offset:][:r.Size]
			for machine := range gregsets {
				PRStatus(machine, 8, order, desc)
			}
			PRStatus("", 4, order, desc)
			ParseQEMU(desc)
		}
	})
}

func TestBuildID(t *testing.T) {
	le := binary.LittleEndian
	other := Append(Append(nil, le, "Linux", 3, []byte{9}), le, "GNU", 1, []byte{8})
	for name, test := range map[string]struct {
		notes []byte
		want  string
	}{
		"none":  {other, ""},
		"found": {Append(other, le, "GNU", 3, []byte{1, 0xab}), "01ab"},
		"empty": {Append(nil, le, "GNU", 3, nil), ""},
		"long":  {Append(nil, le, "GNU", 3, make([]byte, 65)), ""},
		"cut":   {Append(nil, le, "GNU", 3, make([]byte, 20))[:30], ""},
	} {
		if got := BuildID(test.notes, le); got != test.want {
			t.Errorf("%s: %q; want %q", name, got, test.want)
		}
	}
}
