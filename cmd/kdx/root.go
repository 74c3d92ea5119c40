package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"kdx/repl"
)

// statusError carries the exit code of a subcommand through cobra. What was wrong has been said if msg is nil.
type statusError struct {
	status repl.Status
	err    error
}

func (e *statusError) Error() string { return fmt.Sprint(e.err) }
func (e *statusError) Unwrap() error { return e.err }

// exitWith is the error for a status; nil for OK.
func exitWith(st repl.Status) error {
	if st == repl.OK {
		return nil
	}
	return &statusError{status: st}
}

func newRoot(std stdio) *cobra.Command {
	root := &cobra.Command{
		Use:   "kdx",
		Short: "crash dumps of Linux kernels: capture them, convert them, look inside",
		Long: "kdx opens a kernel's crash dump with nothing but the dump: types, symbols and unwind tables come from the dumped memory itself.\n\n" +
			"    kdx open vmcore            a prompt (help lists its commands)\n" +
			"    kdx bt vmcore              one command, no prompt; also: kdx ps vmcore -S\n" +
			"    kdx open -c bt -c ps vmcore\n" +
			"    kdx capture --help         this host: arm it, so that a crash leaves a dump",
		SilenceErrors: true, SilenceUsage: true,
	}
	root.SetIn(std.in)
	root.SetOut(std.out)
	root.SetErr(std.err)
	root.SetFlagErrorFunc(func(c *cobra.Command, err error) error {
		return &statusError{repl.Usage, fmt.Errorf("%w (%s --help shows its flags)", err, c.CommandPath())}
	})
	root.AddGroup(&cobra.Group{ID: "dump", Title: "Dumps:"}, &cobra.Group{ID: "host", Title: "This host:"}, &cobra.Group{ID: "command", Title: "Commands of the prompt, as kdx COMMAND DUMP:"})
	for _, c := range []*cobra.Command{openCommand(std), infoCommand(std), debuginfoCommand(std), convertCommand(std), makedumpfileCommand(std), distillCommand(std), verifyCommand(std), diffCommand(std)} {
		c.GroupID = "dump"
		root.AddCommand(c)
	}
	capture := captureCommand(std)
	capture.GroupID = "host"
	kexec := kexecCommand(std)
	kexec.GroupID = "host"
	root.AddCommand(capture, kexec, versionCommand(std), docsCommand(), examplesCommand())
	addOneShots(root, std)
	return root
}

func runKdx(args []string, std stdio) repl.Status {
	root := newRoot(std)
	root.SetArgs(withOpen(root, args))
	err := root.Execute()
	if err == nil {
		return repl.OK
	}
	var st *statusError
	if !errors.As(err, &st) {
		st = &statusError{repl.Usage, err} // cobra's own errors are about the command line
	}
	if st.err != nil {
		fmt.Fprintf(std.err, "kdx: %v\n", st.err)
	}
	return st.status
}

// withOpen lets kdx DUMP mean kdx open DUMP.
func withOpen(root *cobra.Command, args []string) []string {
	if len(args) == 0 {
		return args
	}
	if c, _, err := root.Find(args[:1]); err == nil && c != root {
		return args
	}
	if fi, err := statFile(args[0]); err == nil && !fi.IsDir() {
		return append([]string{"open"}, args...)
	}
	return args
}
