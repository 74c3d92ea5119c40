package kmod

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"

	"kdx/internal/nearest"
)

// Index knows the modules of one kernel by the names of their files. What a module says is read when it is needed.
type Index struct {
	// Dir is the kernel's tree, such as /lib/modules/6.12.117.
	Dir   string
	files map[string]string // path by name
	// builtin are modules that are part of the kernel's image, by name, with what they say as far as the kernel's build recorded it.
	builtin map[string]*Info
	// BuiltinKnown says that there was a list of them.
	BuiltinKnown bool

	mu    sync.Mutex
	infos map[string]*Info
	// indexed is modules.alias; nil until it is asked for.
	indexed []alias
}

type alias struct{ pattern, module string }

// TreeOf finds the modules of a release below root ("" for this host's).
func TreeOf(root, release string) (string, error) {
	if release == "" || strings.ContainsAny(release, "/\x00") || release == "." || release == ".." {
		return "", fmt.Errorf("%q is no release of a kernel", release)
	}
	var tried []string
	for _, d := range []string{"/lib/modules", "/usr/lib/modules"} {
		dir := filepath.Join(root, d, release)
		if st, err := os.Stat(dir); err == nil && st.IsDir() {
			return dir, nil
		}
		tried = append(tried, dir)
	}
	return "", fmt.Errorf("there are no modules of kernel %s: neither %s is a directory", release, strings.Join(tried, " nor "))
}

// maxFiles bounds a tree; distributions have 7,000 modules at most.
const maxFiles = 100_000

// Open indexes a kernel's tree of modules. Updates come before the kernel's own, as depmod does by default (updates, then extra and
// weak-updates, then kernel).
func Open(dir string) (*Index, error) {
	x := &Index{Dir: dir, files: map[string]string{}, builtin: map[string]*Info{}, infos: map[string]*Info{}}
	n := 0
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return nil, fmt.Errorf("modules of the kernel: %w", err)
	}
	err = filepath.WalkDir(real, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name := d.Name(); path != real && (name == "build" || name == "source") {
				return fs.SkipDir
			}
			return nil
		}
		name := NameOf(path)
		if name == "" {
			return nil
		}
		if n++; n > maxFiles {
			return fmt.Errorf("more than %d modules", maxFiles)
		}
		if d.Type()&fs.ModeSymlink != 0 { // weak-updates links to another kernel's
			if st, err := os.Stat(path); err != nil || !st.Mode().IsRegular() {
				return nil
			}
		} else if !d.Type().IsRegular() {
			return nil
		}
		if old, ok := x.files[name]; !ok || x.rank(real, path) < x.rank(real, old) {
			x.files[name] = path
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("modules of the kernel: %w", err)
	}
	if err := x.readBuiltin(real); err != nil {
		return nil, err
	}
	return x, nil
}

// rank orders the places of modules that have the same name.
func (x *Index) rank(root, path string) int {
	rel, err := filepath.Rel(root, path)
	if err != nil {
		return 9
	}
	first, _, _ := strings.Cut(rel, "/")
	switch first {
	case "updates":
		return 0
	case "extra", "extramodules":
		return 1
	case "weak-updates":
		return 2
	}
	return 3
}

const maxList = 64 << 20

func readList(path string) ([]byte, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	if st.Size() > maxList {
		return nil, fmt.Errorf("%s has %d bytes, which no such file has", path, st.Size())
	}
	return os.ReadFile(path)
}

