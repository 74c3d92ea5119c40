package main

import (
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/spf13/cobra"

	"kdx/capture/units"
	"kdx/repl"
)

// installed is the JSON of units.
type installed struct {
	Files []units.File `json:"files"`
	// Done are the files that were written or removed.
	Done []string `json:"done"`
}

func captureUnitsCommand(std stdio) *cobra.Command {
	var asJSON, install, remove bool
	paths := units.Default()
	var program string
	c := &cobra.Command{
		Use:   "units",
		Short: "the systemd units and udev rules that keep a host armed",
		Long: "Prints the units and rules, or puts them in place: kdx-capture.service loads the capture kernel at boot, kdx-collect.service tells of new dumps, kdx-kexec.service loads the running kernel for a reboot " +
			"without firmware, and the rules load again when memory comes or goes where the kernel does not follow itself. A unit that is masked is left alone. Packages and make install do the same.\n\n" +
			"Then: systemctl daemon-reload; systemctl enable --now kdx-capture kdx-collect",
		Example: "  kdx capture units\n  kdx capture units --install\n  kdx capture units --install --root /tmp/package --kdx /usr/sbin/kdx --units-dir /usr/lib/systemd/system --rules-dir /usr/lib/udev/rules.d\n  kdx capture units --remove",
		Args:    cobra.NoArgs,
		RunE: func(*cobra.Command, []string) error {
			if install && remove {
				return usagef("--install and --remove: one of them")
			}
			var err error
			if paths.Kdx = program; program == "" {
				if paths.Kdx, err = thisProgram(); err != nil {
					return &statusError{repl.Failed, err}
				}
			}
			out := &installed{Done: []string{}}
			if out.Files, err = paths.Files(); err != nil {
				return usagef("%v", err)
			}
			switch {
			case install:
				out.Done, err = paths.Install()
			case remove:
				out.Done, err = paths.Remove()
			}
			if err != nil {
				return &statusError{repl.Failed, err}
			}
			return answer(std.out, asJSON, "capture units", []string{}, out, func(w io.Writer) error { return out.text(w, install || remove) })
		},
	}
	p := c.Flags()
	p.BoolVar(&install, "install", false, "write them")
	p.BoolVar(&remove, "remove", false, "remove what --install wrote, if it is unchanged")
	p.BoolVar(&asJSON, "json", false, "answer in JSON")
	p.StringVar(&paths.Root, "root", "", "write below `DIR`")
	p.StringVar(&program, "kdx", "", "the program that the units run, as a `PATH` (default this one)")
	p.StringVar(&paths.Units, "units-dir", paths.Units, "where units go, as a `DIR`")
	p.StringVar(&paths.Rules, "rules-dir", paths.Rules, "where udev's rules go, as a `DIR`")
	return c
}

func (i *installed) text(w io.Writer, acted bool) error {
	if acted {
		for _, f := range i.Done {
			if _, err := fmt.Fprintln(w, f); err != nil {
				return err
			}
		}
		return nil
	}
	for n, f := range i.Files {
		sep := "\n"
		if n == 0 {
			sep = ""
		}
		if _, err := fmt.Fprintf(w, "%s# %s\n%s", sep, f.Path, f.Text); err != nil {
			return err
		}
	}
	return nil
}

// thisProgram is the path of the running kdx, without links.
func thisProgram() (string, error) {
	path, err := os.Executable()
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(path)
}
