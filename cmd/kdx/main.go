// Kdx looks inside the crash dumps of Linux kernels, and turns them into others. See docs/commands.md, or kdx --help.
package main

import (
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"kdx/repl"
)

func main() {
	// A reader of stdout that goes away is seen as an error of write, so that what was answered so far decides the exit
	// code. Programs that kdx starts get the signal as usual.
	signal.Notify(make(chan os.Signal, 1), syscall.SIGPIPE)
	os.Exit(int(run(os.Args, stdio{os.Stdin, os.Stdout, os.Stderr, repl.StandardTerminal()})))
}

// stdio are the standard files and which of them are terminals.
type stdio struct {
	in       io.Reader
	out, err io.Writer
	terminal repl.Terminal
}

// run is main without the process. Called as crash, makedumpfile or kexec, kdx takes that program's command line.
func run(args []string, std stdio) repl.Status {
	switch filepath.Base(args[0]) {
	case "crash":
		return runCrash(args[1:], std)
	case "makedumpfile":
		return runMakedumpfile(args[1:], std)
	case "kexec":
		return runKexec(args[1:], std)
	}
	return runKdx(args[1:], std)
}
