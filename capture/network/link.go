// Package network finds out how the running host reaches another one, and sets the same up in the capture kernel, where interfaces may have other names.
package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
)

// Kind is what an interface is.
type Kind string

// Kinds of interfaces.
const (
	Physical Kind = "physical" // found by its permanent MAC address
	VLAN     Kind = "vlan"     // Below: what it is a VLAN of
	Bond     Kind = "bond"     // Below: its members
	Bridge   Kind = "bridge"   // Below: its members, those that lead to the outside
)

// Mode is how an interface gets its addresses.
type Mode string

// Modes.
const (
	Static Mode = "static" // Addresses and Routes
	DHCP   Mode = "dhcp"   // DHCPv4; then, if no server answers, Addresses and Routes if there are any
	DHCP6  Mode = "dhcp6"  // DHCPv6, and router advertisements for the routes; then as above
	Auto6  Mode = "auto6"  // router advertisements (SLAAC); then as above
)

// Link is an interface with its addresses, and what it stands on. It is written to JSON on the running host and read in the capture kernel.
type Link struct {
	Kind Kind `json:"kind"`
	// Name is the one that it has on the running host. A physical interface is never looked for by it if MAC is known; the others are made with it.
	Name string `json:"name"`
	// MAC is the permanent address of a physical interface, by which it is found. Address is set if the one in use differs, and for those made of others.
	MAC     string `json:"mac,omitempty"`
	Address string `json:"address,omitempty"`
	// MTU in bytes, 0 for the driver's own.
	MTU int `json:"mtu,omitempty"`

	// Mode is "" for what only carries other interfaces.
	Mode      Mode           `json:"mode,omitempty"`
	Addresses []netip.Prefix `json:"addresses,omitempty"`
	Routes    []Route        `json:"routes,omitempty"`
	DNS       []netip.Addr   `json:"dns,omitempty"`

	VLAN *VLANTag     `json:"vlan,omitempty"`
	Bond *BondOptions `json:"bond,omitempty"`
	// Drivers are names of kernel modules, or modaliases where no driver is bound.
	Drivers []string `json:"drivers,omitempty"`
	Below   []Link   `json:"below,omitempty"`
}

// Route is a way to other networks. Via is invalid for what is on the link itself.
type Route struct {
	To  netip.Prefix `json:"to"`
	Via netip.Addr   `json:"via,omitzero"`
	// From is the source address to use, if the host was told one.
	From netip.Addr `json:"from,omitzero"`
}

// VLANTag is the tag of a VLAN.
type VLANTag struct {
	ID int `json:"id"`
	// AD is set for 802.1ad (service tags) rather than 802.1Q.
	AD bool `json:"ad,omitempty"`
}

// BondOptions are what a bond is made with, as in /sys/class/net/BOND/bonding.
type BondOptions struct {
	Mode     string `json:"mode"`
	Miimon   int    `json:"miimon,omitempty"` // milliseconds
	LACPRate string `json:"lacp_rate,omitempty"`
	XmitHash string `json:"xmit_hash_policy,omitempty"`
	FailOver string `json:"fail_over_mac,omitempty"`
	Primary  string `json:"primary,omitempty"` // permanent MAC address of the member
}

const (
	maxDepth = 8
	maxLinks = 256
)

var kindModules = map[Kind][]string{VLAN: {"8021q"}, Bond: {"bonding"}, Bridge: {"bridge"}}

// Modules are the kernel modules that the interface and all below it need: names, and modaliases (which hold a colon) of devices on the way that no module
// is known to drive. What matches nothing is built in, or not needed.
func (l Link) Modules() []string {
	var out []string
	for _, b := range l.Below {
		out = append(out, b.Modules()...)
	}
	out = append(out, l.Drivers...)
	out = append(out, kindModules[l.Kind]...)
	out = append(out, "af_packet") // DHCP
	if l.wantsIPv6() {
		out = append(out, "ipv6")
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func (l Link) wantsIPv6() bool {
	return l.Mode == DHCP6 || l.Mode == Auto6 || slices.ContainsFunc(l.Addresses, func(p netip.Prefix) bool { return p.Addr().Is6() })
}

// Check says what is wrong with a link that was read from JSON.
func (l *Link) Check() error {
	n := 0
	return l.check(0, &n)
}

func (l *Link) check(depth int, n *int) error {
	if *n++; depth > maxDepth || *n > maxLinks {
		return fmt.Errorf("an interface that stands on more than %d layers or %d interfaces", maxDepth, maxLinks)
	}
	if err := l.checkOne(); err != nil {
		return fmt.Errorf("interface %s: %w", l.Name, err)
	}
	for i := range l.Below {
		if err := l.Below[i].check(depth+1, n); err != nil {
			return err
		}
	}
	return nil
}

func (l *Link) checkOne() error {
	if len(l.Name) > 15 {
		return errors.New("the name is longer than 15 bytes")
	}
	for _, mac := range []string{l.MAC, l.Address} {
		if mac == "" {
			continue
		}
		if _, err := net.ParseMAC(mac); err != nil {
			return fmt.Errorf("%q is no MAC address", mac)
		}
	}
	if l.MTU < 0 || l.MTU > 1<<17 {
		return fmt.Errorf("an MTU of %d bytes", l.MTU)
	}
	for _, a := range l.Addresses {
		if !a.IsValid() {
			return errors.New("an address is missing")
		}
	}
	for _, r := range l.Routes {
		if !r.To.IsValid() {
			return errors.New("the destination of a route is missing")
		}
	}
	switch l.Mode {
	case "", DHCP, DHCP6, Auto6:
	case Static:
		if len(l.Addresses) == 0 {
			return errors.New("static, and no address")
		}
	default:
		return fmt.Errorf("%q is no mode", l.Mode)
	}
	switch l.Kind {
	case Physical:
		if len(l.Below) != 0 || l.MAC == "" && l.Name == "" {
			return errors.New("a physical interface has a MAC address and stands on nothing")
		}
		return nil
	case VLAN:
		if l.VLAN == nil || l.VLAN.ID < 1 || l.VLAN.ID > 4094 || len(l.Below) != 1 {
			return errors.New("a VLAN has a tag from 1 to 4094 and stands on one interface")
		}
	case Bond:
		if l.Bond == nil || len(l.Below) == 0 {
			return errors.New("a bond has options and members")
		}
	case Bridge:
		if len(l.Below) == 0 {
			return errors.New("a bridge has members")
		}
	default:
		return fmt.Errorf("%q is no kind of interface", l.Kind)
	}
	if l.Name == "" {
		return errors.New("it has no name to be made with")
	}
	return nil
}
