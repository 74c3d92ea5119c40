package target

import (
	"crypto/ed25519"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// HostKeyError says that a host is not, or is not known to be, who it should be.
type HostKeyError struct {
	Host string
	File string // of known hosts
	// Got is the fingerprint of the key that the host showed; "" if it was not asked.
	Got string
	// Want are those on file; none for a host that is not known.
	Want []string
	// Revoked: the file says that the key must not be used any more.
	Revoked bool
}

// Unknown reports whether no key of the host is on file.
func (e *HostKeyError) Unknown() bool { return len(e.Want) == 0 && !e.Revoked }

func (e *HostKeyError) Error() string {
	got := ""
	if e.Got != "" {
		got = ": it shows " + e.Got
	}
	switch {
	case e.Revoked:
		return fmt.Sprintf("the host key of %s is revoked in %s%s: nothing is sent there", e.Host, e.File, got)
	case e.Unknown():
		return fmt.Sprintf("the host key of %s is unknown: %s has none%s; kdx capture propagate pins it", e.Host, e.File, got)
	}
	return fmt.Sprintf("the host key of %s has CHANGED%s, and %s has %s: somebody may stand between, or the host was installed anew; nothing is sent there", e.Host, got, e.File,
		strings.Join(e.Want, ", "))
}

// knownHosts is a file of host keys.
type knownHosts struct {
	file     string
	callback ssh.HostKeyCallback
	certs    bool // it names authorities of host certificates
}

func readKnownHosts(path string) (*knownHosts, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = nil
	} else if err != nil {
		return nil, fmt.Errorf("the known hosts (ssh-known-hosts) can't be read: %w", err)
	}
	k := &knownHosts{file: path, certs: strings.Contains(string(text), "@cert-authority")}
	if err != nil {
		path = os.DevNull
	}
	if k.callback, err = knownhosts.New(path); err != nil {
		return nil, fmt.Errorf("the known hosts (ssh-known-hosts) make no sense: %w", err)
	}
	return k, nil
}

// check is an ssh.HostKeyCallback.
func (k *knownHosts) check(host string, remote net.Addr, key ssh.PublicKey) error {
	err := k.callback(host, remote, key)
	if err == nil {
		return nil
	}
	name := knownhosts.Normalize(host)
	var unknown *knownhosts.KeyError
	var revoked *knownhosts.RevokedError
	switch {
	case errors.As(err, &revoked):
		return &HostKeyError{Host: name, File: k.file, Got: fingerprint(key), Revoked: true}
	case errors.As(err, &unknown):
		e := &HostKeyError{Host: name, File: k.file, Got: fingerprint(key)}
		for _, w := range unknown.Want {
			e.Want = append(e.Want, fingerprint(w.Key))
		}
		return e
	}
	return fmt.Errorf("the host key of %s: %w", name, err)
}

func fingerprint(key ssh.PublicKey) string { return key.Type() + " " + ssh.FingerprintSHA256(key) }

// algorithms are those of the keys on file, so that the host does not show another one of its keys and seems to have changed.
// nil is any: the host is then asked for its key, to tell it in the refusal.
func (k *knownHosts) algorithms(host string) ([]string, error) {
	if k.certs {
		return nil, nil
	}
	// Whoever asks with a key that nobody has is told of those that are there.
	probe, err := ssh.NewPublicKey(ed25519.PublicKey(make([]byte, ed25519.PublicKeySize)))
	if err != nil {
		return nil, err
	}
	var unknown *knownhosts.KeyError
	if err := k.callback(host, &net.TCPAddr{IP: net.IPv4zero}, probe); !errors.As(err, &unknown) {
		return nil, err
	}
	var out []string
	for _, w := range unknown.Want {
		names := []string{w.Key.Type()}
		if w.Key.Type() == ssh.KeyAlgoRSA {
			names = []string{ssh.KeyAlgoRSASHA512, ssh.KeyAlgoRSASHA256}
		}
		for _, n := range names {
			if !slices.Contains(out, n) {
				out = append(out, n)
			}
		}
	}
	return out, nil
}

// CheckHostKey holds the key that a host shows against a file of known hosts. The error is a *HostKeyError if they differ.
func CheckHostKey(file, host string, remote net.Addr, key ssh.PublicKey) error {
	k, err := readKnownHosts(file)
	if err != nil {
		return err
	}
	return k.check(host, remote, key)
}

// HostKeyAlgorithms are those of a host's keys on file; nil if there are none.
func HostKeyAlgorithms(h Host) ([]string, error) {
	k, err := readKnownHosts(h.KnownHosts)
	if err != nil {
		return nil, err
	}
	return k.algorithms(h.Address())
}
