package analyze

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"os"
	"strings"
	"sync"

	"kdx/analyze/debugfiles"
	"kdx/analyze/module"
	"kdx/analyze/own"
	"kdx/symbols"
	"kdx/symbols/debuginfo"
	"kdx/symbols/dwarfinfo/vars"
	"kdx/symbols/objfile"
)

// moduleDebug is the debug information of loaded modules. A module's file is found by the first question about its code or names,
// or attached by its name, and relocated to where the module's sections lie. It implements kernel.ModuleFiles and, through the
// types below, the finders of lines, variables, types and unwind rows.
type moduleDebug struct {
	mods   *own.Modules
	kernel *kernelDebug
	opt    Options
	finder func() *debuginfo.Finder

	mu    sync.Mutex
	files map[string]*moduleFile // by the module's name
}

// moduleFile is a module's debug file, or why there is none.
type moduleFile struct {
	mu   sync.Mutex // held while it is looked for
	done bool
	file *debugFile
	err  error
}

func newModuleDebug(mods *own.Modules, kernel *kernelDebug, opt Options) *moduleDebug {
	d := &moduleDebug{mods: mods, kernel: kernel, opt: opt, files: make(map[string]*moduleFile)}
	d.finder = sync.OnceValue(func() *debuginfo.Finder { return d.search() })
	return d
}

// search looks for files in dirs first.
func (d *moduleDebug) search(dirs ...string) *debuginfo.Finder {
	files := d.opt.Debug.Files
	files.Log = d.opt.Log
	files.Files = nil // those were given for the kernel
	files.Dirs = append(dirs, files.Dirs...)
	want, _ := debugfiles.Want(d.opt.Debug.context(), d.mods.K(), d.opt.Debug.Dumps)
	return debuginfo.New(want, files)
}

func (d *moduleDebug) slot(name string) *moduleFile {
	d.mu.Lock()
	defer d.mu.Unlock()
	f := d.files[name]
	if f == nil {
		f = new(moduleFile)
		d.files[name] = f
	}
	return f
}

var errNotSearched = &symbols.NoTableError{Why: "no debug file of its module was attached (mod -s)"}

