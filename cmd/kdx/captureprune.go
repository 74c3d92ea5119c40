package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"kdx/capture/collect"
	"kdx/capture/config"
	"kdx/capture/prune"
	"kdx/capture/target"
	"kdx/repl"
)

// pruned is what became of one target.
type pruned struct {
	Target string `json:"target"`
	prune.Report
	Error string `json:"error"`
}

func capturePruneCommand(std stdio) *cobra.Command {
	var asJSON, dryRun bool
	var configFile, host string
	var keep int
	c := &cobra.Command{
		Use:   "prune [TARGET…]",
		Short: "remove older dumps from the targets",
		Long: "Leaves the newest whole dumps of each target, as many as keep in the configuration or --keep says, and removes the others; dumps that are not whole go when a newer one is whole. Only directories " +
			"in which a manifest of kdx lies are touched, never the newest whole dump, and nothing but plain files is removed. Without TARGET all configured ones are looked at. The capture kernel does the same after a " +
			"dump was saved, if keep is set.",
		Example: "  kdx capture prune --keep 3 --dry-run\n  kdx capture prune --keep 5 --host db1 sftp://dumps@vault.example.com/srv/dumps",
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := captureConfiguration(configFile)
			if err != nil {
				return err
			}
			if c.Flags().Changed("keep") {
				cfg.Keep = keep
			}
			if cfg.Keep < 1 {
				return usagef("nothing says how many dumps shall stay: --keep 3, or keep in the configuration")
			}
			if err := onlyTargets(cfg, args); err != nil {
				return err
			}
			ctx, stop := catchSignals(context.Background())
			defer stop()
			var all []pruned
			failed := false
			for _, t := range cfg.Targets {
				p := pruneTarget(ctx, t, cfg, prune.Options{Keep: cfg.Keep, Host: host, DryRun: dryRun})
				all, failed = append(all, p), failed || p.Error != ""
			}
			if err := answer(std.out, asJSON, "capture prune", append([]string{}, args...), all, func(w io.Writer) error { return prunedText(w, all, dryRun) }); err != nil {
				return err
			}
			if ctx.Err() != nil {
				return &statusError{repl.Interrupted, errors.New("interrupted")}
			}
			if failed {
				return exitWith(repl.Failed)
			}
			return nil
		},
	}
	p := c.Flags()
	p.BoolVar(&asJSON, "json", false, "answer in JSON")
	p.BoolVarP(&dryRun, "dry-run", "n", false, "say what would go, and remove nothing")
	p.StringVar(&configFile, "config", "", "take the configuration from `FILE` (default "+config.Path+", or the distribution's)")
	p.StringVar(&host, "host", "", "look only at dumps of `HOST`: others may save there, too")
	p.IntVar(&keep, "keep", 0, "leave so `MANY` whole dumps (default keep in the configuration)")
	return c
}

// onlyTargets replaces the configuration's targets by those that are named.
func onlyTargets(cfg *config.Config, args []string) error {
	if len(args) == 0 {
		return nil
	}
	cfg.Targets = nil
	for _, a := range args {
		t, err := config.ParseTarget(a)
		if err != nil {
			return usagef("%v", err)
		}
		cfg.Targets = append(cfg.Targets, t)
	}
	return nil
}

func pruneTarget(ctx context.Context, t config.Target, cfg *config.Config, opt prune.Options) pruned {
	out := pruned{Target: t.String(), Report: prune.Report{Kept: []prune.Dump{}, Removed: []prune.Dump{}, Others: []string{}}}
	fail := func(err error) pruned {
		out.Error = err.Error()
		return out
	}
	one := *cfg
	one.Targets = []config.Target{t}
	places, skipped := collect.Places("", &one, nil)
	if len(places) == 0 {
		return fail(errors.New(skipped[0].Why))
	}
	x, err := target.Open(ctx, places[0], nil)
	if err != nil {
		return fail(err)
	}
	defer x.Close()
	if out.Report, err = prune.Run(ctx, x, opt); err != nil {
		return fail(err)
	}
	return out
}

func prunedText(w io.Writer, all []pruned, dryRun bool) error {
	removed := "removed"
	if dryRun {
		removed = "would go"
	}
	for _, p := range all {
		fmt.Fprintf(w, "%s\n", p.Target)
		line := func(what string, d prune.Dump) {
			fmt.Fprintf(w, "  %-9s %s  %s, %s: %s\n", what, d.Dir, d.Begun.UTC().Format(time.DateTime), bytesText(d.Bytes), d.Why)
		}
		for _, d := range p.Kept {
			line("stays", d)
		}
		for _, d := range p.Removed {
			line(removed, d)
		}
		if n := len(p.Others); n > 0 {
			fmt.Fprintf(w, "  %d directories without a manifest of kdx are left alone\n", n)
		}
		if p.Error != "" {
			fmt.Fprintf(w, "  %s\n", p.Error)
		}
	}
	return nil
}
