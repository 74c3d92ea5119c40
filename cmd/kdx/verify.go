package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"

	"github.com/spf13/cobra"

	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/verify"
	"kdx/repl"
)

func verifyCommand(std stdio) *cobra.Command {
	var asJSON bool
	var jobs int
	c := &cobra.Command{
		Use:   "verify DUMP…",
		Short: "is a dump whole? reads and decodes every page, checks the tables, prints a sum",
		Long: "Reads and decodes every page of a dump on all cores, holds its tables against each other, and prints a SHA256 over the pages that it holds: the same for " +
			"each dump that holds the same pages, in whatever format and compression. A page of zeros counts as itself, whether the file stores it or not. " +
			"Exit code 8 if pages can't be read, the tables contradict each other, or the dump is incomplete. See docs/verify.md.",
		Example: "  kdx verify vmcore\n  kdx verify --json vmcore | jq -r .result.sha256\n  kdx verify vmcore.1 vmcore.2    # the parts of one split dump",
		RunE: func(c *cobra.Command, args []string) error {
			if jobs < 0 {
				return usagef("--jobs wants a positive number")
			}
			n, err := sortFiles(args)
			if err != nil {
				return sortStatus(err)
			}
			ctx, stop := interruptible(c.Context())
			defer stop()
			progress := repl.NewProgress(std.err, std.terminal.Err)
			progress.Begin("verify")
			defer progress.End()
			img, err := formats.Open(ctx, n.dumps, formats.Options{Progress: progress.Report})
			if err != nil {
				return openStatus(&dumpError{err})
			}
			defer img.Close()
			r, err := verify.Check(ctx, img, verify.Options{Workers: jobs, Progress: progress.Report})
			progress.End()
			if err != nil {
				return scanStatus(err)
			}
			if err := answer(std.out, asJSON, "verify", args, r, r.Text); err != nil {
				return err
			}
			if !r.Sound {
				return exitWith(repl.Damaged)
			}
			return nil
		},
	}
	f := c.Flags()
	f.BoolVar(&asJSON, "json", false, "answer in JSON")
	f.IntVarP(&jobs, "jobs", "j", 0, "read on `N` cores (default all)")
	c.SetContext(context.Background())
	return c
}

// interruptible is a context that Ctrl-C ends, once; a second Ctrl-C kills.
func interruptible(parent context.Context) (context.Context, func()) {
	if parent == nil {
		parent = context.Background()
	}
	ctx, stop := signal.NotifyContext(parent, os.Interrupt)
	context.AfterFunc(ctx, stop)
	return ctx, stop
}

// scanStatus is the exit code for a dump that could not be read to its end.
func scanStatus(err error) error {
	if errors.Is(err, context.Canceled) {
		return &statusError{repl.Interrupted, errors.New("interrupted")}
	}
	return &statusError{repl.Failed, err}
}

// answer writes a result as text or as a JSON document.
func answer(w io.Writer, asJSON bool, command string, args []string, result any, text func(io.Writer) error) error {
	if !asJSON {
		return writeStatus(text(w))
	}
	b, err := json.Marshal(document{Kdx: repl.EnvelopeVersion, Command: command, Args: args, Result: result, Missing: []string{}})
	if err != nil {
		return &statusError{repl.Failed, err}
	}
	_, err = fmt.Fprintf(w, "%s\n", b)
	return writeStatus(err)
}
