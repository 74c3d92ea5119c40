package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kdx/capture/config"
	"kdx/capture/initrd"
	"kdx/capture/load"
	"kdx/capture/reserve"
	"kdx/repl"
)

// loadFlags are those of kdx capture load.
type loadFlags struct {
	json, force, dryRun, reuse   bool
	kernel, initrd, config, base string
	appended                     []string
}

// loaded is the JSON of load and reload.
type loaded struct {
	*load.Result
	// Line is how the command line came about; nil for reload, which takes it as it was.
	Line *load.Line `json:"line,omitempty"`
	// Built is the initrd, if it was looked whether it must be built anew.
	Built  *initrd.Result `json:"built,omitempty"`
	DryRun bool           `json:"dry_run"`
}

func captureLoadCommand(std stdio) *cobra.Command {
	var f loadFlags
	c := &cobra.Command{
		Use:   "load",
		Short: "arm this host: load the capture kernel",
		Long: "Loads kernel and initrd into the reservation with kexec_file_load, so that a panic starts them. Everything is looked at before: the image, its signature under lockdown, the initrd and whether " +
			"it is for that kernel, the command line, room in the reservation. If the kernel refuses all the same, it has dropped what was loaded before: then the last good one is loaded again.\n\n" +
			"Without --kernel and --initrd both come from the configuration (the running kernel; /boot/initrd.kdx), and the initrd is built anew first if something that it is made of has changed; what " +
			"kdx capture initrd build was given for it on its command line (--target and others) is kept then, and said. The " +
			"command line is the running kernel's with words taken out and put in by rules (docs/kexec.md); --dry-run shows it. The configured sysctls are set. Two loads at once wait for each other.\n\n" +
			"Exit code 1: not loaded, and the host is armed as before; 14: not loaded, and not armed; 13: no memory is reserved, or too little; 12: the configuration can't be used.",
		Example: "  kdx capture load\n  kdx capture load --dry-run\n" +
			"  kdx capture load --kernel /boot/vmlinuz --initrd /boot/initrd.kdx --append \"console=ttyS0\"\n  kdx capture load --json | jq .result.record.cmdline",
		Args: cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			if f.reuse && f.base != "" {
				return usagef("--reuse-cmdline and --command-line each say where to start from: one of them")
			}
			ctx, stop := untilStopped()
			defer stop()
			return loadStatus(ctx, thisHost(std, "kdx capture load"), captureLoad(ctx, std, f))
		},
	}
	p := c.Flags()
	p.BoolVar(&f.json, "json", false, "answer in JSON")
	p.StringVar(&f.kernel, "kernel", "", "boot `IMAGE` of the capture kernel (default the configuration's: the running kernel's)")
	p.StringVar(&f.initrd, "initrd", "", "capture initrd, as `FILE`, which is taken as it is (default the configuration's, built anew if needed)")
	p.StringArrayVar(&f.appended, "append", nil, "`WORDS` to put at the end of the command line")
	p.StringVar(&f.base, "command-line", "", "start from `LINE` instead of the running kernel's command line")
	p.BoolVar(&f.reuse, "reuse-cmdline", false, "start from the running kernel's command line, whatever the configuration says")
	p.StringVar(&f.config, "config", "", "take the configuration from `FILE` (default "+config.Path+")")
	p.BoolVar(&f.force, "force", false, "load though the capture kernel will not have the memory to start, or the kernel is not the file that the initrd was built for")
	p.BoolVar(&f.dryRun, "dry-run", false, "look at everything, show the command line, load nothing")
	return c
}

func captureLoad(ctx context.Context, std stdio, f loadFlags) error {
	h := thisHost(std, "kdx capture load")
	l, err := config.Load("", f.config)
	if err != nil {
		return configStatus(err)
	}
	if len(l.Problems) > 0 {
		newShown(l).tell(std.err)
		return &statusError{repl.NotUsable, errors.New("not loaded: the configuration has errors")}
	}
	out := &loaded{DryRun: f.dryRun}
	job := load.Job{Crash: true, Force: f.force, Sysctls: l.Config.Sysctls}
	if job.Kernel, err = captureKernel(f.kernel, l.Config); err != nil {
		return err
	}
	if job.Initrd, err = f.initrdFor(ctx, std, l.Config, out); err != nil {
		return err
	}
	k, err := h.ReadKernel()
	if err != nil {
		return err
	}
	from := load.Source{
		Running: k.Cmdline, Base: f.base, Remove: l.Config.CmdlineRemove, Append: append(append([]string{}, l.Config.CmdlineAppend...), f.appended...), CPUs: h.CPUs(l.Config, k, job.Kernel, job.Initrd), Consoles: l.Config.Consoles,
		BootAPIC: k.BootAPIC, Xen: k.Xen,
	}
	if from.Base == "" && !f.reuse {
		from.Base = l.Config.Cmdline
	}
	line := load.Derive(from)
	out.Line, job.Cmdline = &line, line.Text
	if f.dryRun {
		out.Result, err = h.Check(ctx, job)
	} else {
		out.Result, err = h.Load(ctx, job)
	}
	if err != nil {
		return err
	}
	return answer(std.out, f.json, "capture load", []string{}, out, out.text)
}

