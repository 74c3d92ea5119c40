package doctor

import (
	"bytes"
	"encoding/pem"
	"net"
	"os"
	"strconv"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"

	"kdx/capture/config"
)

const noRemote = "no target is on the network"

func networkRoute(h *host) outcome {
	if len(h.remote()) == 0 {
		return skip(noRemote)
	}
	if h.config().Networks != nil {
		return skip("network = says how")
	}
	routes := 0
	for line := range strings.Lines(h.text("proc/net/route")) {
		if f := strings.Fields(line); len(f) > 3 && f[0] != "Iface" && f[0] != "lo" {
			if flags, err := strconv.ParseUint(f[3], 16, 32); err == nil && flags&1 != 0 {
				routes++
			}
		}
	}
	for line := range strings.Lines(h.text("proc/net/ipv6_route")) {
		if f := strings.Fields(line); len(f) == 10 && f[9] != "lo" && !strings.HasPrefix(f[0], "fe80") && !strings.HasPrefix(f[0], "ff00") {
			routes++
		}
	}
	if routes == 0 {
		return bad("/proc/net/route has none that is up, beside the loopback's")
	}
	return ok("%d routes", routes)
}

// unsupported are kinds of interfaces that kdx-init does not make, by what /sys/class/net shows.
func networkInterface(h *host) outcome {
	if len(h.remote()) == 0 {
		return skip(noRemote)
	}
	var carries []string
	for line := range strings.Lines(h.text("proc/net/route")) {
		if f := strings.Fields(line); len(f) > 1 && f[0] != "Iface" && f[0] != "lo" {
			carries = append(carries, f[0])
		}
	}
	for _, n := range h.config().Networks {
		carries = append(carries, n.NIC)
	}
	for _, name := range carries {
		dir := "sys/class/net/" + name
		kind := ""
		for line := range strings.Lines(h.text(dir + "/uevent")) {
			if v, found := strings.CutPrefix(strings.TrimSpace(line), "DEVTYPE="); found {
				kind = v
			}
		}
		switch {
		case kind == "wlan" || h.exists(dir+"/wireless"):
			return bad("%s is a wireless interface", name)
		case kind == "wireguard" || h.exists(dir+"/tun_flags"):
			return bad("%s is a tunnel", name)
		case h.exists(dir+"/upper_ovs-system") || kind == "openvswitch" || h.exists("sys/class/net/ovs-system") && !h.exists(dir+"/device"):
			return bad("%s belongs to Open vSwitch", name)
		}
	}
	return ok("%s", strings.Join(carries, ", "))
}

// networkName: the capture kernel has the addresses that the name had when the initrd was built.
func networkName(h *host) outcome {
	return each(h.remote(), noRemote, func(t config.Target) outcome {
		if net.ParseIP(t.Host) != nil {
			return ok("an address")
		}
		for line := range strings.Lines(h.text("etc/hosts")) {
			line, _, _ = strings.Cut(line, "#")
			if f := strings.Fields(line); len(f) > 1 {
				for _, name := range f[1:] {
					if name == t.Host {
						return ok("%s, by /etc/hosts", f[0])
					}
				}
			}
		}
		if h.opt.Lookup == nil {
			return skip("these are another host's files")
		}
		addrs, err := h.opt.Lookup(h.ctx, t.Host)
		if err != nil {
			return bad("%v", err)
		}
		return ok("%s", strings.Join(addrs, ", "))
	})
}

func sshKey(h *host) outcome {
	if len(h.remote()) == 0 {
		return skip(noRemote)
	}
	name := h.config().SSHKey
	b, err := h.read(name)
	if err != nil {
		return bad("%s: %v", name, err)
	}
	if block, _ := pem.Decode(bytes.TrimSpace(b)); block == nil {
		return bad("%s is no private key", name)
	}
	if _, err := ssh.ParseRawPrivateKey(b); err != nil {
		return bad("%s: %v", name, err)
	}
	return ok("%s", name)
}

func sshKeyMode(h *host) outcome {
	if len(h.remote()) == 0 {
		return skip(noRemote)
	}
	fi, err := os.Stat(h.path(h.config().SSHKey))
	if err != nil {
		return skip("there is no key")
	}
	if fi.Mode().Perm()&0o077 != 0 {
		return bad("%s has mode %04o", h.config().SSHKey, fi.Mode().Perm()).do("chmod 600 %s", h.config().SSHKey)
	}
	return ok("%04o", fi.Mode().Perm())
}

func sshPinned(h *host) outcome {
	return each(h.remote(), noRemote, func(t config.Target) outcome {
		name := h.config().KnownHosts
		if !h.exists(name) {
			return bad("%s is not there", name)
		}
		known, err := knownhosts.New(h.path(name))
		if err != nil {
			return bad("%s: %v", name, err)
		}
		port := t.Port
		if port == 0 {
			port = 22
		}
		err = known(net.JoinHostPort(t.Host, strconv.Itoa(port)), &net.TCPAddr{IP: net.IPv4zero, Port: port}, anyKey{})
		if e, is := err.(*knownhosts.KeyError); is && len(e.Want) > 0 {
			return ok("%d keys in %s", len(e.Want), name)
		}
		return bad("%s has no key of %s", name, t.Host)
	})
}

// anyKey is no host's key: known_hosts then answers with those that it has.
type anyKey struct{}

func (anyKey) Type() string                        { return "none" }
func (anyKey) Marshal() []byte                     { return []byte("none") }
func (anyKey) Verify([]byte, *ssh.Signature) error { return ssh.ErrNoAuth }

func sshLogin(h *host) outcome {
	if h.opt.Login == nil {
		return skip("it is tried with --deep only")
	}
	return each(h.remote(), noRemote, func(t config.Target) outcome {
		if err := h.opt.Login(h.ctx, t, h.config()); err != nil {
			return bad("%v", err)
		}
		return ok("logged in, and the directory can be read")
	})
}
