package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"kdx/analyze"
	"kdx/analyze/distill"
	"kdx/dumpfmt"
	"kdx/internal/atomicfile"
	"kdx/repl"
	"kdx/repl/commands"
)

func distillCommand(std stdio) *cobra.Command {
	var o options
	var lines []string
	var output, codec, origin string
	c := &cobra.Command{
		Use:   "distill [VMLINUX] DUMP… -o SMALL",
		Short: "a dump small enough for a mail, that still answers",
		Long: "Runs commands, records which pages they read, and writes a kdump-compressed dump of only those and of the kernel's symbols and types. " +
			"The small dump gives the same answers to the same commands, and says \"not in this distilled dump\" for the rest. " +
			"Without -c the commands are those that are asked first; they read no memory of user space:\n\n    " + wrapList(commands.Distilled()),
		Example: "  kdx distill vmcore -o small\n  kdx distill vmcore -o small -c 'foreach bt' -c log",
		RunE: func(c *cobra.Command, args []string) error {
			n, err := sortFiles(args)
			if err != nil {
				return sortStatus(err)
			}
			if output == "" {
				return usagef("distill: where to? (-o SMALL)")
			}
			if len(lines) == 0 {
				lines = commands.Distilled()
			}
			x, err := o.openImage(c.Context(), n.dumps, std)
			if err != nil {
				return openStatus(err)
			}
			defer x.Close()
			x.progress.Begin("distilling")
			rep, st, err := o.distill(c.Context(), x, distill.Options{Compression: codec, Commands: lines, Origin: origin}, output, n.vmlinux, std)
			x.progress.End()
			if err != nil {
				return err
			}
			fmt.Fprintf(std.err, "kdx: %s: %d pages, %.1f MB\n", output, rep.Pages, float64(rep.Bytes)/1e6)
			return exitWith(st)
		},
	}
	f := c.Flags()
	f.StringVarP(&output, "output", "o", "", "the file to write; it appears whole or not at all")
	f.StringArrayVarP(&lines, "command", "c", nil, "keep what this command reads; may be repeated")
	f.StringVar(&codec, "codec", "zstd", "compression: zstd, zlib, snappy or raw")
	f.StringVar(&origin, "origin", "", "a note on where the dump comes from, kept in it (kdx info shows it)")
	f.BoolVar(&o.force, "force", false, "take a vmlinux although it is of another build")
	f.BoolVar(&o.debug, "debug", false, "say on stderr what is tried")
	o.where.register(f)
	return c
}

func (o *options) distill(ctx context.Context, x *opened, opt distill.Options, output, vmlinux string, std stdio) (distill.Report, repl.Status, error) {
	out, err := atomicfile.Create(output, 0o644)
	if err != nil {
		return distill.Report{}, 0, &statusError{repl.Failed, err}
	}
	defer out.Close()
	how, err := o.analyze(x, vmlinux)
	if err != nil {
		return distill.Report{}, 0, openStatus(err)
	}
	found, err := analyze.FindVMCoreInfo(ctx, x.img, how)
	if err != nil {
		return distill.Report{}, 0, openStatus(err)
	}
	opt.Warnings = found.Warnings
	whole, err := analyze.OpenFound(x.img, how, found)
	if err != nil {
		return distill.Report{}, 0, openStatus(err)
	}
	tables, err := analyze.FindTables(whole)
	if err != nil {
		x.log.Warn(err.Error())
	}
	opt.Tables, opt.VMCoreInfo = tables, whole.VMCoreInfo()
	var status repl.Status
	opt.Ask = func(ctx context.Context, img *dumpfmt.Image) error {
		k, err := analyze.Open(ctx, img, analyze.Options{Vmlinux: vmlinux, Force: o.force, Log: x.log, Tables: tables})
		if err != nil {
			return openStatus(err)
		}
		distill.Tables(k)
		s := repl.New(repl.Config{Kernel: k, Commands: commands.All(), Out: io.Discard, Err: std.err, Progress: x.progress})
		for _, line := range opt.Commands {
			st, _ := s.Line(ctx, line)
			status = status.Worse(st)
		}
		return ctx.Err()
	}
	rep, err := distill.Distill(ctx, x.img.Source(), out, opt)
	var st *statusError
	switch {
	case errors.As(err, &st):
		return rep, 0, err
	case err != nil:
		return rep, 0, &statusError{repl.Failed, err}
	}
	if err := out.Commit(); err != nil {
		return rep, 0, &statusError{repl.Failed, err}
	}
	return rep, status, nil
}

func wrapList(words []string) string {
	var b []byte
	width := 4
	for i, w := range words {
		if i > 0 {
			b = append(b, ", "...)
		}
		if width += len(w) + 2; width > 100 {
			b, width = append(b, "\n    "...), 4+len(w)
		}
		b = append(b, w...)
	}
	return string(b)
}
