package kcore

import (
	"bytes"
	"encoding/binary"
	"io/fs"
	"os"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/internal/elfnote"
)

// file is what /proc/kcore looks like: a text segment and RAM with physical addresses, vmalloc without, notes of which
// one is an empty NT_PRSTATUS.
type file struct{ *bytes.Reader }

func (file) Close() error { return nil }

func kcoreFile(phys bool) file {
	le := binary.LittleEndian
	notes := elfnote.Append(nil, le, "CORE", 1, make([]byte, 336))
	notes = elfnote.Append(notes, le, "VMCOREINFO", 0, []byte("OSRELEASE=6.12.0\nPAGESIZE=4096\n"))
	b := make([]byte, 0x3000)
	copy(b, "\x7fELF\x02\x01\x01")
	le.PutUint16(b[16:], 4)
	le.PutUint16(b[18:], 62)
	le.PutUint64(b[32:], 64)
	le.PutUint16(b[54:], 56)
	le.PutUint16(b[56:], 4)
	head := func(i int, typ uint32, off, virt, paddr, size uint64) {
		p := b[64+56*i:]
		le.PutUint32(p, typ)
		for k, v := range []uint64{off, virt, paddr, size, size} {
			le.PutUint64(p[8+8*k:], v)
		}
	}
	none := ^uint64(0)
	text, ram := uint64(0x1000000), uint64(0x2000)
	if !phys {
		text, ram = none, none
	}
	head(0, 4, 0x200, 0, 0, uint64(len(notes)))
	head(1, 1, 0x1000, 0xffffffff81000000, text, 0x1000)
	head(2, 1, 0x2000, 0xffffc90000000000, none, 0x1000)
	head(3, 1, 0x2000, 0xffff888000002000, ram, 0x1000)
	copy(b[0x200:], notes)
	copy(b[0x1000:], "text")
	copy(b[0x2000:], "ram")
	return file{bytes.NewReader(b)}
}

func TestOpen(t *testing.T) {
	s, err := open(kcoreFile(true))
	if err != nil {
		t.Fatal(err)
	}
	info := s.Info()
	if !info.Live || info.Format != "kcore" || len(info.CPUs) != 0 {
		t.Errorf("Live %v, format %q, %d CPUs; want live, kcore, none", info.Live, info.Format, len(info.CPUs))
	}
	if r, _ := info.VMCoreInfo.Get("OSRELEASE"); r != "6.12.0" {
		t.Errorf("OSRELEASE = %q; want the note's", r)
	}
	img := dumpfmt.NewImage(s, dumpfmt.Options{})
	for addr, want := range map[dumpfmt.Phys]string{0x1000000: "text", 0x2000: "ram\x00"} {
		b := make([]byte, 4)
		if _, err := img.ReadPhys(b, addr); err != nil || string(b) != want {
			t.Errorf("at %#x: %q, %v; want %q", uint64(addr), b, err, want)
		}
	}
	if st := img.State(0x5000); st != dumpfmt.Absent {
		t.Errorf("a page beyond RAM is %v; want absent", st)
	}
	if _, err := open(kcoreFile(false)); err == nil {
		t.Error("open without physical addresses = nil; want an error")
	}
}

func TestExplain(t *testing.T) {
	denied := &os.PathError{Op: "open", Path: Path, Err: fs.ErrPermission}
	for _, tc := range []struct {
		err      error
		uid      int
		lockdown string
		want     string
	}{
		{denied, 1000, "", "run kdx as root"},
		{denied, 0, "none integrity [confidentiality]\n", "locked down"},
		{denied, 0, "[none] integrity confidentiality\n", "CAP_SYS_RAWIO"},
		{&os.PathError{Op: "open", Path: Path, Err: fs.ErrNotExist}, 0, "", "CONFIG_PROC_KCORE"},
	} {
		if got := explain(tc.err, tc.uid, tc.lockdown).Error(); !strings.Contains(got, tc.want) {
			t.Errorf("explain = %q; want %q in it", got, tc.want)
		}
	}
}
