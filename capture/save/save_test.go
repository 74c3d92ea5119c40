package save

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kdx/capture/config"
	"kdx/capture/manifest"
	"kdx/capture/target"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
)

const small = "../../testdata/dumps/6.12/vmcore"

func localPlace(dir string) target.Place {
	return target.Place{Name: dir, Kind: config.Dir, Dir: dir}
}

func job(places ...target.Place) Job {
	return Job{VMCore: small, Places: places, Host: "db1.example.com", BootID: "0b54a4a1-9f3e-4c0e-9d5a-0c8f0c6ff0aa", Time: time.Unix(1763669703, 0),
		Level: 31, Codec: "zstd", Version: "test"}
}

func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			t.Fatal(err)
		}
		if want := map[bool]os.FileMode{true: 0o700, false: 0o600}[e.IsDir()]; st.Mode().Perm() != want {
			t.Errorf("%s has mode %v; want %v", e.Name(), st.Mode().Perm(), want)
		}
		out = append(out, e.Name())
	}
	return out
}

func readManifest(t *testing.T, dir string) *manifest.Manifest {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, manifest.Name))
	if err != nil {
		t.Fatal(err)
	}
	m, err := manifest.Parse(text)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

func TestLocal(t *testing.T) {
	dir := t.TempDir()
	var steps []string
	j := job(localPlace(dir))
	j.Progress = func(p Progress) {
		if !slices.Contains(steps, p.Step) {
			steps = append(steps, p.Step)
		}
	}
	res, err := Run(t.Context(), j)
	if err != nil || !res.Saved || res.Place != 0 {
		t.Fatalf("Run = %+v, %v", res, err)
	}
	if want := "db1.example.com-2025-11-20T20-15-03Z-0b54a4a1"; res.Dir != want {
		t.Errorf("the directory is %s; want %s", res.Dir, want)
	}
	got := names(t, filepath.Join(dir, res.Dir))
	if want := []string{"dmesg.txt", "manifest.json", "registers.txt", "vmcore"}; !slices.Equal(got, want) {
		t.Errorf("files are %q; want %q", got, want)
	}
	m := readManifest(t, res.Path)
	if !m.Complete || m.Why != "" || len(m.Files) != 3 || m.Dump.Pages == 0 || !strings.HasPrefix(m.Release, "6.12.") || m.BuildID == "" || !strings.HasPrefix(m.Dump.Check, "passed") {
		t.Errorf("the manifest is %+v", m)
	}
	for _, f := range m.Files {
		b, err := os.ReadFile(filepath.Join(res.Path, f.Name))
		if err != nil || int64(len(b)) != f.Size || hexSum(b) != f.SHA256 {
			t.Errorf("%s: the manifest's sum or size is wrong (%v)", f.Name, err)
		}
	}
	log, err := os.ReadFile(filepath.Join(res.Path, "dmesg.txt"))
	if err != nil || !bytes.Contains(log, []byte("Linux version 6.12.")) || !bytes.Contains(log, []byte("Kernel panic")) {
		t.Errorf("dmesg.txt has %d bytes, and not what the kernel said (%v)", len(log), err)
	}
	regs, err := os.ReadFile(filepath.Join(res.Path, "registers.txt"))
	if err != nil || !bytes.Contains(regs, []byte("rip")) || !bytes.Contains(regs, []byte(", in ")) {
		t.Errorf("registers.txt is %q (%v)", regs, err)
	}
	if len(steps) < 5 {
		t.Errorf("steps were %q", steps)
	}
	text, err := json.Marshal(res)
	if err != nil || len(text) == 0 {
		t.Errorf("the result can't be handed on: %v", err)
	}
	again, err := Run(t.Context(), job(localPlace(dir)))
	if err != nil || again.Dir != res.Dir+"-2" {
		t.Errorf("a second dump of the same second lies in %q, %v", again.Dir, err)
	}
}

