package config

import (
	"fmt"
	"net"
	"net/netip"
	"path"
	"slices"
	"strconv"
	"strings"
)

// Kind is how a target is reached.
type Kind string

// Kinds of targets.
const (
	Dir  Kind = "path" // a directory of the running host, wherever it is mounted from
	FS   Kind = "fs"   // a directory of a filesystem
	Raw  Kind = "raw"  // a partition without a filesystem
	SFTP Kind = "sftp"
	SSH  Kind = "ssh" // commands over SSH, for hosts without sftp
)

// Target is where a dump goes.
type Target struct {
	Kind   Kind
	FS     string // type of the filesystem
	Device string // /dev/…, UUID=…, LABEL=…, PARTUUID=… or PARTLABEL=…
	Subvol string // of btrfs; "" is the default one
	Path   string // directory on the target
	User   string
	Host   string
	Port   int // 0 is 22
}

const targetForms = "/DIRECTORY, FSTYPE:DEVICE:/DIRECTORY (ext4, xfs, btrfs), raw:DEVICE, sftp://USER@HOST/DIRECTORY or ssh://USER@HOST/DIRECTORY"

var filesystems = []string{"ext4", "xfs", "btrfs"}

// ParseTarget reads a target in one of the forms that the default configuration shows. Its errors never hold a password.
func ParseTarget(text string) (Target, error) {
	if strings.HasPrefix(text, "/") {
		p, err := cleanPath(text)
		return Target{Kind: Dir, Path: p}, err
	}
	if scheme, rest, ok := strings.Cut(text, "://"); ok {
		return parseURL(scheme, rest)
	}
	form, rest, ok := strings.Cut(text, ":")
	switch {
	case !ok:
		return Target{}, fmt.Errorf("a target is %s", targetForms)
	case form == "raw":
		return Target{Kind: Raw, Device: rest}, checkDevice(rest)
	case slices.Contains(filesystems, form):
		return parseFS(form, rest)
	}
	return Target{}, fmt.Errorf("%q is no kind of target that kdx saves to; a target is %s", form, targetForms)
}

func parseFS(fs, rest string) (Target, error) {
	t := Target{Kind: FS, FS: fs}
	words := strings.Fields(rest)
	if len(words) == 0 {
		return t, fmt.Errorf("a filesystem target is %s:DEVICE:/DIRECTORY", fs)
	}
	for _, w := range words[1:] {
		name, value, _ := strings.Cut(w, "=")
		if name != "subvol" || fs != "btrfs" || value == "" {
			return t, fmt.Errorf("%q stands behind the directory, where only btrfs has an option: subvol=NAME", w)
		}
		t.Subvol = value
	}
	// Names of devices hold colons too (by-path), so the directory begins at the last ":/".
	i := strings.LastIndex(words[0], ":/")
	if i < 0 {
		return t, fmt.Errorf("a filesystem target is %s:DEVICE:/DIRECTORY, and the directory is missing", fs)
	}
	t.Device = words[0][:i]
	if err := checkDevice(t.Device); err != nil {
		return t, err
	}
	var err error
	t.Path, err = cleanPath(words[0][i+1:])
	return t, err
}

var deviceTags = []string{"UUID=", "LABEL=", "PARTUUID=", "PARTLABEL="}

func checkDevice(d string) error {
	for _, tag := range deviceTags {
		if v, ok := strings.CutPrefix(d, tag); ok && v != "" && !strings.ContainsAny(v, " \t/") {
			return nil
		}
	}
	if strings.HasPrefix(d, "/dev/") && len(d) > len("/dev/") && path.Clean(d) == d && !strings.ContainsAny(d, " \t") {
		return nil
	}
	return fmt.Errorf("%q is no device: /dev/NAME, UUID=…, LABEL=…, PARTUUID=… or PARTLABEL=…", d)
}

func parseURL(scheme, rest string) (Target, error) {
	t := Target{Kind: Kind(scheme), User: "root"}
	if t.Kind != SFTP && t.Kind != SSH {
		return t, fmt.Errorf("kdx does not save over %s; a target is %s", scheme, targetForms)
	}
	if _, _, found := splitPassword(rest); found {
		return t, fmt.Errorf("a password stands before the @: kdx logs in with a key only (ssh-key)")
	}
	host, dir, ok := strings.Cut(rest, "/")
	if !ok {
		return t, fmt.Errorf("the directory is missing: %s://USER@HOST/DIRECTORY", scheme)
	}
	if i := strings.LastIndex(host, "@"); i >= 0 {
		user := host[:i]
		if user == "" || strings.ContainsAny(user, " \t") || strings.HasPrefix(user, "-") {
			return t, fmt.Errorf("%q is no user", user)
		}
		t.User, host = user, host[i+1:]
	}
	if strings.HasPrefix(host, "[") || strings.Count(host, ":") == 1 {
		h, port, err := net.SplitHostPort(host)
		if err != nil { // [2001:db8::1] without a port
			h, port = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]"), "22"
		}
		n, err := strconv.Atoi(port)
		if err != nil || n < 1 || n > 65535 {
			return t, fmt.Errorf("%q is no port", port)
		}
		host = h
		if n != 22 {
			t.Port = n
		}
	}
	t.Host = host
	if _, err := netip.ParseAddr(host); err != nil && !hostName(host) {
		return t, fmt.Errorf("%q is no host (an IPv6 address stands in brackets)", host)
	}
	var err error
	t.Path, err = cleanPath("/" + dir)
	return t, err
}

// withoutPassword hides what stands between user: and @, with or without a scheme before them.
func withoutPassword(w string) string {
	scheme, rest, ok := strings.Cut(w, "://")
	if !ok {
		scheme, rest = "", w
	} else {
		scheme += "://"
	}
	if user, tail, found := splitPassword(rest); found {
		return scheme + user + ":…@" + tail
	}
	return w
}

