package main

import (
	"context"

	"github.com/spf13/cobra"

	"kdx/dumpfmt"
	"kdx/dumpfmt/diff"
	"kdx/dumpfmt/formats"
	"kdx/repl"
)

func diffCommand(std stdio) *cobra.Command {
	var opt diff.Options
	var asJSON bool
	c := &cobra.Command{
		Use:   "diff A B",
		Short: "do two dumps hold the same? pages, registers, notes, whatever their formats",
		Long: "Compares two dumps by what they hold: every page, the registers of the CPUs, notes, VMCOREINFO, the map of memory. Formats, compressions and dump levels do not count, " +
			"but what a level left out does: --common compares only what both hold.\n\n" +
			"Exit code 0: the same. 1: different, or the answer could not be written. 5: the same, but for pages that can be read in neither.",
		Example: "  kdx diff vmcore vmcore.small --common\n  kdx diff --json a b | jq .result.pages\n  kdx diff --pages a b",
		Args:    cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			if opt.Workers < 0 {
				return usagef("--jobs wants a positive number")
			}
			ctx, stop := interruptible(c.Context())
			defer stop()
			progress := repl.NewProgress(std.err, std.terminal.Err)
			progress.Begin("diff")
			defer progress.End()
			var images [2]*dumpfmt.Image
			for i, path := range args {
				n, err := sortFiles([]string{path})
				if err != nil {
					return sortStatus(err)
				}
				images[i], err = formats.Open(ctx, n.dumps, formats.Options{Progress: progress.Report})
				if err != nil {
					return openStatus(&dumpError{err})
				}
				defer images[i].Close()
			}
			opt.Progress = progress.Report
			r, err := diff.Compare(ctx, images[0], images[1], opt)
			progress.End()
			if err != nil {
				return scanStatus(err)
			}
			if err := answer(std.out, asJSON, "diff", args, r, r.Text); err != nil {
				return err
			}
			switch {
			case !r.Same:
				return exitWith(repl.Failed)
			case r.Unsure():
				return exitWith(repl.Gaps)
			}
			return nil
		},
	}
	f := c.Flags()
	f.BoolVar(&asJSON, "json", false, "answer in JSON")
	f.BoolVar(&opt.Common, "common", false, "only what both dumps hold counts: pages, notes, registers; not the map of memory")
	f.BoolVar(&opt.AllPages, "pages", false, "list all ranges of pages that differ, not only the first ones")
	f.IntVarP(&opt.Workers, "jobs", "j", 0, "read on `N` cores (default all)")
	c.SetContext(context.Background())
	return c
}
