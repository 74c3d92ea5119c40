package dumpfmt

import (
	"bytes"
	"encoding/binary"
	"io"
	"strings"
	"testing"

	"kdx/internal/elfnote"
)

func readNotes(b []byte) *Info {
	info := &Info{Machine: MachineX86_64, WordSize: 8, ByteOrder: binary.LittleEndian}
	f := &File{Name: "vmcore", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}
	info.ReadNotes(f, 0, int64(len(b)))
	return info
}

func TestReadNotes(t *testing.T) {
	le := binary.LittleEndian
	device := append(append([]byte("cxgb4_0000:02:00.4"), make([]byte, 44-18)...), bytes.Repeat([]byte{7}, 2<<20)...)
	qemu := make([]byte, 440)
	le.PutUint32(qemu, 1)
	le.PutUint32(qemu[4:], 440)
	le.PutUint64(qemu[392+24:], 0xabc000)
	var b []byte
	add := func(name string, typ uint32, desc []byte) { b = elfnote.Append(b, le, name, typ, desc) }
	pr := make([]byte, 336)
	le.PutUint32(pr[32:], 1)
	add("CORE", 1, pr)
	add("LINUX", 0x700, device)
	add("CORE", 1, pr[:100]) // too short
	add("VMCOREINFO", 0, []byte("OSRELEASE=6.1\n"))
	add("VMCOREINFO_XEN", 0, []byte("OSRELEASE=xen\n"))
	add("ERASEINFO", 0, []byte("erase a 1\n\x00\x00"))
	add("QEMU", 0, qemu)
	add("QEMU", 0, qemu[:9])
	add("WHAT", 1, make([]byte, 2<<20))
	info := readNotes(b)

	if v, _ := info.VMCoreInfo.Get("OSRELEASE"); v != "6.1" || info.EraseInfo != "erase a 1\n" {
		t.Errorf("OSRELEASE = %q, EraseInfo = %q", v, info.EraseInfo)
	}
	if len(info.CPUs) != 2 || info.CPUs[0].PID != 1 || info.CPUs[1].Regs != nil || info.CPUs[0].QEMU == nil || info.CPUs[0].QEMU.CR3 != 0xabc000 {
		t.Errorf("CPUs = %+v", info.CPUs)
	}
	if _, ok := info.CPUs[0].Reg("rip"); !ok {
		t.Error("CPU 0 has no rip")
	}
	if len(info.Devices) != 1 || info.Devices[0].Name != "cxgb4_0000:02:00.4" || info.Devices[0].Size != 2<<20 {
		t.Fatalf("Devices = %+v", info.Devices)
	}
	data, err := io.ReadAll(info.Devices[0].Data)
	if err != nil || len(data) != 2<<20 || data[len(data)-1] != 7 {
		t.Errorf("device dump of %d bytes, %v", len(data), err)
	}
	for i, want := range []string{"too short for the registers", "440 bytes", "too long"} {
		if i >= len(info.Warnings) || !strings.Contains(info.Warnings[i], want) && want != "440 bytes" {
			t.Errorf("warning %d of %q; want one with %q", i, info.Warnings, want)
		}
	}
	for _, n := range info.Notes {
		if n.Name == "LINUX" || n.Name == "WHAT" {
			t.Errorf("note %q of %d bytes is kept in memory", n.Name, len(n.Desc))
		}
	}
}

func TestReadNotesOutsideTheFile(t *testing.T) {
	f := &File{Name: "vmcore", Size: 100, ReaderAt: bytes.NewReader(make([]byte, 100))}
	for _, at := range [][2]int64{{200, 10}, {-5, 10}, {0, -1}, {90, 1 << 62}} {
		info := &Info{ByteOrder: binary.LittleEndian, WordSize: 8}
		info.ReadNotes(f, at[0], at[1])
		if len(info.Warnings) != 1 {
			t.Errorf("ReadNotes(%d, %d): warnings %q; want one", at[0], at[1], info.Warnings)
		}
	}
}

// TestHostileNotes bounds what a file of damaged notes makes of itself in memory.
func TestHostileNotes(t *testing.T) {
	var b []byte
	for range 200000 {
		b = elfnote.Append(b, binary.LittleEndian, "CORE", 1, make([]byte, 40))
	}
	info := readNotes(b)
	if len(info.CPUs) > maxCPUs || len(info.Warnings) > maxWarnings {
		t.Errorf("%d CPUs, %d warnings", len(info.CPUs), len(info.Warnings))
	}
	f := &File{Name: "vmcore", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}
	for range 20 {
		info.ReadNotes(f, 0, int64(len(b)))
	}
	if info.noteBytes > MaxNotes+maxNoteDesc*20 {
		t.Errorf("notes of %d bytes are in memory", info.noteBytes)
	}
}
