package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// peers is a chroot with the newest tools that read dumps: those of a stable release are too old for the newest kernels.
type peers struct {
	root string
}

func runPeers(ctx context.Context, l *lab, args []string) error {
	if err := parse(flags(l, "peers"), args); err != nil {
		return err
	}
	p, err := l.peers(ctx)
	if err != nil {
		return err
	}
	for _, c := range [][]string{{"crash", "--version"}, {"drgn", "--version"}, {"makedumpfile", "-v"}} {
		out, err := p.run(ctx, c...)
		if err != nil {
			return err
		}
		line, _, _ := strings.Cut(string(out), "\n")
		fmt.Fprintln(l.stdout, strings.TrimSpace(line))
	}
	return nil
}

// peers makes the chroot if it is not there, and makes the lab visible inside at the same path.
func (l *lab) peers(ctx context.Context) (peers, error) {
	p := peers{root: filepath.Join(l.dir, "sid")}
	if !exists(filepath.Join(p.root, "usr/bin/makedumpfile")) {
		if err := need(map[string]string{"debootstrap": "debootstrap"}); err != nil {
			return p, err
		}
		m, err := hostMirrors()
		if err != nil {
			return p, err
		}
		l.logf("installing crash, drgn and makedumpfile of sid into %s", p.root)
		if _, err := output(ctx, "", "debootstrap", "--variant=minbase", "sid", p.root, m.main); err != nil {
			return p, err
		}
		if _, err := p.run(ctx, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends",
			"crash", "python3-drgn", "makedumpfile"); err != nil {
			return p, err
		}
	}
	root, err := filepath.EvalSymlinks(p.root)
	if err != nil {
		return p, err
	}
	p.root = root
	for _, dir := range []string{"/proc", "/dev", l.dir} {
		if err := p.bind(ctx, dir); err != nil {
			return p, err
		}
	}
	return p, nil
}

// bind makes a directory of the machine visible in the chroot. What is mounted there stays: it costs nothing, and unmounting
// would pull it from under another run.
func (p peers) bind(ctx context.Context, dir string) error {
	inside := filepath.Join(p.root, dir)
	here, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if there, err := os.Stat(inside); err == nil && os.SameFile(here, there) {
		return nil
	}
	if err := os.MkdirAll(inside, 0o755); err != nil {
		return err
	}
	_, err = output(ctx, "", "mount", "--bind", dir, inside)
	return err
}

// run runs a program in the chroot.
func (p peers) run(ctx context.Context, args ...string) ([]byte, error) {
	return output(ctx, "", "chroot", append([]string{p.root}, args...)...)
}
