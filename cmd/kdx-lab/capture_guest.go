package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
)

// captureGuest is the root file system of a guest that kdx arms: busybox, the kernel's image, its modules, kdx and kdx-init, and
// nothing of a distribution.
type captureGuest struct {
	l         *lab
	c         *cpioWriter
	k         kernel
	dir       string          // the scenario's on this machine
	kdx       string          // the program
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
	return writeInitrd(out, func(w *cpioWriter) error {
		g := &captureGuest{l: l, c: w, k: k, dir: c.dir, kdx: c.kdx, port: c.port, libraries: map[string]bool{}}
		if err := l.addGuest(w, k, helper); err != nil {
			return err
		}
		w.file("bin/kdx", 0o755, c.kdx)
		w.file("bin/kdx-init", 0o755, first)
		words := strings.NewReplacer("PORT", fmt.Sprint(c.port), "SERVERDIR", filepath.Join(c.dir, "ssh", "dumps"))
		w.bytes("arm.sh", 0o755, []byte(words.Replace(c.sc.arm)))
		w.bytes("collect.sh", 0o755, []byte(c.sc.collect))
		w.bytes("size.sh", 0o755, []byte(sizing))
		if err := addLoaded(ctx, w, k, slices.Concat(c.sc.modules, guestModules)); err != nil {
			return err
		}
		if err := g.addTree(ctx, c.sc.moduleTree); err != nil || c.sc.files == nil {
			return err
		}
		return c.sc.files(ctx, l, g)
	})
}

// addTree adds the tree in which kdx finds modules, as the package has it.
func (g *captureGuest) addTree(ctx context.Context, modules []string) error {
	tree, err := newModuleSet(g.k)
	if err != nil {
		return err
	}
	for _, m := range modules {
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
		if !exists(filepath.Join(base, name)) {
			continue
		}
		if err := g.addFrom(base, filepath.Join(base, name)); err != nil {
			return err
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
