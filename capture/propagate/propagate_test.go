package propagate

import (
	"context"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/crypto/ssh"

	"kdx/capture/config"
	"kdx/capture/target"
	"kdx/capture/target/sshdtest"
)

// fresh is a host that knows neither key nor user's key, with a home of its own.
func fresh(t *testing.T, kind config.Kind, lines ...string) (*sshdtest.Server, target.Place, string) {
	t.Helper()
	home := t.TempDir()
	authorized := filepath.Join(home, ".ssh", "authorized_keys")
	for i := range lines {
		lines[i] = strings.ReplaceAll(lines[i], "HOME", home)
	}
	user := filepath.Join(t.TempDir(), "user_keys")
	s := sshdtest.Start(t, append(lines, "SetEnv HOME="+home, "AuthorizedKeysFile "+authorized+" "+user)...)
	text, err := os.ReadFile(s.Authorized)
	if err == nil {
		err = os.WriteFile(user, text, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	p := s.Place(kind)
	dir := t.TempDir()
	p.Host.Key, p.Host.KnownHosts = filepath.Join(dir, "kdx", "id_ed25519"), filepath.Join(dir, "kdx", "known_hosts")
	return s, p, authorized
}

func read(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// TestRun begins with nothing, and again with what the first run left.
func TestRun(t *testing.T) {
	for _, test := range []struct {
		kind  config.Kind
		lines []string
	}{{config.SSH, nil}, {config.SFTP, []string{sshdtest.SFTP}}, {config.SFTP, []string{"Subsystem sftp internal-sftp -d HOME", "ForceCommand internal-sftp -d HOME"}}} {
		s, p, authorized := fresh(t, test.kind, test.lines...)
		asked := ""
		opt := Options{Place: p, Comment: "kdx@db1", Identities: []string{filepath.Join(t.TempDir(), "none"), s.Key},
			Confirm: func(host, fingerprint string) (bool, error) { asked = fingerprint; return true, nil }}
		rep, err := Run(t.Context(), opt)
		if err != nil || !rep.Made || !rep.Pinned || !rep.Installed || !rep.Proven {
			t.Fatalf("%v: %+v, %v", test.lines, rep, err)
		}
		if !strings.Contains(asked, ssh.FingerprintSHA256(s.HostKey)) || rep.HostKey != ssh.FingerprintSHA256(s.HostKey) {
			t.Errorf("asked of %q; the host's is %s", asked, ssh.FingerprintSHA256(s.HostKey))
		}
		if st, err := os.Stat(p.Host.Key); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("the private key: %v, %v", st.Mode(), err)
		}
		if st, err := os.Stat(authorized); err != nil || st.Mode().Perm() != 0o600 {
			t.Errorf("authorized_keys: %v", err)
		}
		opt.Confirm, opt.Identities = nil, nil
		again, err := Run(t.Context(), opt)
		if err != nil || again.Made || again.Pinned || again.Installed || !again.Proven || again.Fingerprint != rep.Fingerprint {
			t.Errorf("again: %+v, %v", again, err)
		}
		if text := read(t, authorized); strings.Count(text, "\n") != 1 || !strings.Contains(text, "kdx@db1") || !strings.HasPrefix(text, "no-") {
			t.Errorf("authorized_keys is %q", text)
		}
	}
}

// TestRefused: hosts that nobody vouches for are told nothing.
func TestRefused(t *testing.T) {
	s, p, authorized := fresh(t, config.SSH)
	opt := Options{Place: p, Identities: []string{s.Key}}
	check := func(what string, want error) {
		t.Helper()
		rep, err := Run(t.Context(), opt)
		if err == nil || want != nil && !errors.Is(err, want) || rep.Proven || rep.Installed {
			t.Errorf("%s: %+v, %v", what, rep, err)
		}
		if _, err := os.Stat(authorized); err == nil {
			t.Errorf("%s: a key was installed", what)
		}
	}
	check("nobody to ask", ErrNotConfirmed)
	opt.Fingerprint = "SHA256:AAAA"
	check("another fingerprint", ErrNotConfirmed)
	opt.Fingerprint, opt.Confirm = "", func(string, string) (bool, error) { return false, nil }
	check("a no", ErrNotConfirmed)
	opt.Fingerprint, opt.Confirm, opt.Identities = ssh.FingerprintSHA256(s.HostKey), nil, nil
	check("no way to log in", nil)
	other := sshdtest.NewKey(t, filepath.Join(t.TempDir(), "other"))
	if err := os.WriteFile(p.Host.KnownHosts, []byte(sshdtest.KnownLine(s.Port, other)), 0o600); err != nil {
		t.Fatal(err)
	}
	opt.Identities = []string{s.Key}
	var changed *target.HostKeyError
	rep, err := Run(t.Context(), opt)
	if !errors.As(err, &changed) || changed.Unknown() || rep.Installed {
		t.Errorf("a changed key: %+v, %v", rep, err)
	}
	if err := os.Chmod(p.Host.Key, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Run(t.Context(), opt); err == nil || !strings.Contains(err.Error(), "read by others") {
		t.Errorf("a key for all to read: %v", err)
	}
}

// TestPassword logs in with a password, to a server that runs commands in a home of its own.
func TestPassword(t *testing.T) {
	home, dir := t.TempDir(), t.TempDir()
	key := filepath.Join(dir, "host")
	sshdtest.NewKey(t, key)
	signer, err := target.ReadKey(key)
	if err != nil {
		t.Fatal(err)
	}
	authorized := filepath.Join(home, ".ssh", "authorized_keys")
	config := &ssh.ServerConfig{
		PasswordCallback: func(_ ssh.ConnMetadata, password []byte) (*ssh.Permissions, error) {
			if string(password) != "right" {
				return nil, errors.New("wrong password")
			}
			return nil, nil
		},
		PublicKeyCallback: func(_ ssh.ConnMetadata, key ssh.PublicKey) (*ssh.Permissions, error) {
			text, _ := os.ReadFile(authorized)
			if !strings.Contains(string(text), strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key)))) {
				return nil, errors.New("unknown key")
			}
			return nil, nil
		},
	}
	config.AddHostKey(signer)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go serve(t.Context(), l, config, home)
	place := target.Place{Name: "test", Kind: "ssh", Dir: filepath.Join(home, "dumps"),
		Host: target.Host{User: "u", Name: "127.0.0.1", Port: l.Addr().(*net.TCPAddr).Port, Key: filepath.Join(dir, "id"), KnownHosts: filepath.Join(dir, "known_hosts")}}
	words := []string{"wrong", "right"}
	rep, err := Run(t.Context(), Options{Place: place, Fingerprint: ssh.FingerprintSHA256(signer.PublicKey()), Ask: func(prompt string) (string, error) {
		if !strings.Contains(prompt, "password of u on 127.0.0.1") {
			t.Errorf("asked %q", prompt)
		}
		w := words[0]
		words = words[1:]
		return w, nil
	}})
	if err != nil || !rep.Installed || !rep.Proven || len(words) != 0 {
		t.Errorf("%+v, %v", rep, err)
	}
}

