package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// gateway is this machine as guests see it (QEMU's network for users).
const gateway = "10.0.2.2"

// guestNetwork brings up the guest's way to this machine, as any distribution would have.
const guestNetwork = `ip link set eth0 up && ip addr add 10.0.2.15/24 dev eth0 && ip route add default via 10.0.2.2
`

// withNetwork gives the guest a network card.
var withNetwork = []string{"-netdev", "user,id=n0", "-device", "virtio-net-pci,netdev=n0,mac=52:54:00:12:34:56"}

// networkModules are those of the card.
var networkModules = []string{"virtio_net", "virtio_pci"}

// sshServer starts a real sshd on this machine that takes dumps under the scenario's directory, with keys made for it; internal is
// whether it knows sftp.
func sshServer(sftp bool) func(ctx context.Context, l *lab, c *captured) (func(), error) {
	return func(ctx context.Context, _ *lab, c *captured) (func(), error) {
		if err := need(map[string]string{"sshd": "openssh-server", "ssh-keygen": "openssh-client"}); err != nil {
			return nil, err
		}
		dir := filepath.Join(c.dir, "ssh")
		if err := os.MkdirAll(filepath.Join(dir, "dumps"), 0o700); err != nil {
			return nil, err
		}
		for _, key := range []string{"host", "user"} {
			if _, err := output(ctx, "", "ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", filepath.Join(dir, key)); err != nil {
				return nil, err
			}
		}
		user, err := os.ReadFile(filepath.Join(dir, "user.pub"))
		if err != nil {
			return nil, err
		}
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		c.port = listener.Addr().(*net.TCPAddr).Port
		listener.Close() // sshd takes it a moment later
		conf := fmt.Sprintf(`Port %d
ListenAddress 127.0.0.1
HostKey %s/host
AuthorizedKeysFile %[2]s/authorized_keys
StrictModes no
UsePAM no
PermitRootLogin yes
PasswordAuthentication no
PidFile none
`, c.port, dir)
		if sftp {
			conf += "Subsystem sftp internal-sftp\n"
		}
		if err := errors.Join(
			os.WriteFile(filepath.Join(dir, "authorized_keys"), user, 0o600),
			os.WriteFile(filepath.Join(dir, "sshd_config"), []byte(conf), 0o600),
			os.MkdirAll("/run/sshd", 0o755)); err != nil {
			return nil, err
		}
		path, err := exec.LookPath("sshd") // it wants to be called by its whole path
		if err != nil {
			return nil, err
		}
		cmd := exec.CommandContext(ctx, path, "-D", "-e", "-f", filepath.Join(dir, "sshd_config"))
		var said bytes.Buffer
		cmd.Stderr = &said
		if err := cmd.Start(); err != nil {
			return nil, err
		}
		stop := func() { cmd.Process.Kill(); cmd.Wait() }
		for range 100 {
			conn, err := net.Dial("tcp", fmt.Sprintf("127.0.0.1:%d", c.port))
			if err == nil {
				conn.Close()
				return stop, nil
			}
			time.Sleep(50 * time.Millisecond)
		}
		stop()
		return nil, fmt.Errorf("sshd does not answer: %s", tail(said.String(), 5))
	}
}

// sshKeys puts the user's key and the host's into the guest, where kdx has them by default.
func sshKeys(_ context.Context, _ *lab, g *captureGuest) error {
	dir := filepath.Join(g.dir, "ssh")
	host, err := os.ReadFile(filepath.Join(dir, "host.pub"))
	if err != nil {
		return err
	}
	g.c.file("etc/kdx/id_ed25519", 0o600, filepath.Join(dir, "user"))
	g.c.bytes("etc/kdx/known_hosts", 0o644, fmt.Appendf(nil, "[%s]:%d %s\n", gateway, g.port, strings.TrimSpace(string(host))))
	return g.c.err
}

// savedOverSSH: the server has the dump.
func savedOverSSH(ctx context.Context, c *captured) (string, error) {
	return c.savedIn(ctx, filepath.Join(c.dir, "ssh", "dumps"), "saved")
}
