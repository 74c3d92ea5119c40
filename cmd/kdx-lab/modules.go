package main

import (
	"bytes"
	"context"
	"debug/elf"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// moduleSet finds the modules of a kernel and what they depend on. Kernel packages carry no modules.dep (depmod writes it on the
// machine where they are installed), so dependencies come from the modules themselves.
type moduleSet struct {
	path   map[string]string // name with _ for - → file
	loaded map[string]bool
	order  []module
}

// module is one that the guest loads, unpacked.
type module struct {
	name string
	data []byte
}

func moduleName(s string) string { return strings.ReplaceAll(s, "-", "_") }

func newModuleSet(k kernel) (*moduleSet, error) {
	s := &moduleSet{path: map[string]string{}, loaded: map[string]bool{}}
	err := filepath.WalkDir(k.modules(), func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base, _, ok := strings.Cut(d.Name(), ".ko"); ok && !d.IsDir() {
			s.path[moduleName(base)] = p
		}
		return nil
	})
	return s, err
}

// add puts a module after those it needs. A kernel that has no such module is fine: what one release builds as a module is built
// into another.
func (s *moduleSet) add(ctx context.Context, name string) error {
	name = moduleName(name)
	p, ok := s.path[name]
	if !ok || s.loaded[name] {
		return nil
	}
	s.loaded[name] = true
	data, err := readModule(ctx, p)
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	depends, err := moduleDepends(data)
	if err != nil {
		return fmt.Errorf("%s: %w", p, err)
	}
	for _, d := range depends {
		if err := s.add(ctx, d); err != nil {
			return err
		}
	}
	s.order = append(s.order, module{name, data})
	return nil
}

// readModule reads a module file, unpacked: the guest's busybox loads plain ones only.
func readModule(ctx context.Context, p string) ([]byte, error) {
	switch filepath.Ext(p) {
	case ".xz":
		return output(ctx, "", "xz", "-dc", p)
	case ".zst":
		return output(ctx, "", "zstd", "-dc", p)
	case ".gz":
		return output(ctx, "", "gzip", "-dc", p)
	}
	return os.ReadFile(p)
}

// moduleDepends reads "depends=a,b" of .modinfo.
func moduleDepends(data []byte) ([]string, error) {
	f, err := elf.NewFile(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	sec := f.Section(".modinfo")
	if sec == nil {
		return nil, fmt.Errorf("no .modinfo")
	}
	info, err := sec.Data()
	if err != nil {
		return nil, err
	}
	for _, kv := range bytes.Split(info, []byte{0}) {
		if v, ok := strings.CutPrefix(string(kv), "depends="); ok && v != "" {
			return strings.Split(v, ","), nil
		}
	}
	return nil, nil
}
