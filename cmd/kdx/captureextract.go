package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"

	"kdx/analyze/reduce"
	"kdx/capture/collect"
	"kdx/capture/config"
	"kdx/capture/estimate"
	"kdx/capture/target"
	"kdx/repl"
)

func captureExtractCommand(std stdio) *cobra.Command {
	var asJSON, keep bool
	var configFile, dir string
	c := &cobra.Command{
		Use:   "extract [DEVICE]",
		Short: "copy a dump from a raw partition into a directory",
		Long: "Copies the dump that the capture kernel left on a raw partition into a directory of its own, holds each file against the sum that was saved with it, and marks the partition as empty. A file whose " +
			"bytes are others is called NAME.incomplete. Without DEVICE the configured raw targets are looked at.\n\n" +
			"Exit code 16 if no dump lies there; 8 if a file of it is damaged or was never finished.",
		Example: "  kdx capture extract\n  kdx capture extract --keep --to /tmp/dumps /dev/vdb2",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := captureConfiguration(configFile)
			if err != nil {
				return err
			}
			devices := args
			for _, t := range cfg.Targets {
				if t.Kind == config.Raw && len(args) == 0 {
					devices = append(devices, t.Device)
				}
			}
			if len(devices) == 0 {
				return usagef("no raw target is configured: name the DEVICE")
			}
			if dir == "" {
				dir = collect.ExtractDir(cfg)
			}
			return captureExtract(std, devices, dir, keep, asJSON)
		},
	}
	p := c.Flags()
	p.BoolVar(&asJSON, "json", false, "answer in JSON")
	p.BoolVar(&keep, "keep", false, "leave the partition as it is")
	p.StringVar(&configFile, "config", "", "take the configuration from `FILE` (default "+config.Path+", or the distribution's)")
	p.StringVar(&dir, "to", "", "make the dump's directory in `DIR` (default the configured directory of this host, else /var/crash)")
	return c
}

func captureExtract(std stdio, devices []string, dir string, keep, asJSON bool) error {
	ctx, stop := catchSignals(context.Background())
	defer stop()
	all := []target.Extracted{}
	var failure error
	damaged := false
	for _, d := range devices {
		path := d
		if name := estimate.DeviceName("", d); name != "" {
			path = "/dev/" + name
		} else if !strings.HasPrefix(d, "/") && strings.Contains(d, "=") {
			failure = fmt.Errorf("%s: there is no such device", d)
			continue
		}
		m := newMeter(std.err, false)
		x, err := target.Extract(ctx, path, dir, keep, func(name string, done, total int64) {
			if std.terminal.Err {
				m.report(reduce.Progress{Step: "extracting " + name, Done: uint64(done), Total: uint64(total)})
			}
		})
		m.end()
		if err == nil || x.Path != "" {
			all = append(all, x)
		}
		damaged = damaged || len(x.Damaged) > 0
		if err != nil && !errors.Is(err, target.ErrEmpty) {
			failure = err
		}
	}
	if err := answer(std.out, asJSON, "capture extract", append([]string{}, devices...), all, func(w io.Writer) error { return extractedText(w, all) }); err != nil {
		return err
	}
	switch {
	case ctx.Err() != nil:
		return &statusError{repl.Interrupted, errors.New("interrupted: the partition still holds the dump")}
	case failure != nil:
		return &statusError{repl.Failed, failure}
	case len(all) == 0:
		return &statusError{repl.NothingToSave, fmt.Errorf("%s: %w", strings.Join(devices, ", "), target.ErrEmpty)}
	case damaged:
		return exitWith(repl.Damaged)
	}
	return nil
}

func extractedText(w io.Writer, all []target.Extracted) error {
	for _, x := range all {
		fmt.Fprintf(w, "%s: %d files, %s\n", x.Path, len(x.Files)+len(x.Damaged), bytesText(x.Bytes))
		for _, name := range x.Damaged {
			fmt.Fprintf(w, "  %s is damaged, or was never finished\n", name)
		}
	}
	return nil
}
