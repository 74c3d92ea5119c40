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
		out, err := p.run(ctx, nil, c...)
		if err != nil {
			return err
		}
		line, _, _ := strings.Cut(strings.TrimSpace(string(out)), "\n")
		fmt.Fprintln(l.stdout, line)
	}
	return nil
}

// peers makes the chroot if it is not there.
func (l *lab) peers(ctx context.Context) (peers, error) {
	p := peers{root: filepath.Join(l.dir, "sid")}
	if !exists(filepath.Join(p.root, "usr/bin/makedumpfile")) {
		if err := need(map[string]string{"debootstrap": "debootstrap", "unshare": "util-linux"}); err != nil {
			return p, err
		}
		m, err := hostMirrors()
		if err != nil {
			return p, err
		}
		l.logf("installing crash, drgn and makedumpfile of sid into %s", p.root)
		if err := os.RemoveAll(p.root); err != nil { // what an interrupted run left
			return p, err
		}
		if _, err := output(ctx, "", "debootstrap", "--variant=minbase", "sid", p.root, m.main); err != nil {
			return p, err
		}
		if _, err := p.run(ctx, nil, "env", "DEBIAN_FRONTEND=noninteractive", "apt-get", "install", "-y", "--no-install-recommends",
			"crash", "python3-drgn", "makedumpfile", "gdb"); err != nil {
			return p, err
		}
	}
	root, err := filepath.EvalSymlinks(p.root)
	p.root = root
	return p, err
}

// run runs a program in the chroot, where these directories of the machine, and /proc and /dev, are visible at their own paths. They
// are mounted in a namespace that ends with the program: a mount that stayed could be deleted through.
func (p peers) run(ctx context.Context, visible []string, args ...string) ([]byte, error) {
	const script = `set -e
root=$1 n=$2
shift 2
while [ "$n" -gt 0 ]; do mkdir -p "$root$1"; mount --bind "$1" "$root$1"; shift; n=$((n - 1)); done
exec chroot "$root" "$@"`
	visible = append([]string{"/proc", "/dev"}, visible...)
	line := append([]string{"--mount", "sh", "-c", script, "sh", p.root, fmt.Sprint(len(visible))}, visible...)
	return output(ctx, "", "unshare", append(line, args...)...)
}
