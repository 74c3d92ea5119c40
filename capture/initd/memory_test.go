package initd

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
)

func TestAllow(t *testing.T) {
	for _, tt := range []struct {
		available  uint64
		err        error
		configured uint64
	}{{available: 20 * mib}, {available: 35 * mib}, {available: 70 * mib}, {available: 2000 * mib}, {available: 1}, {err: errors.New("x")}, {available: 70 * mib, configured: 20 * mib}} {
		a := allow(meminfo{available: tt.available}, tt.err, tt.configured)
		if a.Hard < least || a.Soft < least/2 || a.Soft >= a.Hard || a.Soft > roomy {
			t.Errorf("%+v: %+v", tt, a)
		}
		if tt.available > 16*mib && (a.Hard > tt.available-4*mib || tt.configured > 0 && a.Hard > tt.configured) {
			t.Errorf("%+v: %+v", tt, a)
		}
	}
}

func TestMeminfo(t *testing.T) {
	dir := t.TempDir()
	for text, ok := range map[string]bool{
		"MemTotal:  10 kB\nMemFree: 5 kB\nMemAvailable: 6 kB\n": true, "": false, "MemTotal: x kB\n": false, "MemTotal: 10 kB\n": false,
	} {
		path := filepath.Join(dir, "meminfo")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := readMeminfo(path); (err == nil) != ok || ok && m != (meminfo{10 << 10, 5 << 10, 6 << 10}) {
			t.Errorf("%q: %+v, %v", text, m, err)
		}
	}
}