// readBuiltin reads modules.builtin (names of files) and modules.builtin.modinfo (what they say; 5.2).
func (x *Index) readBuiltin(dir string) error {
	b, err := readList(filepath.Join(dir, "modules.builtin"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	x.BuiltinKnown = err == nil
	for line := range strings.Lines(string(b)) {
		if name := NameOf(strings.TrimSpace(line)); name != "" {
			x.builtin[name] = &Info{Name: name}
		}
	}
	b, err = readList(filepath.Join(dir, "modules.builtin.modinfo"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	x.BuiltinKnown = true
	for s := range bytes.SplitSeq(b, []byte{0}) {
		who, value, ok := strings.Cut(string(s), "=")
		name, key, dotted := strings.Cut(who, ".")
		if !ok || !dotted {
			continue
		}
		name = Canonical(name)
		if x.builtin[name] == nil {
			x.builtin[name] = &Info{Name: name}
		}
		x.builtin[name].add(key, value)
	}
	return nil
}

// Names lists the modules that are files, sorted.
func (x *Index) Names() []string { return slices.Sorted(maps.Keys(x.files)) }

// Builtin says whether a module is part of the kernel's image.
func (x *Index) Builtin(name string) bool { return x.builtin[Canonical(name)] != nil }

// File is where a module lies; "" if there is none of that name.
func (x *Index) File(name string) string { return x.files[Canonical(name)] }

// Info reads what a module, which is a file, says of itself.
func (x *Index) Info(name string) (*Info, error) {
	name = Canonical(name)
	path := x.files[name]
	if path == "" {
		return nil, &MissingError{Name: name, Dir: x.Dir}
	}
	x.mu.Lock()
	info := x.infos[name]
	x.mu.Unlock()
	if info != nil {
		return info, nil
	}
	info, err := ReadInfo(path)
	if err != nil {
		return nil, err
	}
	x.mu.Lock()
	x.infos[name] = info
	x.mu.Unlock()
	return info, nil
}

// MissingError: a module is neither a file nor part of the kernel.
type MissingError struct {
	Name string
	// Of needs it; "" if it was asked for itself.
	Of   string
	Dir  string
	Near string // a name that may have been meant
}

func (e *MissingError) Error() string {
	s := "no module " + e.Name
	if e.Of != "" {
		s += ", which module " + e.Of + " needs,"
	}
	s += " in " + e.Dir + ", and it is not built into the kernel"
	if e.Near != "" {
		s += " (" + e.Near + "?)"
	}
	return s
}

func (x *Index) missing(name string) error {
	return &MissingError{Name: name, Dir: x.Dir, Near: nearest.Of(name, x.Names())}
}

// Resolve finds the modules that a name or an alias (a modalias of a device, "fs-xfs", "crypto-crc32c") stands for. builtin says that
// the kernel's image answers to it; then modules may be nil.
func (x *Index) Resolve(name string) (modules []string, builtin bool, err error) {
	c := Canonical(name)
	if x.files[c] != "" {
		return []string{c}, false, nil
	}
	if x.builtin[c] != nil {
		return nil, true, nil
	}
	for _, b := range slices.Sorted(maps.Keys(x.builtin)) {
		if slices.ContainsFunc(x.builtin[b].Aliases, func(p string) bool { return MatchAlias(p, name) }) {
			builtin = true
			break
		}
	}
	if builtin && !isModalias(name) { // one that answers to it is enough
		return nil, true, nil
	}
	if modules, err = x.byAlias(name); err != nil {
		return nil, builtin, err
	}
	if len(modules) == 0 && !builtin {
		return nil, false, x.missing(name)
	}
	return modules, builtin, nil
}

// isModalias tells names of devices from names that modules are asked for by.
func isModalias(name string) bool { return strings.Contains(name, ":") }

// byAlias asks modules.alias, where there is one, and believes it if the module says the same; else all modules are read.
func (x *Index) byAlias(name string) ([]string, error) {
	x.mu.Lock()
	if x.indexed == nil {
		x.indexed = readAliases(filepath.Join(x.Dir, "modules.alias"))
	}
	x.mu.Unlock()
	var out []string
	for _, a := range x.indexed {
		if x.files[a.module] == "" || slices.Contains(out, a.module) || !MatchAlias(a.pattern, name) {
			continue
		}
		info, err := x.Info(a.module)
		if err != nil {
			return nil, err
		}
		if slices.ContainsFunc(info.Aliases, func(p string) bool { return MatchAlias(p, name) }) {
			out = append(out, a.module)
		}
	}
	// A tree that depmod saw lists all names of hardware, and many devices have no driver: reading all modules for each takes seconds.
	if len(out) > 0 || len(x.indexed) > 0 && isModalias(name) {
		return out, nil
	}
	return x.scan(name, where(name)), nil
}

// where is the part of the tree that has the modules which answer to an alias; "" is all of it.
func where(name string) string {
	for prefix, dir := range map[string]string{"crypto-": "/crypto/", "fs-": "/fs/", "net-": "/net/", "nls_": "/fs/nls/", "xfrm-": "/net/"} {
		if strings.HasPrefix(name, prefix) {
			return dir
		}
	}
	return ""
}

func readAliases(path string) []alias {
	out := []alias{}
	b, err := readList(path)
	if err != nil {
		return out // depmod's files are a help, nothing more
	}
	for line := range strings.Lines(string(b)) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "alias" {
			out = append(out, alias{f[1], Canonical(f[2])})
		}
	}
	return out
}

// scan reads all modules below a part of the tree and returns those that answer to an alias. A module that can't be read is passed over:
// it can't be loaded either.
func (x *Index) scan(name, part string) []string {
	work := make(chan string)
	var mu sync.Mutex
	var out []string
	var wg sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		wg.Go(func() {
			for m := range work {
				info, err := x.Info(m)
				if err != nil || !slices.ContainsFunc(info.Aliases, func(p string) bool { return MatchAlias(p, name) }) {
					continue
				}
				mu.Lock()
				out = append(out, m)
				mu.Unlock()
			}
		})
	}
	for m, path := range x.files {
		if strings.Contains(path, part) {
			work <- m
		}
	}
	close(work)
	wg.Wait()
	slices.Sort(out)
	return out
}

// Module is one to be loaded.
type Module struct {
	*Info
	Path string
	// Optional: a soft dependency; what needs it works without, if less well.
	Optional bool
}

// Closure lists modules with all that they need, in the order in which they can be loaded. What is built in is left out. Names are those
// of modules or aliases.
func (x *Index) Closure(names ...string) ([]Module, error) {
	c := &closure{x: x, state: map[string]int{}}
	for _, n := range names {
		found, _, err := x.Resolve(n)
		if err != nil {
			return nil, err
		}
		for _, m := range found {
			if err := c.add(m, "", false); err != nil {
				return nil, err
			}
		}
	}
	return c.out, nil
}

type closure struct {
	x     *Index
	state map[string]int // index in out + 1; -1 while it is being added
	out   []Module
}

// add appends a module behind those that it needs. A loop, which the kernel's build refuses and soft dependencies may have, ends where it
// began.
func (c *closure) add(name, of string, optional bool) error {
	name = Canonical(name)
	if i := c.state[name]; i != 0 {
		if i > 0 && !optional {
			c.need(name)
		}
		return nil
	}
	if c.x.files[name] == "" {
		if c.x.builtin[name] != nil {
			return nil
		}
		return &MissingError{Name: name, Of: of, Dir: c.x.Dir}
	}
	info, err := c.x.Info(name)
	if err != nil {
		return err
	}
	c.state[name] = -1
	c.soft(info.Pre, name)
	for _, d := range info.Depends {
		if err := c.add(d, name, optional); err != nil {
			delete(c.state, name)
			return err
		}
	}
	c.out = append(c.out, Module{Info: info, Path: c.x.files[name], Optional: optional})
	c.state[name] = len(c.out)
	c.soft(info.Post, name)
	return nil
}

// soft adds what a module would like to have: what is not there is not missed.
func (c *closure) soft(names []string, of string) {
	for _, n := range names {
		found, _, err := c.x.Resolve(n)
		if err != nil {
			continue
		}
		for _, m := range found {
			c.add(m, of, true) //nolint:errcheck // see above
		}
	}
}

// need marks a module that was optional, and what it depends on, as needed.
func (c *closure) need(name string) {
	i := c.state[name]
	if i <= 0 || !c.out[i-1].Optional {
		return
	}
	c.out[i-1].Optional = false
	for _, d := range c.out[i-1].Depends {
		c.need(d)
	}
}

// None is the index of a kernel that has no tree of modules.
func None(release string) *Index {
	return &Index{Dir: "/lib/modules/" + release, files: map[string]string{}, builtin: map[string]*Info{}, infos: map[string]*Info{}}
}
