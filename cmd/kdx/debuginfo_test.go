package main

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"kdx/repl"
)

// TestDownload: kdx debuginfo --download fetches the kernel's file, and refuses another's.
func TestDownload(t *testing.T) {
	if _, err := exec.LookPath("gcc"); err != nil {
		t.Skip("gcc, which makes the file to fetch, is not installed")
	}
	const id = "7f76f39faf07f34cfa9fadd801e131bfa8cb6dc3" // of the kernel of testdata/dumps/6.12
	dir := t.TempDir()
	src := filepath.Join(dir, "a.c")
	if err := os.WriteFile(src, []byte("int _start(void) { return 0; }\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	build := func(id string) []byte {
		out := filepath.Join(dir, id)
		if text, err := exec.Command("gcc", "-g", "-nostdlib", "-static", "-Wl,--build-id=0x"+id, "-o", out, src).CombinedOutput(); err != nil {
			t.Fatalf("gcc: %v: %s", err, text)
		}
		b, err := os.ReadFile(out)
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	const other = "aa00000000000000000000000000000000000001"
	served := build(other)
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/buildid/"+id+"/debuginfo" {
			http.NotFound(w, r)
			return
		}
		w.Write(served)
	}))
	defer s.Close()
	t.Setenv("DEBUGINFOD_URLS", s.URL)
	t.Setenv("DEBUGINFOD_CACHE_PATH", filepath.Join(dir, "cache"))
	run := func(args ...string) (string, repl.Status) {
		var out, errs bytes.Buffer
		st := runKdx(append([]string{"debuginfo"}, append(args, "../../testdata/dumps/6.12/vmcore")...), stdio{in: strings.NewReader(""), out: &out, err: &errs})
		return out.String() + errs.String(), st
	}
	if out, st := run(); st != repl.NoDebugInfo || strings.Contains(out, s.URL) {
		t.Errorf("without --download: exit %d: %s", st, out)
	}
	if out, st := run("--download"); st != repl.NoDebugInfo || !strings.Contains(out, "its build-id is "+other+", not "+id) {
		t.Errorf("another build: exit %d: %s", st, out)
	}
	served = build(id)
	path := filepath.Join(dir, "cache", id, "debuginfo")
	for _, args := range [][]string{{"--download"}, nil} { // then from the cache
		if out, st := run(args...); st != repl.Gaps || !strings.Contains(out, "KERNEL: "+path+" (by build-id)") {
			t.Errorf("%v: exit %d: %s", args, st, out)
		}
	}
}