// of is a module's debug information.
func (d *moduleDebug) of(m *module.Module) (*debugFile, error) {
	s := d.slot(m.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.done {
		return s.file, s.err
	}
	if !d.opt.Debug.Search {
		return nil, errNotSearched
	}
	file, err := d.found(d.opt.Debug.context(), d.finder(), m)
	if errors.Is(err, context.Canceled) {
		return nil, err
	}
	s.done, s.file, s.err = true, file, err
	return file, err
}

// at is the debug information of the module that pc lies in.
func (d *moduleDebug) at(pc uint64) (*debugFile, error) {
	l, err := d.mods.At(pc)
	if err != nil {
		return nil, err
	}
	return d.of(l.Module)
}

// found looks for a module's file and opens it.
func (d *moduleDebug) found(ctx context.Context, finder *debuginfo.Finder, m *module.Module) (*debugFile, error) {
	id, _ := module.BuildID(d.mods.K().View(ctx), m) // without one its name leads to the file, and what the file says of itself is checked
	r, err := finder.Module(ctx, m.Name, id)
	if err != nil {
		return nil, err
	}
	if r.Best == nil || r.Best.Outcome != debuginfo.Match {
		r.Close()
		return nil, &symbols.NoTableError{Why: noModuleFile(m.Name, r)}
	}
	if r.Best.AltErr != nil {
		d.opt.Log.Warn(r.Best.AltErr.Error())
	}
	obj, err := objectOfFile(r.Best)
	if err != nil {
		return nil, err
	}
	return d.open(ctx, m, obj, r.Best.AltPath, d.opt.Force)
}

// noModuleFile says why none was found: there is none, or there are others.
func noModuleFile(name string, r *debuginfo.Result) string {
	why := "no debug file of module " + name + " is on this machine"
	for _, c := range r.Candidates {
		if c.Outcome != debuginfo.Absent && c.Outcome != debuginfo.Repeated {
			why += fmt.Sprintf("; %s: %s", c.Path, c.Outcome)
			if c.Why != "" {
				why += ": " + c.Why
			}
			break
		}
	}
	if r.Server != nil {
		why += "; debuginfod: " + r.Server.Error()
	}
	return why
}

// open checks and places a module's file.
func (d *moduleDebug) open(ctx context.Context, m *module.Module, obj *objfile.File, altPath string, force bool) (*debugFile, error) {
	v := d.mods.K().View(ctx)
	if err := placeModule(v, m, obj, d.mods.SymbolsNamed); err != nil {
		obj.Close()
		return nil, err
	}
	if err := checkModule(v, m, obj); err != nil {
		if !force {
			obj.Close()
			return nil, err
		}
		d.opt.Log.Warn("the module's debug file is used although it does not match", "err", err)
	}
	f, err := newDebugFile(obj, altPath, 0, dwarfName+":"+m.Name, d.opt.Debug, d.opt.Log)
	if err != nil {
		obj.Close()
		return nil, err
	}
	f.vars.SetPeers(d.peer)
	return f, nil
}

// peer is who knows the variables of the code at pc, nil if nobody does.
func (d *moduleDebug) peer(pc uint64) *vars.Finder {
	f, err := d.at(pc)
	if errors.Is(err, symbols.ErrNotFound) {
		f, err = d.kernel.open()
	}
	if err != nil {
		return nil
	}
	return f.vars
}

// named is the loaded module of that name.
func (d *moduleDebug) named(name string) (*module.Module, error) {
	list, err := d.mods.List()
	if err != nil {
		return nil, err
	}
	for _, l := range list {
		if strings.ReplaceAll(l.Name, "-", "_") == strings.ReplaceAll(name, "-", "_") {
			return l.Module, nil
		}
	}
	return nil, fmt.Errorf("no module %s was loaded", name)
}

// Attach implements kernel.ModuleFiles.
func (d *moduleDebug) Attach(ctx context.Context, name, path string, force bool) (string, error) {
	m, err := d.named(name)
	if err != nil {
		return "", err
	}
	if path == "" {
		return d.attach(m, func() (*debugFile, error) { return d.found(ctx, d.finder(), m) })
	}
	return d.attach(m, func() (*debugFile, error) {
		obj, err := openObject(path, d.opt.Debug)
		if err != nil {
			return nil, err
		}
		return d.open(ctx, m, obj, d.alt(ctx, path), force || d.opt.Force)
	})
}

// alt is the file that dwz made for path and others, "" if there is none.
func (d *moduleDebug) alt(ctx context.Context, path string) string {
	f, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer f.Close()
	st, err := f.Stat()
	if err != nil {
		return ""
	}
	id, err := debuginfo.Identify(f, st.Size())
	if err != nil {
		return "" // packed: modules for loading, which have no such files
	}
	alt, err := d.finder().Alt(ctx, path, id)
	if err != nil {
		d.opt.Log.Warn(err.Error())
	}
	return alt
}

func (d *moduleDebug) attach(m *module.Module, open func() (*debugFile, error)) (string, error) {
	f, err := open()
	if err != nil {
		return "", err
	}
	s := d.slot(m.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done, s.file, s.err = true, f, nil
	return f.path, nil
}

// AttachAll implements kernel.ModuleFiles.
func (d *moduleDebug) AttachAll(ctx context.Context, names []string, dir string, attached func(name, path string, err error)) error {
	finder := d.finder
	if dir != "" {
		finder = sync.OnceValue(func() *debuginfo.Finder { return d.search(dir) })
	}
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return err
		}
		m, err := d.named(name)
		if err != nil {
			return err
		}
		path, err := d.attach(m, func() (*debugFile, error) { return d.found(ctx, finder(), m) })
		attached(m.Name, path, err)
	}
	return nil
}

var errDetached = &symbols.NoTableError{Why: "the debug file of its module was detached (mod -d)"}

// Detach implements kernel.ModuleFiles. The file stays open: answers that were given may still refer to it.
func (d *moduleDebug) Detach(name string) error {
	m, err := d.named(name)
	if err != nil {
		return err
	}
	s := d.slot(m.Name)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.done, s.file, s.err = true, nil, errDetached
	return nil
}

// Attached implements kernel.ModuleFiles.
func (d *moduleDebug) Attached(name string) string {
	s := d.slot(name)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.file == nil {
		return ""
	}
	return s.file.path
}

// attached are the files that are attached now, in the order of the modules.
func (d *moduleDebug) attached() []*debugFile {
	list, err := d.mods.List()
	if err != nil {
		return nil
	}
	var out []*debugFile
	for _, l := range list {
		s := d.slot(l.Name)
		s.mu.Lock()
		if s.file != nil {
			out = append(out, s.file)
		}
		s.mu.Unlock()
	}
	return out
}

// Name is "modules' dwarf".
func (d *moduleDebug) Name() string { return "modules' " + dwarfName }

// PlacesAt asks the module that pc lies in.
func (d *moduleDebug) PlacesAt(pc uint64) ([]symbols.Place, error) {
	f, err := d.at(pc)
	if err != nil {
		return nil, err
	}
	return f.lines.PlacesAt(pc)
}

