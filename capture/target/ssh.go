package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
)

// conn is a connection to a host on which nothing is waited for without a limit.
type conn struct {
	place   Place
	client  *ssh.Client
	timeout time.Duration
	log     *slog.Logger
	closed  chan struct{}
	once    sync.Once

	mu   sync.Mutex
	lost error // why the connection was closed; nil while it is in use
}

// TimeoutError says that a host did not answer in time.
type TimeoutError struct {
	Host, What string
	After      time.Duration
}

func (e *TimeoutError) Error() string {
	return fmt.Sprintf("%s: %s: no answer within %v", e.Host, e.What, e.After)
}

// Timeout is true, as of errors of package net.
func (e *TimeoutError) Timeout() bool { return true }

// Address is host and port as known_hosts wants them.
func (h Host) Address() string {
	port := h.Port
	if port == 0 {
		port = 22
	}
	return net.JoinHostPort(h.Name, strconv.Itoa(port))
}

func (h Host) timeout() time.Duration {
	if h.Timeout <= 0 {
		return DefaultTimeout
	}
	return h.Timeout
}

// dial connects and logs in with the key. A host whose key is not on file is never told who wants to log in.
func dial(ctx context.Context, p Place, log *slog.Logger) (*conn, error) {
	signer, err := ReadKey(p.Host.Key)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	known, err := readKnownHosts(p.Host.KnownHosts)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	algorithms, err := known.algorithms(p.Host.Address())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	config := &ssh.ClientConfig{User: p.Host.User, Auth: []ssh.AuthMethod{ssh.PublicKeys(signer)}, HostKeyCallback: known.check, HostKeyAlgorithms: algorithms}
	client, err := Dial(ctx, p.Host, config)
	if err != nil {
		var refused *HostKeyError
		if !errors.As(err, &refused) && strings.Contains(err.Error(), "unable to authenticate") {
			err = fmt.Errorf("%s does not let %s log in with the key %s (%s): kdx capture propagate installs it: %w", p.Host.Name, p.Host.User, p.Host.Key,
				ssh.FingerprintSHA256(signer.PublicKey()), err)
		}
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	c := &conn{place: p, client: client, timeout: p.Host.timeout(), log: log, closed: make(chan struct{})}
	go c.keepAlive()
	return c, nil
}

// Dial connects to the first of the host's addresses that answers, within its Timeout each.
func Dial(ctx context.Context, h Host, config *ssh.ClientConfig) (*ssh.Client, error) {
	addresses := h.Addresses
	if len(addresses) == 0 {
		addresses = []string{h.Name}
	}
	_, port, err := net.SplitHostPort(h.Address())
	if err != nil {
		return nil, err
	}
	var failed error
	for _, a := range addresses {
		client, err := dialOne(ctx, h, net.JoinHostPort(a, port), config)
		if err == nil {
			return client, nil
		}
		var key *HostKeyError
		if errors.As(err, &key) {
			return nil, err // another address of a host that is not who it should be is no better
		}
		failed = errors.Join(failed, err)
	}
	return nil, failed
}

func dialOne(ctx context.Context, h Host, address string, config *ssh.ClientConfig) (*ssh.Client, error) {
	d := net.Dialer{Timeout: h.timeout()}
	raw, err := d.DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("connecting to %s: %w", address, err)
	}
	// A host that takes the connection may still say nothing.
	if err := raw.SetDeadline(time.Now().Add(h.timeout())); err != nil {
		raw.Close()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { raw.Close() })
	defer stop()
	c, channels, requests, err := ssh.NewClientConn(raw, h.Address(), config)
	if err != nil {
		raw.Close()
		if isTimeout(err) {
			err = &TimeoutError{address, "beginning to talk SSH", h.timeout()}
		}
		return nil, err
	}
	if err := raw.SetDeadline(time.Time{}); err != nil {
		c.Close()
		return nil, err
	}
	return ssh.NewClient(c, channels, requests), nil
}

func isTimeout(err error) bool {
	var t interface{ Timeout() bool }
	return errors.As(err, &t) && t.Timeout() || strings.Contains(err.Error(), "i/o timeout")
}

// ReadKey reads a private key without a passphrase.
func ReadKey(path string) (ssh.Signer, error) {
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("the private key (ssh-key) can't be read: %w; kdx capture propagate makes one", err)
	}
	signer, err := ssh.ParsePrivateKey(text)
	var locked *ssh.PassphraseMissingError
	if errors.As(err, &locked) {
		return nil, fmt.Errorf("the private key %s has a passphrase, which nobody can type when the machine has crashed: kdx capture propagate makes a key without", path)
	}
	if err != nil {
		return nil, fmt.Errorf("%s is no private key: %w", path, err)
	}
	return signer, nil
}

// do runs what waits for the host. If it takes longer than the limit, or the context ends, the connection is closed, which
// ends it and all that comes after it.
func (c *conn) do(ctx context.Context, what string, limit time.Duration, f func() error) error {
	if err := c.gone(); err != nil {
		return err
	}
	timer := time.AfterFunc(limit, func() { c.drop(&TimeoutError{c.place.Host.Name, what, limit}) })
	stop := context.AfterFunc(ctx, func() { c.drop(context.Cause(ctx)) })
	err := f()
	timer.Stop()
	stop()
	if lost := c.gone(); lost != nil && err != nil {
		return lost
	}
	if err != nil && (errors.Is(err, io.EOF) || errors.Is(err, net.ErrClosed) || strings.Contains(err.Error(), "connection lost")) && c.dead() {
		c.drop(fmt.Errorf("%s: %s: the connection was lost: %w", c.place.Host.Name, what, err))
		return c.gone()
	}
	return err
}

// dead reports whether the connection has ended.
func (c *conn) dead() bool {
	_, _, err := c.client.SendRequest("keepalive@openssh.com", false, nil)
	return err != nil
}

func (c *conn) gone() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.lost
}

func (c *conn) drop(why error) {
	c.mu.Lock()
	if c.lost == nil {
		c.lost = why
	}
	c.mu.Unlock()
	c.client.Close()
}

// keepAlive asks now and then whether the host is still there: while pages are chosen nothing is sent, and a host that has
// stopped would be noticed late.
func (c *conn) keepAlive() {
	tick := time.NewTicker(max(c.timeout/2, time.Second))
	defer tick.Stop()
	for {
		select {
		case <-c.closed:
			return
		case <-tick.C:
		}
		timer := time.AfterFunc(c.timeout, func() { c.drop(&TimeoutError{c.place.Host.Name, "asking whether it is still there", c.timeout}) })
		_, _, err := c.client.SendRequest("keepalive@openssh.com", true, nil)
		timer.Stop()
		if err != nil {
			return
		}
	}
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.client.Close()
}

// slow is the limit for what a host may take long for: making files durable, and summing them up.
func (c *conn) slow() time.Duration { return max(c.timeout, 30*time.Minute) }

// transfer is the limit for bytes: 16 KiB/s is the slowest link that is believed to be alive.
func (c *conn) transfer(bytes int) time.Duration {
	return c.timeout + time.Duration(bytes>>14)*time.Second
}
