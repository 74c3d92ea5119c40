package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// apt asks the archive through the apt programs, with lists of its own, so that the machine's stay as they are.
type apt struct {
	opts []string
}

// aptFor makes lists for a suite. The machine's own suite is asked with the machine's own sources; for another one the mirrors
// are those that the machine's sources name.
func (l *lab) aptFor(ctx context.Context, suite string) (apt, error) {
	state := filepath.Join(l.dir, "apt", suite)
	if err := os.MkdirAll(filepath.Join(state, "lists", "partial"), 0o755); err != nil {
		return apt{}, err
	}
	// A mirror may lag behind, or be a snapshot; its signatures still hold.
	a := apt{opts: []string{
		"-oAcquire::Check-Valid-Until=false",
		"-oDir::State::Lists=" + filepath.Join(state, "lists"),
		"-oDir::Cache::pkgcache=", "-oDir::Cache::srcpkgcache=", "-oAcquire::Languages=none", "-oAPT::Sandbox::User=root",
	}}
	if suite != hostSuite() {
		m, err := hostMirrors()
		if err != nil {
			return apt{}, err
		}
		list := filepath.Join(state, "sources.list")
		if err := os.WriteFile(list, []byte(m.sources(suite)), 0o644); err != nil {
			return apt{}, err
		}
		a.opts = append(a.opts, "-oDir::Etc::sourcelist="+list, "-oDir::Etc::sourceparts=/dev/null")
	}
	// Errors of one source among several (a security suite that moved) leave the others usable: what counts is whether the
	// packages are found.
	if _, err := output(ctx, "", "apt-get", append(a.opts, "update")...); err != nil {
		l.logf("suite %s: %v", suite, err)
	}
	return a, nil
}

// packages lists the names of all kernel packages.
func (a apt) packages(ctx context.Context) ([]string, error) {
	out, err := output(ctx, "", "apt-cache", append(a.opts, "pkgnames", "linux-")...)
	if err != nil {
		return nil, err
	}
	names := strings.Fields(string(out))
	slices.Sort(names)
	return slices.Compact(names), nil
}

func (a apt) download(ctx context.Context, dir string, packages []string) error {
	_, err := output(ctx, dir, "apt-get", append(append(slices.Clone(a.opts), "download"), packages...)...)
	return err
}

// hostSuite is the codename of the machine's own Debian, or "".
func hostSuite() string {
	text, err := os.ReadFile("/etc/os-release")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(text)) {
		if v, ok := strings.CutPrefix(strings.TrimSpace(line), "VERSION_CODENAME="); ok {
			return strings.Trim(v, `"`)
		}
	}
	return ""
}

// mirrors are the archives that the machine fetches Debian from.
type mirrors struct {
	main, security string
}

func hostMirrors() (mirrors, error) {
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*")
	var text strings.Builder
	for _, f := range append([]string{"/etc/apt/sources.list"}, files...) {
		b, err := os.ReadFile(f)
		if err != nil {
			continue
		}
		text.Write(b)
		text.WriteByte('\n')
	}
	m := parseMirrors(text.String())
	if m.main == "" {
		return m, errors.New("the apt sources of this machine name no Debian mirror")
	}
	return m, nil
}

// parseMirrors finds the mirrors in apt sources of either style (deb lines, deb822).
func parseMirrors(sources string) mirrors {
	var m mirrors
	add := func(uri string) {
		base := strings.TrimRight(uri, "/")
		switch {
		case strings.HasSuffix(base, "debian-security"):
			if m.security == "" {
				m.security = base
			}
		case strings.HasSuffix(base, "/debian"):
			if m.main == "" {
				m.main = base
			}
		}
	}
	for line := range strings.Lines(sources) {
		line = strings.TrimSpace(line)
		if uris, ok := strings.CutPrefix(line, "URIs:"); ok {
			for _, u := range strings.Fields(uris) {
				add(u)
			}
			continue
		}
		f := strings.Fields(line)
		if len(f) < 3 || f[0] != "deb" {
			continue
		}
		f = f[1:]
		if strings.HasPrefix(f[0], "[") { // options, which may hold spaces
			for len(f) > 1 && !strings.HasSuffix(f[0], "]") {
				f = f[1:]
			}
			f = f[1:]
		}
		if len(f) > 0 {
			add(f[0])
		}
	}
	return m
}

// sources writes the apt sources of a suite.
func (m mirrors) sources(suite string) string {
	s := fmt.Sprintf("deb %s %s main\n", m.main, suite)
	if m.security != "" && suite != "sid" && suite != "unstable" && suite != "experimental" {
		s += fmt.Sprintf("deb %s %s-security main\n", m.security, suite)
	}
	return s
}
