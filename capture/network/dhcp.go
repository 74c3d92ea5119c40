package network

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"time"

	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv4/nclient4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/insomniacslk/dhcp/dhcpv6/nclient6"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

const (
	askAgain = 3 * time.Second
	askTimes = 40
)

// awaitRandom waits until the kernel has random numbers. The DHCP library asks without waiting, again and again for two minutes, and a kernel on a machine
// without an instruction for them makes them only for those who wait.
func awaitRandom(ctx context.Context) error {
	done := make(chan struct{})
	go func() {
		rand.Read(make([]byte, 8)) // never fails
		close(done)
	}()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("the kernel has no random numbers yet: %w", ctx.Err())
	}
}

// dhcp4 leases an address until the machine reboots: a dump takes less time than a lease lasts, and it is not renewed.
func (u *up) dhcp4(ctx context.Context, name string) error {
	u.opt.logf("%s: asks for an address by DHCP", name)
	if err := awaitRandom(ctx); err != nil {
		return fmt.Errorf("DHCP on %s: %w", name, err)
	}
	c, err := nclient4.New(name, nclient4.WithTimeout(askAgain), nclient4.WithRetry(askTimes))
	if err != nil {
		return fmt.Errorf("DHCP on %s: %w; is the module af_packet loaded?", name, err)
	}
	defer c.Close()
	lease, err := c.Request(ctx)
	if err != nil {
		return fmt.Errorf("no answer to DHCP on %s: %w", name, orTimeout(ctx, err))
	}
	l, err := fromDHCP4(lease.ACK)
	if err != nil {
		return fmt.Errorf("DHCP on %s: %w", name, err)
	}
	u.addDNS(l.DNS)
	return u.static(ctx, &l, name)
}

// orTimeout says what is behind a library's own words.
func orTimeout(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return err
}

// fromDHCP4 is what a server's answer says: classless routes take the place of routers (RFC 3442).
func fromDHCP4(m *dhcpv4.DHCPv4) (Link, error) {
	l := Link{}
	a := addr(m.YourIPAddr)
	if !a.Is4() || a.IsUnspecified() {
		return l, errors.New("the server's answer has no address")
	}
	bits, size := m.SubnetMask().Size()
	if size != 32 {
		bits, _ = net.IP(a.AsSlice()).DefaultMask().Size()
	}
	l.Addresses = []netip.Prefix{netip.PrefixFrom(a, bits)}
	for _, r := range m.ClasslessStaticRoute() {
		to, ok := prefix(r.Dest)
		if !ok || len(l.Routes) == maxAddresses {
			continue
		}
		route := Route{To: to}
		if via := addr(r.Router); !via.IsUnspecified() {
			route.Via = via
		}
		l.Routes = append(l.Routes, route)
	}
	if len(l.Routes) == 0 {
		for _, r := range m.Router() {
			if via := addr(r); via.Is4() && !via.IsUnspecified() {
				l.Routes = append(l.Routes, Route{To: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: via})
				break
			}
		}
	}
	for _, d := range m.DNS() {
		l.DNS = append(l.DNS, addr(d))
	}
	return l, nil
}

// dhcp6 leases an IPv6 address. Routes are not DHCP's matter there: the kernel takes them from routers.
func (u *up) dhcp6(ctx context.Context, name string) error {
	if err := u.awaitIPv6(ctx, name, netip.Addr.IsLinkLocalUnicast); err != nil {
		return fmt.Errorf("no link-local address on %s: %w", name, err)
	}
	u.opt.logf("%s: asks for an address by DHCPv6", name)
	if err := awaitRandom(ctx); err != nil {
		return fmt.Errorf("DHCPv6 on %s: %w", name, err)
	}
	c, err := nclient6.New(name, nclient6.WithTimeout(askAgain), nclient6.WithRetry(askTimes))
	if err != nil {
		return fmt.Errorf("DHCPv6 on %s: %w", name, err)
	}
	defer c.Close()
	advertised, err := c.Solicit(ctx)
	if err != nil {
		return fmt.Errorf("no answer to DHCPv6 on %s: %w", name, orTimeout(ctx, err))
	}
	reply, err := c.Request(ctx, advertised)
	if err != nil {
		return fmt.Errorf("no reply to DHCPv6 on %s: %w", name, orTimeout(ctx, err))
	}
	l, err := fromDHCP6(reply)
	if err != nil {
		return fmt.Errorf("DHCPv6 on %s: %w", name, err)
	}
	u.addDNS(l.DNS)
	return u.static(ctx, &l, name)
}

func fromDHCP6(m *dhcpv6.Message) (Link, error) {
	l := Link{}
	if s := m.Options.Status(); s != nil && s.StatusCode != 0 {
		return l, fmt.Errorf("the server refuses: %s", s)
	}
	for _, ia := range m.Options.IANA() {
		for _, o := range ia.Options.Addresses() {
			if a := addr(o.IPv6Addr); a.Is6() && !a.IsUnspecified() && len(l.Addresses) < maxAddresses {
				l.Addresses = append(l.Addresses, netip.PrefixFrom(a, 128))
			}
		}
	}
	if len(l.Addresses) == 0 {
		return l, errors.New("the server's reply has no address")
	}
	for _, d := range m.Options.DNS() {
		l.DNS = append(l.DNS, addr(d))
	}
	return l, nil
}

// auto6 waits for the address that the kernel makes of a router's announcement.
func (u *up) auto6(ctx context.Context, name string) error {
	u.opt.logf("%s: waits for a router's announcement", name)
	global := func(a netip.Addr) bool { return a.IsGlobalUnicast() && !a.IsLinkLocalUnicast() }
	if err := u.awaitIPv6(ctx, name, global); err != nil {
		return fmt.Errorf("no address by a router's announcement on %s: %w", name, err)
	}
	return nil
}

// awaitIPv6 waits for an address that can be used.
func (u *up) awaitIPv6(ctx context.Context, name string, wanted func(netip.Addr) bool) error {
	for {
		x, err := netlink.LinkByName(name)
		if err != nil {
			return err
		}
		all, err := netlink.AddrList(x, netlink.FAMILY_V6)
		if err != nil {
			return err
		}
		for _, a := range all {
			if p, ok := prefix(a.IPNet); ok && wanted(p.Addr()) && a.Flags&(unix.IFA_F_TENTATIVE|unix.IFA_F_DADFAILED) == 0 {
				u.opt.logf("%s: has %s", name, p)
				return nil
			}
		}
		if err := sleep(ctx); err != nil {
			return err
		}
	}
}
