package target_test

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kdx/capture/config"
	"kdx/capture/target"
	"kdx/capture/target/sshdtest"
)

// places are one of each kind.
func places(t *testing.T) map[string]target.Place {
	t.Helper()
	s := sshdtest.Start(t, sshdtest.SFTP)
	device := filepath.Join(t.TempDir(), "partition")
	f, err := os.Create(device)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.Write(bytes.Repeat([]byte("old contents "), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(64 << 20); err != nil {
		t.Fatal(err)
	}
	odd, plain := s.Place(config.SSH), s.Place(config.SFTP)
	plain.Dir += "/sftp"
	odd.Dir += "/o'dd $(touch x) `y` \"dir"
	return map[string]target.Place{
		"local": {Name: "local", Kind: config.Dir, Dir: filepath.Join(t.TempDir(), "dumps")},
		"raw":   {Name: "raw", Kind: config.Raw, Device: device},
		"sftp":  plain,
		"ssh":   odd,
	}
}

func open(t *testing.T, p target.Place) target.Target {
	t.Helper()
	x, err := target.Open(t.Context(), p, nil)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { x.Close() })
	return x
}

// TestKinds writes a dump to each kind of target and reads it again.
func TestKinds(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	data := make([]byte, 3<<20+12345)
	for i := range data {
		data[i] = byte(r.Uint32())
	}
	for name, p := range places(t) {
		t.Run(name, func(t *testing.T) {
			x := open(t, p)
			d, err := x.Create(t.Context(), "dump-1")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := x.Create(t.Context(), "dump-1"); !errors.Is(err, target.ErrExists) {
				t.Errorf("a second dump of that name: %v", err)
			}
			if _, err := x.Create(t.Context(), "../x"); err == nil {
				t.Error("a name leads out of the target")
			}
			for _, text := range []string{"first", "second"} {
				if err := d.Put(t.Context(), "dmesg.txt", []byte(text)); err != nil {
					t.Fatal(err)
				}
			}
			if b, err := d.Read(t.Context(), "dmesg.txt", 100); err != nil || string(b) != "second" {
				t.Errorf("Read = %q, %v", b, err)
			}
			if _, err := d.Read(t.Context(), "dmesg.txt", 3); err == nil {
				t.Error("more than the limit was read")
			}
			if _, err := d.Read(t.Context(), "none", 3); err == nil {
				t.Error("a file that is not there was read")
			}
			if room, known, err := d.Room(t.Context()); err != nil || !known || room < 1<<20 {
				t.Errorf("Room = %d, %v, %v", room, known, err)
			}
			f, err := d.Create(t.Context(), "vmcore")
			if err != nil {
				t.Fatal(err)
			}
			want := data
			if out := f.Output(); out != nil {
				want = bytes.Clone(data)
				clear(want[100_000:200_000])
				for _, part := range [][2]int{{0, 50_000}, {200_000, 2 << 20}, {2 << 20, len(data)}, {50_000, 100_000}, {0, 4096}} {
					if _, err := out.WriteAt(want[part[0]:part[1]], int64(part[0])); err != nil {
						t.Fatal(err)
					}
				}
				again, err := f.Reopen(t.Context())
				if err != nil {
					t.Fatal(err)
				}
				got := make([]byte, 1000)
				if _, err := again.ReadFull(got, 99_500); err != nil || !bytes.Equal(got, want[99_500:100_500]) {
					t.Errorf("what was written reads otherwise, %v", err)
				}
				again.Close()
			} else if _, err := f.Write(data); err != nil {
				t.Fatal(err)
			}
			if got := list(t, d); !slices.Equal(got, []string{"dmesg.txt", "vmcore.incomplete"}) {
				t.Errorf("before Commit: %q", got)
			}
			w, err := f.Commit(t.Context())
			if err != nil || w.Size != int64(len(want)) || len(w.SHA256) != 64 || w.Proof == "" {
				t.Fatalf("Commit = %+v, %v", w, err)
			}
			if got := list(t, d); !slices.Equal(got, []string{"dmesg.txt", "vmcore"}) {
				t.Errorf("after Commit: %q", got)
			}
			if b, err := d.Read(t.Context(), "vmcore", int64(len(want))); err != nil || !bytes.Equal(b, want) {
				t.Errorf("vmcore has %d other bytes, %v", len(b), err)
			}
			if whole, err := d.File(t.Context(), "vmcore"); err == nil {
				if b, err := io.ReadAll(io.NewSectionReader(whole.ReaderAt, 0, whole.Size)); err != nil || !bytes.Equal(b, want) {
					t.Errorf("vmcore reads as %d other bytes, %v", len(b), err)
				}
				whole.Close()
			} else if !errors.Is(err, target.ErrNoRandom) {
				t.Error(err)
			}
			left, err := d.Create(t.Context(), "more")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := left.Write(data[:1000]); err != nil {
				t.Fatal(err)
			}
			if err := left.Leave(t.Context()); err != nil {
				t.Fatal(err)
			}
			if got := list(t, d); !slices.Contains(got, "more.incomplete") || slices.Contains(got, "more") {
				t.Errorf("after Leave: %q", got)
			}
			checkModes(t, p)
			again := open2(t, x, p)
			if names, err := again.List(t.Context()); err != nil || !slices.Equal(names, []string{"dump-1"}) {
				t.Errorf("List = %q, %v", names, err)
			}
			if err := again.Remove(t.Context(), "dump-1"); err != nil {
				t.Fatal(err)
			}
			if names, err := again.List(t.Context()); err != nil || len(names) != 0 {
				t.Errorf("after Remove: %q, %v", names, err)
			}
			if _, err := again.Open(t.Context(), "dump-1"); err == nil {
				t.Error("a dump that was removed was opened")
			}
		})
	}
}

// open2 opens a place once more: a raw partition only when it was closed.
func open2(t *testing.T, x target.Target, p target.Place) target.Target {
	x.Close()
	return open(t, p)
}

func checkModes(t *testing.T, p target.Place) {
	t.Helper()
	if p.Kind == config.Raw {
		return
	}
	err := filepath.WalkDir(filepath.Join(p.Dir, "dump-1"), func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err != nil {
			return err
		}
		if want := map[bool]fs.FileMode{true: 0o700, false: 0o600}[e.IsDir()]; st.Mode().Perm() != want {
			t.Errorf("%s has mode %v; want %v", path, st.Mode().Perm(), want)
		}
		return nil
	})
	if err != nil {
		t.Error(err)
	}
}