// captureKernel is the image that is named, configured, or running.
func captureKernel(named string, c *config.Config) (string, error) {
	switch {
	case named != "":
		return filepath.Abs(named)
	case c.Kernel != "":
		return c.Kernel, nil
	}
	return initrd.RunningImage("")
}

// initrdFor is the initrd that is named, or the configured one, up to date. One that can't be built anew is loaded as it is, if it is whole.
func (f *loadFlags) initrdFor(ctx context.Context, std stdio, c *config.Config, out *loaded) (string, error) {
	if f.initrd != "" {
		return filepath.Abs(f.initrd)
	}
	if f.dryRun {
		return c.Initrd, nil
	}
	built, err := initrd.Build(ctx, initrd.Spec{ConfigFile: f.config, Kernel: f.kernel}, initrd.Options{Kdx: version(), Keep: true})
	if err != nil {
		if _, serr := os.Stat(c.Initrd); ctx.Err() != nil || serr != nil {
			return "", fmt.Errorf("the capture initrd can't be built: %w", err)
		}
		fmt.Fprintf(std.err, "kdx: note: the capture initrd can't be built anew, the one that is there is taken: %v\n", err)
		return c.Initrd, nil
	}
	out.Built = built
	return built.Path, nil
}

func (l *loaded) text(w io.Writer) error {
	var b strings.Builder
	if l.Built != nil && l.Built.Built {
		fmt.Fprintf(&b, "built %s: %s\n", l.Built.Path, l.Built.Why)
	}
	if l.Built != nil && len(l.Built.Kept) > 0 {
		fmt.Fprintf(&b, "%s keeps what it was built with before, whatever the configuration says: %s (kdx capture initrd build without these goes back to the configuration)\n", l.Built.Path,
			strings.Join(l.Built.Kept, " "))
	}
	r := l.Record
	verb := "armed: a panic starts "
	if l.DryRun {
		verb = "would load "
	}
	fmt.Fprintf(&b, "%s%s", verb, r.Kernel.Path)
	if r.Release != "" {
		fmt.Fprintf(&b, " (%s)", r.Release)
	}
	fmt.Fprintf(&b, " with %s\n", r.Initrd.Path)
	if l.Line != nil && l.DryRun {
		for _, c := range l.Line.Removed {
			fmt.Fprintf(&b, "  - %-36s %s\n", c.Word, c.Why)
		}
		for _, c := range l.Line.Added {
			fmt.Fprintf(&b, "  + %-36s %s\n", c.Word, c.Why)
		}
	}
	fmt.Fprintf(&b, "command line: %s\n", r.Cmdline)
	if r.Reserved > 0 {
		fmt.Fprintf(&b, "reservation: %s, of which %.0f MiB are taken until the capture kernel runs\n", reserve.Size(r.Reserved), float64(r.Placed)/(1<<20))
	}
	if l.Hotplug == load.HotplugReload {
		b.WriteString("hotplug: this kernel does not follow it: kdx's udev rules load again, or kdx capture reload\n")
	}
	for _, p := range l.Problems {
		fmt.Fprintf(&b, "note: %v\n", p)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// loadStatus is the exit code for a host that could not be armed.
func loadStatus(ctx context.Context, h *load.Host, err error) error {
	var refused *load.RefusedError
	var no *load.LoadError
	var said *statusError
	st := repl.Failed
	switch {
	case err == nil || errors.As(err, &said):
		return err
	case ctx.Err() != nil:
		return &statusError{repl.Interrupted, errors.New("interrupted; what is loaded is as it was")}
	case errors.As(err, &refused):
		for _, p := range refused.Problems {
			if p.Reservation {
				return &statusError{repl.NotReserved, err}
			}
		}
	}
	armed := false
	if k, kerr := h.ReadKernel(); kerr == nil && k.CrashLoaded != nil {
		armed = *k.CrashLoaded
	}
	if errors.As(err, &no) && no.After == load.AfterLost || !armed {
		st = repl.NotArmed
	}
	return &statusError{st, err}
}

func captureUnloadCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use:   "unload",
		Short: "disarm this host: drop the capture kernel",
		Long:  "Drops the capture kernel that is loaded, whoever loaded it, and puts the sysctls back that kdx set. A panic leaves no dump then. It is no error if none is loaded.",
		Args:  cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			ctx, stop := untilStopped()
			defer stop()
			problems, err := thisHost(std, "kdx capture unload").Unload(ctx, true)
			tellProblems(std.err, problems)
			if err != nil {
				return &statusError{repl.Failed, err}
			}
			return nil
		},
	}
}

