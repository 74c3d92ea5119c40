package analyze

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"

	"kdx/analyze/debugfiles"
	"kdx/analyze/kernel"
	"kdx/analyze/own"
	"kdx/internal/unpack"
	"kdx/symbols"
	"kdx/symbols/debuginfo"
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/cfi"
	"kdx/symbols/dwarfinfo/index"
	"kdx/symbols/dwarfinfo/lines"
	"kdx/symbols/dwarfinfo/types"
	"kdx/symbols/dwarfinfo/vars"
	"kdx/symbols/elfsym"
	"kdx/symbols/objfile"
)

// DebugOptions say how debug information is found and read. The zero value takes only a vmlinux that is given.
type DebugOptions struct {
	// Search looks for the debug files of the kernel and of its modules where Files says, by the first question that the dump
	// itself does not answer.
	Search bool
	Files  debuginfo.Options
	// Dumps are the paths of the dump's files: what lies beside them is looked at.
	Dumps []string
	// IndexDir is where indexes of names are kept; "" for nowhere.
	IndexDir string
	// Foreground is the context of the command that runs: its cancellation ends a search, a download or the making of an
	// index. nil for none.
	Foreground func() context.Context

	indexes *indexes
}

// indexes are those that were opened. Whoever made one finishes writing it.
type indexes struct {
	mu  sync.Mutex
	all []*index.Index
}

func (x *indexes) add(i *index.Index) {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.all = append(x.all, i)
}

// wait returns when all have been written.
func (x *indexes) wait() {
	x.mu.Lock()
	defer x.mu.Unlock()
	for _, i := range x.all {
		i.Wait()
	}
}

func (o *DebugOptions) context() context.Context {
	if o.Foreground == nil {
		return context.Background()
	}
	return o.Foreground()
}

// debugFile is the DWARF of one file with its finders. Each reads what it needs when it is asked.
type debugFile struct {
	path  string
	data  *dwarfinfo.Data
	index func() (types.Index, error)
	types *types.Finder
	lines *lines.Finder
	vars  *vars.Finder
	rows  *cfi.Finder
}

// newDebugFile makes the finders of an open file, whose addresses are moved by shift. altPath names the file of dwz; "" if
// there is none.
func newDebugFile(obj *objfile.File, altPath string, shift uint64, name string, opt DebugOptions, log *slog.Logger) (*debugFile, error) {
	var alt *dwarfinfo.Data
	if altPath != "" {
		f, err := objfile.Open(altPath)
		if err != nil {
			return nil, err
		}
		if alt, err = dwarfinfo.Open(f, nil); err != nil {
			return nil, err
		}
	}
	data, err := dwarfinfo.Open(obj, alt)
	if err != nil {
		return nil, err
	}
	d := &debugFile{path: obj.Path, data: data}
	d.index = func() (types.Index, error) {
		return openIndex(data, obj.BuildID(), opt, log)
	}
	d.types = types.New(data, d.index, name)
	d.lines = lines.New(data, shift, name)
	d.vars = vars.New(data, shift, d.types, name)
	d.rows = cfi.New(obj, shift, name)
	return d, nil
}

// openObject opens an ELF file, unpacked if it is packed.
func openObject(path string, opt DebugOptions) (*objfile.File, error) {
	u, err := unpack.Open(opt.context(), path, opt.Files.Unpack)
	if err != nil {
		return nil, err
	}
	return objectOf(u)
}

func objectOf(u *unpack.File) (*objfile.File, error) {
	if u.Data != nil {
		return objfile.New(u.Data, u.Path)
	}
	obj, err := objfile.Open(u.Local)
	if err != nil {
		return nil, err
	}
	obj.Path = u.Path
	return obj, nil
}

// kernelDebug is the debug information of the kernel itself: of the vmlinux that was given, or of one that is found.
type kernelDebug struct {
	k      *kernel.Kernel
	opt    Options
	open   func() (*debugFile, error)
	opened atomic.Bool // lines were found
	// image are the types of a boot image that was given in place of a vmlinux; nil otherwise.
	image symbols.TypeFinder
	// peer knows the variables of the code at pc, if it is of another file.
	peer func(pc uint64) *vars.Finder
}

func newKernelDebug(k *kernel.Kernel, opt Options) *kernelDebug {
	d := &kernelDebug{k: k, opt: opt}
	d.open = symbols.Once(d.find)
	return d
}

// dwarfName is the finder's name.
const dwarfName = "dwarf"

func (d *kernelDebug) find() (*debugFile, error) {
	if d.opt.Vmlinux != "" && (d.opt.Force || !d.opt.Debug.Search) {
		f, err := d.fromGiven()
		var none *dwarfinfo.ErrNoDWARF
		if errors.As(err, &none) {
			return nil, &symbols.NoTableError{Why: err.Error()}
		}
		return f, err
	}
	if !d.opt.Debug.Search {
		return nil, &symbols.NoTableError{Why: "no vmlinux with debug information was given"}
	}
	return d.fromSearch()
}

func (d *kernelDebug) fromGiven() (*debugFile, error) {
	obj, err := openObject(d.opt.Vmlinux, d.opt.Debug)
	if err != nil {
		return nil, err
	}
	alt, err := d.alt(obj)
	if err != nil {
		d.opt.Log.Warn(err.Error())
	}
	return d.file(obj, alt)
}

// alt is the file of dwz that goes with a file that was given; "" if it needs none, or it is not found.
func (d *kernelDebug) alt(obj *objfile.File) (string, error) {
	if !obj.Has(".gnu_debugaltlink") {
		return "", nil
	}
	id, err := debuginfo.Identify(obj, obj.Size())
	if err != nil {
		return "", err
	}
	return debuginfo.New(debuginfo.Want{}, d.opt.Debug.Files).Alt(d.opt.Debug.context(), obj.Path, id)
}

