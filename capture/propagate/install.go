package propagate

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"strings"
	"time"

	"github.com/pkg/sftp"
	"golang.org/x/crypto/ssh"

	"kdx/capture/target"
)

// restrictions of the key on the host: it is for files and commands, not for terminals and tunnels.
const restrictions = "no-agent-forwarding,no-port-forwarding,no-pty,no-X11-forwarding"

// install logs in as the user can, and adds the key to those that may.
func install(ctx context.Context, opt *Options, pins *pinner, key ssh.PublicKey) error {
	h := opt.Place.Host
	config := &ssh.ClientConfig{User: h.User, HostKeyCallback: pins.check, Auth: opt.methods(), HostKeyAlgorithms: algorithmsOf(pins.key)}
	if len(config.Auth) == 0 {
		return fmt.Errorf("%s does not know the key yet, and there is no way to log in to install it: run this on a terminal, or with an agent; or add the line of %s.pub to %s's authorized_keys there yourself",
			h.Name, h.Key, h.User)
	}
	h.Timeout = max(h.Timeout, typing)
	client, err := target.Dial(ctx, h, config)
	if err != nil {
		return fmt.Errorf("logging in to install the key: %w", err)
	}
	defer client.Close()
	stop := context.AfterFunc(ctx, func() { client.Close() })
	defer stop()
	timer := time.AfterFunc(h.Timeout, func() { client.Close() })
	defer timer.Stop()
	text := restrictions + " " + line(key, opt.Comment)
	shell := byShell(client, text)
	if shell == nil {
		return nil
	}
	if err := bySFTP(client, text); err != nil {
		return fmt.Errorf("installing the key: neither with a shell (%w) nor over sftp: %w", shell, err)
	}
	return nil
}

// algorithmsOf has the host show the same key again.
func algorithmsOf(key ssh.PublicKey) []string {
	if key.Type() == ssh.KeyAlgoRSA {
		return []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
	}
	return []string{key.Type()}
}

// script adds the line that comes on stdin, once. The labels of SELinux are put right, where there are any.
const script = `umask 077; set -e; cd; mkdir -p .ssh; f=.ssh/authorized_keys; l=$(cat); test -n "$l"; touch "$f"; ` +
	`if ! grep -qxF -e "$l" "$f"; then if [ -n "$(tail -c 1 "$f")" ]; then echo >> "$f"; fi; printf '%s\n' "$l" >> "$f"; fi; ` +
	`if command -v restorecon > /dev/null 2>&1; then restorecon -F .ssh "$f" > /dev/null 2>&1 || true; fi; echo kdx-installed`

func byShell(client *ssh.Client, text string) error {
	s, err := client.NewSession()
	if err != nil {
		return err
	}
	defer s.Close()
	var out, stderr bytes.Buffer
	s.Stdin, s.Stdout, s.Stderr = strings.NewReader(text+"\n"), &limited{&out}, &limited{&stderr}
	if err := s.Run("exec /bin/sh -c " + quote(script)); err != nil {
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(printable(stderr.String())))
	}
	if !strings.Contains(out.String(), "kdx-installed") {
		return errors.New("the host did not run the command")
	}
	return nil
}

func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// limited keeps the beginning.
type limited struct{ b *bytes.Buffer }

func (l *limited) Write(p []byte) (int, error) {
	l.b.Write(p[:min(len(p), max(0, 4096-l.b.Len()))])
	return len(p), nil
}

// bySFTP serves hosts that run no commands.
func bySFTP(client *ssh.Client, text string) error {
	c, err := sftp.NewClient(client)
	if err != nil {
		return err
	}
	home, err := c.Getwd()
	if err != nil {
		return err
	}
	dir := path.Join(home, ".ssh")
	if err := c.MkdirAll(dir); err != nil {
		return err
	}
	if err := c.Chmod(dir, 0o700); err != nil {
		return err
	}
	file := path.Join(dir, "authorized_keys")
	var old bytes.Buffer
	if f, err := c.Open(file); err == nil {
		_, err = f.WriteTo(&old)
		f.Close()
		if err != nil {
			return err
		}
	} else if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for l := range strings.Lines(old.String()) {
		if strings.TrimRight(l, "\n") == text {
			return nil
		}
	}
	if n := old.Len(); n > 0 && old.Bytes()[n-1] != '\n' {
		text = "\n" + text
	}
	f, err := c.OpenFile(file, os.O_WRONLY|os.O_CREATE)
	if err != nil {
		return err
	}
	_, err = f.WriteAt([]byte(text+"\n"), int64(old.Len()))
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = c.Chmod(file, 0o600)
	}
	return err
}
