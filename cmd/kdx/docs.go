package main

import (
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"kdx/capture/config"
	"kdx/repl"
	"kdx/repl/commands"
)

//go:generate go run kdx/cmd/kdx docs ../../docs

// generated are the pages that are made from tables, by file name.
func generated() map[string]string {
	return map[string]string{
		"capture-config.md": config.Doc(),
		"commands.md":       repl.CommandsDoc(commands.All()),
		"exit-codes.md":     repl.StatusDoc(),
		"makedumpfile.md":   makedumpfileDoc(),
	}
}

func docsCommand() *cobra.Command {
	return &cobra.Command{
		Use: "docs DIRECTORY", Short: "write the generated pages of docs/", Hidden: true, Args: cobra.ExactArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			for name, text := range generated() {
				if err := os.WriteFile(filepath.Join(args[0], name), []byte(text), 0o644); err != nil {
					return &statusError{repl.Failed, err}
				}
			}
			return nil
		},
	}
}
