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
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kdx/capture/config"
	"kdx/internal/sysfs"
)

// kernel is what is asked about interfaces.
type kernel interface {
	links() ([]netlink.Link, error)
	// routeTo is the way to an address.
	routeTo(netip.Addr) ([]netlink.Route, error)
	addresses(netlink.Link) ([]netlink.Addr, error)
	// routes are those of an interface in the main table.
	routes(netlink.Link) ([]netlink.Route, error)
}

type running struct{}

func (running) links() ([]netlink.Link, error) { return netlink.LinkList() }

func (running) routeTo(a netip.Addr) ([]netlink.Route, error) { return netlink.RouteGet(a.AsSlice()) }

func (running) addresses(l netlink.Link) ([]netlink.Addr, error) {
	return netlink.AddrList(l, netlink.FAMILY_ALL)
}

func (running) routes(l netlink.Link) ([]netlink.Route, error) {
	return netlink.RouteList(l, netlink.FAMILY_ALL)
}

// finder describes interfaces.
type finder struct {
	root  string
	k     kernel
	all   []netlink.Link
	count int
}

func newFinder(root string, k kernel) (*finder, error) {
	all, err := k.links()
	if err != nil {
		return nil, fmt.Errorf("asking the kernel for its network interfaces: %w", err)
	}
	return &finder{root: root, k: k, all: all}, nil
}

// resolveLimit is how long the name of a host may take.
const resolveLimit = 20 * time.Second

// Discover finds the interfaces by which a host, a name or an address, is reached now: one, or more if its addresses lie in different directions. It asks the
// running kernel, so that a root other than "" and / is refused: the files below it are another host's.
func Discover(root, host string) ([]Link, error) {
	if err := ownRoot(root); err != nil {
		return nil, fmt.Errorf("way to %s: %w", host, err)
	}
	addresses, err := resolve(host)
	if err != nil {
		return nil, err
	}
	f, err := newFinder("/", running{})
	if err != nil {
		return nil, err
	}
	return f.discover(host, addresses)
}

func ownRoot(root string) error {
	if root == "" || root == "/" {
		return nil
	}
	return errors.New("interfaces and routes can only be read on the host itself")
}

func resolve(host string) ([]netip.Addr, error) {
	if a, err := netip.ParseAddr(host); err == nil {
		return []netip.Addr{a.Unmap()}, nil
	}
	ctx, cancel := context.WithTimeout(context.Background(), resolveLimit)
	defer cancel()
	found, err := net.DefaultResolver.LookupNetIP(ctx, "ip", host)
	if err != nil {
		return nil, fmt.Errorf("address of %s: %w", host, err)
	}
	var out []netip.Addr
	for _, a := range found {
		if a = a.Unmap(); !slices.Contains(out, a) {
			out = append(out, a)
		}
	}
	slices.SortFunc(out, netip.Addr.Compare)
	return out, nil
}

func (f *finder) discover(host string, addresses []netip.Addr) ([]Link, error) {
	var out []Link
	var failed []error
	for _, a := range addresses {
		l, err := f.toward(a)
		switch {
		case err != nil:
			failed = append(failed, fmt.Errorf("way to %s (%s): %w", host, a, err))
		case !slices.ContainsFunc(out, func(o Link) bool { return o.Name == l.Name }):
			out = append(out, l)
		default: // the other family, perhaps, by the same interface
			merge(out, l)
		}
	}
	if len(out) == 0 {
		return nil, errors.Join(failed...)
	}
	return out, nil
}

// merge adds addresses and routes that only another address of the host needs. How the first ones are got is how the interface is set up.
func merge(out []Link, l Link) {
	for i := range out {
		if out[i].Name != l.Name {
			continue
		}
		for _, a := range l.Addresses {
			if !slices.Contains(out[i].Addresses, a) {
				out[i].Addresses = append(out[i].Addresses, a)
			}
		}
		for _, r := range l.Routes {
			if !slices.Contains(out[i].Routes, r) {
				out[i].Routes = append(out[i].Routes, r)
			}
		}
	}
}

