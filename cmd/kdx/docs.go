package main

import (
	"maps"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"kdx/capture/config"
	"kdx/capture/doctor"
	"kdx/repl"
	"kdx/repl/commands"
)

//go:generate go run kdx/cmd/kdx examples ../../testdata/dumps/6.12-more ../../repl/commands/examples.txt
//go:generate go run kdx/cmd/kdx docs ../../docs

// generated are the pages that are made from tables, by file name.
func generated() map[string]string {
	pages := map[string]string{
		"capture-config.md": config.Doc(),
		"capture-doctor.md": doctor.Doc(),
		"commands.md":       repl.CommandsDoc(commands.All()),
		"crash-compat.md":   repl.CrashDoc(commands.All()),
		"exit-codes.md":     repl.StatusDoc(),
		"kexec.md":          kexecDoc(),
		"makedumpfile.md":   makedumpfileDoc(),
	}
	maps.Copy(pages, manPages())
	return pages
}

func docsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "docs DIRECTORY", Short: "write the generated pages of docs/", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for name, text := range generated() {
				if err := os.MkdirAll(filepath.Dir(filepath.Join(args[0], name)), 0o755); err != nil {
					return &statusError{repl.Failed, err}
				}
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
					return &statusError{repl.Failed, err}
				}
			}
			return nil
		},
	}
}
