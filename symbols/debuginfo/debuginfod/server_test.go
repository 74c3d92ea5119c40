package debuginfod

import (
	"bytes"
	"context"
	"debug/elf"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"
)

// TestServer asks elfutils' debuginfod for a file that gcc made.
func TestServer(t *testing.T) {
	for _, program := range []string{"gcc", "debuginfod"} {
		if _, err := exec.LookPath(program); err != nil {
			t.Skipf("%s is not installed", program)
		}
	}
	dir := t.TempDir()
	src, bin := filepath.Join(dir, "src", "a.c"), filepath.Join(dir, "bin", "a")
	for _, p := range []string{src, bin} {
		if err := os.Mkdir(filepath.Dir(p), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	text := []byte("int main(void) { return 0; }\n")
	if err := os.WriteFile(src, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command("gcc", "-g", "-Wl,--build-id", "-o", bin, src).CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v: %s", err, out)
	}
	buildID := noteOf(t, bin)
	url := start(t, dir)

	c := client(t, func(cfg *Config) { cfg.Timeout = 10 * time.Second }, url)
	want, err := os.ReadFile(bin)
	if err != nil {
		t.Fatal(err)
	}
	// The server scans its directory some time after it answers.
	var path string
	for until := time.Now().Add(20 * time.Second); ; time.Sleep(200 * time.Millisecond) {
		if path, err = c.Find(context.Background(), Debuginfo, buildID, nil); err == nil || time.Now().After(until) {
			break
		}
		os.RemoveAll(c.cfg.Cache)
	}
	if err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, want) {
		t.Errorf("debuginfo: %d bytes, %v; want %d", len(b), err, len(want))
	}
	if path, err = c.Find(context.Background(), Executable, buildID, nil); err != nil {
		t.Error(err)
	} else if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, want) {
		t.Errorf("executable: %d bytes, %v; want %d", len(b), err, len(want))
	}
	if path, err = c.Source(context.Background(), buildID, src); err != nil {
		t.Error(err)
	} else if b, err := os.ReadFile(path); err != nil || !bytes.Equal(b, text) {
		t.Errorf("source: %q, %v", b, err)
	}
	if _, err := c.Find(context.Background(), Debuginfo, id, nil); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("what it does not have: %v", err)
	}
	sharesCache(t, c, url, buildID)
}

// sharesCache: elfutils' own client takes what kdx fetched, and believes what kdx noted as absent.
func sharesCache(t *testing.T, c *Client, url, buildID string) {
	if _, err := exec.LookPath("debuginfod-find"); err != nil {
		t.Log("debuginfod-find is not installed")
		return
	}
	other := func(id string) (string, error) {
		cmd := exec.Command("debuginfod-find", "debuginfo", id)
		cmd.Env = append(os.Environ(), "DEBUGINFOD_URLS="+url+"/nowhere", "DEBUGINFOD_CACHE_PATH="+c.cfg.Cache)
		out, err := cmd.Output()
		return string(bytes.TrimSpace(out)), err
	}
	if got, err := other(buildID); err != nil || got != c.Cached(Debuginfo, buildID) {
		t.Errorf("debuginfod-find: %q, %v; want %q", got, err, c.Cached(Debuginfo, buildID))
	}
	if got, err := other(id); err == nil {
		t.Errorf("debuginfod-find finds %q, which is absent", got)
	}
}

func start(t *testing.T, dir string) (url string) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	port := l.Addr().(*net.TCPAddr).Port
	l.Close()
	cmd := exec.Command("debuginfod", "-p", fmt.Sprint(port), "-d", filepath.Join(dir, "db"), "-F", filepath.Join(dir, "bin"))
	cmd.Env = append(os.Environ(), "DEBUGINFOD_URLS=")
	var log bytes.Buffer
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cmd.Process.Kill()
		cmd.Wait()
		if t.Failed() {
			t.Logf("debuginfod said:\n%s", log.String())
		}
	})
	url = fmt.Sprintf("http://127.0.0.1:%d", port)
	for until := time.Now().Add(20 * time.Second); time.Now().Before(until); time.Sleep(100 * time.Millisecond) {
		if resp, err := http.Get(url + "/metrics"); err == nil {
			resp.Body.Close()
			return url
		}
	}
	t.Fatal("debuginfod does not answer")
	return ""
}

func noteOf(t *testing.T, path string) string {
	f, err := elf.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	b, err := f.Section(".note.gnu.build-id").Data()
	if err != nil || len(b) < 20 {
		t.Fatalf("no build-id: %d bytes, %v", len(b), err)
	}
	return hex.EncodeToString(b[16:])
}
