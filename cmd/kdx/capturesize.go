package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"kdx/capture/config"
	"kdx/capture/estimate"
	"kdx/capture/reserve"
	"kdx/repl"
)

func captureSizeCommand(std stdio) *cobra.Command {
	var f captureFlags
	var words, ram, arch, configFile string
	c := &cobra.Command{
		Use:   "size",
		Short: "how much memory a capture kernel needs here, what is reserved, and what crashkernel= means",
		Long: "Compares what this host has reserved with what the crashkernel= words of its command line ask for by the kernel's own rules, and with what its capture kernel needs: that is added up term by " +
			"term, for the kernel's start and for saving; the larger sum counts. Low, High and so on are as kdumptool calibrate prints them, in MiB. " +
			"With --explain it tells step by step what given words reserve on a machine with --ram of memory, and on which kernels another outcome comes of it.\n\n" +
			"--explain takes what stands behind crashkernel=, or several words of a command line with the name. --ram is what the kernel counts as memory, which is somewhat less than is " +
			"plugged in; without it, this host's.\n\nExit code 13: nothing is reserved, not what the words ask for, or less than is needed; with --explain: nothing would be reserved.",
		Example: "  kdx capture size\n  kdx capture size --explain 384M-2G:64M,2G-:128M --ram 1536M\n  kdx capture size --explain 'crashkernel=256M,high crashkernel=72M,low' --ram 64G\n" +
			"  kdx capture size --json | jq .result.state",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			given := func(name string) bool { return c.Flags().Changed(name) }
			if !given("explain") {
				if given("ram") {
					return usagef("--ram goes with --explain")
				}
				return captureSize(std, f, arch, configFile)
			}
			a, err := reserve.ArchOf(arch)
			if err != nil {
				return usagef("--arch: %v", err)
			}
			if !strings.Contains(words, "crashkernel=") {
				words = "crashkernel=" + words
			}
			n, ok := reserve.ParseSize(ram)
			switch {
			case given("ram") && (!ok || n == 0):
				return usagef("--ram wants a size such as 1536M or 64G, not %q", ram)
			case !given("ram"):
				if n, err = hostRAM(f.root); err != nil {
					return err
				}
			}
			r := reserve.Explain(words, n, a)
			if err := answer(std.out, f.json, "capture size", sizeArgs(words, ram), r, r.Text); err != nil {
				return err
			}
			if r.Size == 0 {
				return exitWith(repl.NotReserved)
			}
			return nil
		},
	}
	f.add(c)
	c.Flags().StringVar(&words, "explain", "", "tell what `WORDS` reserve, step by step")
	c.Flags().StringVar(&ram, "ram", "", "memory of the machine for --explain, as `SIZE` (default this host's)")
	c.Flags().StringVar(&configFile, "config", "", "take the configuration from `FILE` (default "+config.Path+")")
	c.Flags().StringVar(&arch, "arch", runtime.GOARCH, "`ARCH` of the machine: x86_64 or arm64")
	return c
}

func sizeArgs(words, ram string) []string {
	if ram == "" {
		return []string{words}
	}
	return []string{words, ram}
}

// sized is the JSON of size.
type sized struct {
	*reserve.Report
	// Estimate is what this host's capture kernel needs. Enough is false if less is reserved than it can do with; null if that is not known.
	Estimate      *estimate.Result `json:"estimate"`
	EstimateNotes []string         `json:"estimate_notes"`
	Enough        *bool            `json:"enough"`
}

func captureSize(std stdio, f captureFlags, arch, configFile string) error {
	ctx, stop := untilStopped()
	defer stop()
	h, err := reserve.ReadHost(f.root)
	if err != nil {
		return &statusError{repl.Failed, err}
	}
	l, err := config.Load(f.root, configFile)
	if err != nil {
		return configStatus(err)
	}
	in, notes := estimate.FromHost(ctx, f.root, arch, l.Config)
	e := estimate.Of(in)
	r := &sized{Report: h.Compare(arch), Estimate: &e, EstimateNotes: append([]string{}, notes...)}
	if r.Bytes != nil && *r.Bytes > 0 {
		enough := e.Enough(largest(r.Report))
		r.Enough = &enough
	}
	if err := answer(std.out, f.json, "capture size", []string{}, r, r.text); err != nil {
		return err
	}
	switch {
	case r.State == reserve.Hidden:
		return exitWith(repl.Gaps)
	case r.State != reserve.Reserved && r.State != reserve.Unchecked, r.Enough != nil && !*r.Enough:
		return exitWith(repl.NotReserved)
	}
	return nil
}

// largest is the region in which the capture kernel lies.
func largest(r *reserve.Report) uint64 {
	var most uint64
	for _, p := range r.Places {
		most = max(most, p.Bytes)
	}
	if most == 0 {
		return *r.Bytes
	}
	return most
}

func (s *sized) text(w io.Writer) error {
	if err := s.Report.Text(w); err != nil {
		return err
	}
	verdict := ""
	switch {
	case s.Enough == nil:
	case !*s.Enough:
		verdict = fmt.Sprintf("    ENOUGH: NO: %.0f MiB are needed at least\n", float64(s.Estimate.Least)/(1<<20))
	case largest(s.Report) < s.Estimate.Peak:
		verdict = fmt.Sprintf("    ENOUGH: perhaps: %.0f MiB are needed at least, kdx reckons with %.0f; kdx capture test tells\n", float64(s.Estimate.Least)/(1<<20), float64(s.Estimate.Peak)/(1<<20))
	default:
		verdict = "    ENOUGH: yes\n"
	}
	fmt.Fprintf(w, "%s\n", verdict)
	if err := s.Estimate.Text(w); err != nil {
		return err
	}
	for _, n := range s.EstimateNotes {
		if _, err := fmt.Fprintf(w, "note: %s\n", n); err != nil {
			return err
		}
	}
	return nil
}

// hostRAM is what this host's kernel counts as memory.
func hostRAM(root string) (uint64, error) {
	h, err := reserve.ReadHost(root)
	if err == nil && h.RAM == 0 {
		err = errors.New(h.HiddenWhy)
	}
	if err != nil {
		return 0, &statusError{repl.Failed, fmt.Errorf("how much memory this host has is not known (%w): give --ram", err)}
	}
	return h.RAM, nil
}