func TestNoVMCore(t *testing.T) {
	dir := t.TempDir()
	empty := filepath.Join(dir, "empty")
	if err := os.WriteFile(empty, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{empty, filepath.Join(dir, "none"), dir} {
		out := filepath.Join(dir, "out")
		j := job(localPlace(out))
		j.VMCore = path
		if _, err := Run(t.Context(), j); !errors.Is(err, ErrNoVMCore) {
			t.Errorf("%s: %v; want ErrNoVMCore", path, err)
		}
		if _, err := os.Stat(out); err == nil {
			t.Errorf("%s: the target was touched", path)
		}
	}
}

// TestVerbatim: what kdx does not understand is saved as it is.
func TestVerbatim(t *testing.T) {
	dir := t.TempDir()
	core, data := filepath.Join(dir, "core"), bytes.Repeat([]byte("no dump "), 100_000)
	if err := os.WriteFile(core, data, 0o600); err != nil {
		t.Fatal(err)
	}
	j := job(localPlace(filepath.Join(dir, "out")))
	j.VMCore = core
	res, err := Run(t.Context(), j)
	if err != nil || !res.Saved {
		t.Fatal(res, err)
	}
	got, err := os.ReadFile(filepath.Join(res.Path, "vmcore"))
	if err != nil || !bytes.Equal(got, data) {
		t.Errorf("%d bytes were saved of %d, %v", len(got), len(data), err)
	}
	if m := readManifest(t, res.Path); !m.Complete || len(m.Notes) == 0 {
		t.Errorf("the manifest is %+v", m)
	}
}

// TestTargets: the second target takes what the first refuses, and the last takes what fits.
func TestTargets(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	broken, full, good := localPlace(file), localPlace(filepath.Join(dir, "full")), localPlace(filepath.Join(dir, "good"))
	full.KeepFree = 1 << 60
	res, err := Run(t.Context(), job(broken, full, good))
	if err != nil || !res.Saved || res.Place != 2 || len(res.Tries) != 3 || res.Tries[0].Error == "" || !strings.Contains(res.Tries[1].Error, "room") {
		t.Fatalf("Run = %+v, %v", res, err)
	}
	left, err := os.ReadDir(full.Dir)
	if err != nil || len(left) != 1 {
		t.Fatal(left, err)
	}
	if m := readManifest(t, filepath.Join(full.Dir, left[0].Name())); m.Complete || m.Why == "" {
		t.Errorf("the full target's manifest is %+v", m)
	}
	res, err = Run(t.Context(), job(broken))
	if !errors.Is(err, ErrNotSaved) || res.Saved || res.Place != -1 {
		t.Errorf("Run = %+v, %v; want ErrNotSaved", res, err)
	}
	if _, err := Run(t.Context(), job()); !errors.Is(err, ErrNotSaved) {
		t.Errorf("without a target: %v", err)
	}
}

func TestDirName(t *testing.T) {
	at := time.Unix(0, 0)
	for _, test := range []struct{ host, boot, want string }{
		{"DB1.example.com", "0b54a4a1-9f3e-4c0e-9d5a-0c8f0c6ff0aa", "db1.example.com-1970-01-01T00-00-00Z-0b54a4a1"},
		{"../../etc", "0b54a4a19f3e4c0e9d5a0c8f0c6ff0aa", "_.._etc-1970-01-01T00-00-00Z-0b54a4a1"},
		{"", "0B54A4A1-9f3e-4c0e-9d5a-0c8f0c6ff0aa", "unknown-1970-01-01T00-00-00Z-0b54a4a1"},
		{"a b\n;rm", "0b54a4a1-9f3e-4c0e-9d5a-0c8f0c6ff0aa", "a_b__rm-1970-01-01T00-00-00Z-0b54a4a1"},
	} {
		if got := DirName(test.host, at, test.boot); got != test.want {
			t.Errorf("DirName(%q) = %s; want %s", test.host, got, test.want)
		}
	}
	if a, b := DirName("x", at, ""), DirName("x", at, "../../.."); a == b || len(a) != len("x-1970-01-01T00-00-00Z-00000000") {
		t.Errorf("without a boot's id: %s, %s", a, b)
	}
}

func TestPrintable(t *testing.T) {
	if got := string(printable([]byte("a\x1b[31m\tb\u0085"))); got != "a.[31m\tb." {
		t.Errorf("printable = %q", got)
	}
}

func hexSum(b []byte) string {
	h := sha256.Sum256(b)
	return hex.EncodeToString(h[:])
}

// TestClock: the dump of a machine whose clock stands before the crash bears the crash's time, and its own boot's id.
func TestClock(t *testing.T) {
	f, err := dumpfmt.OpenFile(small)
	if err != nil {
		t.Fatal(err)
	}
	img, err := openDump(t.Context(), f, imageCache)
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	crash := time.Now().Add(48 * time.Hour).Truncate(time.Second)
	info := *img.Info()
	info.VMCoreInfo = vmcoreinfo.Parse([]byte(fmt.Sprintf("OSRELEASE=6.12.0\nCRASHTIME=%d\n", crash.Unix())))
	r := &runner{Job: Job{Time: time.Unix(0, 0), Log: slog.New(slog.DiscardHandler)}, src: &source{img: dumpfmt.NewImage(shown{img.Source(), &info}, dumpfmt.Options{})}}
	r.askDump(t.Context())
	if !r.Time.Equal(crash) || r.now().Before(crash) || len(r.notes) != 1 {
		t.Errorf("the time is %v, now %v, notes %q", r.Time, r.now(), r.notes)
	}
}

// shown is a source that says other things of itself.
type shown struct {
	dumpfmt.Source
	info *dumpfmt.Info
}

func (s shown) Info() *dumpfmt.Info { return s.info }
