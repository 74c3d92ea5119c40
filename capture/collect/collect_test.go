package collect

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
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

const name = "web1-2026-11-20T20-15-03Z-0b54a4a1"

// dump makes the directory of a dump; a nil manifest leaves an unfinished one.
func dump(t *testing.T, dir, text string, change func(*manifest.Manifest)) {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if change == nil {
		if err := os.WriteFile(filepath.Join(dir, "vmcore.incomplete"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return
	}
	sum := sha256.Sum256([]byte(text))
	m := &manifest.Manifest{Version: manifest.Version, KDX: "1", Complete: true, Host: "web1", Release: "6.12", Target: "t", Begun: time.Unix(1e9, 0).UTC(), Ended: time.Unix(1e9+3, 0).UTC(),
		Dump:  manifest.Dump{File: "vmcore", Format: "kdump"},
		Files: []manifest.File{{Name: "vmcore", Size: int64(len(text)), SHA256: hex.EncodeToString(sum[:])}}, Stages: []manifest.Stage{}}
	change(m)
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	for n, data := range map[string][]byte{"vmcore": []byte(text), manifest.Name: b} {
		if err := os.WriteFile(filepath.Join(dir, n), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func conf(targets ...string) *config.Config {
	c := config.Default()
	c.Targets = nil
	for _, text := range targets {
		t, err := config.ParseTarget(text)
		if err != nil {
			panic(err)
		}
		c.Targets = append(c.Targets, t)
	}
	return c
}

// TestRun: a whole dump, an unfinished one, one whose bytes changed, one that says it is incomplete, and what is not kdx's. The second time none is new.
func TestRun(t *testing.T) {
	root := t.TempDir()
	crash := filepath.Join(root, "var/crash")
	same := func(*manifest.Manifest) {}
	dump(t, filepath.Join(crash, name+"0"), "whole", same)
	dump(t, filepath.Join(crash, name+"1"), "half", nil)
	dump(t, filepath.Join(crash, name+"2"), "changed", same)
	if err := os.WriteFile(filepath.Join(crash, name+"2", "vmcore"), []byte("CHANGED"), 0o600); err != nil {
		t.Fatal(err)
	}
	dump(t, filepath.Join(crash, name+"3"), "part", func(m *manifest.Manifest) { m.Complete, m.Why = false, "no space" })
	dump(t, filepath.Join(crash, name+"4"), "cut", same)
	os.Truncate(filepath.Join(crash, name+"4", "vmcore"), 1)
	os.MkdirAll(filepath.Join(crash, "linux-image-6.1.0-crash"), 0o755)
	r, err := Run(context.Background(), conf("/var/crash", "ext4:/dev/sdb1:/dumps", "sftp://a@b/c"), Options{Root: root})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]string{name + "0": "", name + "1": "no manifest", name + "2": "SHA-256", name + "3": "no space", name + "4": "has 1 bytes"}
	if len(r.New) != len(want) {
		t.Fatalf("found %+v", r.New)
	}
	for _, d := range r.New {
		w, known := want[d.Dir]
		if !known || d.Whole != (w == "") || !strings.Contains(d.Problem, w) || (w == "") != (d.Problem == "") {
			t.Errorf("%s: whole %v, %q; want %q", d.Dir, d.Whole, d.Problem, w)
		}
	}
	if r.Good() || len(r.Skipped) != 1 || r.Skipped[0].Why != "not mounted" {
		t.Errorf("%+v", r)
	}
	var b bytes.Buffer
	if err := r.Text(&b); err != nil || !strings.Contains(b.String(), name+"0: kernel 6.12, 1 MiB, whole\n") || strings.Count(b.String(), "NOT WHOLE") != 4 {
		t.Errorf("%v\n%s", err, b.String())
	}
	if r, err = Run(context.Background(), conf("/var/crash"), Options{Root: root}); err != nil || len(r.New) != 0 || !r.Good() {
		t.Errorf("the second time: %+v, %v", r, err)
	}
}

// TestExtract: dumps on raw partitions go to the first directory, and are then found there.
func TestExtract(t *testing.T) {
	root := t.TempDir()
	var asked []string
	opt := Options{Root: root, Extract: func(_ context.Context, device, dir string, keep bool, _ func(string, int64, int64)) (target.Extracted, error) {
		asked = append(asked, device)
		switch device {
		case "/dev/sdb1":
			return target.Extracted{}, target.ErrEmpty
		case "/dev/sdc1":
			return target.Extracted{}, errors.New("a sector can't be read")
		}
		dump(t, filepath.Join(dir, name), "whole", func(*manifest.Manifest) {})
		return target.Extracted{Path: filepath.Join(dir, name)}, nil
	}}
	r, err := Run(context.Background(), conf("raw:/dev/sdb1", "raw:/dev/sdc1", "raw:/dev/sdd1"), opt)
	if err != nil || len(asked) != 3 || len(r.Extracted) != 1 || len(r.New) != 1 || !r.New[0].Whole || len(r.Problems) != 1 {
		t.Fatalf("%v: %+v", err, r)
	}
	if r.New[0].Path != filepath.Join(root, "var/crash", name) {
		t.Errorf("found at %s", r.New[0].Path)
	}
}

func TestSeen(t *testing.T) {
	root := t.TempDir()
	path := treetest.Put(t, root, StatePath, "{")
	if _, err := ReadSeen(root); err == nil || !strings.Contains(err.Error(), path) {
		t.Errorf("a damaged file: %v", err)
	}
}

// TestMounted: a filesystem's directory is looked at where it is mounted.
func TestMounted(t *testing.T) {
	root := t.TempDir()
	treetest.PutAll(t, root, map[string]string{
		"sys/class/block/sdb1/dev": "8:17\n",
		"sys/class/block/sdb2/dev": "8:18\n",
		"proc/self/mountinfo":      "20 1 8:17 / /srv rw - ext4 /dev/sdb1 rw\n21 1 0:30 /vol /data rw - btrfs /dev/sdb2 rw,subvol=/vol\n",
	})
	places, skipped := Places(root, conf("ext4:/dev/sdb1:/dumps", "btrfs:/dev/sdb2:/d subvol=vol", "btrfs:/dev/sdb2:/d"), nil)
	if len(places) != 2 || places[0].Dir != filepath.Join(root, "srv/dumps") || places[1].Dir != filepath.Join(root, "data/d") || len(skipped) != 1 {
		t.Errorf("%+v, %+v", places, skipped)
	}
}

// TestMounts: filesystems that are not mounted are, read-only, for as long as they are looked at.
func TestMounts(t *testing.T) {
	root := t.TempDir()
	for _, n := range []string{"sys/class/block/sdb1", "sys/class/block/sdc1"} {
		if err := os.MkdirAll(filepath.Join(root, n), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	os.MkdirAll(filepath.Join(root, "proc/self"), 0o755)
	os.WriteFile(filepath.Join(root, "proc/self/mountinfo"), nil, 0o600)
	var did []string
	m := &Mounts{dir: filepath.Join(root, "look"), unmount: func(at string) error {
		did = append(did, "unmount "+filepath.Base(at))
		return os.RemoveAll(filepath.Join(at, "dumps"))
	}}
	m.mount = func(device, at, kind string, flags uintptr, data string) error {
		did = append(did, filepath.Base(device)+" "+kind+" "+data)
		if flags&1 == 0 {
			t.Error("not read-only")
		}
		if filepath.Base(device) == "sdc1" {
			return errors.New("no medium")
		}
		dump(t, filepath.Join(at, "dumps", name), "whole", func(*manifest.Manifest) {})
		return nil
	}
	r, err := Run(context.Background(), conf("ext4:/dev/sdb1:/dumps", "btrfs:/dev/sdc1:/d subvol=v", "xfs:/dev/sdz1:/d"), Options{Root: root, Mounts: m})
	if err != nil || len(r.New) != 1 || !r.New[0].Whole || len(r.Skipped) != 2 || !strings.Contains(r.Skipped[0].Why, "no medium") || !strings.Contains(r.Skipped[1].Why, "/dev/sdz1") {
		t.Fatalf("%v: %+v", err, r)
	}
	if err := m.Close(); err != nil {
		t.Error(err)
	}
	if got := strings.Join(did, ", "); got != "sdb1 ext4 , sdc1 btrfs subvol=v, unmount 0" {
		t.Errorf("did %s", got)
	}
	if left, _ := filepath.Glob(filepath.Join(root, "look/*")); len(left) > 0 {
		t.Errorf("left %v", left)
	}
}
