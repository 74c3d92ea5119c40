package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestNumber(t *testing.T) {
	for text, want := range map[string]int64{"0x12000000": 0x12000000, "-16777216": -16777216, "16m": 16 << 20, "0xffffffffdf400000": -0x20c00000, "1G": 1 << 30} {
		var x number
		if err := x.Set(text); err != nil || x.n != want || !x.set {
			t.Errorf("Set(%q) = %v, %#x; want %#x", text, err, x.n, want)
		}
	}
	for _, text := range []string{"", "m", "hello", "0x1fffffffffffffffff", "99999999999g"} {
		var x number
		if err := x.Set(text); err == nil {
			t.Errorf("Set(%q) = nil, %#x; want an error", text, x.n)
		}
	}
}

func TestWhere(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good"), filepath.Join(dir, "bad")
	for path, text := range map[string]string{good: "OSRELEASE=6.1\n", bad: "nothing\n"} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b, err := (&where{vmcoreinfo: good}).bootstrap()
	if r, _ := b.VMCoreInfo.Get("OSRELEASE"); err != nil || r != "6.1" || b.VMCoreInfoFrom != good || b.KASLR != nil || b.PhysBase != nil {
		t.Errorf("bootstrap = %v, %v; want what the file says and nothing else", b, err)
	}
	if _, err := (&where{vmcoreinfo: bad}).bootstrap(); err == nil || !strings.Contains(err.Error(), bad) {
		t.Errorf("bootstrap of another file = %v; want an error that names it", err)
	}
	b, err = (&where{kaslr: number{1 << 21, true}, phys: number{-4096, true}}).bootstrap()
	if err != nil || *b.KASLR != 1<<21 || *b.PhysBase != -4096 {
		t.Errorf("bootstrap = %v, %v; want both numbers", b, err)
	}
}

// TestLive: the running kernel is looked at only by name, and never beside a dump.
func TestLive(t *testing.T) {
	dump := filepath.Join(t.TempDir(), "vmcore")
	if err := os.WriteFile(dump, []byte("KDUMP   "), 0o600); err != nil {
		t.Fatal(err)
	}
	live, dead := &options{live: true}, &options{}
	if n, err := live.files(nil); err != nil || len(n.dumps) != 0 {
		t.Errorf("--live without files = %v, %v; want none", n, err)
	}
	if _, err := live.files([]string{dump}); err == nil || !strings.Contains(err.Error(), dump) {
		t.Errorf("--live with a dump = %v; want an error that names it", err)
	}
	if _, err := dead.files(nil); err == nil {
		t.Error("no files = nil; want an error")
	}
	var c crashLine
	if err := c.parse([]string{"--kaslr=0x1000000", "--machdep", "phys_base=0x200000", "vmcore"}); err != nil || c.o.kaslr.n != 1<<24 || c.o.phys.n != 2<<20 {
		t.Errorf("parse = %v, %#x, %#x; want both numbers", err, c.o.kaslr.n, c.o.phys.n)
	}
}