func (d *kernelDebug) file(obj *objfile.File, altPath string) (*debugFile, error) {
	shift, err := d.shift(obj)
	if err != nil {
		return nil, err
	}
	f, err := newDebugFile(obj, altPath, shift, dwarfName, d.opt.Debug, d.opt.Log)
	if err == nil {
		f.vars.SetPeers(d.peer)
	}
	return f, err
}

// fromSearch finds the kernel's file: the one that was given, which may be stripped, then wherever it can be.
func (d *kernelDebug) fromSearch() (*debugFile, error) {
	files := d.opt.Debug.Files
	files.Log = d.opt.Log
	if d.opt.Vmlinux != "" {
		files.Files = append([]string{d.opt.Vmlinux}, files.Files...)
	}
	ctx := d.opt.Debug.context()
	want, _ := debugfiles.Want(ctx, d.k, d.opt.Debug.Dumps)
	r, err := debuginfo.New(want, files).Kernel(ctx)
	if err != nil {
		return nil, err
	}
	if r.Best == nil || r.Best.Outcome != debuginfo.Match {
		r.Close()
		why := "no vmlinux with debug information was given, and none is on this machine"
		if d.opt.Vmlinux != "" {
			why = d.opt.Vmlinux + " has no debug information, and no other file on this machine has"
		}
		if r.Server != nil {
			why += "; debuginfod: " + r.Server.Error()
		}
		return nil, &symbols.NoTableError{Why: why + "; kdx debuginfo DUMP tells how to get it"}
	}
	if r.Best.AltErr != nil {
		d.opt.Log.Warn(r.Best.AltErr.Error())
	}
	obj, err := objectOfFile(r.Best)
	if err != nil {
		return nil, err
	}
	d.opt.Log.Debug("debug information", "file", r.Best.Path, "by", r.Best.By)
	return d.file(obj, r.Best.AltPath)
}

// symbols are those of the file that a search finds.
func (d *kernelDebug) symbols() (symbols.SymbolFinder, error) {
	f, err := d.open()
	if err != nil {
		return nil, err
	}
	file, err := elfsym.New(f.data.File, f.data.File.Size(), f.path)
	if err != nil {
		return nil, err
	}
	shift, err := shiftOf(d.k, file)
	if err != nil {
		return nil, err
	}
	t, err := file.Symbols(shift)
	if err != nil {
		return nil, err
	}
	own.Late(d.k, own.FirstAddress(t.SymbolsNamed))
	return t, nil
}

func objectOfFile(f *debuginfo.File) (*objfile.File, error) {
	if f.Unpacked != nil {
		return objectOf(f.Unpacked)
	}
	return objfile.Open(f.Path)
}

// shift is by how much the kernel was moved from where obj says it is linked, modulo 2^64.
func (d *kernelDebug) shift(obj *objfile.File) (uint64, error) {
	if offset, ok := d.k.Arch().KASLROffset(); ok {
		return offset, nil
	}
	loaded, ok := d.k.VMCoreInfo().Symbol("_stext")
	if !ok {
		return 0, nil
	}
	syms, err := obj.ELF.Symbols()
	if err != nil {
		return 0, fmt.Errorf("%s: %w", obj.Path, err)
	}
	for i := range syms {
		if syms[i].Name == "_stext" {
			return loaded - syms[i].Value, nil
		}
	}
	return 0, fmt.Errorf("%s has no symbol _stext: it is no kernel with its symbols", obj.Path)
}

// addTo adds what only debug information knows: source lines and variables of functions.
func (d *kernelDebug) addTo(c *symbols.Chain) {
	c.AddSources(kernelLines{symbols.LazySources(dwarfName, func() (symbols.SourceFinder, error) {
		f, err := d.open()
		if err != nil {
			return nil, err
		}
		d.opened.Store(true)
		return f.lines, nil
	}), d})
	c.AddVariables(symbols.LazyVariables(dwarfName, func() (symbols.VariableFinder, error) {
		f, err := d.open()
		if err != nil {
			return nil, err
		}
		return f.vars, nil
	}))
}

// kernelLines are the source lines of the kernel.
type kernelLines struct {
	symbols.SourceFinder
	d *kernelDebug
}

// Ready reports whether lines are known without a search for the kernel's file: see symbols.Chain.SourcesReady.
func (l kernelLines) Ready() bool { return l.d.opt.Vmlinux != "" || l.d.opened.Load() }

// typeFinder knows the types of debug information; without it, those of a boot image.
func (d *kernelDebug) typeFinder() symbols.TypeFinder {
	return symbols.LazyTypes(dwarfName, func() (symbols.TypeFinder, error) {
		var none *symbols.NoTableError
		f, err := d.open()
		if d.image != nil && errors.As(err, &none) {
			return d.image, nil
		}
		if err != nil {
			return nil, err
		}
		return f.types, nil
	})
}

func (d *kernelDebug) rowFinder() symbols.RowFinder {
	return symbols.LazyRows(dwarfName, func() (symbols.RowFinder, error) {
		f, err := d.open()
		if err != nil {
			return nil, err
		}
		return f.rows, nil
	})
}

func openIndex(data *dwarfinfo.Data, buildID string, opt DebugOptions, log *slog.Logger) (types.Index, error) {
	x, err := index.Open(opt.context(), data, index.Options{CacheDir: opt.IndexDir, BuildID: buildID, Log: log})
	if err != nil {
		return nil, err
	}
	opt.indexes.add(x)
	return x, nil
}
