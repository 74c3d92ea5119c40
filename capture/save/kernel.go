package save

import (
	"context"
	"fmt"
	"log/slog"

	"kdx/analyze/kernel"
	"kdx/analyze/own"
	"kdx/analyze/resolved"
	"kdx/dumpfmt"
	"kdx/dumpfmt/elfcore"
	"kdx/dumpfmt/flattened"
	"kdx/dumpfmt/kdump"
	"kdx/dumpfmt/vmcoreinfo"
)

// openDump opens the forms that capture meets: /proc/vmcore, and what it saves itself.
func openDump(ctx context.Context, f *dumpfmt.File, cache int64) (*dumpfmt.Image, error) {
	head := make([]byte, min(4096, f.Size))
	if n, err := f.ReadFull(head, 0); err != nil && n == 0 {
		return nil, fmt.Errorf("%s: reading its first bytes: %w", f.Name, err)
	}
	if flattened.Probe(head) {
		whole, err := flattened.Open(ctx, f, nil)
		if err != nil {
			return nil, err
		}
		return openDump(ctx, whole, cache)
	}
	var src dumpfmt.Source
	var err error
	switch {
	case elfcore.Probe(head):
		src, err = elfcore.Open(f)
	case kdump.Probe(head):
		src, err = kdump.Open(ctx, []*dumpfmt.File{f})
	default:
		err = fmt.Errorf("%s is no dump in ELF or kdump form", f.Name)
	}
	if err != nil {
		return nil, err
	}
	return dumpfmt.NewImage(src, dumpfmt.Options{CacheBytes: cache}), nil
}

// OpenKernel opens the kernel of a dump by what the dump itself holds, and by the types in the file types ("" for none), if
// they are of that kernel.
func OpenKernel(ctx context.Context, img *dumpfmt.Image, types string, log *slog.Logger) (*kernel.Kernel, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	var carried *resolved.Types
	if types != "" {
		t, err := resolved.Read(types)
		if err != nil {
			log.Warn("the types that were taken along can't be used; the dump's own are", "err", err)
		}
		carried = t
	}
	return own.Open(ctx, img, carried, log)
}

// plainEnv is what an architecture may ask.
type plainEnv struct{ s *source }

func (e plainEnv) Image() *dumpfmt.Image        { return e.s.img }
func (e plainEnv) VMCoreInfo() *vmcoreinfo.Info { return e.s.img.Info().VMCoreInfo }
