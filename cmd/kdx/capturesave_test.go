package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdx/capture/config"
	"kdx/capture/target"
	"kdx/repl"
)

// captureRun runs a capture command with an empty configuration.
func captureRun(t *testing.T, want repl.Status, args ...string) (out, errs string) {
	t.Helper()
	var o, e bytes.Buffer
	if st := runKdx(append([]string{"capture"}, args...), stdio{in: strings.NewReader(""), out: &o, err: &e}); st != want {
		t.Errorf("kdx capture %q exits with %v; want %v\n%s%s", args, st, want, o.String(), e.String())
	}
	return o.String(), e.String()
}

func TestCaptureSave(t *testing.T) {
	const dump = "../../testdata/dumps/6.1/vmcore"
	dir := t.TempDir()
	if _, errs := captureRun(t, repl.NothingToSave, "save", "--vmcore", filepath.Join(dir, "none"), "--target", dir); !strings.Contains(errs, "not started by a crash") {
		t.Errorf("without a dump: %s", errs)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("without a dump: %v lie on the target, %v", left, err)
	}
	for _, args := range [][]string{{"--target", "nfs:x"}, {"--level", "32"}, {"--codec", "lzma"}, {"--keep", "-1"}, {"--keep-free", "much"}, {"--memory", "12"}, {"--target", "sftp://u:secret@h/d"}} {
		if _, errs := captureRun(t, repl.Usage, append([]string{"save", "--config", os.DevNull, "--vmcore", dump}, args...)...); strings.Contains(errs, "secret") {
			t.Errorf("a password is told: %s", errs)
		}
	}
	save := []string{"save", "--config", os.DevNull, "--vmcore", dump, "--target", dir, "--host", "db1", "--level", "17", "--codec", "zlib", "--json"}
	var doc struct {
		Result struct {
			Saved    bool   `json:"saved"`
			Path     string `json:"path"`
			NoTriage string `json:"no_triage"`
		} `json:"result"`
	}
	out, _ := captureRun(t, repl.OK, save...)
	if err := json.Unmarshal([]byte(out), &doc); err != nil || !doc.Result.Saved || doc.Result.NoTriage != "" {
		t.Fatalf("%s, %v", out, err)
	}
	if b, err := os.ReadFile(filepath.Join(doc.Result.Path, "triage.txt")); err != nil || !strings.Contains(string(b), "sysrq") {
		t.Errorf("triage.txt: %s, %v", b, err)
	}
	captureRun(t, repl.OK, save...)
	if out, _ := captureRun(t, repl.OK, "prune", "--config", os.DevNull, "--keep", "1", dir); !strings.Contains(out, "removed") {
		t.Errorf("prune says %s", out)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) != 1 {
		t.Errorf("after prune %v are left, %v", left, err)
	}
	captureRun(t, repl.Usage, "prune", "--config", os.DevNull, dir)
	captureRun(t, repl.Usage, "propagate", "--config", os.DevNull)
}

func TestCaptureExtract(t *testing.T) {
	dir := t.TempDir()
	device := filepath.Join(dir, "partition")
	if err := os.WriteFile(device, make([]byte, 4<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	captureRun(t, repl.NothingToSave, "extract", "--config", os.DevNull, "--to", dir, device)
	captureRun(t, repl.Usage, "extract", "--config", os.DevNull)
	x, err := target.Open(t.Context(), target.Place{Kind: config.Raw, Device: device}, nil)
	if err != nil {
		t.Fatal(err)
	}
	d, err := x.Create(t.Context(), "db1-then")
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Put(t.Context(), "dmesg.txt", []byte("the log")); err != nil {
		t.Fatal(err)
	}
	x.Close()
	for range 2 {
		captureRun(t, repl.OK, "extract", "--config", os.DevNull, "--keep", "--to", dir, device)
	}
	if out, _ := captureRun(t, repl.OK, "extract", "--config", os.DevNull, "--to", dir, device); !strings.Contains(out, "db1-then-3") {
		t.Errorf("extract says %s", out)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "db1-then", "dmesg.txt")); err != nil || string(b) != "the log" {
		t.Errorf("dmesg.txt: %s, %v", b, err)
	}
	captureRun(t, repl.NothingToSave, "extract", "--config", os.DevNull, "--to", dir, device)
}
