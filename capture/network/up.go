package network

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// up brings interfaces up.
type up struct {
	opt Options
	// made are interfaces that are up, by kind and recorded name: two VLANs may stand on the same one.
	made map[string]string
	dns  []netip.Addr
}

const pollEvery = 100 * time.Millisecond

// Up brings interfaces up in the capture kernel: finds devices by their MAC address, makes VLANs, bonds and bridges, waits for a carrier, and sets addresses and
// routes, those of DHCP or a router where so recorded. It tries all of them; the error says of each which step failed. The kernel modules must have been loaded.
func Up(ctx context.Context, links []Link, opt Options) error {
	u := &up{opt: opt, made: map[string]string{}}
	end := time.Now().Add(opt.limit())
	var failed []error
	if lo, err := netlink.LinkByName("lo"); err != nil {
		failed = append(failed, fmt.Errorf("lo: %w", err))
	} else if err := netlink.LinkSetUp(lo); err != nil {
		failed = append(failed, fmt.Errorf("lo: setting it up: %w", err))
	}
	for i := range links {
		// What is left is shared, so that one that is dead leaves time for the others.
		share := time.Until(end) / time.Duration(len(links)-i)
		one, cancel := context.WithTimeout(ctx, share)
		err := u.link(one, &links[i])
		cancel()
		if err != nil {
			failed = append(failed, fmt.Errorf("network interface %s: %w", links[i].who(), err))
		}
	}
	if err := u.resolvConf(); err != nil {
		failed = append(failed, err)
	}
	return errors.Join(failed...)
}

// who names an interface for a person.
func (l *Link) who() string {
	if l.MAC == "" {
		return l.Name
	}
	return l.Name + " (" + l.MAC + ")"
}

func (u *up) link(ctx context.Context, l *Link) error {
	if err := l.Check(); err != nil {
		return fmt.Errorf("what the initrd says of it can't be used: %w", err)
	}
	name, err := u.bring(ctx, l)
	if err != nil {
		return err
	}
	if l.Mode == "" {
		return nil
	}
	if err := u.carrier(ctx, name); err != nil {
		return err
	}
	return u.address(ctx, l, name)
}

// bring makes an interface and what it stands on, and sets it up; it returns the name that it has now.
func (u *up) bring(ctx context.Context, l *Link) (string, error) {
	key := string(l.Kind) + " " + l.Name + " " + l.MAC
	if name, ok := u.made[key]; ok {
		return name, nil
	}
	name, err := u.create(ctx, l)
	if err != nil {
		return "", err
	}
	if err := u.set(l, name); err != nil {
		return "", err
	}
	u.made[key] = name
	return name, nil
}

func (u *up) create(ctx context.Context, l *Link) (string, error) {
	if l.Kind == Physical {
		return u.find(ctx, l)
	}
	var below []string
	var failed []error
	for i := range l.Below {
		b := &l.Below[i]
		name, err := u.bring(ctx, b)
		if err != nil { // a bond does with what is there
			failed = append(failed, fmt.Errorf("%s: %w", b.who(), err))
			continue
		}
		below = append(below, name)
	}
	if len(below) == 0 {
		return "", errors.Join(failed...)
	}
	if err := errors.Join(failed...); err != nil {
		u.opt.logf("%s: goes without %v", l.Name, err)
	}
	return u.make(l, below)
}

// find waits for the device with a MAC address. The members of a pair that fails over (a virtual function behind a paravirtual device) have the same one: the
// master is meant.
func (u *up) find(ctx context.Context, l *Link) (string, error) {
	said := false
	for {
		all, err := netlink.LinkList()
		if err != nil {
			return "", fmt.Errorf("asking the kernel for interfaces: %w", err)
		}
		best := ""
		for _, x := range all {
			a := x.Attrs()
			if a.Flags&net.FlagLoopback != 0 || !exists(filepath.Join("/sys/class/net", a.Name, "device")) {
				continue
			}
			if l.MAC == "" && a.Name == l.Name || l.MAC != "" && (permanent(a).String() == l.MAC || a.HardwareAddr.String() == l.MAC) {
				if best == "" || a.MasterIndex == 0 {
					best = a.Name
				}
			}
		}
		if best != "" {
			u.opt.logf("network interface %s is %s", l.who(), best)
			return best, nil
		}
		if !said {
			u.opt.logf("waiting for network interface %s", l.who())
			said = true
		}
		if err := sleep(ctx); err != nil {
			return "", fmt.Errorf("no device with that address appeared (%w); is its driver (%s) in the initrd? There are %s", err, strings.Join(l.Drivers, ", "), listLinks(all))
		}
	}
}

