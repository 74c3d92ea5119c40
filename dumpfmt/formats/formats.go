// Package formats is the table of dump formats that kdx reads, and Open, which tries them.
package formats

import (
	"context"
	"errors"
	"fmt"
	"log/slog"

	"kdx/dumpfmt"
	"kdx/dumpfmt/elfcore"
	"kdx/dumpfmt/flattened"
	"kdx/dumpfmt/kdump"
	"kdx/dumpfmt/lime"
	"kdx/dumpfmt/lkcd"
	"kdx/dumpfmt/qemusave"
	"kdx/dumpfmt/s390"
	"kdx/dumpfmt/sadump"
	"kdx/dumpfmt/vmware"
	"kdx/dumpfmt/xencore"
)

// format is one row of the table.
type format struct {
	name  string
	probe func(head []byte) bool
	// open takes over the files only if it succeeds.
	open func(ctx context.Context, files []*dumpfmt.File, opt Options) (dumpfmt.Source, error)
	// beside reports whether a file that no row recognises may belong to a dump of this format, behind its first file; nil
	// is no.
	beside func(f *dumpfmt.File) bool
}

// table of formats, in the order in which they are tried. The wrapper (flattened) is undone before.
var table = []format{
	{name: "xen", probe: xencore.Probe, open: openPlain(xencore.Open)}, // before elf, of which it is a kind
	{name: "elf", probe: elfcore.Probe, open: openELF},
	{name: "kdump", probe: kdump.Probe, open: openKdump},
	{name: "lkcd", probe: lkcd.Probe, open: openLKCD},
	{name: "lime", probe: lime.Probe, open: openLiME},
	{name: "qemu", probe: qemusave.Probe, open: openSave("a migration stream", qemusave.Open)},
	{name: "libvirt", probe: qemusave.ProbeLibvirt, open: openSave("a save image", qemusave.OpenLibvirt)},
	{name: "s390", probe: s390.Probe, open: openPlain(s390.Open)},
	{name: "sadump", probe: sadump.Probe, open: openPlain(sadump.Open)},
	{name: "vmware", probe: vmware.Probe, open: openPlain(vmware.Open), beside: anyFile},
	{name: "vmware guest", probe: vmware.ProbeGuest, open: openPlain(vmware.OpenGuest), beside: anyFile},
}

// headSize is how much of a file a probe sees.
const headSize = 8192 // SADUMP's backups have their signature at 4096

// ErrNotDump is wrapped by Open's error if no format recognises a file.
var ErrNotDump = errors.New("not a dump that kdx knows")

// Progress is told of work that can take long: what is done and how far it is, in bytes. It is called often and must be
// quick.
type Progress func(what string, done, total int64)

// Options of Open. The zero value is good.
type Options struct {
	CacheBytes   int64        // bound of the cache of decoded pages, bytes; 0 means dumpfmt.DefaultCacheBytes
	ZeroExcluded bool         // read excluded pages as zeros, counted as unsure
	Logger       *slog.Logger // for warnings of the headers; nil is silent
	Progress     Progress     // nil if nobody wants to know

	// Raw: what is named is memory without a header, from physical address 0 on or as the map beside it says.
	Raw bool
	// Machine and PageSize are for formats that don't say them; "" and 0 are x86_64 and what is usual on the machine.
	Machine  dumpfmt.Machine
	PageSize uint64
}

// Open opens a dump: one file, or all the files of a split set in any order. A file without a signature is memory as it is
// if it is named as FILE@ADDRESS (several can be) or has a map beside it, see rawmem.Map. The error wraps ErrNotDump, is a
// *dumpfmt.FormatError, or is what the system said of a file.
func Open(ctx context.Context, paths []string, opt Options) (*dumpfmt.Image, error) {
	if len(paths) == 0 {
		return nil, errors.New("no dump was named")
	}
	src, found, err := openRaw(ctx, paths, opt)
	if !found {
		src, err = openNamed(ctx, paths, opt)
	}
	if err != nil {
		return nil, err
	}
	if opt.Logger != nil {
		for _, w := range src.Info().Warnings {
			opt.Logger.Warn(w, "dump", paths[0])
		}
	}
	return dumpfmt.NewImage(src, dumpfmt.Options{CacheBytes: opt.CacheBytes, ZeroExcluded: opt.ZeroExcluded}), nil
}

// openNamed opens files that say what they are.
func openNamed(ctx context.Context, paths []string, opt Options) (dumpfmt.Source, error) {
	files, err := openFiles(ctx, paths, opt)
	if err != nil {
		return nil, err
	}
	src, err := open(ctx, files, opt)
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return src, nil
}

func openFiles(ctx context.Context, paths []string, opt Options) ([]*dumpfmt.File, error) {
	var files []*dumpfmt.File
	for _, path := range paths {
		if err := ctx.Err(); err != nil {
			closeAll(files)
			return nil, err
		}
		f, err := dumpfmt.OpenFile(path)
		if err != nil {
			closeAll(files)
			return nil, err
		}
		files = append(files, f)
		if files[len(files)-1], err = unfold(ctx, f, opt); err != nil {
			files[len(files)-1] = f
			closeAll(files)
			return nil, err
		}
	}
	return files, nil
}

