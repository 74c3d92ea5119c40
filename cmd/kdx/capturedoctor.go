package main

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/spf13/cobra"

	"kdx/capture/config"
	"kdx/capture/doctor"
	"kdx/capture/target"
	"kdx/repl"
)

func captureDoctorCommand(std stdio) *cobra.Command {
	var f captureFlags
	var all, deep bool
	var configFile string
	c := &cobra.Command{
		Use:   "doctor",
		Short: "whether a crash now would leave a dump, and if not, why",
		Long: "Looks at everything between the reservation and the target: configuration, crashkernel=, the kernels, lockdown and keys, the initrd, what is loaded, hotplug, sysctls, disks, filesystems, room, network, SSH " +
			"keys, watchdogs, other tools. Says of what is not as it should be what was found, where, and what to do. It changes nothing. docs/capture-doctor.md lists the checks by id.\n\n" +
			"Exit code 0: nothing is wrong; 14: a crash now would leave no dump; 15: it should leave one, but there are warnings, or something could not be looked at.",
		Example: "  kdx capture doctor\n  kdx capture doctor --all\n  kdx capture doctor --json | jq '.result.checks[] | select(.state == \"bad\")'\n  kdx capture doctor --root ./sosreport-web1",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := untilStopped()
			defer stop()
			opt := doctor.Options{Root: f.root, Config: configFile, Now: time.Now(), Version: version()}
			if deep {
				opt.Login = login
			}
			r, err := doctor.Run(ctx, opt)
			if ctx.Err() != nil {
				return &statusError{repl.Interrupted, errors.New("interrupted")}
			}
			if err != nil {
				return &statusError{repl.Failed, err}
			}
			if err := answer(std.out, f.json, "capture doctor", []string{}, r, func(w io.Writer) error { return r.Text(w, all, std.columns()) }); err != nil {
				return err
			}
			return exitWith(doctorStatus(r))
		},
	}
	f.add(c)
	c.Flags().BoolVar(&all, "all", false, "show every check, by area")
	c.Flags().BoolVar(&deep, "deep", false, "log in to targets over the network, too")
	c.Flags().StringVar(&configFile, "config", "", "take the configuration from `FILE` (default "+config.Path+")")
	return c
}

// columns of the terminal that stdout is; 0 if it is none.
func (s stdio) columns() int {
	if !s.terminal.Out || s.terminal.Size == nil {
		return 0
	}
	width, _ := s.terminal.Size()
	return width
}

func doctorStatus(r *doctor.Report) repl.Status {
	switch {
	case r.Faults > 0:
		return repl.NotArmed
	case r.Warnings+r.Unknown > 0:
		return repl.Doubtful
	}
	return repl.OK
}

// login tries a target over the network as the capture kernel will.
func login(ctx context.Context, t config.Target, c *config.Config) error {
	x, err := target.Open(ctx, target.Of(t, c, "", ""), nil)
	if err != nil {
		return err
	}
	defer x.Close()
	_, err = x.List(ctx)
	return err
}