func listLinks(all []netlink.Link) string {
	var out []string
	for _, x := range all {
		a := x.Attrs()
		if a.Flags&net.FlagLoopback == 0 {
			out = append(out, fmt.Sprintf("%s (%s)", a.Name, a.HardwareAddr))
		}
	}
	if len(out) == 0 {
		return "none"
	}
	return strings.Join(out, ", ")
}

// make makes an interface of others. It gets another name if its own is taken: by a device, or by the bond that the module makes by itself.
func (u *up) make(l *Link, below []string) (string, error) {
	name := l.Name
	for i := 0; exists(filepath.Join("/sys/class/net", name)); i++ {
		name = fmt.Sprintf("kdx%d", i)
	}
	attrs := netlink.NewLinkAttrs()
	attrs.Name = name
	if mac, err := net.ParseMAC(l.Address); err == nil {
		attrs.HardwareAddr = mac
	}
	parent, err := netlink.LinkByName(below[0])
	if err != nil {
		return "", fmt.Errorf("%s: %w", below[0], err)
	}
	var made netlink.Link
	switch l.Kind {
	case VLAN:
		attrs.ParentIndex = parent.Attrs().Index
		v := &netlink.Vlan{LinkAttrs: attrs, VlanId: l.VLAN.ID, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q}
		if l.VLAN.AD {
			v.VlanProtocol = netlink.VLAN_PROTOCOL_8021AD
		}
		made = v
	case Bond:
		made = l.Bond.link(attrs)
	case Bridge:
		made = &netlink.Bridge{LinkAttrs: attrs}
	}
	if err := netlink.LinkAdd(made); err != nil {
		return "", fmt.Errorf("making the %s: %w; is the module %s loaded?", l.Kind, err, strings.Join(kindModules[l.Kind], ", "))
	}
	u.opt.logf("network interface %s made as %s on %s", l.Name, name, strings.Join(below, ", "))
	if l.Kind == VLAN {
		return name, nil
	}
	if l.Kind == Bridge { // forwards at once
		if err := os.WriteFile(filepath.Join("/sys/class/net", name, "bridge/forward_delay"), []byte("0"), 0); err != nil {
			u.opt.logf("%s: forward delay: %v", name, err)
		}
	}
	return name, u.enslave(l, name, below)
}

// enslave puts members into a bond or bridge; a bond takes only those that are down.
func (u *up) enslave(l *Link, name string, below []string) error {
	master, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	var failed []error
	for _, b := range below {
		m, err := netlink.LinkByName(b)
		if err == nil && l.Kind == Bond {
			err = netlink.LinkSetDown(m)
		}
		if err == nil {
			err = netlink.LinkSetMaster(m, master)
		}
		if err == nil {
			err = netlink.LinkSetUp(m)
		}
		if err != nil {
			failed = append(failed, fmt.Errorf("making %s a member of the %s: %w", b, l.Kind, err))
		}
	}
	if len(failed) == len(below) {
		return errors.Join(failed...)
	}
	return u.primary(l, name)
}

// primary makes the recorded member of a bond the preferred one.
func (u *up) primary(l *Link, name string) error {
	if l.Kind != Bond || l.Bond.Primary == "" {
		return nil
	}
	for i := range l.Below {
		b := &l.Below[i]
		member, ok := u.made[string(b.Kind)+" "+b.Name+" "+b.MAC]
		if !ok || b.MAC != l.Bond.Primary {
			continue
		}
		if err := os.WriteFile(filepath.Join("/sys/class/net", name, "bonding/primary"), []byte(member), 0); err != nil {
			u.opt.logf("%s: preferring %s: %v", name, member, err)
		}
	}
	return nil
}