// unfold undoes the flattened format; other files stay as they are.
func unfold(ctx context.Context, f *dumpfmt.File, opt Options) (*dumpfmt.File, error) {
	head, err := readHead(f)
	if err != nil || !flattened.Probe(head) {
		return f, err
	}
	var progress func(done, total int64)
	if opt.Progress != nil {
		progress = func(done, total int64) { opt.Progress("indexing the flattened dump "+f.Name, done, total) }
	}
	return flattened.Open(ctx, f, progress)
}

func closeAll(files []*dumpfmt.File) {
	for _, f := range files {
		f.Close()
	}
}

// open finds the row for the first file; the others must be of the same format.
func open(ctx context.Context, files []*dumpfmt.File, opt Options) (dumpfmt.Source, error) {
	var found *format
	for _, f := range files {
		row, err := probe(f)
		if errors.Is(err, ErrNotDump) && found != nil && found.beside != nil && found.beside(f) {
			continue
		}
		if errors.Is(err, ErrNotDump) && len(files) == 1 {
			if src, found, err := openBeside(f, opt); found {
				return src, err
			}
		}
		if err != nil {
			return nil, err
		}
		if found != nil && row != found {
			return nil, fmt.Errorf("%s is %s and %s is %s: these are not parts of one dump", files[0].Name, found.name, f.Name, row.name)
		}
		found = row
	}
	return found.open(ctx, files, opt)
}

func probe(f *dumpfmt.File) (*format, error) {
	head, err := readHead(f)
	if err != nil {
		return nil, err
	}
	for i := range table {
		if table[i].probe(head) {
			return &table[i], nil
		}
	}
	return nil, notDump(f.Name, head)
}

func readHead(f *dumpfmt.File) ([]byte, error) {
	head := make([]byte, min(headSize, f.Size))
	n, err := f.ReadFull(head, 0)
	if err != nil && n == 0 {
		return nil, fmt.Errorf("%s: reading its first bytes: %w", f.Name, err)
	}
	return head[:n], nil
}

func openELF(_ context.Context, files []*dumpfmt.File, _ Options) (dumpfmt.Source, error) {
	if len(files) > 1 {
		return nil, fmt.Errorf("%s is an ELF dump, which is always one file, but %d files were named", files[0].Name, len(files))
	}
	src, err := elfcore.Open(files[0])
	if err != nil {
		return nil, err
	}
	return src, nil
}

func openKdump(ctx context.Context, files []*dumpfmt.File, _ Options) (dumpfmt.Source, error) {
	src, err := kdump.Open(ctx, files)
	if err != nil {
		return nil, err
	}
	return src, nil
}

func openLKCD(ctx context.Context, files []*dumpfmt.File, opt Options) (dumpfmt.Source, error) {
	if len(files) > 1 {
		return nil, fmt.Errorf("%s is an LKCD dump, which is always one file, but %d files were named", files[0].Name, len(files))
	}
	var progress func(done, total int64)
	if opt.Progress != nil {
		progress = func(done, total int64) { opt.Progress("indexing the LKCD dump "+files[0].Name, done, total) }
	}
	src, err := lkcd.Open(ctx, files[0], progress)
	if err != nil {
		return nil, err
	}
	return src, nil
}

func openLiME(ctx context.Context, files []*dumpfmt.File, opt Options) (dumpfmt.Source, error) {
	if len(files) > 1 {
		return nil, fmt.Errorf("%s is an image of LiME or AVML, which is always one file, but %d files were named", files[0].Name, len(files))
	}
	cfg := lime.Config{Machine: opt.Machine, PageSize: opt.PageSize}
	if opt.Progress != nil {
		cfg.Progress = func(done, total int64) { opt.Progress("indexing the memory image "+files[0].Name, done, total) }
	}
	src, err := lime.Open(ctx, files[0], cfg)
	if err != nil {
		return nil, err
	}
	return src, nil
}

func anyFile(*dumpfmt.File) bool { return true }

func openPlain(open func([]*dumpfmt.File) (dumpfmt.Source, error)) func(context.Context, []*dumpfmt.File, Options) (dumpfmt.Source, error) {
	return func(_ context.Context, files []*dumpfmt.File, _ Options) (dumpfmt.Source, error) { return open(files) }
}

func openSave(what string, open func(context.Context, *dumpfmt.File, func(string, int64, int64)) (dumpfmt.Source, error)) func(context.Context, []*dumpfmt.File, Options) (dumpfmt.Source, error) {
	return func(ctx context.Context, files []*dumpfmt.File, opt Options) (dumpfmt.Source, error) {
		if len(files) > 1 {
			return nil, fmt.Errorf("%s is %s, which is always one file, but %d files were named", files[0].Name, what, len(files))
		}
		return open(ctx, files[0], opt.Progress)
	}
}
