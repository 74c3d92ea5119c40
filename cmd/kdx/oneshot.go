package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"kdx/analyze/view"
	"kdx/repl/commands"
)

// addOneShots adds kdx COMMAND DUMP for each command of the table that makes sense without a session.
func addOneShots(root *cobra.Command, std stdio) {
	for _, cmd := range commands.All() {
		if cmd.Prompt || !isWord(cmd.Name) {
			continue
		}
		c := oneShot(cmd, std)
		c.GroupID = "command"
		for _, a := range cmd.Aliases {
			if isWord(a) {
				c.Aliases = append(c.Aliases, a)
			}
		}
		root.AddCommand(c)
	}
}

func isWord(name string) bool {
	return name != "" && strings.Trim(name, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

func oneShot(cmd *commands.Command, std stdio) *cobra.Command {
	help := func(*cobra.Command, []string) {
		width, _ := 0, 0
		if std.terminal.Out && std.terminal.Size != nil {
			width, _ = std.terminal.Size()
		}
		page := commands.NewHelpPage(cmd)
		for i, u := range page.Usage {
			page.Usage[i] = "kdx " + cmd.Name + " DUMP" + strings.TrimPrefix(u, cmd.Name)
		}
		fmt.Fprintf(std.out, "kdx %s DUMP: the command of the prompt, without a prompt; the dump stands before or after its flags.\n\n", cmd.Name)
		page.Text(std.out, view.Options{Width: width})
		var o options
		f := pflag.NewFlagSet(cmd.Name, pflag.ContinueOnError)
		o.register(f)
		fmt.Fprintf(std.out, "\nFLAGS OF KDX\n%s", f.FlagUsages())
	}
	c := &cobra.Command{
		Use:   cmd.Name + " DUMP [ARGUMENT…]",
		Short: cmd.Summary,
		// The flags behind the name are the command's, crash's way: cobra must leave them alone.
		DisableFlagParsing: true,
		RunE: func(c *cobra.Command, args []string) error {
			return runOneShot(c.Context(), cmd, args, std, func() { help(c, nil) })
		},
	}
	c.SetHelpFunc(help)
	c.ValidArgsFunction = func(_ *cobra.Command, _ []string, last string) ([]string, cobra.ShellCompDirective) {
		if !strings.HasPrefix(last, "-") {
			return nil, cobra.ShellCompDirectiveDefault // files
		}
		return flagCompletions(cmd, last), cobra.ShellCompDirectiveNoFileComp
	}
	return c
}

// flagCompletions are the command's flags and kdx's own, with what they do.
func flagCompletions(cmd *commands.Command, last string) []string {
	var out []string
	for i := range cmd.Flags {
		name, _, _ := strings.Cut(cmd.Flags[i].String(), " ")
		out = append(out, name+"\t"+cmd.Flags[i].Help)
	}
	var o options
	f := pflag.NewFlagSet(cmd.Name, pflag.ContinueOnError)
	o.register(f)
	f.VisitAll(func(x *pflag.Flag) { out = append(out, "--"+x.Name+"\t"+x.Usage) })
	return slices.DeleteFunc(out, func(s string) bool { return !strings.HasPrefix(s, last) })
}

func runOneShot(ctx context.Context, cmd *commands.Command, args []string, std stdio, help func()) error {
	if ctx == nil {
		ctx = context.Background()
	}
	var o options
	f := pflag.NewFlagSet(cmd.Name, pflag.ContinueOnError)
	o.register(f)
	own, rest := ownFlags(f, args)
	if wantsHelp(cmd, rest) {
		help()
		return nil
	}
	if err := f.Parse(own); err != nil {
		return usagef("%v", err)
	}
	files, words := splitFiles(rest)
	n, err := o.files(files)
	if err != nil {
		return sortStatus(whyNoDump(cmd, words, err))
	}
	x, err := o.open(ctx, n, std)
	if err != nil {
		return openStatus(err)
	}
	defer x.Close()
	return exitWith(o.session(x, std).Call(ctx, cmd.Name, words))
}

// ownFlags takes kdx's own flags, which are all long, out of a command's.
func ownFlags(f *pflag.FlagSet, args []string) (own, rest []string) {
	for i := 0; i < len(args); i++ {
		a := args[i]
		if a == "--" {
			return own, append(rest, args[i:]...)
		}
		name, _, hasValue := strings.Cut(strings.TrimPrefix(a, "--"), "=")
		flag := f.Lookup(name)
		if !strings.HasPrefix(a, "--") || flag == nil {
			rest = append(rest, a)
			continue
		}
		own = append(own, a)
		if flag.NoOptDefVal == "" && !hasValue && i+1 < len(args) { // its value is the next word
			i++
			own = append(own, args[i])
		}
	}
	return own, rest
}

func wantsHelp(cmd *commands.Command, args []string) bool {
	for _, a := range args {
		if a == "--" {
			return false
		}
		if a == "--help" {
			return true
		}
	}
	if len(args) != 1 || args[0] != "-h" {
		return false
	}
	for _, f := range cmd.Flags {
		if f.Name == "h" {
			return false
		}
	}
	return true
}

// splitFiles takes the dump's files out of a command's arguments: the first arguments in a row that are files, and an
// ELF kernel anywhere before them.
func splitFiles(args []string) (files, words []string) {
	dumps, ended := 0, false
	for i, a := range args {
		if a == "--" {
			return files, append(words, args[i:]...)
		}
		fi, err := statFile(a)
		if ended || err != nil || fi.IsDir() || strings.HasPrefix(a, "-") {
			ended = ended || dumps > 0
			words = append(words, a)
			continue
		}
		kind, err := sniff(a)
		if err != nil || kind == dumpFile {
			dumps++
		}
		files = append(files, a)
	}
	return files, words
}

// whyNoDump explains it with the argument that was probably meant.
func whyNoDump(cmd *commands.Command, words []string, err error) error {
	for _, w := range words {
		if strings.HasPrefix(w, "-") {
			continue
		}
		if _, serr := os.Stat(w); serr != nil && (strings.Contains(w, "/") || len(words) == 1) {
			var pe *os.PathError
			if errors.As(serr, &pe) {
				return serr
			}
		}
	}
	return fmt.Errorf("%s: %w among the arguments (kdx %s DUMP)", cmd.Name, err, cmd.Name)
}