// LineCode asks the modules whose files are attached: to look for the others' would take long, and a path does not say of which
// module it is.
func (d *moduleDebug) LineCode(file string, line int) ([]symbols.LineCode, error) {
	var out []symbols.LineCode
	for _, f := range d.attached() {
		found, err := f.lines.LineCode(file, line)
		if err != nil && !errors.Is(err, symbols.ErrNotFound) {
			return nil, err
		}
		out = append(out, found...)
	}
	if out == nil {
		return nil, symbols.ErrNotFound
	}
	return out, nil
}

// ScopesAt asks the module that pc lies in.
func (d *moduleDebug) ScopesAt(pc uint64) ([]symbols.Scope, error) {
	f, err := d.at(pc)
	if err != nil {
		return nil, err
	}
	return f.vars.ScopesAt(pc)
}

// RowAt asks the module that pc lies in.
func (d *moduleDebug) RowAt(pc uint64) (symbols.Row, error) {
	f, err := d.at(pc)
	if err != nil {
		return symbols.Row{}, err
	}
	return f.rows.RowAt(pc)
}

// moduleDebugTypes are the types of modules' debug files. A name leads to its module if it is a symbol's; types are those of the
// files that are attached, and of all if the modules have no BTF.
type moduleDebugTypes struct {
	d      *moduleDebug
	hasBTF func() bool
}

// Name is "modules' dwarf".
func (t moduleDebugTypes) Name() string { return t.d.Name() }

func (t moduleDebugTypes) files() []*debugFile {
	if t.hasBTF() || !t.d.opt.Debug.Search {
		return t.d.attached()
	}
	list, err := t.d.mods.List()
	if err != nil {
		return nil
	}
	var out []*debugFile
	for _, l := range list {
		if f, err := t.d.of(l.Module); err == nil {
			out = append(out, f)
		}
	}
	return out
}

func moduleAnswer[A any](files []*debugFile, f func(symbols.TypeFinder) (A, error)) (A, error) {
	var zero A
	failure := error(symbols.ErrNotFound)
	for _, file := range files {
		a, err := f(file.types)
		if err == nil {
			return a, nil
		}
		if !errors.Is(err, symbols.ErrNotFound) {
			failure = err
		}
	}
	return zero, failure
}

// owners are the files of the modules that have a symbol of that name.
func (t moduleDebugTypes) owners(name string) ([]*debugFile, error) {
	syms, err := t.d.mods.SymbolsNamed(name)
	if err != nil {
		return nil, err
	}
	var out []*debugFile
	var failure error
	for _, s := range syms {
		m, err := t.d.named(s.Module)
		if err != nil {
			return nil, err
		}
		f, err := t.d.of(m)
		if err != nil {
			failure = err
			continue
		}
		out = append(out, f)
	}
	if out == nil {
		return nil, failure
	}
	return out, nil
}

// TypeNamed finds a type by kind and name.
func (t moduleDebugTypes) TypeNamed(kind symbols.Kind, name string) (*symbols.Type, error) {
	return moduleAnswer(t.files(), func(f symbols.TypeFinder) (*symbols.Type, error) { return f.TypeNamed(kind, name) })
}

// VariableType is the type of a module's variable.
func (t moduleDebugTypes) VariableType(name string) (*symbols.Type, error) {
	files, err := t.owners(name)
	if err != nil {
		return nil, err
	}
	return moduleAnswer(files, func(f symbols.TypeFinder) (*symbols.Type, error) { return f.VariableType(name) })
}

// FunctionType is the prototype of a module's function.
func (t moduleDebugTypes) FunctionType(name string) (*symbols.Type, error) {
	files, err := t.owners(name)
	if err != nil {
		return nil, err
	}
	return moduleAnswer(files, func(f symbols.TypeFinder) (*symbols.Type, error) { return f.FunctionType(name) })
}

// Enumerator finds an enumeration constant.
func (t moduleDebugTypes) Enumerator(name string) (int64, *symbols.Type, error) {
	type found struct {
		v int64
		t *symbols.Type
	}
	a, err := moduleAnswer(t.files(), func(f symbols.TypeFinder) (found, error) {
		v, et, err := f.Enumerator(name)
		return found{v, et}, err
	})
	return a.v, a.t, err
}

// TypeNames yields the names of the types of all attached files.
func (t moduleDebugTypes) TypeNames() iter.Seq2[symbols.Kind, string] {
	return func(yield func(symbols.Kind, string) bool) {
		for _, f := range t.files() {
			for k, n := range f.types.TypeNames() {
				if !yield(k, n) {
					return
				}
			}
		}
	}
}
