package target

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"kdx/capture/config"
)

func device(t *testing.T, size int64, contents map[int64]string) Place {
	t.Helper()
	path := filepath.Join(t.TempDir(), "partition")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := f.Truncate(size); err != nil {
		t.Fatal(err)
	}
	for off, text := range contents {
		if _, err := f.WriteAt([]byte(text), off); err != nil {
			t.Fatal(err)
		}
	}
	return Place{Name: "raw:" + path, Kind: config.Raw, Device: path}
}

// TestOwned: a partition that belongs to something is not overwritten unless that was allowed.
func TestOwned(t *testing.T) {
	for _, s := range signatures {
		p := device(t, 8<<20, map[int64]string{s.off: s.magic})
		var owned *OwnedError
		if _, err := openRaw(p); !errors.As(err, &owned) || owned.Owner != s.name {
			t.Errorf("%s: %v", s.name, err)
		}
		p.Overwrite = true
		x, err := openRaw(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Create(t.Context(), "dump"); err != nil {
			t.Error(err)
		}
		x.Close()
		p.Overwrite = false
		if x, err = openRaw(p); err != nil {
			t.Errorf("%s: it is kdx's own now: %v", s.name, err)
		} else {
			x.Close()
		}
	}
	if _, err := openRaw(device(t, 4096, nil)); err == nil {
		t.Error("a partition of a page was taken")
	}
	for _, path := range []string{os.DevNull, t.TempDir(), "/no/such/device"} {
		if _, err := openRaw(Place{Device: path}); err == nil {
			t.Errorf("%s was taken for a partition", path)
		}
	}
}

// TestTorn damages the newer index: the older one counts. With both gone, nothing is there.
func TestTorn(t *testing.T) {
	p := device(t, 16<<20, nil)
	x, err := openRaw(p)
	if err != nil {
		t.Fatal(err)
	}
	d, err := x.Create(t.Context(), "dump")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"first", "second"} {
		if err := d.Put(t.Context(), name, []byte("the "+name)); err != nil {
			t.Fatal(err)
		}
	}
	newest := int64(x.(*raw).index.Sequence%2) * indexBlock
	x.Close()
	f, err := os.OpenFile(p.Device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteAt([]byte("x"), newest+indexHead+10); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	got, err := Extract(t.Context(), p.Device, out, true, nil)
	if err != nil || !slices.Equal(got.Files, []string{"first"}) {
		t.Errorf("after the newer index was damaged: %+v, %v", got, err)
	}
	if _, err := f.WriteAt([]byte("x"), indexBlock-newest+3); err != nil {
		t.Fatal(err)
	}
	if _, err := Extract(t.Context(), p.Device, out, true, nil); !errors.Is(err, ErrEmpty) {
		t.Errorf("with both damaged: %v", err)
	}
}

// TestDamaged changes a byte of a file: it is extracted as incomplete, the others are whole.
func TestDamaged(t *testing.T) {
	p := device(t, 32<<20, nil)
	x, err := openRaw(p)
	if err != nil {
		t.Fatal(err)
	}
	d, err := x.Create(t.Context(), "dump")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Put(t.Context(), "dmesg.txt", []byte("log")); err != nil {
		t.Fatal(err)
	}
	f, err := d.Create(t.Context(), "vmcore")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(bytes.Repeat([]byte("page"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	at := x.(*raw).index.file("vmcore").Offset
	x.Close()
	dev, err := os.OpenFile(p.Device, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer dev.Close()
	if _, err := dev.WriteAt([]byte("X"), at+12345); err != nil {
		t.Fatal(err)
	}
	out := t.TempDir()
	got, err := Extract(t.Context(), p.Device, out, false, nil)
	if err != nil || !slices.Equal(got.Files, []string{"dmesg.txt"}) || !slices.Equal(got.Damaged, []string{"vmcore"}) {
		t.Fatalf("%+v, %v", got, err)
	}
	if _, err := os.Stat(filepath.Join(got.Path, "vmcore.incomplete")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(got.Path, "vmcore")); err == nil {
		t.Error("a damaged file bears a whole name")
	}
}

// TestChanged: what does not read back as it was written gets no name.
func TestChanged(t *testing.T) {
	x, err := openLocal(Place{Kind: config.Dir, Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	d, err := x.Create(t.Context(), "dump")
	if err != nil {
		t.Fatal(err)
	}
	for _, change := range []func(*os.File) error{
		func(f *os.File) error { _, err := f.WriteAt([]byte{1}, 300_000); return err },
		func(f *os.File) error { _, err := f.WriteAt([]byte{1}, 7); return err },
		func(f *os.File) error { return f.Truncate(499_999) },
		func(f *os.File) error { return f.Truncate(600_000) },
	} {
		f, err := d.Create(t.Context(), "vmcore")
		if err != nil {
			t.Fatal(err)
		}
		if _, err := f.Write(make([]byte, 500_000)); err != nil {
			t.Fatal(err)
		}
		if err := change(f.(*localFile).File); err != nil {
			t.Fatal(err)
		}
		var differ *DifferError
		if _, err := f.Commit(t.Context()); !errors.As(err, &differ) {
			t.Errorf("Commit = %v", err)
		}
		if _, err := d.Read(t.Context(), "vmcore", 1<<20); err == nil {
			t.Error("a file that differs bears a whole name")
		}
	}
}

func FuzzIndex(f *testing.F) {
	x := &Index{Version: 1, Sequence: 3, Dump: "db1-2026", Files: []IndexFile{{"vmcore", dataStart, 1000, "ab"}, {"dmesg.txt.incomplete", dataStart + 4096, 0, ""}}}
	b, err := x.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b[:4096])
	f.Add([]byte("KDXRAW\x00\x01"))
	f.Fuzz(func(t *testing.T, b []byte) {
		const size = 1 << 30
		x, ok := parseIndex(b, size)
		if !ok {
			return
		}
		for _, f := range x.Files {
			if checkName(f.Name) != nil || f.Offset < dataStart || f.Size < 0 || f.Offset+f.Size > size {
				t.Fatalf("%+v leads out of the partition", f)
			}
		}
		if _, err := x.encode(); err != nil {
			t.Fatal(err)
		}
	})
}

func FuzzParseDF(f *testing.F) {
	f.Add("Filesystem     1024-blocks      Used Available Capacity Mounted on\n/dev/nvme0n1p1   102687672  69126728  28298260      71% /")
	f.Add("Filesystem 1024-blocks Used Available Capacity Mounted on\n//server/a share 100 -5 42 10% /mnt/a b")
	f.Add("df: no such file")
	f.Fuzz(func(t *testing.T, text string) {
		if n, ok := parseDF(text); !ok && n != 0 {
			t.Fatal(n)
		}
	})
}

func TestParseDF(t *testing.T) {
	for text, want := range map[string]uint64{
		"Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/sda1 102687672 69126728 28298260 71% /\n": 28298260 << 10,
		"Filesystem 1024-blocks Used Available Capacity Mounted on\nmy disk 3 100 58 42 59% /mnt/a b\n":            42 << 10,
		"Filesystem 1024-blocks Used Available Capacity Mounted on\ntmpfs 100 120 -20 120% /tmp":                   0,
		"no df here": 0,
	} {
		if got, _ := parseDF(text); got != want {
			t.Errorf("parseDF(%q) = %d; want %d", text, got, want)
		}
	}
}

func TestQuote(t *testing.T) {
	for in, want := range map[string]string{"a b": "'a b'", "o'dd": `'o'\''dd'`, "$(x)`y`\n": "'$(x)`y`\n'", "": "''"} {
		if got := quote(in); got != want {
			t.Errorf("quote(%q) = %s; want %s", in, got, want)
		}
	}
}