// toward is the interface toward an address.
func (f *finder) toward(a netip.Addr) (Link, error) {
	routes, err := f.k.routeTo(a)
	if err != nil {
		return Link{}, fmt.Errorf("the kernel knows no route: %w", err)
	}
	if len(routes) == 0 {
		return Link{}, errors.New("the kernel knows no route")
	}
	r := routes[0]
	found := f.byIndex(r.LinkIndex)
	if found == nil {
		return Link{}, fmt.Errorf("the route leads to interface number %d, which is not there", r.LinkIndex)
	}
	if found.Attrs().Flags&net.FlagLoopback != 0 {
		return Link{}, errors.New("that is this machine itself, which is dead when the dump is saved")
	}
	l, err := f.keep(found, func(b netip.Addr) bool { return b.Is4() == a.Is4() })
	if err != nil {
		return l, err
	}
	if via := addr(r.Gw); via.IsValid() && !slices.ContainsFunc(l.Routes, func(r Route) bool { return r.Via == via && r.To.Contains(a) }) {
		l.Routes = append(l.Routes, Route{To: netip.PrefixFrom(a, a.BitLen()), Via: via}) // of another table
	}
	return l, nil
}

func (f *finder) byIndex(index int) netlink.Link {
	i := slices.IndexFunc(f.all, func(l netlink.Link) bool { return l.Attrs().Index == index })
	if i < 0 {
		return nil
	}
	return f.all[i]
}

// keep describes an interface with those of its addresses that are wanted.
func (f *finder) keep(found netlink.Link, wanted func(netip.Addr) bool) (Link, error) {
	l, err := f.build(found, 0)
	if err != nil {
		return l, err
	}
	if err := f.addAddresses(&l, found, wanted); err != nil {
		return l, err
	}
	if err := f.addRoutes(&l, found, wanted); err != nil {
		return l, err
	}
	if len(l.Addresses) == 0 {
		return l, fmt.Errorf("%s has no address that could be kept", l.Name)
	}
	l.DNS = f.nameServers()
	return l, l.Check()
}

// build describes an interface and what it stands on, without addresses.
func (f *finder) build(found netlink.Link, depth int) (Link, error) {
	a := found.Attrs()
	if f.count++; depth > maxDepth || f.count > maxLinks {
		return Link{}, fmt.Errorf("%s stands on more than %d layers or %d interfaces", a.Name, maxDepth, maxLinks)
	}
	l := Link{Name: a.Name}
	if a.MTU != 1500 {
		l.MTU = a.MTU
	}
	switch x := found.(type) {
	case *netlink.Vlan:
		l.Kind, l.Address = VLAN, a.HardwareAddr.String()
		l.VLAN = &VLANTag{ID: x.VlanId, AD: x.VlanProtocol == netlink.VLAN_PROTOCOL_8021AD}
		return f.add(l, depth, f.byIndex(a.ParentIndex))
	case *netlink.Bond:
		l.Kind, l.Address, l.Bond = Bond, a.HardwareAddr.String(), f.bondOptions(x)
		return f.add(l, depth, f.membersOf(a.Index)...)
	case *netlink.Bridge:
		l.Kind, l.Address = Bridge, a.HardwareAddr.String()
		return f.add(l, depth, f.membersOf(a.Index)...)
	}
	return f.physical(l, found)
}

func (f *finder) physical(l Link, found netlink.Link) (Link, error) {
	a := found.Attrs()
	dir, err := filepath.EvalSymlinks(filepath.Join(f.root, "/sys/class/net", a.Name, "device"))
	if err != nil {
		return l, fmt.Errorf("%s is made by software (%s), not by a device, and kdx does not make its like in the capture kernel", a.Name, found.Type())
	}
	if a.EncapType == "infiniband" {
		return l, fmt.Errorf("%s is InfiniBand, which kdx does not set up", a.Name)
	}
	l.Kind, l.MAC = Physical, permanent(a).String()
	// A member of a bond bears the bond's address.
	if used := a.HardwareAddr.String(); used != l.MAC && a.MasterIndex == 0 {
		l.Address = used
	}
	l.Drivers = sysfs.Drivers(f.root, dir)
	return l, nil
}

// permanent is the address that the hardware has; some drivers of virtual machines tell none but the one in use.
func permanent(a *netlink.LinkAttrs) net.HardwareAddr {
	if len(a.PermHWAddr) == 6 && a.PermHWAddr.String() != "00:00:00:00:00:00" {
		return a.PermHWAddr
	}
	return a.HardwareAddr
}

// add describes what an interface stands on. Members of bridges that lead to virtual machines are left out.
func (f *finder) add(l Link, depth int, below ...netlink.Link) (Link, error) {
	var last error
	for _, b := range below {
		if b == nil {
			continue
		}
		x, err := f.build(b, depth+1)
		if err != nil {
			last = err
			continue
		}
		l.Below = append(l.Below, x)
	}
	if len(l.Below) == 0 {
		return l, errors.Join(fmt.Errorf("%s (%s) stands on no device", l.Name, l.Kind), last)
	}
	return l, nil
}