// splitPassword finds user:password@tail. A password may hold a slash, which a port does not.
func splitPassword(rest string) (user, tail string, found bool) {
	host, _, _ := strings.Cut(rest, "/")
	i := strings.LastIndex(host, "@")
	if i < 0 {
		i = strings.LastIndex(rest, "@")
		_, port, _ := strings.Cut(host, ":")
		if _, err := strconv.Atoi(port); err == nil {
			return "", "", false
		}
	}
	if i < 0 {
		return "", "", false
	}
	user, _, found = strings.Cut(rest[:i], ":")
	return user, rest[i+1:], found && !strings.Contains(user, "/")
}

// hostName says whether a text can be the name of a host.
func hostName(s string) bool {
	if s == "" || len(s) > 253 || s[0] == '-' || s[0] == '.' {
		return false
	}
	for _, c := range []byte(s) {
		if c != '-' && c != '.' && c != '_' && (c < '0' || c > '9') && (c|0x20 < 'a' || c|0x20 > 'z') {
			return false
		}
	}
	return true
}

func cleanPath(p string) (string, error) {
	if !strings.HasPrefix(p, "/") || slices.Contains(strings.Split(p, "/"), "..") {
		return "", fmt.Errorf("%q is no absolute path", p)
	}
	return path.Clean(p), nil
}

// String is the target as ParseTarget reads it.
func (t Target) String() string {
	switch t.Kind {
	case FS:
		s := t.FS + ":" + t.Device + ":" + t.Path
		if t.Subvol != "" {
			s += " subvol=" + t.Subvol
		}
		return s
	case Raw:
		return "raw:" + t.Device
	case SFTP, SSH:
		host := t.Host
		if strings.Contains(host, ":") {
			host = "[" + host + "]"
		}
		if t.Port != 0 {
			host += ":" + strconv.Itoa(t.Port)
		}
		return string(t.Kind) + "://" + t.User + "@" + host + t.Path
	}
	return t.Path
}

// Network is how an interface is set up in the capture kernel.
type Network struct {
	// NIC is the name that the interface has on the running host, or its MAC address.
	NIC string
	// Mode is keep (what it has when the initrd is built), dhcp, dhcp6, auto6 or static.
	Mode string
	// VLAN is the tag, 0 for none.
	VLAN int
	// Of static.
	Address netip.Prefix
	Gateway netip.Addr
	DNS     []netip.Addr
}

var networkModes = []string{"keep", "dhcp", "dhcp6", "auto6", "static"}

const networkForms = "auto, or NIC MODE with NIC a name or MAC address and MODE keep, dhcp, dhcp6, auto6 or static ADDRESS/BITS [gateway ADDRESS] [dns ADDRESS]; vlan N may follow"

// ParseNetwork reads "NIC MODE …".
func ParseNetwork(text string) (Network, error) {
	words := strings.Fields(text)
	if len(words) < 2 {
		return Network{}, fmt.Errorf("a network is %s", networkForms)
	}
	n := Network{NIC: words[0], Mode: words[1]}
	if _, err := net.ParseMAC(n.NIC); err == nil {
		n.NIC = strings.ToLower(n.NIC)
	} else if len(n.NIC) > 15 || strings.ContainsAny(n.NIC, "/:") {
		return n, fmt.Errorf("%q is no name of an interface (15 bytes at most) and no MAC address", n.NIC)
	}
	if !slices.Contains(networkModes, n.Mode) {
		return n, fmt.Errorf("%q is no mode; %s", n.Mode, oneOf(n.Mode, networkModes))
	}
	words = words[2:]
	var err error
	if n.Mode == "static" {
		if len(words) == 0 {
			return n, fmt.Errorf("static wants ADDRESS/BITS")
		}
		if n.Address, err = netip.ParsePrefix(words[0]); err != nil {
			return n, fmt.Errorf("%q is no ADDRESS/BITS such as 192.0.2.7/24", words[0])
		}
		words = words[1:]
	}
	for ; len(words) > 1; words = words[2:] {
		if err := n.option(words[0], words[1]); err != nil {
			return n, err
		}
	}
	if len(words) == 1 {
		return n, fmt.Errorf("nothing follows %q", words[0])
	}
	return n, nil
}

func (n *Network) option(name, value string) error {
	if name == "vlan" {
		v, err := strconv.Atoi(value)
		if err != nil || v < 1 || v > 4094 {
			return fmt.Errorf("%q is no VLAN, 1 to 4094", value)
		}
		n.VLAN = v
		return nil
	}
	if n.Mode != "static" || name != "gateway" && name != "dns" {
		return fmt.Errorf("%q is no option of %s: vlan N%s", name, n.Mode, map[bool]string{true: ", gateway ADDRESS, dns ADDRESS"}[n.Mode == "static"])
	}
	a, err := netip.ParseAddr(value)
	if err != nil {
		return fmt.Errorf("%s wants an address, not %q", name, value)
	}
	if name == "gateway" {
		n.Gateway = a
	} else {
		n.DNS = append(n.DNS, a)
	}
	return nil
}

// String is the network as ParseNetwork reads it.
func (n Network) String() string {
	s := n.NIC + " " + n.Mode
	if n.Address.IsValid() {
		s += " " + n.Address.String()
	}
	if n.Gateway.IsValid() {
		s += " gateway " + n.Gateway.String()
	}
	for _, d := range n.DNS {
		s += " dns " + d.String()
	}
	if n.VLAN > 0 {
		s += fmt.Sprintf(" vlan %d", n.VLAN)
	}
	return s
}
