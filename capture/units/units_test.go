package units

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// TestFiles: nothing is left of placeholders, and each unit names what is there.
func TestFiles(t *testing.T) {
	list, err := Default().Files()
	if err != nil {
		t.Fatal(err)
	}
	names := map[string]string{}
	for _, f := range list {
		names[f.Name] = f.Text
		if strings.Contains(f.Text, "@") {
			t.Errorf("%s has a placeholder left:\n%s", f.Name, f.Text)
		}
		if !strings.HasSuffix(f.Name, ".rules") && !strings.Contains(f.Text, "Documentation=man:kdx") {
			t.Errorf("%s names no page", f.Name)
		}
	}
	if !strings.Contains(names["98-kdx-capture.rules"], "/usr/bin/systemd-run --quiet") || !strings.Contains(names["98-kdx-capture.rules"], "/usr/local/sbin/kdx capture reload --throttle") {
		t.Errorf("the rules load nothing again: %s", names["98-kdx-capture.rules"])
	}
	for _, bad := range []string{"kdx", "/opt/my kdx", "/opt/%n", ""} {
		p := Default()
		p.Kdx = bad
		if _, err := p.Files(); err == nil {
			t.Errorf("kdx at %q is taken", bad)
		}
	}
}

func TestInstall(t *testing.T) {
	p := Default()
	p.Root = t.TempDir()
	done, err := p.Install()
	if err != nil || len(done) < 4 {
		t.Fatalf("Install = %v, %v", done, err)
	}
	if again, err := p.Install(); err != nil || len(again) != 0 {
		t.Errorf("the second time wrote %v, %v", again, err)
	}
	service := filepath.Join(p.Root, "/etc/systemd/system/kdx-capture.service")
	if err := os.WriteFile(service, []byte("mine"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Remove(); err == nil || !strings.Contains(err.Error(), service) {
		t.Errorf("Remove of a changed unit: %v", err)
	}
	os.Remove(service)
	if err := os.Symlink("/dev/null", service); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Install(); err == nil || !strings.Contains(err.Error(), "masked") {
		t.Errorf("Install over a masked unit: %v", err)
	}
	os.Remove(service)
	if _, err := p.Remove(); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(p.Root, "etc/*/*/*")); len(left) > 0 {
		t.Errorf("left there: %v", left)
	}
}