// membersOf are the interfaces that a bond or bridge holds, in the order of their names.
func (f *finder) membersOf(index int) []netlink.Link {
	var out []netlink.Link
	for _, l := range f.all {
		if l.Attrs().MasterIndex == index {
			out = append(out, l)
		}
	}
	slices.SortFunc(out, func(x, y netlink.Link) int { return strings.Compare(x.Attrs().Name, y.Attrs().Name) })
	return out
}

func (f *finder) bondOptions(b *netlink.Bond) *BondOptions {
	o := &BondOptions{Mode: b.Mode.String(), Miimon: max(b.Miimon, 0)}
	if b.Mode == netlink.BOND_MODE_802_3AD {
		o.LACPRate = b.LacpRate.String()
	}
	if m := b.Mode; m == netlink.BOND_MODE_802_3AD || m == netlink.BOND_MODE_BALANCE_XOR || m == netlink.BOND_MODE_BALANCE_TLB {
		o.XmitHash = b.XmitHashPolicy.String()
	}
	if b.Mode == netlink.BOND_MODE_ACTIVE_BACKUP {
		o.FailOver = b.FailOverMac.String()
	}
	if p := f.byIndex(b.Primary); p != nil {
		o.Primary = permanent(p.Attrs()).String()
	}
	return o
}

const maxAddresses = 64

func (f *finder) addAddresses(l *Link, found netlink.Link, wanted func(netip.Addr) bool) error {
	all, err := f.k.addresses(found)
	if err != nil {
		return fmt.Errorf("addresses of %s: %w", l.Name, err)
	}
	l.Mode = Static
	for _, a := range all {
		p, ok := prefix(a.IPNet)
		const unusable = unix.IFA_F_TENTATIVE | unix.IFA_F_DADFAILED | unix.IFA_F_DEPRECATED | unix.IFA_F_TEMPORARY
		temporary := p.Addr().Is6() && a.Flags&unusable != 0
		if !ok || !wanted(p.Addr()) || p.Addr().IsLinkLocalUnicast() || p.Addr().IsLoopback() || temporary || len(l.Addresses) == maxAddresses {
			continue
		}
		l.Addresses = append(l.Addresses, p)
		// What has an end was leased, or announced by a router.
		leased := a.Flags&unix.IFA_F_PERMANENT == 0
		switch {
		case !leased || l.Mode != Static:
		case p.Addr().Is4():
			l.Mode = DHCP
		case p.Bits() == 128:
			l.Mode = DHCP6
		default:
			l.Mode = Auto6
		}
	}
	return nil
}

func (f *finder) addRoutes(l *Link, found netlink.Link, wanted func(netip.Addr) bool) error {
	all, err := f.k.routes(found)
	if err != nil {
		return fmt.Errorf("routes of %s: %w", l.Name, err)
	}
	for _, r := range all {
		if r.Type != unix.RTN_UNICAST && r.Type != 0 || len(r.MultiPath) > 0 || len(l.Routes) == maxAddresses {
			continue
		}
		out := Route{Via: addr(r.Gw), From: addr(r.Src)}
		to, ok := prefix(r.Dst)
		switch {
		case ok:
			out.To = to
		case r.Family == unix.AF_INET6 || out.Via.Is6():
			out.To = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
		default:
			out.To = netip.PrefixFrom(netip.IPv4Unspecified(), 0)
		}
		if !wanted(out.To.Addr()) {
			continue
		}
		if !out.Via.IsValid() && (out.To.Addr().IsLinkLocalUnicast() || out.To.Addr().IsMulticast() || connected(l, out.To)) {
			continue // comes with the address
		}
		if out.From.IsValid() && !slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr() == out.From }) {
			out.From = netip.Addr{}
		}
		if !slices.Contains(l.Routes, out) {
			l.Routes = append(l.Routes, out)
		}
	}
	// Ways to gateways come before those that need them.
	slices.SortStableFunc(l.Routes, func(x, y Route) int { return y.To.Bits() - x.To.Bits() })
	return nil
}

func connected(l *Link, p netip.Prefix) bool {
	return slices.ContainsFunc(l.Addresses, func(a netip.Prefix) bool { return a.Masked() == p })
}