func list(t *testing.T, d target.Dir) []string {
	t.Helper()
	all, err := d.List(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range all {
		out = append(out, e.Name)
	}
	slices.Sort(out)
	return out
}

// TestRefused: hosts that can't be reached, or are not who they should be.
func TestRefused(t *testing.T) {
	s := sshdtest.Start(t)
	other := sshdtest.NewKey(t, filepath.Join(t.TempDir(), "other"))
	good, err := os.ReadFile(s.KnownHosts)
	if err != nil {
		t.Fatal(err)
	}
	hosts := func(text string) {
		if err := os.WriteFile(s.KnownHosts, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	try := func(p target.Place) error {
		x, err := target.Open(t.Context(), p, nil)
		if err == nil {
			x.Close()
			t.Fatalf("%s took the connection", p.Name)
		}
		return err
	}
	var key *target.HostKeyError
	hosts("")
	if err := try(s.Place(config.SSH)); !errors.As(err, &key) || !key.Unknown() || !strings.Contains(err.Error(), "SHA256:") {
		t.Errorf("an unknown key: %v", err)
	}
	if err := os.Remove(s.KnownHosts); err != nil {
		t.Fatal(err)
	}
	if err := try(s.Place(config.SFTP)); !errors.As(err, &key) || !key.Unknown() {
		t.Errorf("no file of known hosts: %v", err)
	}
	hosts(sshdtest.KnownLine(s.Port, other))
	if err := try(s.Place(config.SFTP)); !errors.As(err, &key) || key.Unknown() || strings.Count(err.Error(), "SHA256:") != 2 || !strings.Contains(err.Error(), "CHANGED") {
		t.Errorf("a changed key: %v", err)
	}
	hosts("@revoked * " + strings.SplitN(string(good), " ", 2)[1])
	if err := try(s.Place(config.SFTP)); !errors.As(err, &key) || !key.Revoked {
		t.Errorf("a revoked key: %v", err)
	}
	hosts("no line of known hosts\n")
	if err := try(s.Place(config.SFTP)); !strings.Contains(err.Error(), "make no sense") {
		t.Errorf("a broken file: %v", err)
	}
	hosts(string(good))
	if err := try(s.Place(config.SFTP)); !strings.Contains(err.Error(), "sftp") {
		t.Errorf("without sftp: %v", err)
	}
	p := s.Place(config.SSH)
	p.Host.Key = filepath.Join(t.TempDir(), "id")
	if err := try(p); !strings.Contains(err.Error(), "propagate") {
		t.Errorf("without a key: %v", err)
	}
	sshdtest.NewKey(t, p.Host.Key)
	if err := try(p); !strings.Contains(err.Error(), "does not let") {
		t.Errorf("another key: %v", err)
	}
	p = s.Place(config.SSH)
	p.Host.Addresses = []string{"127.0.0.9", "127.0.0.1"}
	x, err := target.Open(t.Context(), p, nil)
	if err != nil {
		t.Errorf("the second address: %v", err)
	} else {
		x.Close()
	}
	p.Host.Port = 1
	if err := try(p); !strings.Contains(err.Error(), "refused") {
		t.Errorf("nobody listens: %v", err)
	}
}

// TestLost loses the link, or stops answering, in the middle of a file.
func TestLost(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.SFTP)
	for _, kind := range []config.Kind{config.SFTP, config.SSH} {
		for _, hang := range []bool{false, true} {
			proxy := s.Proxy(t)
			p := proxy.Place(s, kind)
			x := open(t, p)
			d, err := x.Create(t.Context(), "lost-"+string(kind)+map[bool]string{true: "-hang"}[hang])
			if err != nil {
				t.Fatal(err)
			}
			f, err := d.Create(t.Context(), "vmcore")
			if err != nil {
				t.Fatal(err)
			}
			proxy.Hang.Store(hang)
			proxy.Limit.Store(1 << 20)
			begin := time.Now()
			for range 100 {
				if _, err = f.Write(make([]byte, 1<<20)); err != nil {
					break
				}
			}
			if err == nil {
				_, err = f.Commit(t.Context())
			}
			var timeout *target.TimeoutError
			if err == nil || time.Since(begin) > 20*time.Second || hang != errors.As(err, &timeout) {
				t.Errorf("%s, hang %v: after %v: %v", kind, hang, time.Since(begin), err)
			}
			f.Leave(t.Context())
			entries, err := os.ReadDir(d.Path())
			if err != nil || len(entries) > 1 || len(entries) == 1 && entries[0].Name() != "vmcore.incomplete" {
				t.Errorf("%s: %v, %v lie there", kind, entries, err)
			}
		}
	}
}
