package initrd

import (
	"bytes"
	"compress/gzip"
	"context"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

func archiveOf(t testing.TB, files ...string) []byte {
	t.Helper()
	s := fileset{}
	for i := 0; i < len(files); i += 2 {
		if err := s.add(files[i], 0o644, []byte(files[i+1])); err != nil {
			t.Fatal(err)
		}
	}
	b, err := s.archive()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func zipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(b)
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

func listed(c *Contents) string {
	var out []string
	for _, e := range c.Entries {
		if e.Mode&modeType != modeDir {
			out = append(out, strings.Repeat("+", e.Segment)+e.Path+e.behind())
		}
	}
	return strings.Join(out, " ")
}

func read(b []byte) (*Contents, error) {
	c := &Contents{sums: map[string]string{}}
	return c, c.read(context.Background(), bytes.NewReader(b))
}

// linked is an archive with a symbolic link, a file of two names, and a checksum.
func linked() []byte {
	var b bytes.Buffer
	entry := func(magic, ino, mode, nlink, name, data string) {
		h := magic + ino + mode + "0000000000000000" + nlink + "00000000" + hex8(len(data)) + strings.Repeat("0", 32) + hex8(len(name)+1) + "00000000" + name + "\x00"
		b.WriteString(h)
		b.Write(zeros[:pad(int64(len(h)))])
		b.WriteString(data)
		b.Write(zeros[:pad(int64(len(data)))])
	}
	entry("070702", "00000001", "0000a1ff", "00000001", "./bin", "usr/bin")
	entry("070701", "00000002", "000081ed", "00000002", "usr/bin/a", "")
	entry("070701", "00000002", "000081ed", "00000002", "usr/bin/b", "data")
	entry("070701", "00000000", "00000000", "00000001", trailer, "")
	return b.Bytes()
}

func hex8(n int) string {
	const digits = "0123456789abcdef"
	out := make([]byte, 8)
	for i := 7; i >= 0; i-- {
		out[i] = digits[n&15]
		n >>= 4
	}
	return string(out)
}

func TestShow(t *testing.T) {
	early := archiveOf(t, "kernel/x86/microcode/GenuineIntel.bin", "microcode")
	main := archiveOf(t, "usr/lib/dracut/hooks", "x", "usr/lib/modules/6.1.0/kernel/fs/xfs/xfs.ko.xz", "m")
	for _, c := range []struct {
		what  string
		data  []byte
		files string
		parts int
	}{
		{"one", early, "/kernel/x86/microcode/GenuineIntel.bin", 1},
		{"dracut's", slices.Concat(early, zipped(t, main)), "/kernel/x86/microcode/GenuineIntel.bin +/usr/lib/dracut/hooks +/usr/lib/modules/6.1.0/kernel/fs/xfs/xfs.ko.xz", 2},
		{"two early ones", slices.Concat(early, make([]byte, 1024), archiveOf(t, "a", "b"), zipped(t, main)), "/kernel/x86/microcode/GenuineIntel.bin +/a ++/usr/lib/dracut/hooks ++/usr/lib/modules/6.1.0/kernel/fs/xfs/xfs.ko.xz", 3},
		{"two packed ones", slices.Concat(zipped(t, archiveOf(t, "a", "b")), zipped(t, archiveOf(t, "c", "d"))), "/a +/c", 2},
		{"links", linked(), "/bin -> usr/bin /usr/bin/a /usr/bin/b = /usr/bin/a", 1},
	} {
		got, err := read(c.data)
		if err != nil || got.Damaged != "" || listed(got) != c.files || len(got.Segments) != c.parts {
			t.Errorf("%s: %s; %d parts; %q, %v", c.what, listed(got), len(got.Segments), got.Damaged, err)
		}
	}
	c, err := read(slices.Concat(early, zipped(t, main)))
	if err != nil || c.Maker != "dracut" || strings.Join(c.Modules, " ") != "xfs" || strings.Join(c.Releases, " ") != "6.1.0" {
		t.Errorf("%+v, %v", c, err)
	}
	var text bytes.Buffer
	if err := c.Text(&text); err != nil || !strings.Contains(text.String(), "made by dracut") || !strings.Contains(text.String(), "part 2    gzip") {
		t.Errorf("%v\n%s", err, text.String())
	}
}

func TestShowDamaged(t *testing.T) {
	good := archiveOf(t, "a", strings.Repeat("data", 500), "b", "c")
	packed := zipped(t, good)
	for _, c := range []struct {
		what    string
		data    []byte
		damaged string // behind some files
		err     string // or nothing at all
	}{
		{"empty", nil, "", "nothing but zeros"},
		{"no initrd", []byte("hello, this is text and no initrd"), "", "it is no initrd"},
		{"cut", good[:1000], "truncated", "truncated"},
		{"cut behind", good[:len(good)-300], "truncated", ""},
		{"packed and cut", packed[:len(packed)-20], "truncated", ""},
		{"something behind", append(slices.Clone(good), "and this is something else"...), "behind part 1", ""},
		{"number", bytes.Replace(good, []byte("070701"), []byte("070701zz"), 1), "", "for a number"},
	} {
		got, err := read(c.data)
		switch {
		case c.err == "" && err != nil, c.err != "" && c.damaged == "" && (err == nil || !strings.Contains(err.Error(), c.err)):
			t.Errorf("%s: %v", c.what, err)
		case err == nil && !strings.Contains(got.Damaged, c.damaged):
			t.Errorf("%s: %q", c.what, got.Damaged)
		}
	}
}

func TestFileset(t *testing.T) {
	s := fileset{}
	if err := s.add("/a/b", 0o644, []byte("x")); err != nil {
		t.Fatal(err)
	}
	for what, err := range map[string]error{
		"the same again": s.add("a/b", 0o644, []byte("x")),
	} {
		if err != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	for what, err := range map[string]error{
		"two things":  s.add("a/b", 0o644, []byte("y")),
		"a directory": s.add("a/b/c", 0o644, nil),
		"a file":      s.add("a", 0o644, nil),
		"a long name": s.add(strings.Repeat("x/", 3000), 0o644, nil),
	} {
		if err == nil {
			t.Errorf("%s was taken", what)
		}
	}
}

func TestHostPath(t *testing.T) {
	root := t.TempDir()
	for _, d := range []string{"usr/lib", "etc/alt"} {
		if err := os.MkdirAll(filepath.Join(root, d), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	for from, to := range map[string]string{"lib": "usr/lib", "usr/lib/up": "../../etc/alt", "etc/alt/abs": "/usr/lib/x", "usr/lib/out": "../../../../../etc/passwd", "loop": "loop"} {
		if err := os.Symlink(to, filepath.Join(root, from)); err != nil {
			t.Fatal(err)
		}
	}
	h := newHost(root)
	for name, want := range map[string]string{"/lib/x": "usr/lib/x", "/lib/up/f": "etc/alt/f", "/etc/alt/abs": "usr/lib/x", "/usr/lib/out": "etc/passwd", "/none/../lib": "usr/lib"} {
		if got := h.path(name); got != filepath.Join(root, want) {
			t.Errorf("%s: %s", name, got)
		}
	}
	h.path("/loop/x") // ends
	if got := newHost("/").path("/x"); got != "/x" {
		t.Error(got)
	}
}

func FuzzCPIO(f *testing.F) {
	f.Add(archiveOf(f, "a", "b", "kdx/manifest.json", `{"version":1}`, "kdx/plan.json", `{"version":1}`))
	f.Add(linked())
	f.Add(slices.Concat(archiveOf(f, "a", "b"), zipped(f, archiveOf(f, "c", "d"))))
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := read(data)
		if err != nil {
			return
		}
		if err := c.Text(io.Discard); err != nil {
			t.Fatal(err)
		}
		if c.Manifest != nil {
			c.damage()
			if c.Plan != nil {
				c.lacks()
				c.changes(c.Manifest, c.Plan)
			}
		}
	})
}

func FuzzManifest(f *testing.F) {
	f.Add([]byte(`{"version":1,"kdx":"x","release":"6.1","spec":{},"packing":"zstd","packing_by":"","inputs":[{"what":"init","path":"/x","size":1,"sha256":"y"}],"files":[]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(data)
		if err != nil {
			return
		}
		b, err := m.bytes()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest(b); err != nil {
			t.Fatal(err)
		}
	})
}
