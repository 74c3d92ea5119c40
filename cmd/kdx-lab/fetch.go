package main

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// kernel is an unpacked kernel package.
type kernel struct {
	pin
	got string // the release that is there: the pin, or the newest of its series
	dir string
}

func (k kernel) vmlinuz() string { return filepath.Join(k.dir, "boot", "vmlinuz-"+k.got) }
func (k kernel) modules() string { return filepath.Join(k.dir, "lib", "modules", k.got, "kernel") }

// vmlinux is the file with symbols and DWARF, or "" if only the image was fetched. Newer packages keep it with the modules.
func (k kernel) vmlinux() string {
	for _, p := range []string{
		filepath.Join(k.dir, "usr/lib/debug/boot/vmlinux-"+k.got),
		filepath.Join(k.dir, "usr/lib/debug/lib/modules", k.got, "vmlinux"),
	} {
		if exists(p) {
			return p
		}
	}
	return ""
}

func runFetch(ctx context.Context, l *lab, args []string) error {
	fs := flags(l, "fetch")
	noDebug := fs.Bool("no-debug", false, "leave out the debug package (vmlinux): kdx does not need it, references do")
	if err := parse(fs, args); err != nil {
		return err
	}
	names := fs.Args()
	if len(names) == 0 {
		pins, err := l.pins()
		if err != nil {
			return err
		}
		for _, p := range pins {
			names = append(names, p.name)
		}
	}
	for _, name := range names {
		k, err := l.fetch(ctx, name, !*noDebug)
		if err != nil {
			return err
		}
		fmt.Fprintf(l.stdout, "%s\t%s\t%s\n", k.name, k.got, k.vmlinuz())
	}
	return nil
}

// fetch makes sure that a kernel lies unpacked in the lab, with its debug files if debug is set. What is there is kept, also
// when its version has left the archive.
func (l *lab) fetch(ctx context.Context, name string, debug bool) (kernel, error) {
	p, err := l.pin(name)
	if err != nil {
		return kernel{}, err
	}
	if k := l.at(p, p.release); k.complete(debug) {
		return k, nil
	}
	if err := need(map[string]string{"apt-get": "apt", "dpkg-deb": "dpkg"}); err != nil {
		return kernel{}, err
	}
	a, err := l.aptFor(ctx, p.suite)
	if err != nil {
		return kernel{}, fmt.Errorf("%s: %w", name, err)
	}
	packages, err := a.packages(ctx)
	if err != nil {
		return kernel{}, fmt.Errorf("%s: %w", name, err)
	}
	release, err := choose(p, packages)
	if err != nil {
		return kernel{}, err
	}
	if release != p.release {
		l.logf("%s: %s has left the archive, taking %s", name, p.release, release)
	}
	k := l.at(p, release)
	if k.complete(debug) {
		return k, nil
	}
	if err := l.unpack(ctx, a, k, kernelPackages(release, packages, debug)); err != nil {
		return kernel{}, fmt.Errorf("%s: %w", release, err)
	}
	if debug && k.vmlinux() == "" {
		return kernel{}, fmt.Errorf("%s: the debug package has no vmlinux where one was expected", release)
	}
	return k, nil
}

// at is the kernel of a release in the lab, whether or not it is there.
func (l *lab) at(p pin, release string) kernel {
	return kernel{pin: p, got: release, dir: filepath.Join(l.dir, "k", release)}
}

// complete says whether a kernel lies in the lab with what is asked for.
func (k kernel) complete(debug bool) bool {
	return exists(k.vmlinuz()) && exists(k.modules()) && (!debug || k.vmlinux() != "")
}

// choose takes the pin if the archive still has it with its debug package, else the newest release of the series.
func choose(p pin, packages []string) (string, error) {
	var releases []string
	for _, pkg := range packages {
		r, ok := strings.CutPrefix(pkg, "linux-image-")
		if !ok || !slices.Contains(packages, pkg+"-dbg") {
			continue
		}
		if match, _ := path.Match(p.series, r); match && strings.Count(r, ".") >= 2 { // linux-image-6.12-cloud-amd64 only points at a release
			releases = append(releases, r)
		}
	}
	if slices.Contains(releases, p.release) {
		return p.release, nil
	}
	if len(releases) == 0 {
		return "", fmt.Errorf("%s: %s has neither %s nor any %s with debug files; update testdata/lab/kernels", p.name, p.suite, p.release, p.series)
	}
	return slices.MaxFunc(releases, natural), nil
}

// kernelPackages picks the packages of one release; how a kernel is cut into packages differs by suite.
func kernelPackages(release string, packages []string, debug bool) []string {
	var out []string
	for _, pkg := range packages {
		switch {
		case pkg == "linux-image-"+release+"-dbg":
			if debug {
				out = append(out, pkg)
			}
		case pkg == "linux-image-"+release, pkg == "linux-modules-"+release, pkg == "linux-binary-"+release, pkg == "linux-base-"+release:
			out = append(out, pkg)
		}
	}
	return out
}

// unpack downloads packages and unpacks them as the kernel's directory, which appears whole or not at all.
func (l *lab) unpack(ctx context.Context, a apt, k kernel, packages []string) error {
	if err := os.MkdirAll(filepath.Dir(k.dir), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(k.dir), ".making-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(tmp)
	l.logf("%s: fetching %s", k.got, strings.Join(packages, " "))
	debs, root := filepath.Join(tmp, "debs"), filepath.Join(tmp, "root")
	for _, d := range []string{debs, root} {
		if err := os.Mkdir(d, 0o755); err != nil {
			return err
		}
	}
	if err := a.download(ctx, debs, packages); err != nil {
		return err
	}
	files, _ := filepath.Glob(filepath.Join(debs, "*.deb"))
	for _, deb := range files {
		if _, err := output(ctx, "", "dpkg-deb", "-x", deb, root); err != nil {
			return err
		}
	}
	if err := tidy(root, k.got); err != nil {
		return err
	}
	if err := os.RemoveAll(k.dir); err != nil {
		return err
	}
	return os.Rename(root, k.dir)
}

// tidy gives every kernel the same places: suites with a merged /usr ship usr/lib/modules, older ones lib/modules, and the newest
// keep vmlinuz with the modules.
func tidy(root, release string) error {
	if lib := filepath.Join(root, "lib"); !exists(lib) {
		if err := os.Symlink("usr/lib", lib); err != nil {
			return err
		}
	}
	boot := filepath.Join(root, "boot")
	vmlinuz := filepath.Join(boot, "vmlinuz-"+release)
	if exists(vmlinuz) {
		return nil
	}
	if !exists(filepath.Join(root, "lib", "modules", release, "vmlinuz")) {
		return fmt.Errorf("the packages of %s hold no vmlinuz", release)
	}
	if err := os.MkdirAll(boot, 0o755); err != nil {
		return err
	}
	return os.Symlink(filepath.Join("..", "lib", "modules", release, "vmlinuz"), vmlinuz)
}