// link is a bond with these options.
func (o *BondOptions) link(attrs netlink.LinkAttrs) *netlink.Bond {
	b := netlink.NewLinkBond(attrs)
	b.Mode = netlink.StringToBondMode(o.Mode)
	b.Miimon = o.Miimon
	if b.Miimon == 0 {
		b.Miimon = 100 // nothing else would notice that a member has no carrier: targets of ARP monitoring are not recorded
	}
	if o.LACPRate != "" {
		b.LacpRate = netlink.StringToBondLacpRate(o.LACPRate)
	}
	if o.XmitHash != "" {
		b.XmitHashPolicy = netlink.StringToBondXmitHashPolicy(o.XmitHash)
	}
	if m, ok := netlink.StringToBondFailOverMacMap[o.FailOver]; ok {
		b.FailOverMac = m
	}
	return b
}

// set sets address and MTU, and the interface up.
func (u *up) set(l *Link, name string) error {
	x, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	if mac, err := net.ParseMAC(l.Address); err == nil && l.Kind == Physical && x.Attrs().HardwareAddr.String() != l.Address {
		if err := netlink.LinkSetHardwareAddr(x, mac); err != nil {
			u.opt.logf("%s: setting its address to %s: %v; goes on with %s", name, l.Address, err, x.Attrs().HardwareAddr)
		}
	}
	if l.MTU > 0 && x.Attrs().MTU != l.MTU {
		if err := netlink.LinkSetMTU(x, l.MTU); err != nil {
			u.opt.logf("%s: setting its MTU to %d: %v; goes on with %d", name, l.MTU, err, x.Attrs().MTU)
		}
	}
	if l.wantsIPv6() {
		// A router's announcements are asked for when the interface comes up.
		accept := map[bool]string{true: "2", false: "0"}[l.Mode == Auto6 || l.Mode == DHCP6]
		for file, value := range map[string]string{"disable_ipv6": "0", "accept_ra": accept, "accept_dad": "0"} {
			if err := os.WriteFile(filepath.Join("/proc/sys/net/ipv6/conf", name, file), []byte(value), 0); err != nil {
				return fmt.Errorf("IPv6 on %s: %w; does the capture kernel have IPv6?", name, err)
			}
		}
	}
	if err := netlink.LinkSetUp(x); err != nil {
		return fmt.Errorf("setting %s up: %w", name, err)
	}
	return nil
}

// carrier waits until the other end is there.
func (u *up) carrier(ctx context.Context, name string) error {
	said := false
	for {
		x, err := netlink.LinkByName(name)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		if x.Attrs().RawFlags&unix.IFF_RUNNING != 0 {
			return nil
		}
		if !said {
			u.opt.logf("%s: waiting for a carrier", name)
			said = true
		}
		if err := sleep(ctx); err != nil {
			return fmt.Errorf("no carrier on %s (%w): is its cable in, and the switch's port on?", name, err)
		}
	}
}

// address gives an interface its addresses and routes. What was recorded is taken where nobody leases or announces one.
func (u *up) address(ctx context.Context, l *Link, name string) error {
	ask := map[Mode]func(context.Context, string) error{DHCP: u.dhcp4, DHCP6: u.dhcp6, Auto6: u.auto6}[l.Mode]
	u.addDNS(l.DNS)
	if ask == nil {
		return u.static(ctx, l, name)
	}
	if len(l.Addresses) == 0 {
		return ask(ctx, name)
	}
	half := time.Minute
	if end, ok := ctx.Deadline(); ok {
		half = time.Until(end) / 2
	}
	first, cancel := context.WithTimeout(ctx, min(half, 15*time.Second))
	defer cancel()
	if err := ask(first, name); err != nil {
		u.opt.logf("%s: %v; takes the addresses that it had when the initrd was built", name, err)
		return u.static(ctx, l, name)
	}
	// A host with addresses of both kinds keeps those that were not asked for.
	rest := *l
	rest.Addresses = slices.DeleteFunc(slices.Clone(l.Addresses), func(p netip.Prefix) bool { return p.Addr().Is4() == (l.Mode == DHCP) })
	rest.Routes = slices.DeleteFunc(slices.Clone(l.Routes), func(r Route) bool { return r.To.Addr().Is4() == (l.Mode == DHCP) })
	if len(rest.Addresses) == 0 {
		return nil
	}
	if err := u.static(ctx, &rest, name); err != nil {
		u.opt.logf("%s: %v", name, err)
	}
	return nil
}