// serve runs commands of those who log in.
func serve(ctx context.Context, l net.Listener, config *ssh.ServerConfig, home string) {
	for {
		c, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			_, channels, requests, err := ssh.NewServerConn(c, config)
			if err != nil {
				return
			}
			go ssh.DiscardRequests(requests)
			for n := range channels {
				ch, reqs, err := n.Accept()
				if err != nil {
					return
				}
				go runCommands(ctx, ch, reqs, home)
			}
		}()
	}
}

func runCommands(ctx context.Context, ch ssh.Channel, reqs <-chan *ssh.Request, home string) {
	for r := range reqs {
		if r.Type != "exec" {
			r.Reply(false, nil)
			continue
		}
		r.Reply(true, nil)
		var payload struct{ Command string }
		status := struct{ Status uint32 }{}
		if err := ssh.Unmarshal(r.Payload, &payload); err == nil {
			cmd := exec.CommandContext(ctx, "/bin/sh", "-c", payload.Command)
			cmd.Env, cmd.Stdin, cmd.Stdout, cmd.Stderr = append(os.Environ(), "HOME="+home), ch, ch, ch.Stderr()
			if cmd.Run() != nil {
				status.Status = 1
			}
		}
		ch.SendRequest("exit-status", false, ssh.Marshal(&status))
		ch.Close()
	}
}
