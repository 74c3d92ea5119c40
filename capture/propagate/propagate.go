// Package propagate prepares a host to take dumps: it makes a key, pins the host's own key, installs the key there, and proves
// that a login with it works.
package propagate

import (
	"bytes"
	"context"
	"crypto/ed25519"
	"crypto/rand"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"

	"kdx/capture/target"
	"kdx/internal/atomicfile"
)

// Options of Run.
type Options struct {
	Place target.Place
	// Comment of a key that is made, such as kdx@host.
	Comment string
	// Fingerprint confirms the key of a host that is not known yet, as SHA256:…; "" asks Confirm.
	Fingerprint string
	// Confirm asks whether the host may be trusted; nil trusts none.
	Confirm func(host, fingerprint string) (bool, error)
	// Ask asks for a secret without showing it; nil asks nobody.
	Ask func(prompt string) (string, error)
	// Agent is the socket of the user's agent, "" for none. Identities are private keys of the user that may already log in.
	Agent      string
	Identities []string
	Log        *slog.Logger
}

// Report is what Run did.
type Report struct {
	Host string `json:"host"`
	// Key is the private key's file, Fingerprint its public part's.
	Key         string `json:"key"`
	Fingerprint string `json:"fingerprint"`
	Made        bool   `json:"made"`
	// HostKey is the host's; Pinned: it was not known before.
	HostKey string `json:"host_key"`
	Pinned  bool   `json:"pinned"`
	// Installed: the key was not there before.
	Installed bool `json:"installed"`
	// Proven: a login with the key, to the target's directory, works.
	Proven bool `json:"proven"`
}

// typing is how long a person may take to compare a fingerprint or to type a password.
const typing = 2 * time.Minute

// Run prepares a host. It can be run again at any time: what is there already stays.
func Run(ctx context.Context, opt Options) (Report, error) {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	h := opt.Place.Host
	h.Timeout = max(h.Timeout, typing)
	rep := Report{Host: h.Address(), Key: h.Key}
	signer, made, err := key(h.Key, opt.Comment)
	if err != nil {
		return rep, err
	}
	rep.Made, rep.Fingerprint = made, ssh.FingerprintSHA256(signer.PublicKey())
	pins := &pinner{opt: &opt}
	config := &ssh.ClientConfig{User: h.User, HostKeyCallback: pins.check, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}}
	if config.HostKeyAlgorithms, err = target.HostKeyAlgorithms(h); err != nil {
		return rep, err
	}
	client, err := target.Dial(ctx, h, config)
	if err != nil && pins.key == nil {
		return rep, err // it was not even told who wants to log in
	}
	rep.HostKey, rep.Pinned = ssh.FingerprintSHA256(pins.key), pins.pinned
	if err == nil {
		client.Close() // the key is there
	} else if err := install(ctx, &opt, pins, signer.PublicKey()); err != nil {
		return rep, err
	} else {
		rep.Installed = true
	}
	t, err := target.Open(ctx, opt.Place, opt.Log)
	if err != nil {
		return rep, fmt.Errorf("the key is installed, but a login with it does not work: %w", err)
	}
	defer t.Close()
	if _, err := t.List(ctx); err != nil {
		return rep, fmt.Errorf("a login with the key works, but the directory for dumps can't be read: %w", err)
	}
	rep.Proven = true
	return rep, nil
}

// key reads the private key, or makes one.
func key(path, comment string) (ssh.Signer, bool, error) {
	st, err := os.Stat(path)
	if err == nil {
		if st.Mode().Perm()&0o077 != 0 {
			return nil, false, fmt.Errorf("%s can be read by others (mode %#o): chmod 600 it, or remove it and a new key is made", path, st.Mode().Perm())
		}
		signer, err := target.ReadKey(path)
		return signer, false, err
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, false, err
	}
	pub, priv, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		return nil, false, err
	}
	block, err := ssh.MarshalPrivateKey(priv, comment)
	if err != nil {
		return nil, false, err
	}
	public, err := ssh.NewPublicKey(pub)
	if err != nil {
		return nil, false, err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return nil, false, err
	}
	if err := atomicfile.WriteFile(path, pem.EncodeToMemory(block), 0o600); err != nil {
		return nil, false, err
	}
	if err := atomicfile.WriteFile(path+".pub", []byte(line(public, comment)+"\n"), 0o644); err != nil {
		return nil, false, err
	}
	signer, err := ssh.NewSignerFromSigner(priv)
	return signer, true, err
}

