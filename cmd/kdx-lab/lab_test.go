package main

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestParsePins(t *testing.T) {
	pins, err := parsePins(strings.NewReader("# c\n6.1 bookworm 6.1.0-5-cloud-amd64 6.1.*-cloud-amd64 # x\n\n"))
	want := []pin{{"6.1", "bookworm", "6.1.0-5-cloud-amd64", "6.1.*-cloud-amd64"}}
	if err != nil || !cmp.Equal(pins, want, cmp.AllowUnexported(pin{})) {
		t.Errorf("parsePins = %v, %v; want %v", pins, err, want)
	}
	for _, bad := range []string{"6.1 bookworm\n", "6.1 bookworm x [\n"} {
		if _, err := parsePins(strings.NewReader(bad)); err == nil {
			t.Errorf("parsePins(%q) = nil error", bad)
		}
	}
}

func TestPinsOfCheckout(t *testing.T) {
	l, err := newLab(&bytes.Buffer{}, &bytes.Buffer{})
	if err != nil {
		t.Fatal(err)
	}
	pins, err := l.pins()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range pins {
		if ok, _ := filepath.Match(p.series, p.release); !ok {
			t.Errorf("%s: the pin %s is not of its own series %s", p.name, p.release, p.series)
		}
	}
}

func TestChoose(t *testing.T) {
	p := pin{"6.1", "bookworm", "6.1.0-9-cloud-amd64", "6.1.*-cloud-amd64"}
	tests := []struct {
		name     string
		packages []string
		want     string
	}{
		{"pin", []string{"linux-image-6.1.0-9-cloud-amd64", "linux-image-6.1.0-9-cloud-amd64-dbg", "linux-image-6.1.0-10-cloud-amd64", "linux-image-6.1.0-10-cloud-amd64-dbg"}, "6.1.0-9-cloud-amd64"},
		{"newest", []string{"linux-image-6.1.0-10-cloud-amd64", "linux-image-6.1.0-10-cloud-amd64-dbg", "linux-image-6.1.0-8-cloud-amd64", "linux-image-6.1.0-8-cloud-amd64-dbg"}, "6.1.0-10-cloud-amd64"},
		{"without debug files", []string{"linux-image-6.1.0-11-cloud-amd64", "linux-image-6.1.0-8-cloud-amd64", "linux-image-6.1.0-8-cloud-amd64-dbg"}, "6.1.0-8-cloud-amd64"},
		{"none", []string{"linux-image-6.12.1-cloud-amd64", "linux-image-6.12.1-cloud-amd64-dbg", "linux-image-6.1-cloud-amd64"}, ""},
	}
	for _, tt := range tests {
		got, err := choose(p, tt.packages)
		if got != tt.want || (err == nil) != (tt.want != "") {
			t.Errorf("%s: choose = %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestNatural(t *testing.T) {
	order := []string{"5.10.0-32", "6.1.0-9", "6.1.0-10", "6.12.9+deb12", "6.12.117+deb12", "7.2.13"}
	for i := range order {
		for j := range order {
			if got := natural(order[i], order[j]); (got < 0) != (i < j) || (got == 0) != (i == j) {
				t.Errorf("natural(%q, %q) = %d", order[i], order[j], got)
			}
		}
	}
}

func TestParseMirrors(t *testing.T) {
	tests := []struct{ name, text, main, security string }{
		{"deb822", "Types: deb\nURIs: http://m.example/debian\nSuites: x\n\nURIs: http://s.example/debian-security/\n", "http://m.example/debian", "http://s.example/debian-security"},
		{"lines", "# deb http://no.example/debian x main\ndeb [arch=amd64 signed-by=/k] http://m.example/debian/ x main\ndeb http://s.example/debian-security x-security main\n", "http://m.example/debian", "http://s.example/debian-security"},
		{"strangers", "deb https://packages.example/apt cloud main\nURIs: https://other.example/node_20.x\n", "", ""},
		{"open bracket", "deb [arch=amd64\n", "", ""},
	}
	for _, tt := range tests {
		if got := parseMirrors(tt.text); got.main != tt.main || got.security != tt.security {
			t.Errorf("%s: parseMirrors = %+v; want %q, %q", tt.name, got, tt.main, tt.security)
		}
	}
	m := mirrors{"http://m.example/debian", "http://m.example/debian-security"}
	if got := m.sources("sid"); strings.Contains(got, "security") {
		t.Errorf("sources(sid) = %q: sid has no security suite", got)
	}
}

// TestCpio lets cpio itself read what we write.
func TestCpio(t *testing.T) {
	if _, err := exec.LookPath("cpio"); err != nil {
		t.Skip("no cpio")
	}
	var buf bytes.Buffer
	c := newCpioWriter(&buf)
	c.bytes("a/b/file", 0o644, []byte("12345"))
	c.symlink("a/link", "b/file")
	if err := c.close(); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("cpio", "-itv", "--quiet")
	cmd.Stdin = &buf
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("cpio: %v: %s", err, out)
	}
	for _, want := range []string{"a/b\n", "a/b/file\n", "a/link -> b/file\n"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("cpio lists %q; want %q in it", out, want)
		}
	}
	if lines := strings.Count(string(out), "\n"); lines != 4 {
		t.Errorf("cpio lists %d entries; want 4:\n%s", lines, out)
	}
}

func TestRun(t *testing.T) {
	tests := []struct {
		args   []string
		status int
		stderr string
	}{
		{nil, 2, "kdx-lab fetch"},
		{[]string{"nonsense"}, 2, `no command "nonsense"`},
		{[]string{"crash", "--kernel", "1.0"}, 1, `no kernel "1.0"`},
		{[]string{"crash", "--way", "boredom"}, 1, `no way "boredom"`},
		{[]string{"crash", "--variant", "odd"}, 1, `no variant "odd"`},
		{[]string{"fetch", "--bad"}, 2, "flag provided but not defined"},
		{[]string{"guest", "die", "sysrq"}, 1, "only inside a guest"},
		{[]string{"forms", os.DevNull}, 1, ""},
	}
	t.Setenv("KDX_LAB", t.TempDir())
	// Nothing here may reach for the network or QEMU: each case must fail before that.
	t.Setenv("PATH", t.TempDir())
	for _, tt := range tests {
		var out, errs bytes.Buffer
		if got := run(context.Background(), tt.args, &out, &errs); got != tt.status || !strings.Contains(errs.String(), tt.stderr) {
			t.Errorf("run(%q) = %d, %q; want %d, %q", tt.args, got, errs.String(), tt.status, tt.stderr)
		}
	}
}