// static sets recorded addresses and routes.
func (u *up) static(_ context.Context, l *Link, name string) error {
	x, err := netlink.LinkByName(name)
	if err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	for _, p := range l.Addresses {
		if err := u.addAddress(x, p); err != nil {
			return err
		}
	}
	for _, r := range l.Routes {
		if err := addRoute(x, r); err != nil {
			// One that leads elsewhere need not matter: if it does, the target does not answer, and this stands before it in the log.
			u.opt.logf("%s: route to %s%s: %v", name, r.To, via(r.Via), err)
		}
	}
	u.opt.logf("%s: has %s", name, joinPrefixes(l.Addresses))
	return nil
}

func (u *up) addAddress(x netlink.Link, p netip.Prefix) error {
	a := &netlink.Addr{IPNet: ipNet(p)}
	if p.Addr().Is6() {
		a.Flags = unix.IFA_F_NODAD // its owner is dead
	}
	if err := netlink.AddrReplace(x, a); err != nil {
		return fmt.Errorf("setting the address %s on %s: %w", p, x.Attrs().Name, err)
	}
	return nil
}

func addRoute(x netlink.Link, r Route) error {
	route := &netlink.Route{LinkIndex: x.Attrs().Index, Dst: ipNet(r.To), Gw: r.Via.AsSlice(), Src: r.From.AsSlice()}
	if !r.Via.IsValid() {
		route.Scope = netlink.SCOPE_LINK
	}
	err := netlink.RouteReplace(route)
	if errors.Is(err, unix.ENETUNREACH) || errors.Is(err, unix.EHOSTUNREACH) { // a gateway outside of the network, as clouds have them
		route.Flags = int(netlink.FLAG_ONLINK)
		err = netlink.RouteReplace(route)
	}
	return err
}

func ipNet(p netip.Prefix) *net.IPNet {
	return &net.IPNet{IP: p.Addr().AsSlice(), Mask: net.CIDRMask(p.Bits(), p.Addr().BitLen())}
}

func via(a netip.Addr) string {
	if !a.IsValid() {
		return ""
	}
	return " via " + a.String()
}

func joinPrefixes(all []netip.Prefix) string {
	var out []string
	for _, p := range all {
		out = append(out, p.String())
	}
	return strings.Join(out, ", ")
}

func (u *up) addDNS(all []netip.Addr) {
	for _, a := range all {
		if a.IsValid() && !a.IsUnspecified() && !slices.Contains(u.dns, a) {
			u.dns = append(u.dns, a)
		}
	}
}

func (u *up) resolvConf() error {
	if len(u.dns) == 0 {
		return nil
	}
	name := u.opt.ResolvConf
	if name == "" {
		name = "/etc/resolv.conf"
	}
	var text strings.Builder
	for _, a := range u.dns[:min(len(u.dns), 3)] {
		fmt.Fprintf(&text, "nameserver %s\n", a)
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return fmt.Errorf("name servers: %w", err)
	}
	if err := os.WriteFile(name, []byte(text.String()), 0o644); err != nil {
		return fmt.Errorf("name servers: %w", err)
	}
	return nil
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}

func sleep(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(pollEvery):
		return nil
	}
}

// Limits of waiting for a host: of one connection, and between two.
const (
	connectLimit = 10 * time.Second
	connectPause = time.Second
)

// Wait waits until one of a host's addresses (host:port) takes a TCP connection, which is closed at once, or until the context ends. A switch may forward
// nothing for half a minute after a link came up. A host that refuses is there, and is not waited for. The error is what was seen last.
func Wait(ctx context.Context, addresses ...string) error {
	for {
		var failed []error
		refused := 0
		for _, a := range addresses {
			d := net.Dialer{Timeout: connectLimit}
			c, err := d.DialContext(ctx, "tcp", a)
			if err == nil {
				return c.Close()
			}
			if errors.Is(err, unix.ECONNREFUSED) {
				refused++
			}
			failed = append(failed, fmt.Errorf("%s did not answer: %w", a, err))
		}
		if refused == len(addresses) || ctx.Err() != nil {
			return errors.Join(failed...)
		}
		select {
		case <-ctx.Done():
			return errors.Join(failed...)
		case <-time.After(connectPause):
		}
	}
}
