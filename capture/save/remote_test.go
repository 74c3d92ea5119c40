package save

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdx/analyze/kernel"
	"kdx/analyze/reduce"
	"kdx/analyze/scrub"
	"kdx/analyze/triage"
	"kdx/capture/config"
	"kdx/capture/target"
	"kdx/capture/target/sshdtest"
	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
)

func partition(t *testing.T, size int64) target.Place {
	t.Helper()
	path := filepath.Join(t.TempDir(), "partition")
	if err := os.WriteFile(path, []byte("what was there before"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(path, size); err != nil {
		t.Fatal(err)
	}
	return target.Place{Name: "raw:" + path, Kind: config.Raw, Device: path}
}

// TestKinds saves to each kind of target, with triage, and opens what lies there.
func TestKinds(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.SFTP)
	for name, p := range map[string]target.Place{"local": localPlace(t.TempDir()), "raw": partition(t, 64<<20), "sftp": s.Place(config.SFTP), "ssh": s.Place(config.SSH)} {
		t.Run(name, func(t *testing.T) {
			res, err := Run(t.Context(), job(p))
			if err != nil || !res.Saved {
				t.Fatalf("%+v, %v", res, err)
			}
			rep, err := Triage(t.Context(), TriageJob{Place: p, Dir: res.Dir, VMCore: small})
			if err != nil || !strings.Contains(rep.Panic, "sysrq") {
				t.Fatalf("%+v, %v", rep, err)
			}
			if err := Attach(t.Context(), p, res.Dir, map[string][]byte{"kdx.log": []byte("all went well\n")}); err != nil {
				t.Fatal(err)
			}
			dir := p.Dir
			if p.Kind == config.Raw {
				dir = filepath.Join(t.TempDir(), "extracted")
				x, err := target.Extract(t.Context(), p.Device, dir, false, nil)
				if err != nil || len(x.Damaged) > 0 {
					t.Fatal(x, err)
				}
				if _, err := target.Extract(t.Context(), p.Device, dir, false, nil); !errors.Is(err, target.ErrEmpty) {
					t.Errorf("extracted twice: %v", err)
				}
			}
			checkSaved(t, filepath.Join(dir, res.Dir))
		})
	}
}

// checkSaved holds a directory against its manifest, and opens the dump.
func checkSaved(t *testing.T, dir string) {
	t.Helper()
	want := []string{"dmesg.txt", "kdx.log", "manifest.json", "registers.txt", "triage.json", "triage.txt", "vmcore"}
	if got := names(t, dir); !slices.Equal(got, want) {
		t.Errorf("files are %q; want %q", got, want)
	}
	m := readManifest(t, dir)
	if !m.Complete || len(m.Files) != len(want)-1 {
		t.Errorf("the manifest is %+v", m)
	}
	for _, f := range m.Files {
		b, err := os.ReadFile(filepath.Join(dir, f.Name))
		if err != nil || int64(len(b)) != f.Size || hexSum(b) != f.SHA256 {
			t.Errorf("%s: size or sum is wrong (%v)", f.Name, err)
		}
	}
	var rep struct {
		Version int    `json:"version"`
		Panic   string `json:"panic"`
	}
	text, err := os.ReadFile(filepath.Join(dir, "triage.json"))
	if err == nil {
		err = json.Unmarshal(text, &rep)
	}
	if err != nil || rep.Version != triage.Version || rep.Panic == "" {
		t.Errorf("triage.json: %+v, %v", rep, err)
	}
	img, err := formats.Open(t.Context(), []string{filepath.Join(dir, "vmcore")}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if info := img.Info(); info.Incomplete || info.DumpLevel != 31 {
		t.Errorf("the dump says of itself: %+v", info)
	}
	n, err := img.Count(t.Context())
	if err != nil || n.Present != m.Dump.Pages-m.Dump.Zero {
		t.Errorf("the dump holds %+v, the manifest %+v, %v", n, m.Dump, err)
	}
}

// TestFull: a partition that is too small for the dump keeps what fits, and says so.
func TestFull(t *testing.T) {
	p := partition(t, 20<<20)
	j := job(p)
	j.Level = 0
	res, err := Run(t.Context(), j)
	if !errors.Is(err, ErrNotSaved) || res.Saved || res.Manifest == nil || res.Manifest.Complete || res.Manifest.Dump.File != "vmcore.incomplete" {
		t.Fatalf("%+v, %v", res, err)
	}
	dir := t.TempDir()
	x, err := target.Extract(t.Context(), p.Device, dir, true, nil)
	if err != nil || !slices.Contains(x.Files, "dmesg.txt") || !slices.Contains(x.Damaged, "vmcore.incomplete") {
		t.Fatalf("%+v, %v", x, err)
	}
	img, err := formats.Open(t.Context(), []string{filepath.Join(dir, x.Dir, "vmcore.incomplete")}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if n, err := img.Count(t.Context()); err != nil || !img.Info().Incomplete || n.Present == 0 {
		t.Errorf("what fits holds %+v, %v", n, err)
	}
}

// TestEstimate: a partition that the pages would not fit as they are, but do when they are compressed.
func TestEstimate(t *testing.T) {
	for size, fits := range map[int64]bool{25 << 20: true, 19 << 20: false} {
		begun := false
		j := job(partition(t, size))
		j.More = true
		j.Progress = func(p Progress) { begun = begun || p.Step == reduce.StepCopy }
		res, err := Run(t.Context(), j)
		if res.Saved != fits || begun != fits || !fits && !strings.Contains(err.Error(), "there is room for") {
			t.Errorf("%d MiB: %+v, %v", size>>20, res, err)
		}
	}
}

// TestNotUnderstood: without a kernel all pages are saved.
func TestNotUnderstood(t *testing.T) {
	dir := t.TempDir()
	j := job(localPlace(dir))
	j.Open = func(context.Context, *dumpfmt.Image) (*kernel.Kernel, error) { return nil, errors.New("of no use") }
	res, err := Run(t.Context(), j)
	if err != nil || !res.Saved || !res.Manifest.Dump.Kept || len(res.Manifest.Notes) == 0 {
		t.Fatalf("%+v, %v", res, err)
	}
	whole, err := Run(t.Context(), job(localPlace(dir)))
	if err != nil || whole.Manifest.Dump.Pages > res.Manifest.Dump.Pages {
		t.Errorf("with the kernel %d pages were saved, without %d, %v", whole.Manifest.Dump.Pages, res.Manifest.Dump.Pages, err)
	}
	if b, err := os.ReadFile(filepath.Join(res.Path, "dmesg.txt")); err != nil || !strings.Contains(string(b), "Linux version") {
		t.Errorf("without the kernel the log has %d bytes, %v", len(b), err)
	}
}

// TestRedact: what must not be in the dump is not beside it either, and without the kernel nothing is saved.
func TestRedact(t *testing.T) {
	j := job(localPlace(t.TempDir()))
	var err error
	if j.Rules, err = scrub.ParseConfig(strings.NewReader("[vmlinux]\nerase __log_buf size 65536\n")); err != nil {
		t.Fatal(err)
	}
	res, err := Run(t.Context(), j)
	if err != nil || !res.Saved {
		t.Fatalf("%+v, %v", res, err)
	}
	if b, err := os.ReadFile(filepath.Join(res.Path, "dmesg.txt")); err == nil && strings.Contains(string(b), "sysrq") {
		t.Errorf("dmesg.txt holds what had to go: %s", b)
	}
	if got := names(t, res.Path); !slices.Contains(got, "registers.txt") || !slices.Contains(got, "vmcore") {
		t.Errorf("files are %q", got)
	}
	j.Open = func(context.Context, *dumpfmt.Image) (*kernel.Kernel, error) { return nil, errors.New("of no use") }
	if res, err := Run(t.Context(), j); err == nil || res.Saved {
		t.Errorf("a dump was saved of which nothing could be erased: %+v", res)
	}
}

// TestLost: the link is lost, or the host hangs, and the second target takes the dump.
func TestLost(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.SFTP)
	for _, kind := range []config.Kind{config.SFTP, config.SSH} {
		for _, hang := range []bool{false, true} {
			proxy := s.Proxy(t)
			proxy.Hang.Store(hang)
			proxy.Limit.Store(3 << 20)
			first, second := proxy.Place(s, kind), localPlace(t.TempDir())
			res, err := Run(t.Context(), job(first, second))
			if err != nil || !res.Saved || res.Place != 1 || res.Tries[0].Error == "" {
				t.Errorf("%s, hang %v: %+v, %v", kind, hang, res, err)
			}
			if err := filepath.WalkDir(s.Dir, func(path string, e os.DirEntry, err error) error {
				if e != nil && e.Name() == "vmcore" {
					t.Errorf("%s bears a whole name", path)
				}
				return err
			}); err != nil {
				t.Error(err)
			}
			if err := os.RemoveAll(s.Dir); err != nil {
				t.Fatal(err)
			}
		}
	}
}
