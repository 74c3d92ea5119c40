package prune

import (
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"kdx/capture/config"
	"kdx/capture/manifest"
	"kdx/capture/target"
	"kdx/capture/target/sshdtest"
	"kdx/internal/treetest"
)

// lay makes directories: whole dumps, incomplete ones, and what kdx did not make.
func lay(t *testing.T, dir string) {
	t.Helper()
	write := func(name, text string) { treetest.Put(t, dir, name, text) }
	dump := func(name, host string, day int, complete bool) {
		m := manifest.Manifest{Version: manifest.Version, KDX: "test", Host: host, Complete: complete, Begun: time.Unix(int64(day)*86400, 0), Dump: manifest.Dump{File: "vmcore"}}
		if !complete {
			m.Dump.File += ".incomplete"
		}
		b, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		write(name+"/"+m.Dump.File, "pages")
		write(name+"/manifest.json", string(b))
		write(name+"/dmesg.txt", "log")
	}
	dump("a1", "a", 1, true)
	dump("a2", "a", 2, false)
	dump("a3", "a", 3, true)
	dump("a4", "a", 4, true)
	dump("a5", "a", 5, false)
	dump("b1", "b", 1, true)
	write("others/2026-01-01/vmcore", "somebody else's")
	write("strange/manifest.json", "{}")
	write("lying/manifest.json", `{"version":1,"kdx":"test","complete":true,"begun":"2030-01-01T00:00:00Z","dump":{"file":"vmcore"},"host":"a"}`)
	write("file", "no directory")
}

func TestRun(t *testing.T) {
	s := sshdtest.Start(t, sshdtest.SFTP)
	for _, p := range []target.Place{{Name: "local", Kind: config.Dir, Dir: t.TempDir()}, s.Place(config.SFTP), s.Place(config.SSH)} {
		for _, test := range []struct {
			opt  Options
			gone []string
		}{
			{Options{Keep: 2, DryRun: true}, nil},
			{Options{Keep: 2, Host: "a"}, []string{"a1", "a2"}},
			{Options{Keep: 1, Host: "a"}, []string{"a1", "a2", "a3"}},
			{Options{}, []string{"a1", "a2", "a3", "b1"}},
			{Options{Keep: 10}, []string{"a2"}},
			{Options{Keep: 1, Saved: "a1"}, []string{"a2", "a3", "a4", "a5", "b1", "lying"}},
		} {
			if p.Kind != config.Dir && (test.opt.Keep != 1 || test.opt.Saved != "") {
				continue // once is enough for what all have in common
			}
			if err := os.RemoveAll(p.Dir); err != nil {
				t.Fatal(err)
			}
			lay(t, p.Dir)
			x, err := target.Open(t.Context(), p, nil)
			if err != nil {
				t.Fatal(err)
			}
			before, err := x.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			rep, err := Run(t.Context(), x, test.opt)
			if err != nil {
				t.Fatal(err)
			}
			after, err := x.List(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			x.Close()
			var gone []string
			for _, name := range before {
				if !slices.Contains(after, name) {
					gone = append(gone, name)
				}
			}
			if !slices.Equal(gone, test.gone) {
				t.Errorf("%s %s, %+v: %q are gone; want %q", p.Kind, p.Name, test.opt, gone, test.gone)
			}
			if len(rep.Kept) == 0 || !slices.Contains(rep.Others, "others") || !slices.Contains(rep.Others, "strange") {
				t.Errorf("%s %+v: the report is %+v", p.Kind, test.opt, rep)
			}
		}
	}
}

// TestSubdirectory: what else lies in a dump's directory is not taken away.
func TestSubdirectory(t *testing.T) {
	dir := t.TempDir()
	lay(t, dir)
	if err := os.MkdirAll(filepath.Join(dir, "a1", "notes of mine"), 0o700); err != nil {
		t.Fatal(err)
	}
	x, err := target.Open(t.Context(), target.Place{Kind: config.Dir, Dir: dir}, nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), x, Options{Keep: 1}); err == nil {
		t.Error("no error for what could not be removed")
	}
	if _, err := os.Stat(filepath.Join(dir, "a1", "notes of mine")); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(filepath.Join(dir, "a3")); err == nil {
		t.Error("a3 is still there")
	}
}
