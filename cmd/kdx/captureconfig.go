package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"kdx/capture/config"
	"kdx/internal/atomicfile"
	"kdx/repl"
)

func captureConfigCommand(std stdio) *cobra.Command {
	c := &cobra.Command{
		Use:   "config COMMAND",
		Short: "how dumps are captured: show, check, import",
		Long:  "The configuration of capturing is " + config.Path + ". Without that file the configuration of the distribution is taken (/etc/kdump.conf, /etc/sysconfig/kdump, /etc/default/kdump-tools), without that the defaults. See docs/capture-config.md.",
		RunE:  func(c *cobra.Command, args []string) error { return subcommand(c, args) },
	}
	c.AddCommand(configShowCommand(std), configCheckCommand(std), configImportCommand(std))
	return c
}

// shown is the JSON of show and check.
type shown struct {
	Source   config.Source     `json:"source"`
	Files    []string          `json:"files"`
	Settings []config.Setting  `json:"settings"`
	Problems []*config.Problem `json:"problems"`
	// Lost are settings of the distribution's configuration that could not be carried over.
	Lost []config.Outcome `json:"lost"`
}

func newShown(l *config.Loaded) *shown {
	s := &shown{Source: l.Source, Files: l.Files, Settings: l.Settings(), Problems: l.Problems, Lost: []config.Outcome{}}
	if s.Problems == nil {
		s.Problems = []*config.Problem{}
	}
	if l.Imported != nil {
		s.Lost = append(s.Lost, l.Imported.Lost()...)
	}
	return s
}

// usable is the exit code: 12 if anything is wrong.
func (s *shown) usable() error {
	if len(s.Problems) > 0 || len(s.Lost) > 0 {
		return exitWith(repl.NotUsable)
	}
	return nil
}

// tell writes what is wrong.
func (s *shown) tell(w io.Writer) {
	for _, p := range s.Problems {
		fmt.Fprintf(w, "kdx: %v\n", p)
	}
	for _, o := range s.Lost {
		fmt.Fprintf(w, "kdx: %s:%d: %s could not be carried over: %s\n", o.File, o.Line, o.Key, strings.Join(strings.Fields(o.Note), " "))
	}
}

func oneFile(args []string) string {
	if len(args) == 0 {
		return ""
	}
	return args[0]
}

// configStatus is the exit code for files that can't be read.
func configStatus(err error) error {
	var p *config.Problem
	if errors.As(err, &p) {
		return &statusError{repl.NotUsable, err}
	}
	return &statusError{repl.Failed, err}
}

func configShowCommand(std stdio) *cobra.Command {
	var f captureFlags
	var def bool
	c := &cobra.Command{
		Use:   "show [FILE]",
		Short: "the settings that are in force, and where each comes from",
		Long: "Shows every key with the value that is in force, and the line that it comes from, in the form of a configuration file. --default prints the default file, with every key " +
			"and what it means. Exit code 12 if the configuration has errors.",
		Example: "  kdx capture config show\n  kdx capture config show --default > /etc/kdx/capture.conf\n  kdx capture config show --json | jq '.result.settings[] | select(.default | not)'",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			if def {
				if len(args) > 0 || f.json {
					return usagef("--default goes with nothing else")
				}
				_, err := io.WriteString(std.out, config.DefaultFile())
				return writeStatus(err)
			}
			l, err := config.Load(f.root, oneFile(args))
			if err != nil {
				return configStatus(err)
			}
			s := newShown(l)
			if err := answer(std.out, f.json, "capture config show", args, s, l.Text); err != nil {
				return err
			}
			if !f.json {
				s.tell(std.err)
			}
			return s.usable()
		},
	}
	f.add(c)
	c.Flags().BoolVar(&def, "default", false, "print the default file")
	return c
}

func configCheckCommand(std stdio) *cobra.Command {
	var f captureFlags
	c := &cobra.Command{
		Use:   "check [FILE]",
		Short: "what is wrong in the configuration, by line",
		Long: "Reads the configuration and says of everything that is wrong in it where it stands, what was found and what is wanted. Files that it names must be there, and keys be readable by " +
			"their owner only. Nothing in it is run. Exit code 12 if anything is wrong.",
		Example: "  kdx capture config check\n  kdx capture config check ./capture.conf",
		Args:    cobra.MaximumNArgs(1),
		RunE: func(c *cobra.Command, args []string) error {
			l, err := config.Load(f.root, oneFile(args))
			if err != nil {
				return configStatus(err)
			}
			l.Problems = append(l.Problems, l.Missing(f.root)...)
			s := newShown(l)
			text := func(w io.Writer) error {
				if s.usable() != nil {
					s.tell(std.err)
					return nil
				}
				from := "the defaults"
				if len(l.Files) > 0 {
					from = strings.Join(l.Files, " and ")
				}
				_, err := fmt.Fprintf(w, "%s: nothing is wrong\n", from)
				return err
			}
			if err := answer(std.out, f.json, "capture config check", args, s, text); err != nil {
				return err
			}
			return s.usable()
		},
	}
	f.add(c)
	return c
}

func configImportCommand(std stdio) *cobra.Command {
	var f captureFlags
	var from, output string
	var force bool
	c := &cobra.Command{
		Use:   "import [FILE…]",
		Short: "what the configuration of SUSE's, Debian's or Red Hat's kdump becomes in kdx's",
		Long: "Reads the distribution's configuration (/etc/kdump.conf and /etc/sysconfig/kdump, or /etc/default/kdump-tools; or the files named) and says for each setting what it becomes, or why " +
			"it has no place. The files are parsed, never run: what would have to be run is named.\n\n" +
			"-o writes the configuration that says the same; -o - prints it. Exit code 12 if a setting that counts could not be carried over.",
		Example: "  kdx capture config import\n  kdx capture config import -o /etc/kdx/capture.conf\n  kdx capture config import --from suse sysconfig-kdump -o -",
		RunE: func(c *cobra.Command, args []string) error {
			if f.json && output == "-" {
				return usagef("--json has the text of the file in it: it goes with -o FILE or without -o")
			}
			files := args
			if len(files) == 0 {
				var err error
				if files, err = config.Find(f.root); err != nil {
					return &statusError{repl.Failed, err}
				}
			}
			im, err := config.Import(f.root, from, files)
			if err != nil {
				return configStatus(err)
			}
			text := im.Report
			if output == "-" {
				text = func(w io.Writer) error {
					_, err := io.WriteString(w, im.Text)
					return err
				}
			} else if output != "" {
				if err := writeConfig(output, im.Text, force); err != nil {
					return &statusError{repl.Failed, err}
				}
			}
			if err := answer(std.out, f.json, "capture config import", args, im, text); err != nil {
				return err
			}
			if len(im.Lost()) > 0 {
				return exitWith(repl.NotUsable)
			}
			return nil
		},
	}
	f.add(c)
	c.Flags().StringVar(&from, "from", "", "take the files for those of `DISTRIBUTION`: "+strings.Join(config.Distributions(), ", ")+" (default what they look like)")
	c.Flags().StringVarP(&output, "output", "o", "", "write the configuration to `FILE`; - prints it instead of the report")
	c.Flags().BoolVar(&force, "force", false, "replace the file of -o")
	return c
}

// writeConfig writes a file that appears whole, for root only: it may name what is worth knowing.
func writeConfig(name, text string, force bool) error {
	if _, err := os.Lstat(name); !force && !errors.Is(err, fs.ErrNotExist) {
		if err == nil {
			err = errors.New("it exists; --force replaces it")
		}
		return fmt.Errorf("%s: %w", name, err)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteFile(name, []byte(text), 0o600)
}
