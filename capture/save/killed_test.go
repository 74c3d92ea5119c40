package save

import (
	"context"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kdx/dumpfmt/formats"
)

// The environment in which a test runs itself to save to a directory, and to stop there.
const (
	childDir   = "KDX_TEST_SAVE_TO"
	childLimit = "KDX_TEST_FILE_LIMIT" // RLIMIT_FSIZE
)

// TestMain lets a test run a save in a process of its own.
func TestMain(m *testing.M) {
	dir := os.Getenv(childDir)
	if dir == "" {
		os.Exit(m.Run())
	}
	j := job(localPlace(dir))
	if os.Getenv(childLimit) != "" {
		signal.Ignore(syscall.SIGXFSZ)
		limit := syscall.Rlimit{Cur: 1 << 20, Max: 1 << 20}
		if err := syscall.Setrlimit(syscall.RLIMIT_FSIZE, &limit); err != nil {
			os.Exit(3)
		}
	} else {
		j.Progress = func(p Progress) {
			if p.Step == os.Getenv("KDX_TEST_STOP_AT") {
				os.Stdout.WriteString("there\n")
				time.Sleep(time.Hour)
			}
		}
	}
	if _, err := Run(context.Background(), j); err != nil {
		os.Stdout.WriteString(err.Error() + "\n")
		os.Exit(1)
	}
	os.Exit(0)
}

func child(t *testing.T, dir string, env ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(append(os.Environ(), childDir+"="+dir), env...)
	return cmd
}

// TestKilled kills a save in each of its steps: no file bears a whole name that is not whole.
func TestKilled(t *testing.T) {
	for _, step := range []string{"the kernel's log", "excluding pages", "copying", "self-check", StepReadBack} {
		dir := t.TempDir()
		cmd := child(t, dir, "KDX_TEST_STOP_AT="+step)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		if _, err := out.Read(make([]byte, 10)); err != nil {
			t.Fatalf("%s was not reached: %v", step, err)
		}
		if err := cmd.Process.Kill(); err != nil {
			t.Fatal(err)
		}
		cmd.Wait()
		for _, name := range names(t, filepath.Join(dir, only(t, dir))) {
			if name == "vmcore" || name == "manifest.json" {
				t.Errorf("killed while %s: there is a %s", step, name)
			}
		}
	}
}

// only is the one directory that lies there.
func only(t *testing.T, dir string) string {
	t.Helper()
	all := names(t, dir)
	if len(all) != 1 {
		t.Fatalf("%s holds %q", dir, all)
	}
	return all[0]
}

// TestDiskFull: writing fails in the middle, and what could be written can be read.
func TestDiskFull(t *testing.T) {
	dir := t.TempDir()
	out, err := child(t, dir, childLimit+"=1").CombinedOutput()
	if err == nil || !strings.Contains(string(out), "no target took the dump") {
		t.Fatalf("%v: %s", err, out)
	}
	at := filepath.Join(dir, only(t, dir))
	m := readManifest(t, at)
	if m.Complete || m.Why == "" || m.Dump.File != "vmcore.incomplete" {
		t.Errorf("the manifest is %+v", m)
	}
	img, err := formats.Open(t.Context(), []string{filepath.Join(at, "vmcore.incomplete")}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	if n, err := img.Count(t.Context()); err != nil || n.Present == 0 || !img.Info().Incomplete {
		t.Errorf("what could be written holds %+v, %v", n, err)
	}
}
