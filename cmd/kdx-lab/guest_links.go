//go:build linux && amd64

package main

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/vishvananda/netlink"
)

// guestLinks makes network devices that stand on others, and neighbours in each state.
func guestLinks([]string) error {
	s := setup{"links"}
	dummy0, err := netlink.LinkByName("dummy0")
	if err != nil {
		return err
	}
	above := func(name string) netlink.LinkAttrs {
		return netlink.LinkAttrs{Name: name, ParentIndex: dummy0.Attrs().Index, MTU: 1400}
	}
	bond := netlink.NewLinkBond(netlink.LinkAttrs{Name: "bond9"}) // the module makes one by itself
	bond.Mode = netlink.BOND_MODE_ACTIVE_BACKUP
	vlan := &netlink.Vlan{LinkAttrs: above("dummy0.7"), VlanId: 7}
	addresses := map[string][]string{
		"bond9": {"198.18.1.1/24", "2001:db8:b::1/64"}, "dummy0.7": {"198.18.7.1/25", "2001:db8:7::1/64"}, "macv0": {"198.18.2.1/32"},
		"vx9": {"2001:db8:99::1/127"}, "vrf0": {"198.18.3.1/24"},
	}
	for _, l := range []netlink.Link{
		bond, vlan,
		&netlink.Vlan{LinkAttrs: netlink.LinkAttrs{Name: "bond9.4000", ParentIndex: -1}, VlanId: 4000, VlanProtocol: netlink.VLAN_PROTOCOL_8021AD},
		&netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "slave0"}}, &netlink.Dummy{LinkAttrs: netlink.LinkAttrs{Name: "slave1"}},
		&netlink.Macvlan{LinkAttrs: above("macv0"), Mode: netlink.MACVLAN_MODE_BRIDGE},
		&netlink.Vxlan{LinkAttrs: netlink.LinkAttrs{Name: "vx9"}, VxlanId: 9, Port: 4789},
		&netlink.Vrf{LinkAttrs: netlink.LinkAttrs{Name: "vrf0"}, Table: 77},
	} {
		a := l.Attrs()
		if a.ParentIndex < 0 {
			a.ParentIndex = bond.Attrs().Index
		}
		if !s.try(a.Name, netlink.LinkAdd(l)) {
			continue
		}
		if l.Type() == "dummy" {
			s.try(a.Name, netlink.LinkSetMasterByIndex(l, bond.Attrs().Index))
		}
		s.try(a.Name, netlink.LinkSetUp(l))
		for _, text := range addresses[a.Name] {
			addr, err := netlink.ParseAddr(text)
			s.try(text, err)
			s.try(text, netlink.AddrAdd(l, addr))
		}
	}
	for i, state := range []int{netlink.NUD_REACHABLE, netlink.NUD_STALE, netlink.NUD_PERMANENT, netlink.NUD_NOARP} {
		hw := net.HardwareAddr{2, 0, 0, 0, 7, byte(i)}
		for _, ip := range []string{"198.18.7.%d", "2001:db8:7::%d"} {
			ip := fmt.Sprintf(ip, 20+i)
			s.try(ip, netlink.NeighSet(&netlink.Neigh{LinkIndex: vlan.Attrs().Index, State: state, IP: net.ParseIP(ip), HardwareAddr: hw}))
		}
	}
	s.try("link local", askInner())
	if u, err := net.Dial("udp6", "[2001:db8:b::77]:9"); s.try("nobody", err) {
		_, _ = u.Write([]byte("nobody there"))
		held = append(held, u)
	}
	s.ready()
	return hold()
}

// askInner sends something to the process in namespaces of its own by IPv6, which finds its neighbour by itself: the address follows from that of
// its device.
func askInner() error {
	here, err := netlink.LinkByName("inner0")
	if err != nil {
		return err
	}
	list, err := netlink.NeighList(here.Attrs().Index, netlink.FAMILY_V4)
	if err != nil {
		return err
	}
	for _, n := range list {
		if n.IP.String() != innerAddr || len(n.HardwareAddr) != 6 {
			continue
		}
		h := n.HardwareAddr
		ip := net.IP{0xfe, 0x80, 0, 0, 0, 0, 0, 0, h[0] ^ 2, h[1], h[2], 0xff, 0xfe, h[3], h[4], h[5]}
		for range 50 { // until both have tried their addresses
			u, err := net.DialUDP("udp6", nil, &net.UDPAddr{IP: ip, Port: 9, Zone: "inner0"})
			if err == nil {
				_, err = u.Write([]byte("next door"))
				held = append(held, u)
			}
			if err == nil {
				return nil
			}
			time.Sleep(100 * time.Millisecond)
		}
		return fmt.Errorf("nothing goes to %s", ip)
	}
	return errors.New("no neighbour at " + innerAddr)
}
