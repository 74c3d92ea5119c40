package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"

	"github.com/spf13/cobra"

	"kdx/capture/collect"
	"kdx/capture/config"
	"kdx/capture/doctor"
	"kdx/capture/target"
	"kdx/capture/trial"
	"kdx/repl"
)

// collected is the JSON of collect.
type collected struct {
	*collect.Report
	// Test is the outcome of a test that was pending; nil if none was.
	Test *trial.Record `json:"test"`
}

func captureCollectCommand(std stdio) *cobra.Command {
	var asJSON bool
	var configFile string
	c := &cobra.Command{
		Use:   "collect",
		Short: "after a crash: take dumps from raw partitions, tell of new ones",
		Long: "Takes dumps out of raw partitions into the first target that is a directory (else /var/crash), tells of dumps on this host's targets that it did not tell of before, checks that they are whole, has " +
			"their files labelled where SELinux is on, and looks for the outcome of kdx capture test. kdx-collect.service runs it at boot; its journal then has a line for each new dump.\n\n" +
			"Exit code 15: a new dump is not whole, or something could not be looked at; 14: a test was made, and its dump did not arrive.",
		Example: "  kdx capture collect\n  journalctl -u kdx-collect",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := untilStopped()
			defer stop()
			l, err := config.Load("", configFile)
			if err != nil {
				return configStatus(err)
			}
			say := func(format string, args ...any) { fmt.Fprintf(std.err, "kdx: "+format+"\n", args...) }
			m := collect.NewMounts()
			defer m.Close()
			r, err := collect.Run(ctx, doctor.InForce(ctx, "", runtime.GOARCH, l.Config), collect.Options{Say: say, Mounts: m})
			if ctx.Err() != nil {
				return &statusError{repl.Interrupted, errors.New("interrupted")}
			}
			if err != nil {
				return &statusError{repl.Failed, err}
			}
			out := &collected{Report: r}
			if t, err := trial.Read(""); err == nil && t.Outcome == "" {
				if t, err = trial.Look(ctx, "", l.Config, target.Open, m); err != nil {
					r.Problems = append(r.Problems, err.Error())
				} else {
					out.Test = t
				}
			}
			if err := answer(std.out, asJSON, "capture collect", []string{}, out, out.text); err != nil {
				return err
			}
			return exitWith(out.status())
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	c.Flags().StringVar(&configFile, "config", "", "take the configuration from `FILE` (default "+config.Path+")")
	return c
}

func (c *collected) text(w io.Writer) error {
	if err := c.Report.Text(w); err != nil || c.Test == nil {
		return err
	}
	_, err := fmt.Fprintf(w, "kdx capture test: %s\n", c.Test.Outcome)
	return err
}

func (c *collected) status() repl.Status {
	st := repl.OK
	if !c.Good() {
		st = repl.Doubtful
	}
	if c.Test != nil && !c.Test.Arrived {
		st = st.Worse(repl.NotArmed)
	}
	return st
}