func line(key ssh.PublicKey, comment string) string {
	return strings.TrimSpace(strings.TrimSpace(string(ssh.MarshalAuthorizedKey(key))) + " " + comment)
}

// pinner trusts the keys on file, and one more that somebody confirms.
type pinner struct {
	opt    *Options
	key    ssh.PublicKey // that the host showed and that is trusted
	pinned bool
}

// ErrNotConfirmed says that nobody vouched for an unknown host.
var ErrNotConfirmed = errors.New("the host key was not confirmed: nothing was sent there")

func (p *pinner) check(host string, remote net.Addr, key ssh.PublicKey) error {
	if p.key != nil && bytes.Equal(p.key.Marshal(), key.Marshal()) {
		return nil
	}
	file := p.opt.Place.Host.KnownHosts
	err := target.CheckHostKey(file, host, remote, key)
	var unknown *target.HostKeyError
	if errors.As(err, &unknown) && unknown.Unknown() {
		if err = p.confirm(host, key); err == nil {
			err = pin(file, host, key)
			p.pinned = err == nil
		}
	}
	if err == nil {
		p.key = key
	}
	return err
}

func (p *pinner) confirm(host string, key ssh.PublicKey) error {
	got := ssh.FingerprintSHA256(key)
	if want := p.opt.Fingerprint; want != "" {
		if want != got {
			return fmt.Errorf("%w: %s shows %s, and --fingerprint says %s", ErrNotConfirmed, host, got, want)
		}
		return nil
	}
	if p.opt.Confirm == nil {
		return fmt.Errorf("%w: %s shows %s %s; --fingerprint %s confirms it", ErrNotConfirmed, host, key.Type(), got, got)
	}
	ok, err := p.opt.Confirm(host, key.Type()+" "+got)
	if err == nil && !ok {
		err = ErrNotConfirmed
	}
	return err
}

// pin adds a line to the known hosts.
func pin(file, host string, key ssh.PublicKey) error {
	text, err := os.ReadFile(file)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if len(text) > 0 && text[len(text)-1] != '\n' {
		text = append(text, '\n')
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteFile(file, append(text, knownhosts.Line([]string{knownhosts.Normalize(host)}, key)+"\n"...), 0o644)
}

// methods are the ways in which the user may log in: with the agent's keys, with keys of his, with a password.
func (o *Options) methods() []ssh.AuthMethod {
	var signers []ssh.Signer
	if o.Agent != "" {
		if c, err := net.Dial("unix", o.Agent); err != nil {
			o.Log.Warn("the agent does not answer", "err", err)
		} else if found, err := agent.NewClient(c).Signers(); err != nil {
			o.Log.Warn("the agent does not say its keys", "err", err)
		} else {
			signers = append(signers, found...)
		}
	}
	for _, path := range o.Identities {
		if s, err := target.ReadKey(path); err == nil {
			signers = append(signers, s)
		}
	}
	var out []ssh.AuthMethod
	if len(signers) > 0 {
		out = append(out, ssh.PublicKeys(signers...))
	}
	if o.Ask == nil {
		return out
	}
	prompt := fmt.Sprintf("password of %s on %s: ", o.Place.Host.User, o.Place.Host.Name)
	ask := func() (string, error) { return o.Ask(prompt) }
	questions := func(_, instruction string, questions []string, echos []bool) ([]string, error) {
		var answers []string
		for _, q := range questions {
			a, err := o.Ask(strings.TrimSpace(printable(instruction)+" "+printable(q)) + " ")
			if err != nil {
				return nil, err
			}
			answers = append(answers, a)
		}
		return answers, nil
	}
	const tries = 3
	return append(out, ssh.RetryableAuthMethod(ssh.PasswordCallback(ask), tries), ssh.RetryableAuthMethod(ssh.KeyboardInteractive(questions), tries))
}

// printable hides control characters of what a host says.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 {
			return ' '
		}
		return r
	}, s)
}