func prefix(n *net.IPNet) (netip.Prefix, bool) {
	if n == nil {
		return netip.Prefix{}, false
	}
	a := addr(n.IP)
	bits, _ := n.Mask.Size()
	p := netip.PrefixFrom(a, bits)
	return p, a.IsValid() && p.IsValid()
}

func addr(ip net.IP) netip.Addr {
	a, _ := netip.AddrFromSlice(ip)
	return a.Unmap()
}

// nameServers are those of resolv.conf; where that names a resolver of this machine, those that it asks.
func (f *finder) nameServers() []netip.Addr {
	for _, name := range []string{"/etc/resolv.conf", "/run/systemd/resolve/resolv.conf", "/run/NetworkManager/no-stub-resolv.conf"} {
		data, err := os.ReadFile(filepath.Join(f.root, name))
		if err != nil {
			continue
		}
		if out := readResolvConf(string(data)); len(out) > 0 {
			return out
		}
	}
	return nil
}

func readResolvConf(s string) []netip.Addr {
	var out []netip.Addr
	for line := range strings.Lines(s) {
		w := strings.Fields(line)
		if len(w) < 2 || w[0] != "nameserver" || len(out) == 3 { // as many as resolvers read
			continue
		}
		if a, err := netip.ParseAddr(w[1]); err == nil && !a.IsLoopback() {
			out = append(out, a)
		}
	}
	return out
}

// FromConfig is the interface that a line of the configuration describes, as it is on the running host. Root is as for Discover.
func FromConfig(root string, n config.Network) (Link, error) {
	if err := ownRoot(root); err != nil {
		return Link{}, fmt.Errorf("network %s: %w", n, err)
	}
	f, err := newFinder("/", running{})
	if err != nil {
		return Link{}, err
	}
	l, err := f.fromConfig(n)
	if err != nil {
		return l, fmt.Errorf("network %s: %w", n, err)
	}
	return l, nil
}

func (f *finder) fromConfig(n config.Network) (Link, error) {
	found, err := f.named(n.NIC)
	if err != nil {
		return Link{}, err
	}
	if n.Mode == "keep" {
		if n.VLAN != 0 {
			if found, err = f.vlanOn(found, n.VLAN); err != nil {
				return Link{}, err
			}
		}
		return f.keep(found, netip.Addr.IsValid)
	}
	l, err := f.build(found, 0)
	if err != nil {
		return l, err
	}
	if n.VLAN != 0 {
		name := l.Name + "." + strconv.Itoa(n.VLAN)
		if len(name) > 15 {
			name = "vlan" + strconv.Itoa(n.VLAN)
		}
		l = Link{Kind: VLAN, Name: name, VLAN: &VLANTag{ID: n.VLAN}, Below: []Link{l}}
	}
	l.Mode = Mode(n.Mode)
	if l.Mode == Static {
		l.Addresses, l.DNS = []netip.Prefix{n.Address}, n.DNS
		if n.Gateway.IsValid() {
			everywhere := netip.PrefixFrom(netip.IPv4Unspecified(), 0)
			if n.Gateway.Is6() {
				everywhere = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
			}
			l.Routes = []Route{{To: everywhere, Via: n.Gateway}}
		}
	}
	return l, l.Check()
}

// named is the interface with this name or MAC address. Of those that share an address the device is meant, not what stands on it.
func (f *finder) named(nic string) (netlink.Link, error) {
	var names []string
	var match netlink.Link
	for _, l := range f.all {
		a := l.Attrs()
		if a.Flags&net.FlagLoopback != 0 {
			continue
		}
		names = append(names, fmt.Sprintf("%s (%s)", a.Name, a.HardwareAddr))
		switch {
		case a.Name == nic:
			return l, nil
		case permanent(a).String() != nic && a.HardwareAddr.String() != nic:
		case match == nil || match.Type() != "device":
			match = l
		}
	}
	if match == nil {
		return nil, fmt.Errorf("%s is not there. There are %s", nic, strings.Join(names, ", "))
	}
	return match, nil
}

func (f *finder) vlanOn(below netlink.Link, id int) (netlink.Link, error) {
	for _, l := range f.all {
		if v, ok := l.(*netlink.Vlan); ok && v.VlanId == id && l.Attrs().ParentIndex == below.Attrs().Index {
			return l, nil
		}
	}
	return nil, fmt.Errorf("%s has no VLAN %d now whose addresses could be kept", below.Attrs().Name, id)
}
