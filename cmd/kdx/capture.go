package main

import (
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"

	"github.com/spf13/cobra"

	"kdx/capture/reserve"
	"kdx/internal/nearest"
	"kdx/repl"
)

// captureFlags are those of several capture commands.
type captureFlags struct {
	json bool
	root string
}

func (f *captureFlags) add(c *cobra.Command) {
	c.Flags().BoolVar(&f.json, "json", false, "answer in JSON")
	c.Flags().StringVar(&f.root, "root", "", "read the files of another host, which lie under `DIR` as an sosreport has them")
}

func captureCommand(std stdio) *cobra.Command {
	c := &cobra.Command{
		Use:   "capture COMMAND",
		Short: "capture crash dumps on this host: what is reserved, what is configured",
		Long: "The host's side of crash dumps. size says what memory is reserved for a capture kernel and explains crashkernel= by the kernel's own rules; " +
			"config shows, checks and imports how dumps are captured.",
		Example: "  kdx capture size\n  kdx capture size --explain 384M-2G:64M,2G-:128M --ram 1536M\n  kdx capture config show --default > /etc/kdx/capture.conf\n  kdx capture config check\n  kdx capture config import",
		RunE: func(c *cobra.Command, args []string) error {
			return subcommand(c, args)
		},
	}
	c.AddCommand(captureSizeCommand(std), captureConfigCommand(std))
	return c
}

// subcommand is the error for a command that wants another one behind it.
func subcommand(c *cobra.Command, args []string) error {
	var names []string
	for _, s := range c.Commands() {
		if s.IsAvailableCommand() {
			names = append(names, s.Name())
		}
	}
	if len(args) == 0 {
		return usagef("%s wants a command: %s (%s --help tells of them)", c.CommandPath(), strings.Join(names, ", "), c.CommandPath())
	}
	hint := ""
	if n := nearest.Of(args[0], names); n != "" {
		hint = " (" + n + "?)"
	}
	return usagef("%s has no command %q%s: %s", c.CommandPath(), args[0], hint, strings.Join(names, ", "))
}

func captureSizeCommand(std stdio) *cobra.Command {
	var f captureFlags
	var words, ram, arch string
	c := &cobra.Command{
		Use:   "size",
		Short: "what is reserved for a capture kernel, and what crashkernel= means",
		Long: "Compares what this host has reserved with what the crashkernel= words of its command line ask for by the kernel's own rules. " +
			"With --explain it tells step by step what given words reserve on a machine with --ram of memory, and on which kernels another outcome comes of it.\n\n" +
			"--explain takes what stands behind crashkernel=, or several words of a command line with the name. --ram is what the kernel counts as memory, which is somewhat less than is " +
			"plugged in; without it, this host's.\n\nExit code 13: nothing is reserved, or not what the words ask for; with --explain: nothing would be reserved.",
		Example: "  kdx capture size\n  kdx capture size --explain 384M-2G:64M,2G-:128M --ram 1536M\n  kdx capture size --explain 'crashkernel=256M,high crashkernel=72M,low' --ram 64G\n" +
			"  kdx capture size --json | jq .result.state",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			given := func(name string) bool { return c.Flags().Changed(name) }
			if !given("explain") {
				if given("ram") {
					return usagef("--ram goes with --explain")
				}
				return captureSize(std, f, arch)
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
	c.Flags().StringVar(&arch, "arch", runtime.GOARCH, "`ARCH` of the machine: x86_64 or arm64")
	return c
}

func sizeArgs(words, ram string) []string {
	if ram == "" {
		return []string{words}
	}
	return []string{words, ram}
}

func captureSize(std stdio, f captureFlags, arch string) error {
	h, err := reserve.ReadHost(f.root)
	if err != nil {
		return &statusError{repl.Failed, err}
	}
	r := h.Compare(arch)
	if err := answer(std.out, f.json, "capture size", []string{}, r, func(w io.Writer) error { return r.Text(w) }); err != nil {
		return err
	}
	if r.State == reserve.Hidden {
		return exitWith(repl.Gaps)
	}
	if r.State != reserve.Reserved && r.State != reserve.Unchecked {
		return exitWith(repl.NotReserved)
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
