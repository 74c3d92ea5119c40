package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"kdx/analyze"
	"kdx/analyze/debugfiles"
	"kdx/analyze/kernel"
	"kdx/internal/filecache"
	"kdx/internal/unpack"
	"kdx/repl"
	"kdx/symbols/debuginfo"
	"kdx/symbols/debuginfo/debuginfod"
)

func debuginfoCommand(std stdio) *cobra.Command {
	var o options
	var download bool
	c := &cobra.Command{
		Use:   "debuginfo [VMLINUX] DUMP…",
		Short: "where the debug files of a dump's kernel are, and how to get them",
		Long: "Says which kernel and modules a dump is of, looks for their debug files in every place that kdx knows, and prints each place, what was there and why " +
			"it was not taken; docs/debuginfo.md lists them. Directories in KDX_DEBUG_PATH come first. With --download, what is not on this host is fetched from " +
			"the debuginfod servers in DEBUGINFOD_URLS, into the cache that gdb and others use too.",
		Example: "  kdx debuginfo vmcore\n  KDX_DEBUG_PATH=/case/debug kdx debuginfo vmcore\n  DEBUGINFOD_URLS=https://debuginfod.debian.net kdx debuginfo --download vmcore",
		RunE: func(c *cobra.Command, args []string) error {
			n, err := o.files(args)
			if err != nil {
				return sortStatus(err)
			}
			ctx, stop := signal.NotifyContext(c.Context(), os.Interrupt)
			defer stop()
			x, err := o.openImage(ctx, n.dumps, std)
			if err != nil {
				return openStatus(err)
			}
			defer x.Close()
			rep, err := o.findDebugFiles(ctx, x, n, download)
			if err != nil {
				return err
			}
			return writeDebugFiles(std, o.json, args, rep)
		},
	}
	f := c.Flags()
	f.BoolVar(&download, "download", false, "fetch what is missing from the servers in DEBUGINFOD_URLS")
	f.BoolVar(&o.json, "json", false, "answer in JSON")
	f.BoolVar(&o.debug, "debug", false, "say on stderr what is tried")
	f.BoolVar(&o.live, "live", false, "of the running kernel, through /proc/kcore (root)")
	o.where.register(f)
	return c
}

// unpackedLimit is what unpacked kernels may take in the user's cache, in bytes: some six of the largest.
const unpackedLimit = 8 << 30

// debuginfoOptions are what the environment says of where debug files are.
func debuginfoOptions(x *opened) debuginfo.Options {
	opt := debuginfo.Options{Dirs: debuginfo.Dirs(os.Getenv(debuginfo.PathVariable)), Log: x.log}
	opt.Unpack = unpack.Options{Log: x.log, Progress: func(path string, done, total int64) { x.progress.Report("unpacking "+path, done, total) }}
	var err error
	if opt.Unpack.Cache, err = filecache.User("unpacked", unpackedLimit); err != nil {
		x.log.Debug("unpacked files are not kept", "err", err)
	}
	cfg, err := debuginfod.FromEnvironment(os.Getenv)
	if err != nil {
		x.log.Warn("debuginfod: a variable is not understood; its default is taken", "err", err)
	}
	cfg.Log = x.log
	cfg.Progress = func(url string, done, total int64) { x.progress.Report("fetching "+url, done, total) }
	opt.Server = debuginfod.New(cfg)
	return opt
}

func (o *options) findDebugFiles(ctx context.Context, x *opened, n named, download bool) (*debugfiles.Report, error) {
	opt := debuginfoOptions(x)
	if opt.Download = download; download && !opt.Server.Configured() {
		return nil, usagef("--download: %w; a server of each distribution is listed at https://debuginfod.elfutils.org", debuginfod.ErrNotConfigured)
	}
	if n.vmlinux != "" {
		opt.Files = []string{n.vmlinux}
	}
	x.progress.Begin("looking for debug files")
	defer x.progress.End()
	own, err := o.analyze(x, "")
	if err != nil {
		return nil, usagef("%v", err)
	}
	k, kerr := analyze.Open(ctx, x.img, own)
	if kerr == nil {
		defer k.Close()
	}
	rep, err := debugfiles.Find(ctx, x.img, k, n.dumps, opt)
	switch {
	case errors.Is(err, context.Canceled):
		return nil, &statusError{repl.Interrupted, errors.New("interrupted; what was fetched is kept, and the next download goes on from there")}
	case err != nil:
		return nil, &statusError{repl.Failed, err}
	case kerr != nil:
		rep.Missing = append(rep.Missing, kernel.Gap{What: "kernel", Err: kerr})
	}
	return rep, nil
}

// writeDebugFiles answers. What could not be read of the dump is told like that of a command of the prompt.
func writeDebugFiles(std stdio, asJSON bool, args []string, rep *debugfiles.Report) error {
	st := repl.OK
	switch {
	case !rep.Complete():
		st = repl.NoDebugInfo
	case len(rep.Missing) > 0:
		st = repl.Gaps
	}
	if asJSON {
		doc := debuginfoDocument{document{Kdx: repl.EnvelopeVersion, Command: "debuginfo", Args: args, Result: rep}, []missing{}}
		if !rep.Complete() {
			why := "the debug information of the dump's kernel is not found"
			doc.Error = &why
		}
		for _, g := range rep.Missing {
			doc.Missing = append(doc.Missing, missing{g.What, g.Err.Error()})
		}
		b, err := json.Marshal(doc)
		if err != nil {
			return &statusError{repl.Failed, err}
		}
		if _, err := fmt.Fprintf(std.out, "%s\n", b); writeStatus(err) != nil {
			return writeStatus(err)
		}
		return exitWith(st)
	}
	if err := writeStatus(rep.Text(std.out)); err != nil {
		return err
	}
	for _, g := range rep.Missing {
		fmt.Fprintf(std.err, "kdx: %v\n", g)
	}
	return exitWith(st)
}

// debuginfoDocument is document with what is missing, as commands of the prompt have it.
type debuginfoDocument struct {
	document
	Missing []missing `json:"missing"`
}

type missing struct {
	What  string `json:"what"`
	Error string `json:"error"`
}