func captureReloadCommand(std stdio) *cobra.Command {
	var asJSON bool
	var throttle time.Duration
	c := &cobra.Command{
		Use:   "reload",
		Short: "load again what is loaded, as after hotplug of memory",
		Long: "Loads the same kernel, initrd and command line again, also if the files have been replaced since (kdx capture load takes the new ones). The kernel makes a new map of the memory that there is then.\n\n" +
			"--throttle is for events of memory and CPUs, which come by the hundred: it waits that long, then loads once for all that came. It does nothing, and exits with 0, where the kernel keeps the map up to " +
			"date itself (crash_hotplug), where nothing is loaded, and where another process waits already.\n\n" +
			"Exit code 1: it failed, and the host is armed as before; 14: it is not armed.",
		Example: "  kdx capture reload\n  kdx capture reload --throttle 3s",
		Args:    cobra.NoArgs,
		RunE: func(c *cobra.Command, _ []string) error {
			ctx, stop := untilStopped()
			defer stop()
			h := thisHost(std, "kdx capture reload")
			var res *load.Result
			var err error
			if c.Flags().Changed("throttle") {
				var what load.HotplugResult
				if what, res, err = h.OnHotplug(ctx, throttle); err == nil && res == nil {
					if asJSON {
						return answer(std.out, true, "capture reload", []string{}, map[string]string{"nothing": string(what)}, nil)
					}
					fmt.Fprintf(std.out, "nothing to do: %s\n", what)
					return nil
				}
			} else {
				res, err = h.Reload(ctx)
			}
			if err != nil {
				return loadStatus(ctx, h, err)
			}
			out := &loaded{Result: res}
			return answer(std.out, asJSON, "capture reload", []string{}, out, out.text)
		},
	}
	c.Flags().BoolVar(&asJSON, "json", false, "answer in JSON")
	c.Flags().DurationVar(&throttle, "throttle", 3*time.Second, "for events of hotplug: wait `TIME`, then load once for all events")
	return c
}

func captureStatusCommand(std stdio) *cobra.Command {
	var f captureFlags
	var configFile string
	c := &cobra.Command{
		Use:   "status",
		Short: "whether this host is armed, with what, and since when",
		Long: "Says whether a capture kernel is loaded, from which files, since when and with which command line; the reservation; whether the kernel follows hotplug itself; whether the configured sysctls are set; " +
			"and the newest dump on targets that are directories of this host. Root sees all of it.\n\nExit code 14: nothing is loaded, so a panic leaves no dump.",
		Example: "  kdx capture status\n  kdx capture status --json | jq .result.armed",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			h := thisHost(std, "kdx capture status")
			h.Root = f.root
			cfg := config.Default()
			l, cerr := config.Load(f.root, configFile)
			if cerr == nil {
				cfg = l.Config
			}
			s, err := h.ReadStatus(cfg.Sysctls)
			if errors.Is(err, fs.ErrNotExist) {
				err = fmt.Errorf("no running kernel is seen: %w", err)
			}
			if err != nil {
				return &statusError{repl.Failed, err}
			}
			if cerr != nil {
				s.Note("the configuration can't be read: %v", cerr)
			}
			for _, t := range cfg.Targets {
				if t.Kind == config.Dir {
					h.LastDump(s, t.Path)
				}
			}
			if err := answer(std.out, f.json, "capture status", []string{}, s, s.Text); err != nil {
				return err
			}
			if !s.Armed {
				return exitWith(repl.NotArmed)
			}
			return nil
		},
	}
	f.add(c)
	c.Flags().StringVar(&configFile, "config", "", "take the configuration from `FILE` (default "+config.Path+")")
	return c
}
