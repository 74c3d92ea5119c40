package main

import (
	"context"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kdx/repl"
)

// sources collects -c and -i in the order in which they are given.
type sources []repl.Source

// sourceFlag is -c or -i.
type sourceFlag struct {
	to   *sources
	file bool
}

func (f sourceFlag) String() string { return "" }
func (f sourceFlag) Type() string   { return map[bool]string{false: "COMMAND", true: "FILE"}[f.file] }
func (f sourceFlag) Set(v string) error {
	if f.file {
		*f.to = append(*f.to, repl.Source{File: v})
		return nil
	}
	for line := range strings.SplitSeq(v, "\n") { // $'bt\nps' is two commands
		*f.to = append(*f.to, repl.Source{Line: line})
	}
	return nil
}

func openCommand(std stdio) *cobra.Command {
	var o options
	var src sources
	var noRC, silent bool
	c := &cobra.Command{
		Use:   "open [VMLINUX] DUMP…",
		Short: "a prompt on a dump, or a script of commands",
		Long: "Opens a dump; several files are the parts of one split dump. With -c or -i it runs these commands and exits; otherwise it reads commands from " +
			"stdin, with a prompt if that is a terminal. Files and flags come in any order. ~/.kdxrc and ./.kdxrc are run first. " +
			"--live opens the running kernel instead of a dump.",
		Example: "  kdx open vmcore\n  kdx open -c 'foreach UN bt -S' -c 'log | tail' vmcore\n  kdx open --json -c ps vmcore | jq .",
		RunE: func(c *cobra.Command, args []string) error {
			n, err := o.files(args)
			if err != nil {
				return sortStatus(err)
			}
			x, err := o.open(c.Context(), n, std)
			if err != nil {
				return openStatus(err)
			}
			defer x.Close()
			s := o.session(x, std)
			if !noRC {
				s.RCFiles(c.Context(), ".kdxrc")
			}
			if len(src) > 0 {
				st, _ := s.Script(c.Context(), src)
				return exitWith(st)
			}
			if std.terminal.In && !silent && !o.json {
				s.Banner(c.Context())
			}
			return exitWith(s.Run(c.Context()))
		},
	}
	f := c.Flags()
	f.SortFlags = false
	f.VarP(sourceFlag{&src, false}, "command", "c", "run this command and exit; may be repeated")
	f.VarP(sourceFlag{&src, true}, "input", "i", "run the commands in this file and exit; may be repeated")
	f.BoolVarP(&silent, "silent", "s", false, "no banner")
	f.BoolVar(&noRC, "no-rc", false, "do not run ~/.kdxrc and ./.kdxrc")
	o.register(f)
	c.SetContext(context.Background())
	return c
}

// sortStatus is the exit code for files that can't be told apart: no file is a matter of usage.
func sortStatus(err error) error {
	st := openStatus(err).(*statusError)
	if st.status == repl.NoKernel {
		st.status = repl.Usage
	}
	return st
}

var _ pflag.Value = sourceFlag{}
