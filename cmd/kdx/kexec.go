package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"kdx/capture/load"
	"kdx/capture/reserve"
	"kdx/repl"
)

// kexecToolsVersion is the release whose command line this is.
const kexecToolsVersion = "2.0.32"

// Exit codes of kexec. With -S, 1 is "loaded" and 0 "not loaded", whatever one may expect.
const (
	kexecOK      repl.Status = 0
	kexecFailed  repl.Status = 1
	kexecLoaded  repl.Status = 1
	kexecRefused repl.Status = 255
)

func kexecCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use: "kexec [OPTION]… [KERNEL]", Short: "start another kernel without the firmware, with kexec-tools' command line; also when kdx is called kexec",
		DisableFlagParsing: true, // its options work in their order
		RunE:               func(_ *cobra.Command, args []string) error { return exitWith(runKexec(args, std)) },
	}
}

// thisHost is the host that kdx runs on.
func thisHost(std stdio, by string) *load.Host {
	return &load.Host{
		Calls: load.System(), Kdx: version(), By: by, Arch: runtime.GOARCH, Archive: load.InspectInitrd,
		Say: func(format string, args ...any) { fmt.Fprintf(std.err, "kdx: "+format+"\n", args...) },
	}
}

// runKexec is kdx called as kexec.
func runKexec(args []string, std stdio) repl.Status {
	k, err := parseKexec(args)
	if err != nil {
		fmt.Fprintf(std.err, "kexec: %v\nkexec --help lists the options\n", err)
		return kexecFailed
	}
	h := thisHost(std, "kdx kexec")
	switch {
	case k.help:
		io.WriteString(std.out, kexecHelp())
		return kexecOK
	case k.version:
		fmt.Fprintf(std.out, "kexec-tools %s (taken over by kdx %s)\n", kexecToolsVersion, version())
		return kexecOK
	}
	ctx, stop := untilStopped()
	defer stop()
	st, err := k.run(ctx, h, std)
	if err != nil {
		fmt.Fprintf(std.err, "kexec: %v\n", err)
	}
	return st
}

func (k *kexecLine) run(ctx context.Context, h *load.Host, std stdio) (repl.Status, error) {
	if k.status || k.printSize {
		return k.tell(h, std)
	}
	if k.unload {
		problems, err := h.Unload(ctx, k.crash)
		tellProblems(std.err, problems)
		if err != nil {
			return kexecStatus(err), err
		}
	}
	if k.load {
		if err := k.loadKernel(ctx, h, std); err != nil {
			return kexecStatus(err), err
		}
	}
	switch {
	case k.exec && !k.shutdown:
		err := h.Exec(ctx, load.ExecOptions{NoSync: !k.sync, NoLinksDown: !k.linksDown})
		return kexecStatus(err), err
	case k.shutdown:
		return k.shutDown(std)
	}
	return kexecOK, nil
}

// kexecStatus: 255 where the kernel said no, 1 for what kexec itself found.
func kexecStatus(err error) repl.Status {
	var no *load.LoadError
	var refused *load.RefusedError
	var errno syscall.Errno
	switch {
	case err == nil:
		return kexecOK
	case errors.As(err, &refused):
		return kexecFailed
	case errors.As(err, &no), errors.As(err, &errno) && !errors.Is(err, os.ErrNotExist):
		return kexecRefused
	}
	return kexecFailed
}

func (k *kexecLine) tell(h *load.Host, std stdio) (repl.Status, error) {
	if k.printSize {
		r, err := reserve.ReadHost(h.Root)
		if err != nil {
			return kexecFailed, err
		}
		rep := r.Compare(h.Arch)
		if rep.Bytes == nil {
			return kexecFailed, fmt.Errorf("how much is reserved can't be seen: %s", rep.HiddenWhy)
		}
		fmt.Fprintln(std.out, *rep.Bytes)
		return kexecOK, nil
	}
	kernel, err := h.ReadKernel()
	if err != nil {
		return kexecRefused, err
	}
	switch {
	case kernel.CrashLoaded == nil:
		return kexecRefused, errors.New("the running kernel does not say whether one is loaded: it has no kexec, or /sys is not mounted")
	case *kernel.CrashLoaded:
		return kexecLoaded, nil
	}
	return kexecOK, nil
}

func (k *kexecLine) loadKernel(ctx context.Context, h *load.Host, std stdio) error {
	kernel, err := absolute(k.files[0])
	if err != nil {
		return err
	}
	job := load.Job{Kernel: kernel, Cmdline: k.cmdline, Crash: k.crash, Foreign: true, Force: true, Debug: k.debug}
	if k.initrd != "" {
		if job.Initrd, err = absolute(k.initrd); err != nil {
			return err
		}
	}
	if k.reuse {
		running, err := h.ReadKernel()
		if err != nil {
			return err
		}
		job.Cmdline = load.Reuse(running.Cmdline, k.crash)
		if k.cmdline != "" {
			job.Cmdline = strings.TrimSpace(job.Cmdline + " " + k.cmdline)
		}
	}
	if k.debug {
		fmt.Fprintf(std.out, "kernel: %s\ninitrd: %s\ncommand line: %s\n", job.Kernel, job.Initrd, job.Cmdline)
	}
	res, err := h.Load(ctx, job)
	if err != nil {
		return err
	}
	tellProblems(std.err, res.Problems)
	return nil
}

// shutDown leaves it to the system's own shutdown to end with the loaded kernel.
func (k *kexecLine) shutDown(std stdio) (repl.Status, error) {
	args := []string{"shutdown", "-r", "now"}
	if _, err := os.Stat("/run/systemd/system"); err == nil {
		args = []string{"systemctl", "kexec"}
	}
	name, err := exec.LookPath(args[0])
	for _, dir := range []string{"/sbin", "/usr/sbin", "/bin", "/usr/bin"} {
		if err == nil {
			break
		}
		name, err = exec.LookPath(filepath.Join(dir, args[0]))
	}
	if err != nil {
		return kexecFailed, fmt.Errorf("the kernel is loaded, but %s is not found, which ends what runs: kexec -e starts the kernel at once", args[0])
	}
	c := exec.Command(name, args[1:]...)
	c.Stdin, c.Stdout, c.Stderr = std.in, std.out, std.err
	if err := c.Run(); err != nil {
		return kexecFailed, fmt.Errorf("the kernel is loaded, but %s failed: %w", strings.Join(args, " "), err)
	}
	return kexecOK, nil
}

func absolute(name string) (string, error) { return filepath.Abs(name) }

func tellProblems(w io.Writer, problems []load.Problem) {
	for _, p := range problems {
		fmt.Fprintf(w, "kdx: note: %v\n", p)
	}
}
