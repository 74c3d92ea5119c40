package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"kdx/capture/collect"
	"kdx/capture/config"
	"kdx/capture/doctor"
	"kdx/capture/target"
	"kdx/capture/trial"
	"kdx/repl"
)

func captureTestCommand(std stdio) *cobra.Command {
	var asJSON, yes, result bool
	var configFile string
	c := &cobra.Command{
		Use:   "test",
		Short: "CRASH THIS HOST, to see whether the dump arrives",
		Long: "Crashes the running kernel at once, as a real panic does: processes are not stopped, what is not written to disk is lost. The capture kernel saves the dump and reboots; " +
			"then --result says whether it arrived, whole, and how long that took (kdx-collect.service does so at boot).\n\n" +
			"It first makes the checks of kdx capture doctor (with login), and refuses if one of them says that no dump would come of it. Then it asks for the host's name; --yes-crash-this-host " +
			"answers for a script.\n\nExit code 14: refused, or the dump did not arrive whole; 1: there is no test to tell the result of.",
		Example: "  kdx capture test\n  kdx capture test --result\n  kdx capture test --result --json | jq .result.arrived",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := untilStopped()
			defer stop()
			l, err := config.Load("", configFile)
			if err != nil {
				return configStatus(err)
			}
			if result {
				return testResult(ctx, std, asJSON, l.Config)
			}
			if asJSON {
				return usagef("--json goes with --result")
			}
			return crashThisHost(ctx, std, yes, configFile, l.Config)
		},
	}
	c.Flags().BoolVar(&result, "result", false, "say what became of the last test")
	c.Flags().BoolVar(&yes, "yes-crash-this-host", false, "crash it without asking")
	c.Flags().BoolVar(&asJSON, "json", false, "answer in JSON, with --result")
	c.Flags().StringVar(&configFile, "config", "", "take the configuration from `FILE` (default "+config.Path+")")
	return c
}

func testResult(ctx context.Context, std stdio, asJSON bool, c *config.Config) error {
	m := collect.NewMounts()
	r, err := trial.Look(ctx, "", c, target.Open, m)
	err = errors.Join(err, m.Close())
	if err != nil {
		return &statusError{repl.Failed, err}
	}
	text := func(w io.Writer) error {
		_, err := fmt.Fprintf(w, "test of %s with %s: %s\n", r.Begun.Format(time.DateTime+"Z"), r.Release, r.Outcome)
		if err == nil && r.Dump != "" {
			_, err = fmt.Fprintf(w, "dump: %s\n", r.Dump)
		}
		return err
	}
	if err := answer(std.out, asJSON, "capture test", []string{}, r, text); err != nil {
		return err
	}
	if !r.Arrived {
		return exitWith(repl.NotArmed)
	}
	return nil
}

func crashThisHost(ctx context.Context, std stdio, yes bool, configFile string, c *config.Config) error {
	if os.Geteuid() != 0 {
		return &statusError{repl.Failed, errors.New("only root can crash this host")}
	}
	rep, err := doctor.Run(ctx, doctor.Options{Config: configFile, Now: time.Now(), Version: version(), Login: login})
	if err != nil {
		return &statusError{repl.Failed, err}
	}
	if rep.Faults > 0 {
		if err := rep.Text(std.err, false, std.columns()); err != nil {
			return writeStatus(err)
		}
		return &statusError{repl.NotArmed, errors.New("not crashed: no dump would come of it")}
	}
	host, err := os.Hostname()
	if err != nil {
		return &statusError{repl.Failed, err}
	}
	if !yes {
		if !std.terminal.In {
			return usagef("there is no terminal to ask at: --yes-crash-this-host crashes %s without asking", host)
		}
		fmt.Fprintf(std.err, "This crashes %s now. Processes are not stopped, and what is not on disk is lost.\nType the host's name to go on: ", host)
		line, err := bufio.NewReader(io.LimitReader(std.in, 4096)).ReadString('\n')
		if err != nil || strings.TrimSpace(line) != host {
			return &statusError{repl.Failed, fmt.Errorf("not crashed: that is not %q", host)}
		}
	}
	m := collect.NewMounts()
	r, err := trial.Begin(ctx, "", version(), doctor.InForce(ctx, "", runtime.GOARCH, c), target.Open, m)
	err = errors.Join(err, m.Close())
	if err == nil {
		err = r.Write("")
	}
	if err != nil {
		return &statusError{repl.Failed, fmt.Errorf("not crashed: %w", err)}
	}
	fmt.Fprintf(std.err, "kdx: crashing %s. When it is up again: kdx capture test --result\n", host)
	unix.Sync()
	if err := trial.Crash(""); err != nil {
		return &statusError{repl.Failed, err}
	}
	return nil
}
