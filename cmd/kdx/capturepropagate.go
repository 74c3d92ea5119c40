package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"kdx/capture/config"
	"kdx/capture/propagate"
	"kdx/capture/target"
	"kdx/repl"
)

func capturePropagateCommand(std stdio) *cobra.Command {
	var asJSON bool
	var configFile, fingerprint string
	c := &cobra.Command{
		Use:   "propagate [TARGET…]",
		Short: "let the capture kernel log in to the SSH targets",
		Long: "Makes a key without a passphrase (ed25519) if there is none at ssh-key, shows the fingerprint of the host's own key and pins it in ssh-known-hosts when it is confirmed, installs the key for the target's user " +
			"there, and proves that a login with it reaches the directory for dumps. What is there already stays, so it can be run again.\n\n" +
			"To install the key, kdx logs in with the keys of your agent, with yours in ~/.ssh, or with a password, which is asked for on the terminal. A host whose key has changed is refused. Without TARGET all configured sftp:// " +
			"and ssh:// targets are prepared. Build the initrd anew afterwards (kdx capture load does).",
		Example: "  kdx capture propagate\n  kdx capture propagate --fingerprint SHA256:5mEb… sftp://dumps@vault.example.com/srv/dumps",
		RunE: func(c *cobra.Command, args []string) error {
			cfg, err := captureConfiguration(configFile)
			if err != nil {
				return err
			}
			if err := onlyTargets(cfg, args); err != nil {
				return err
			}
			var remote []config.Target
			for _, t := range cfg.Targets {
				if t.Kind == config.SFTP || t.Kind == config.SSH {
					remote = append(remote, t)
				} else if len(args) > 0 {
					return usagef("%s is no target over SSH", t)
				}
			}
			if len(remote) == 0 {
				return usagef("no sftp:// or ssh:// target is configured: name one")
			}
			if fingerprint != "" && len(remote) > 1 {
				return usagef("--fingerprint is of one host: name its target")
			}
			return capturePropagate(std, cfg, remote, args, fingerprint, asJSON)
		},
	}
	p := c.Flags()
	p.BoolVar(&asJSON, "json", false, "answer in JSON")
	p.StringVar(&configFile, "config", "", "take the configuration from `FILE` (default "+config.Path+", or the distribution's)")
	p.StringVar(&fingerprint, "fingerprint", "", "trust the host if its key has this `FINGERPRINT` (SHA256:…), and ask nobody")
	return c
}

func capturePropagate(std stdio, cfg *config.Config, remote []config.Target, args []string, fingerprint string, asJSON bool) error {
	ctx, stop := catchSignals(context.Background())
	defer stop()
	all := []propagate.Report{}
	var failure error
	for _, t := range remote {
		opt := propagate.Options{Place: target.Of(t, cfg, "", ""), Comment: "kdx@" + hostName(), Fingerprint: fingerprint, Agent: os.Getenv("SSH_AUTH_SOCK"),
			Identities: identities(), Log: slog.New(&meterLog{w: std.err, m: newMeter(std.err, false)})}
		if tty, err := os.OpenFile("/dev/tty", os.O_RDWR, 0); err == nil {
			defer tty.Close()
			opt.Ask = func(prompt string) (string, error) { return askSecret(tty, prompt) }
			opt.Confirm = func(host, fingerprint string) (bool, error) { return confirm(tty, host, fingerprint) }
		}
		rep, err := propagate.Run(ctx, opt)
		all = append(all, rep)
		if err != nil {
			failure = errors.Join(failure, err)
		}
	}
	if err := answer(std.out, asJSON, "capture propagate", append([]string{}, args...), all, func(w io.Writer) error { return propagatedText(w, all) }); err != nil {
		return err
	}
	if ctx.Err() != nil {
		return &statusError{repl.Interrupted, errors.New("interrupted")}
	}
	if failure != nil {
		return &statusError{repl.Failed, failure}
	}
	return nil
}

// identities are the private keys that the user usually has.
func identities() []string {
	u, err := user.Current()
	if err != nil {
		return nil
	}
	var out []string
	for _, name := range []string{"id_ed25519", "id_ecdsa", "id_rsa"} {
		out = append(out, filepath.Join(u.HomeDir, ".ssh", name))
	}
	return out
}

// askSecret asks on the terminal, which does not show what is typed.
func askSecret(tty *os.File, prompt string) (string, error) {
	fmt.Fprint(tty, prompt)
	b, err := term.ReadPassword(int(tty.Fd()))
	fmt.Fprintln(tty)
	return string(b), err
}

func confirm(tty *os.File, host, fingerprint string) (bool, error) {
	fmt.Fprintf(tty, "%s is not known yet. It shows the key\n    %s\nIs it the host's own? Type yes: ", host, fingerprint)
	var b [64]byte
	n, err := tty.Read(b[:])
	return strings.TrimSpace(string(b[:n])) == "yes", err
}

func propagatedText(w io.Writer, all []propagate.Report) error {
	for _, r := range all {
		fmt.Fprintf(w, "%s\n", r.Host)
		line := func(done bool, yes, no, what string) {
			word := no
			if done {
				word = yes
			}
			fmt.Fprintf(w, "  %-10s %s\n", word, what)
		}
		if r.Fingerprint != "" {
			line(r.Made, "made", "there", "the key "+r.Key+" ("+r.Fingerprint+")")
		}
		if r.HostKey != "" {
			line(r.Pinned, "pinned", "known", "the host's key ("+r.HostKey+")")
		}
		if r.Proven {
			line(r.Installed, "installed", "there", "the key on the host")
		}
		line(r.Proven, "proven", "NOT PROVEN", "a login with it")
	}
	return nil
}
