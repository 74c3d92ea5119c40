package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/gzip"
)

// captureGuest is the root file system of a guest that kdx arms: busybox, the kernel's image, its modules, kdx and kdx-init, and
// nothing of a distribution.
type captureGuest struct {
	c         *cpioWriter
	set       *moduleSet
	k         kernel
	dir       string          // the scenario's on this machine
	port      int             // of the scenario's server
	libraries map[string]bool // that are there
}

// armedInitrd writes it.
func (l *lab) armedInitrd(ctx context.Context, c *captured, k kernel, out string) error {
	helper, err := l.buildHelper(ctx)
	if err != nil {
		return err
	}
	first, err := l.build(ctx, "kdx-init")
	if err != nil {
		return err
	}
	f, err := os.Create(out)
	if err != nil {
		return err
	}
	defer f.Close()
	z, err := gzip.NewWriterLevel(f, gzip.BestSpeed)
	if err != nil {
		return err
	}
	g := &captureGuest{c: newCpioWriter(z), k: k, dir: c.dir, port: c.port, libraries: map[string]bool{}}
	if err := l.addBase(g.c); err != nil {
		return err
	}
	for _, script := range []string{"init.sh", "workload.sh"} {
		g.c.file(script, 0o755, l.data("guest", script))
	}
	g.c.symlink("init", "init.sh")
	g.c.file("bin/kdx-lab", 0o755, helper)
	g.c.file("bin/kdx", 0o755, c.kdx)
	g.c.file("bin/kdx-init", 0o755, first)
	g.c.file("boot/vmlinuz", 0o644, k.vmlinuz())
	words := strings.NewReplacer("PORT", fmt.Sprint(c.port), "SERVERDIR", filepath.Join(c.dir, "ssh", "dumps"))
	g.c.bytes("arm.sh", 0o755, []byte(words.Replace(c.sc.arm)))
	g.c.bytes("collect.sh", 0o755, []byte(c.sc.collect))
	if err := g.addModules(ctx, c.sc); err != nil {
		return err
	}
	if c.sc.files != nil {
		if err := c.sc.files(ctx, l, g); err != nil {
			return err
		}
	}
	return errors.Join(g.c.close(), z.Close(), f.Close())
}

// addModules adds those that the guest loads, unpacked, and the tree in which kdx finds its own, as the package has it.
func (g *captureGuest) addModules(ctx context.Context, sc *scenario) error {
	var err error
	if g.set, err = newModuleSet(g.k); err != nil {
		return err
	}
	for _, m := range append(sc.modules, guestModules...) {
		if err := g.set.add(ctx, m); err != nil {
			return err
		}
	}
	var order strings.Builder
	for _, m := range g.set.order {
		g.c.bytes("modules/"+m.name+".ko", 0o644, m.data)
		fmt.Fprintln(&order, m.name)
	}
	g.c.bytes("modules/order", 0o644, []byte(order.String()))

	tree, err := newModuleSet(g.k)
	if err != nil {
		return err
	}
	for _, m := range sc.moduleTree {
		if err := tree.add(ctx, m); err != nil {
			return err
		}
	}
	base := filepath.Dir(g.k.modules())
	for _, m := range tree.order {
		if err := g.addFrom(base, tree.path[m.name]); err != nil {
			return err
		}
	}
	for _, name := range []string{"modules.builtin", "modules.builtin.modinfo", "modules.order"} {
		if exists(filepath.Join(base, name)) {
			if err := g.addFrom(base, filepath.Join(base, name)); err != nil {
				return err
			}
		}
	}
	return nil
}

// addFrom adds a file of the tree of modules at its place.
func (g *captureGuest) addFrom(base, path string) error {
	rel, err := filepath.Rel(base, path)
	if err != nil {
		return err
	}
	return g.add("lib/modules/"+g.k.got+"/"+rel, path)
}

func (g *captureGuest) add(name, from string) error {
	st, err := os.Stat(from)
	if err != nil {
		return err
	}
	g.c.file(name, st.Mode().Perm(), from)
	return g.c.err
}

// program adds one of this machine's programs, and the libraries that it is linked with.
func (g *captureGuest) program(ctx context.Context, name string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return err
	}
	if err := g.add("bin/"+name, path); err != nil {
		return err
	}
	said, err := output(ctx, "", "ldd", path)
	if err != nil {
		return err
	}
	for _, word := range strings.Fields(string(said)) {
		if !strings.HasPrefix(word, "/") || g.libraries[word] {
			continue
		}
		g.libraries[word] = true
		if err := g.add(word, word); err != nil {
			return err
		}
	}
	return nil
}
