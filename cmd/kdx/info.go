package main

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/spf13/cobra"

	"kdx/analyze"
	"kdx/dumpfmt/describe"
	"kdx/repl"
)

func infoCommand(std stdio) *cobra.Command {
	var o options
	var vmcoreinfo bool
	c := &cobra.Command{
		Use:     "info DUMP…",
		Short:   "what a dump is: format, kernel, level, pages, CPUs",
		Long:    "Says what a dump is, as far as headers, notes and a little of its memory tell; any architecture, no symbols needed.",
		Example: "  kdx info vmcore\n  kdx info --json vmcore | jq .release\n  kdx info --vmcoreinfo vmcore",
		RunE: func(c *cobra.Command, args []string) error {
			n, err := sortFiles(args)
			if err != nil {
				return sortStatus(err)
			}
			x, err := o.openImage(c.Context(), n.dumps, std)
			if err != nil {
				return openStatus(err)
			}
			defer x.Close()
			x.progress.Begin("looking at the dump")
			d, err := describe.Describe(c.Context(), x.img)
			if err == nil {
				err = o.lookForKernel(c.Context(), x, d)
			}
			x.progress.End()
			if err != nil {
				return &statusError{repl.Failed, err}
			}
			switch {
			case o.json:
				b, err := json.Marshal(document{Kdx: repl.EnvelopeVersion, Command: "info", Args: args, Result: d, Missing: []string{}})
				if err != nil {
					return &statusError{repl.Failed, err}
				}
				_, err = fmt.Fprintf(std.out, "%s\n", b)
				return writeStatus(err)
			case vmcoreinfo:
				return writeStatus(describe.VMCoreInfoText(std.out, d))
			}
			return writeStatus(describe.Text(std.out, d))
		},
	}
	f := c.Flags()
	f.BoolVar(&o.json, "json", false, "answer in JSON")
	f.BoolVar(&vmcoreinfo, "vmcoreinfo", false, "show VMCOREINFO as it is")
	f.BoolVar(&o.debug, "debug", false, "say on stderr what is tried")
	o.where.registerNumbers(f)
	o.headerless.register(f)
	return c
}

// lookForKernel finds what a dump without VMCOREINFO does not say, and whether CPUs ran another kernel. That there is no
// kernel to be found is no error here: the rest is described.
func (o *options) lookForKernel(ctx context.Context, x *opened, d *describe.Description) error {
	opt, err := o.analyze(x, "")
	if err != nil {
		return err
	}
	found, err := analyze.FindVMCoreInfo(ctx, x.img, opt)
	if ctx.Err() != nil {
		return ctx.Err()
	}
	d.Warnings = append(d.Warnings, found.Warnings...)
	if err != nil {
		x.log.Debug(err.Error())
		return nil
	}
	if found.VMCoreInfo != x.img.Info().VMCoreInfo {
		d.Found(found.VMCoreInfo)
	}
	return nil
}

// writeStatus is the exit code for an error of stdout. A reader that went away is none.
func writeStatus(err error) error {
	if err == nil || repl.ReaderGone(err) {
		return nil
	}
	return &statusError{repl.Failed, fmt.Errorf("writing the answer: %w", err)}
}

// document is the JSON of a subcommand that is no command of the prompt; see docs/json.md.
type document struct {
	Kdx     int      `json:"kdx"`
	Command string   `json:"command"`
	Args    []string `json:"args"`
	Result  any      `json:"result"`
	Missing []string `json:"missing"`
	Error   *string  `json:"error"`
}
