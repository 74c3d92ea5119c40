package trial

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kdx/capture/config"
	"kdx/capture/manifest"
	"kdx/capture/target"
	"kdx/internal/treetest"
)

func dump(t *testing.T, root, dir, host string, complete bool) {
	t.Helper()
	dumpOf(t, root, dir, host, "", complete)
}

// dumpOf is a dump that tells of which boot it is.
func dumpOf(t *testing.T, root, dir, host, boot string, complete bool) {
	t.Helper()
	const text = "dump"
	sum := sha256.Sum256([]byte(text))
	m := &manifest.Manifest{Version: manifest.Version, KDX: "1", Complete: complete, Why: "no space", Host: host, BootID: boot, Release: "6.12", Begun: time.Unix(2e9, 0).UTC(), Ended: time.Unix(2e9+7, 0).UTC(),
		Dump:  manifest.Dump{File: "vmcore", Format: "kdump"},
		Files: []manifest.File{{Name: "vmcore", Size: 4, SHA256: hex.EncodeToString(sum[:])}}, Stages: []manifest.Stage{}}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	treetest.Put(t, root, "var/crash/"+dir+"/vmcore", text)
	treetest.Put(t, root, "var/crash/"+dir+"/manifest.json", string(b))
}

// begun is a host on which a test was begun, with a dump that was there before.
func begun(t *testing.T) (root string, c *config.Config) {
	t.Helper()
	root, c = t.TempDir(), config.Default()
	treetest.Put(t, root, "proc/sys/kernel/hostname", "web1\n")
	treetest.Put(t, root, "proc/sys/kernel/osrelease", "6.12\n")
	treetest.Put(t, root, "proc/sys/kernel/random/boot_id", "one\n")
	dump(t, root, "web1-2026-11-01T00-00-00Z-00000000", "web1", true)
	r, err := Begin(context.Background(), root, "1", c, target.Open, nil)
	if err == nil {
		err = r.Write(root)
	}
	if err != nil || len(r.Before) != 1 || r.Release != "6.12" {
		t.Fatalf("%+v, %v", r, err)
	}
	return root, c
}

func TestLook(t *testing.T) {
	for name, x := range map[string]struct {
		after   func(*testing.T, string)
		arrived bool
		outcome string
	}{
		"nothing":      {func(*testing.T, string) {}, false, "no new dump"},
		"whole":        {func(t *testing.T, root string) { dump(t, root, "web1-2026-11-02T00-00-00Z-11111111", "web1", true) }, true, "saved in 7 s"},
		"incomplete":   {func(t *testing.T, root string) { dump(t, root, "web1-2026-11-02T00-00-00Z-11111111", "web1", false) }, false, "no space"},
		"another host": {func(t *testing.T, root string) { dump(t, root, "db1-2026-11-02T00-00-00Z-11111111", "db1", true) }, false, "no new dump"},
		"another name": {func(t *testing.T, root string) {
			dumpOf(t, root, "localhost-2026-11-02T00-00-00Z-11111111", "localhost", "one", true)
		}, true, "saved in 7 s"},
		"another boot": {func(t *testing.T, root string) {
			dumpOf(t, root, "web1-2026-11-02T00-00-00Z-11111111", "web1", "two", true)
		}, false, "no new dump"},
		"cut off": {func(t *testing.T, root string) {
			treetest.Put(t, root, "var/crash/web1-2026-11-02T00-00-00Z-11111111/vmcore.incomplete", "du")
		}, false, "no manifest"},
	} {
		t.Run(name, func(t *testing.T) {
			root, c := begun(t)
			if _, err := Look(context.Background(), root, c, target.Open, nil); !errors.Is(err, ErrSameBoot) {
				t.Errorf("before the crash: %v", err)
			}
			treetest.Put(t, root, "proc/sys/kernel/random/boot_id", "two\n")
			treetest.Put(t, root, "proc/stat", fmt.Sprintf("cpu 1\nbtime %d\n", time.Now().Add(time.Minute).Unix()))
			x.after(t, root)
			r, err := Look(context.Background(), root, c, target.Open, nil)
			if err != nil || r.Arrived != x.arrived || !strings.Contains(r.Outcome, x.outcome) {
				t.Fatalf("%+v, %v; want %v, %q", r, err, x.arrived, x.outcome)
			}
			if x.arrived && (r.Down < 50 || r.Down > 70 || r.Bytes != 4) {
				t.Errorf("%+v", r)
			}
			if again, err := Read(root); err != nil || again.Outcome != r.Outcome {
				t.Errorf("read again: %+v, %v", again, err)
			}
		})
	}
}

// TestUnreachable: a test is not begun if what lies on a target can't be seen.
func TestUnreachable(t *testing.T) {
	root, c := begun(t)
	c.Targets = append(c.Targets, config.Target{Kind: config.SFTP, User: "a", Host: "vault.example.com", Path: "/d", Port: 1})
	c.NetworkTimeout = time.Second
	c.SSHKey = filepath.Join(root, "no-key")
	if _, err := Begin(context.Background(), root, "1", c, target.Open, nil); err == nil || !strings.Contains(err.Error(), "vault.example.com") {
		t.Errorf("begun: %v", err)
	}
}

func TestRecord(t *testing.T) {
	root := t.TempDir()
	if _, err := Read(root); !errors.Is(err, ErrNone) {
		t.Errorf("no record: %v", err)
	}
	for _, text := range []string{"", "{", `{"version":9}`} {
		treetest.Put(t, root, Path, text)
		if _, err := Read(root); err == nil || !strings.Contains(err.Error(), Path) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// TestCrash writes to the file that stands for the kernel's.
func TestCrash(t *testing.T) {
	root := t.TempDir()
	if err := Crash(root); err == nil {
		t.Error("a host without /proc was crashed")
	}
	treetest.Put(t, root, "proc/sysrq-trigger", "")
	if err := Crash(root); err != nil {
		t.Fatal(err)
	}
	if b, err := os.ReadFile(filepath.Join(root, "proc/sysrq-trigger")); err != nil || string(b) != "c" {
		t.Errorf("%q, %v", b, err)
	}
}

// TestLater: as long as a target can't be looked at, nothing is said, and nothing written.
func TestLater(t *testing.T) {
	root, c := begun(t)
	r, err := Read(root)
	if err != nil {
		t.Fatal(err)
	}
	r.Targets = append(r.Targets, "ext4:/dev/sdz1:/d")
	if err := r.Write(root); err != nil {
		t.Fatal(err)
	}
	treetest.Put(t, root, "proc/sys/kernel/random/boot_id", "two\n")
	if _, err := Look(context.Background(), root, c, target.Open, nil); !errors.Is(err, ErrUnknown) || !strings.Contains(err.Error(), "sdz1") {
		t.Errorf("%v", err)
	}
	if r, err := Read(root); err != nil || r.Outcome != "" {
		t.Errorf("%+v, %v", r, err)
	}
}
