// Package units holds the systemd units and udev rules that keep a host armed.
package units

import (
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kdx/internal/atomicfile"
)

//go:embed files
var files embed.FS

// Paths says what stands in the units, and where they go.
type Paths struct {
	// Root is put before everything that is written: "" is this host.
	Root string
	// Kdx is the program, as an absolute path on the host; SystemdRun is systemd's.
	Kdx, SystemdRun string
	// Units is the folder of systemd's units, Rules that of udev's rules.
	Units, Rules string
}

// Default are the paths of a host where kdx was not installed by a package.
func Default() Paths {
	return Paths{Kdx: "/usr/local/sbin/kdx", SystemdRun: "/usr/bin/systemd-run", Units: "/etc/systemd/system", Rules: "/etc/udev/rules.d"}
}

// File is a unit or a file of rules with paths put in.
type File struct {
	Name string `json:"name"`
	// Path is where it belongs.
	Path string `json:"path"`
	Text string `json:"text"`
}

// Files lists all, by name.
func (p Paths) Files() ([]File, error) {
	for _, x := range []struct{ what, path string }{{"kdx", p.Kdx}, {"systemd-run", p.SystemdRun}, {"the folder of units", p.Units}, {"the folder of rules", p.Rules}} {
		if !filepath.IsAbs(x.path) || strings.ContainsAny(x.path, " \t\n\"'\\%$") {
			return nil, fmt.Errorf("the path of %s must be absolute, without blanks and quotes: %q", x.what, x.path)
		}
	}
	entries, err := files.ReadDir("files")
	if err != nil {
		return nil, err
	}
	var out []File
	for _, e := range entries {
		b, err := files.ReadFile("files/" + e.Name())
		if err != nil {
			return nil, err
		}
		dir := p.Units
		if strings.HasSuffix(e.Name(), ".rules") {
			dir = p.Rules
		}
		text := strings.NewReplacer("@KDX@", p.Kdx, "@SYSTEMD_RUN@", p.SystemdRun).Replace(string(b))
		out = append(out, File{e.Name(), filepath.Join(dir, e.Name()), text})
	}
	return out, nil
}

// Install writes all files below Root, those that are the same already excepted. It returns what was written.
func (p Paths) Install() ([]string, error) {
	list, err := p.Files()
	if err != nil {
		return nil, err
	}
	var done []string
	for _, f := range list {
		path := filepath.Join(p.Root, f.Path)
		if old, err := os.ReadFile(path); err == nil && string(old) == f.Text {
			continue
		}
		if err := write(path, f.Text); err != nil {
			return done, err
		}
		done = append(done, f.Path)
	}
	return done, nil
}

func write(path, text string) error {
	if fi, err := os.Lstat(path); err == nil && !fi.Mode().IsRegular() {
		return fmt.Errorf("%s is no regular file (masked?): it is left as it is", path)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteFile(path, []byte(text), 0o644)
}

// Remove takes away what Install writes, if it is still that.
func (p Paths) Remove() ([]string, error) {
	list, err := p.Files()
	if err != nil {
		return nil, err
	}
	var done []string
	for _, f := range list {
		path := filepath.Join(p.Root, f.Path)
		b, err := os.ReadFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			return done, err
		case string(b) != f.Text:
			return done, fmt.Errorf("%s is not as kdx installed it: it is left there", path)
		}
		if err := os.Remove(path); err != nil {
			return done, err
		}
		done = append(done, f.Path)
	}
	return done, nil
}
