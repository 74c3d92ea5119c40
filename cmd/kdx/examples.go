package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kdx/analyze"
	"kdx/dumpfmt/formats"
	"kdx/repl"
	"kdx/repl/commands"
)

// exampleUnshown are examples whose output help does not show.
var exampleUnshown = map[string]string{
	"frame 3.1":                              "wants debug information",
	"h":                                      "the history is empty",
	"h | grep struct":                        "the history is empty",
	"r":                                      "there is no line before it",
	"r bt":                                   "there is no line before it",
	"search -k init_task":                    "reads all memory, and the dump holds a part",
	"search -S ffff8984dee0c8c0":             "reads all memory, and the dump holds a part",
	"search -u -c libc.so":                   "reads all memory of a process, and the dump holds a part",
	"net -t":                                 "reads tables that the dump does not hold",
	"irq -s":                                 "reads counts that the dump does not hold",
	"foreach bt":                             "reads all stacks, and the dump holds a part",
	"mod -s nvme /tmp/nvme.ko.debug":         "wants a file",
	"mod -S":                                 "wants files",
	"help":                                   "is known to who reads it",
	"help bt":                                "is such a page itself",
	"foreach user sig -g | grep -B3 SIGINFO": "nothing was queued",
}

// exampleRefused are examples that show what kdx says where it does not do what is asked.
var exampleRefused = map[string]bool{"extend trace.so": true, "wr jiffies 0": true, "wr -p 1000 0": true, "repeat -1 p jiffies": true, "repeat -0.5 runq -m": true}

// exampleBefore are lines without which an example has nothing to show.
var exampleBefore = map[string]string{"down": "up 3"}

// exampleOutputs answers the examples of all commands on the dump in the current directory, one session a command.
func exampleOutputs(ctx context.Context) (string, error) {
	img, err := formats.Open(ctx, []string{"vmcore"}, formats.Options{})
	if err != nil {
		return "", err
	}
	defer img.Close()
	k, err := analyze.Open(ctx, img, analyze.Options{})
	if err != nil {
		return "", err
	}
	var lines []string
	answers := make(map[string]string)
	for _, c := range commands.All() {
		var out, errs strings.Builder
		s := repl.New(repl.Config{Kernel: k, Commands: commands.All(), In: strings.NewReader(""), Out: &out, Err: &errs})
		s.Line(ctx, exampleBefore[c.Name])
		for _, e := range c.Examples {
			if exampleUnshown[e.Line] != "" {
				continue
			}
			out.Reset()
			errs.Reset()
			st, _ := s.Line(ctx, e.Line)
			switch {
			case exampleRefused[e.Line] && st != repl.OK:
				out.WriteString(errs.String())
			case strings.Contains(errs.String(), " needs DWARF "): // a small dump has none
				continue
			case st != repl.OK || errs.Len() > 0:
				return "", fmt.Errorf("%s: example %s: status %d: %s", c.Name, e.Line, st, errs.String())
			}
			if _, ok := answers[e.Line]; !ok {
				lines = append(lines, e.Line)
			}
			answers[e.Line] = out.String()
		}
	}
	return commands.WriteExamples(lines, answers), ctx.Err()
}

func examplesCommand() *cobra.Command {
	return &cobra.Command{
		Use: "examples DIRECTORY FILE", Short: "write what the examples of help answer on the dump in a directory", Hidden: true, Args: cobra.ExactArgs(2),
		RunE: func(c *cobra.Command, args []string) error {
			file, err := filepath.Abs(args[1])
			if err != nil {
				return &statusError{repl.Failed, err}
			}
			if err := os.Chdir(args[0]); err != nil { // sys shows the path
				return &statusError{repl.Failed, err}
			}
			time.Local = time.UTC
			text, err := exampleOutputs(c.Context())
			if err == nil {
				err = os.WriteFile(file, []byte(text), 0o644)
			}
			if err != nil {
				return &statusError{repl.Failed, err}
			}
			return nil
		},
	}
}
