package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/spf13/pflag"

	"kdx/analyze"
	"kdx/analyze/kernel"
	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/kcore"
	"kdx/repl"
	"kdx/repl/commands"
	"kdx/symbols/debuginfo/debuginfod"
)

// options of everything that opens a dump.
type options struct {
	json, force, zeroExcluded, debug, noPager bool
	noKallsyms, noBTF, noORC                  bool
	live                                      bool
	src                                       string
	cacheBytes                                int64 // bound of the cache of pages; 0 is the usual one
	where
	headerless
}

func (o *options) register(f *pflag.FlagSet) {
	f.BoolVar(&o.json, "json", false, "answer in JSON, one document a command")
	f.BoolVar(&o.force, "force", false, "take a vmlinux although it is of another build")
	f.BoolVar(&o.zeroExcluded, "zero-excluded", false, "read pages that were left out of the dump as zeros")
	f.BoolVar(&o.debug, "debug", false, "say on stderr what is tried")
	f.BoolVar(&o.noPager, "no-pager", false, "never start a pager")
	f.BoolVar(&o.noKallsyms, "no-kallsyms", false, "leave out the symbols of the dump itself")
	f.BoolVar(&o.noBTF, "no-btf", false, "leave out the types of the dump itself")
	f.BoolVar(&o.noORC, "no-orc", false, "leave out the unwind tables of the dump itself")
	f.BoolVar(&o.live, "live", false, "look at the running kernel, through /proc/kcore (root)")
	f.StringVar(&o.src, "src", "", "take source text from the kernel's source tree in `DIR`")
	o.where.register(f)
	o.headerless.register(f)
}

// opened is a dump and its kernel.
type opened struct {
	img      *dumpfmt.Image
	kernel   *kernel.Kernel
	progress *repl.Progress
	log      *slog.Logger
	session  *repl.Session // nil before there is one
	server   *debuginfod.Client
}

func (o *opened) Close() {
	if o.kernel != nil {
		o.kernel.Close()
	}
	o.img.Close()
}

// files sorts what a command line names: a dump, or with --live none.
func (o *options) files(paths []string) (named, error) {
	n, err := sortFiles(paths)
	if !o.live {
		return n, err
	}
	if len(n.dumps) > 0 {
		return n, fmt.Errorf("--live looks at the running kernel; %s is a dump: leave out one of them", n.dumps[0])
	}
	if errors.Is(err, errNoDump) {
		err = nil
	}
	return n, err
}

// openImage opens the dump without looking for a kernel in it.
func (o *options) openImage(ctx context.Context, dumps []string, std stdio) (*opened, error) {
	x := &opened{progress: repl.NewProgress(std.err, std.terminal.Err)}
	level := slog.LevelWarn
	if o.debug {
		level = slog.LevelDebug
	}
	x.log = repl.NewLogger(std.err, x.progress, std.terminal.Err, level)
	if o.live {
		src, err := kcore.Open()
		if err != nil {
			return nil, &dumpError{err}
		}
		x.img = dumpfmt.NewImage(src, dumpfmt.Options{})
		return x, nil
	}
	x.progress.Begin("opening " + filepath.Base(dumps[0]))
	defer x.progress.End()
	opt := formats.Options{CacheBytes: o.cacheBytes, ZeroExcluded: o.zeroExcluded, Logger: x.log, Progress: x.progress.Report}
	err := o.headerless.check(dumps)
	if err == nil {
		err = o.headerless.into(&opt)
	}
	if err != nil {
		return nil, err
	}
	x.img, err = formats.Open(ctx, dumps, opt)
	if err != nil {
		return nil, &dumpError{err}
	}
	return x, nil
}

// dumpError: the dump can't be opened, whatever there may be in it.
type dumpError struct{ err error }

func (e *dumpError) Error() string { return e.err.Error() }
func (e *dumpError) Unwrap() error { return e.err }

// open opens the dump and its kernel.
func (o *options) open(ctx context.Context, n named, std stdio) (*opened, error) {
	if o.src != "" {
		if _, err := os.ReadDir(o.src); err != nil {
			return nil, usagef("--src: %v", err)
		}
	}
	x, err := o.openImage(ctx, n.dumps, std)
	if err != nil {
		return nil, err
	}
	opt, err := o.analyze(x, n.vmlinux)
	if err == nil {
		opt.Debug = debugOptions(x, n.dumps)
		x.progress.Begin("opening the kernel")
		x.kernel, err = analyze.Open(ctx, x.img, opt)
		x.progress.End()
	}
	if err != nil {
		x.img.Close()
		return nil, err
	}
	return x, nil
}

// analyze are the options with which the kernel of x is opened.
func (o *options) analyze(x *opened, vmlinux string) (analyze.Options, error) {
	b, err := o.where.bootstrap()
	b.Progress = x.progress.Report
	return analyze.Options{Vmlinux: vmlinux, Force: o.force, Log: x.log, Bootstrap: b,
		NoKallsyms: o.noKallsyms, NoBTF: o.noBTF, NoORC: o.noORC}, err
}

// session makes a session of an open dump; x may be nil for commands that need none.
func (o *options) session(x *opened, std stdio) *repl.Session {
	cfg := repl.Config{Commands: commands.All(), In: std.in, Out: std.out, Err: std.err, Terminal: std.terminal, JSON: o.json,
		Editor: repl.NewTerminalEditor, GiveUp: func() { os.Exit(int(repl.Interrupted)) }}
	if x != nil {
		cfg.Kernel, cfg.Progress = x.kernel, x.progress
	}
	if !o.noPager {
		cfg.Pager = repl.PagerFromEnvironment()
	}
	s := repl.New(cfg)
	s.State().Src = o.src
	if x != nil {
		x.session = s
	}
	if x != nil && x.server != nil && x.server.Configured() {
		s.State().Sources = serverSources{x.server}
	}
	return s
}

// openStatus is the exit code for a dump or kernel that can't be opened.
func openStatus(err error) error {
	var known *statusError
	if errors.As(err, &known) {
		return known
	}
	var mismatch *analyze.MismatchError
	var dump *dumpError
	var format *dumpfmt.FormatError
	var path *os.PathError
	st := repl.NoKernel
	switch {
	case errors.Is(err, context.Canceled):
		st = repl.Interrupted
	case errors.As(err, &mismatch):
		st = repl.Mismatch
	case errors.As(err, &dump), errors.Is(err, formats.ErrNotDump), errors.As(err, &format), errors.As(err, &path):
		st = repl.NotDump
	}
	return &statusError{st, err}
}

func usagef(format string, args ...any) error {
	return &statusError{repl.Usage, fmt.Errorf(format, args...)}
}
