package network

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/insomniacslk/dhcp/dhcpv4"
	"github.com/insomniacslk/dhcp/dhcpv6"
	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"kdx/capture/config"
)

// fake is a kernel with these interfaces.
type fake struct {
	all   []netlink.Link
	way   map[string]netlink.Route // by address
	addrs map[string][]netlink.Addr
	table map[string][]netlink.Route
}

func (f *fake) links() ([]netlink.Link, error) { return f.all, nil }

func (f *fake) routeTo(a netip.Addr) ([]netlink.Route, error) {
	r, ok := f.way[a.String()]
	if !ok {
		return nil, unix.ENETUNREACH
	}
	return []netlink.Route{r}, nil
}

func (f *fake) addresses(l netlink.Link) ([]netlink.Addr, error) {
	return f.addrs[l.Attrs().Name], nil
}

func (f *fake) routes(l netlink.Link) ([]netlink.Route, error) { return f.table[l.Attrs().Name], nil }

func mac(s string) net.HardwareAddr {
	m, err := net.ParseMAC(s)
	if err != nil {
		panic(err)
	}
	return m
}

func attrs(index int, name, address string, parent, master int) netlink.LinkAttrs {
	return netlink.LinkAttrs{Index: index, Name: name, MTU: 1500, HardwareAddr: mac(address), ParentIndex: parent, MasterIndex: master}
}

func address(s string, flags int) netlink.Addr {
	ip, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	n.IP = ip
	return netlink.Addr{IPNet: n, Flags: flags}
}

func network(s string) *net.IPNet {
	_, n, err := net.ParseCIDR(s)
	if err != nil {
		panic(err)
	}
	return n
}

const permanentFlag = unix.IFA_F_PERMANENT

// machine has eth0 with a leased address, and VLAN 12 on a bond of eth1 and eth2; vnet0 leads to a virtual machine on the bridge br0, on which eth3 is.
func machine(t *testing.T) (*finder, *fake) {
	root := t.TempDir()
	for _, name := range []string{"eth0", "eth1", "eth2", "eth3"} {
		dir := filepath.Join(root, "sys/devices/pci0000:00", name)
		if err := errors.Join(os.MkdirAll(dir, 0o755), os.MkdirAll(filepath.Join(root, "sys/class/net", name), 0o755),
			os.WriteFile(filepath.Join(dir, "modalias"), []byte("pci:"+name+"\n"), 0o644),
			os.Symlink("../../../devices/pci0000:00/"+name, filepath.Join(root, "sys/class/net", name, "device"))); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(os.MkdirAll(filepath.Join(root, "etc"), 0o755), os.MkdirAll(filepath.Join(root, "run/systemd/resolve"), 0o755),
		os.WriteFile(filepath.Join(root, "etc/resolv.conf"), []byte("nameserver 127.0.0.53\n"), 0o644),
		os.WriteFile(filepath.Join(root, "run/systemd/resolve/resolv.conf"), []byte("# x\nnameserver 192.0.2.53\nnameserver bad\n"), 0o644)); err != nil {
		t.Fatal(err)
	}
	lo := netlink.LinkAttrs{Index: 1, Name: "lo", Flags: net.FlagLoopback}
	eth2 := attrs(4, "eth2", "02:00:00:00:00:01", 0, 5)
	eth2.PermHWAddr = mac("02:00:00:00:00:02")
	eth0 := attrs(2, "eth0", "02:00:00:00:00:aa", 0, 0)
	eth0.PermHWAddr, eth0.MTU = mac("02:00:00:00:00:00"), 9000
	bond := netlink.NewLinkBond(attrs(5, "bond0", "02:00:00:00:00:01", 0, 0))
	bond.Mode, bond.Miimon, bond.LacpRate, bond.XmitHashPolicy = netlink.BOND_MODE_802_3AD, 100, netlink.BOND_LACP_RATE_FAST, netlink.BOND_XMIT_HASH_POLICY_LAYER3_4
	k := &fake{
		all: []netlink.Link{
			&netlink.Device{LinkAttrs: lo}, &netlink.Device{LinkAttrs: eth0}, &netlink.Device{LinkAttrs: attrs(3, "eth1", "02:00:00:00:00:01", 0, 5)},
			&netlink.Device{LinkAttrs: eth2}, bond,
			&netlink.Vlan{LinkAttrs: attrs(6, "bond0.12", "02:00:00:00:00:01", 5, 0), VlanId: 12, VlanProtocol: netlink.VLAN_PROTOCOL_8021Q},
			&netlink.Bridge{LinkAttrs: attrs(7, "br0", "02:00:00:00:00:03", 0, 0)}, &netlink.Device{LinkAttrs: attrs(8, "eth3", "02:00:00:00:00:03", 0, 7)},
			&netlink.Tuntap{LinkAttrs: attrs(9, "vnet0", "fe:00:00:00:00:03", 0, 7)}, &netlink.Wireguard{LinkAttrs: attrs(10, "wg0", "02:00:00:00:00:09", 0, 0)},
		},
		way: map[string]netlink.Route{
			"127.0.0.1": {LinkIndex: 1}, "192.0.2.9": {LinkIndex: 2}, "198.51.100.9": {LinkIndex: 6, Gw: net.ParseIP("10.12.0.1")},
			"203.0.113.9": {LinkIndex: 7, Gw: net.ParseIP("10.7.0.9")}, "10.66.0.1": {LinkIndex: 10}, "2001:db8::9": {LinkIndex: 2}, "10.99.0.1": {LinkIndex: 77},
		},
		addrs: map[string][]netlink.Addr{
			"eth0":     {address("192.0.2.7/24", 0), address("2001:db8::7/64", unix.IFA_F_TEMPORARY), address("2001:db8::8/64", 0), address("fe80::1/64", permanentFlag)},
			"bond0.12": {address("10.12.0.7/24", permanentFlag)}, "br0": {address("10.7.0.7/32", permanentFlag)}, "wg0": {address("10.66.0.2/24", permanentFlag)},
		},
		table: map[string][]netlink.Route{
			"eth0": {{Dst: network("192.0.2.0/24"), Src: net.ParseIP("192.0.2.7")}, {Gw: net.ParseIP("192.0.2.1"), Src: net.ParseIP("192.0.2.77")},
				{Dst: network("fe80::/64")}, {Dst: network("::/0"), Gw: net.ParseIP("fe80::1")}, {Dst: network("2001:db8::/64")}},
			"bond0.12": {{Dst: network("10.12.0.0/24")}, {Dst: network("198.51.100.0/24"), Gw: net.ParseIP("10.12.0.1")}},
			"br0":      {{Gw: net.ParseIP("10.7.0.1")}, {Dst: network("10.7.0.1/32")}},
		},
	}
	f, err := newFinder(root, k)
	if err != nil {
		t.Fatal(err)
	}
	return f, k
}

func addrOf(s string) netip.Addr      { return netip.MustParseAddr(s) }
func prefixes(s string) netip.Prefix  { return netip.MustParsePrefix(s) }
func some(s ...string) []netip.Prefix { return mapped(s, prefixes) }

func mapped[A, B any](in []A, f func(A) B) []B {
	var out []B
	for _, a := range in {
		out = append(out, f(a))
	}
	return out
}

var equate = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}, Route{})

func TestDiscover(t *testing.T) {
	dns := []netip.Addr{addrOf("192.0.2.53")}
	physical := func(n string) Link {
		return Link{Kind: Physical, Name: "eth" + n, MAC: "02:00:00:00:00:0" + n, Drivers: []string{"pci:eth" + n}}
	}
	bond := Link{Kind: Bond, Name: "bond0", Address: "02:00:00:00:00:01", Below: []Link{physical("1"), physical("2")},
		Bond: &BondOptions{Mode: "802.3ad", Miimon: 100, LACPRate: "fast", XmitHash: "layer3+4"}}
	eth0 := physical("0")
	eth0.Address, eth0.MTU, eth0.Mode, eth0.DNS = "02:00:00:00:00:aa", 9000, DHCP, dns
	eth0.Addresses, eth0.Routes = some("192.0.2.7/24"), []Route{{To: prefixes("0.0.0.0/0"), Via: addrOf("192.0.2.1")}}
	eth6 := eth0
	eth6.Mode, eth6.Addresses, eth6.Routes = Auto6, some("2001:db8::8/64"), []Route{{To: prefixes("::/0"), Via: addrOf("fe80::1")}}
	both := eth0
	both.Addresses, both.Routes = slices.Concat(eth0.Addresses, eth6.Addresses), slices.Concat(eth0.Routes, eth6.Routes)
	for _, c := range []struct {
		addresses string
		want      []Link
	}{
		{"192.0.2.9", []Link{eth0}},
		{"2001:db8::9", []Link{eth6}},
		{"192.0.2.9 2001:db8::9", []Link{both}},
		{"198.51.100.9", []Link{{Kind: VLAN, Name: "bond0.12", Address: "02:00:00:00:00:01", VLAN: &VLANTag{ID: 12}, Mode: Static, DNS: dns,
			Addresses: some("10.12.0.7/24"), Routes: []Route{{To: prefixes("198.51.100.0/24"), Via: addrOf("10.12.0.1")}}, Below: []Link{bond}}}},
		{"203.0.113.9", []Link{{Kind: Bridge, Name: "br0", Address: "02:00:00:00:00:03", Mode: Static, DNS: dns, Addresses: some("10.7.0.7/32"),
			Routes: []Route{{To: prefixes("10.7.0.1/32")}, {To: prefixes("0.0.0.0/0"), Via: addrOf("10.7.0.1")}, {To: prefixes("203.0.113.9/32"), Via: addrOf("10.7.0.9")}},
			Below:  []Link{physical("3")}}}},
	} {
		f, _ := machine(t)
		got, err := f.discover("vault", mapped(strings.Fields(c.addresses), addrOf))
		if err != nil {
			t.Errorf("%s: %v", c.addresses, err)
		}
		if d := cmp.Diff(c.want, got, equate); d != "" {
			t.Errorf("%s: -want +got:\n%s", c.addresses, d)
		}
		text, err := json.Marshal(got)
		if err != nil {
			t.Fatal(err)
		}
		var back []Link
		if err := json.Unmarshal(text, &back); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(got, back, equate); d != "" {
			t.Errorf("%s through JSON:\n%s", c.addresses, d)
		}
	}
	f, _ := machine(t)
	for a, want := range map[string]string{
		"127.0.0.1": "this machine itself", "10.66.0.1": "made by software (wireguard)", "8.8.8.8": "knows no route", "10.99.0.1": "interface number 77",
	} {
		if l, err := f.discover("vault", []netip.Addr{addrOf(a)}); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, %v; want %q", a, l, err, want)
		}
	}
	l, err := f.discover("vault", []netip.Addr{addrOf("198.51.100.9")})
	if err != nil {
		t.Fatal(err)
	}
	if got, want := l[0].Modules(), []string{"8021q", "af_packet", "bonding", "pci:eth1", "pci:eth2"}; !slices.Equal(got, want) {
		t.Errorf("modules %q; want %q", got, want)
	}
}

func TestFromConfig(t *testing.T) {
	for _, c := range []struct {
		line string
		want Link
	}{
		{"eth3 dhcp", Link{Kind: Physical, Name: "eth3", MAC: "02:00:00:00:00:03", Mode: DHCP}},
		{"02:00:00:00:00:02 auto6", Link{Kind: Physical, Name: "eth2", MAC: "02:00:00:00:00:02", Mode: Auto6}},
		{"eth3 static 192.0.2.7/24 gateway 192.0.2.1 dns 192.0.2.53 vlan 7", Link{
			Kind: VLAN, Name: "eth3.7", VLAN: &VLANTag{ID: 7}, Mode: Static, Addresses: some("192.0.2.7/24"), DNS: []netip.Addr{addrOf("192.0.2.53")},
			Routes: []Route{{To: prefixes("0.0.0.0/0"), Via: addrOf("192.0.2.1")}}, Below: []Link{{Kind: Physical, Name: "eth3", MAC: "02:00:00:00:00:03"}},
		}},
		{"eth3 static fd00::7/64 gateway fd00::1", Link{
			Kind: Physical, Name: "eth3", MAC: "02:00:00:00:00:03", Mode: Static, Addresses: some("fd00::7/64"),
			Routes: []Route{{To: prefixes("::/0"), Via: addrOf("fd00::1")}},
		}},
	} {
		n, err := config.ParseNetwork(c.line)
		if err != nil {
			t.Fatal(err)
		}
		f, _ := machine(t)
		got, err := f.fromConfig(n)
		if err != nil {
			t.Errorf("%s: %v", c.line, err)
		}
		if d := cmp.Diff(c.want, got, equate, cmpopts.IgnoreFields(Link{}, "Drivers")); d != "" {
			t.Errorf("%s: -want +got:\n%s", c.line, d)
		}
	}
	f, _ := machine(t)
	if l, err := f.fromConfig(config.Network{NIC: "bond0", Mode: "keep", VLAN: 12}); err != nil || l.Name != "bond0.12" || len(l.Addresses) != 1 {
		t.Errorf("%+v, %v", l, err)
	}
	for want, n := range map[string]config.Network{
		"eth9 is not there. There are eth0 (02:00:00:00:00:aa)": {NIC: "eth9", Mode: "dhcp"},
		"has no VLAN 13": {NIC: "bond0", Mode: "keep", VLAN: 13},
		"no address":     {NIC: "eth3", Mode: "keep"},
	} {
		if l, err := f.fromConfig(n); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%+v, %v; want %q", l, err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	eth := Link{Kind: Physical, Name: "e", MAC: "02:00:00:00:00:01"}
	deep := eth
	for range maxDepth + 1 {
		deep = Link{Kind: Bridge, Name: "b", Below: []Link{deep}}
	}
	for want, l := range map[string]Link{
		"layers":               deep,
		"no kind":              {Kind: "x", Name: "x"},
		"no MAC address":       {Kind: Physical, MAC: "zz"},
		"15 bytes":             {Kind: Physical, Name: "sixteen-letters-", MAC: eth.MAC},
		"no mode":              {Kind: Physical, MAC: eth.MAC, Mode: "x"},
		"static, and no":       {Kind: Physical, MAC: eth.MAC, Mode: Static},
		"stands on nothing":    {Kind: Physical, MAC: eth.MAC, Below: []Link{eth}},
		"tag from 1 to 4094":   {Kind: VLAN, Name: "v", VLAN: &VLANTag{ID: 5000}, Below: []Link{eth}},
		"options and members":  {Kind: Bond, Name: "b", Below: []Link{eth}},
		"no name to be made":   {Kind: Bridge, Below: []Link{eth}},
		"an address is":        {Kind: Physical, MAC: eth.MAC, Addresses: []netip.Prefix{{}}},
		"destination":          {Kind: Physical, MAC: eth.MAC, Routes: []Route{{}}},
		"an MTU of -1":         {Kind: Physical, MAC: eth.MAC, MTU: -1},
		"a bridge has members": {Kind: Bridge, Name: "b"},
	} {
		if err := l.Check(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v; want %q", err, want)
		}
	}
}

func TestDHCP4(t *testing.T) {
	m, err := dhcpv4.New(dhcpv4.WithYourIP(net.IP{192, 0, 2, 7}), dhcpv4.WithNetmask(net.CIDRMask(25, 32)), dhcpv4.WithRouter(net.IP{192, 0, 2, 1}, net.IP{192, 0, 2, 2}),
		dhcpv4.WithDNS(net.IP{192, 0, 2, 53}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := fromDHCP4(m)
	want := Link{Addresses: some("192.0.2.7/25"), Routes: []Route{{To: prefixes("0.0.0.0/0"), Via: addrOf("192.0.2.1")}}, DNS: []netip.Addr{addrOf("192.0.2.53")}}
	if d := cmp.Diff(want, got, equate); d != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, d)
	}
	m.UpdateOption(dhcpv4.OptClasslessStaticRoute(&dhcpv4.Route{Dest: network("192.0.2.1/32"), Router: net.IPv4zero}, &dhcpv4.Route{Dest: network("0.0.0.0/0"), Router: net.IP{192, 0, 2, 1}}))
	m.Options.Del(dhcpv4.OptionSubnetMask)
	want.Addresses = some("192.0.2.7/24")
	want.Routes = []Route{{To: prefixes("192.0.2.1/32")}, {To: prefixes("0.0.0.0/0"), Via: addrOf("192.0.2.1")}}
	got, err = fromDHCP4(m)
	if d := cmp.Diff(want, got, equate); d != "" || err != nil {
		t.Errorf("classless: %v, -want +got:\n%s", err, d)
	}
	m.YourIPAddr = nil
	if _, err := fromDHCP4(m); err == nil {
		t.Error("an answer without an address was taken")
	}
}

func TestDHCP6(t *testing.T) {
	m, err := dhcpv6.NewMessage(dhcpv6.WithDNS(net.ParseIP("2001:db8::53")), dhcpv6.WithIANA(dhcpv6.OptIAAddress{IPv6Addr: net.ParseIP("2001:db8::7")}))
	if err != nil {
		t.Fatal(err)
	}
	got, err := fromDHCP6(m)
	want := Link{Addresses: some("2001:db8::7/128"), DNS: []netip.Addr{addrOf("2001:db8::53")}}
	if d := cmp.Diff(want, got, equate); d != "" || err != nil {
		t.Errorf("%v, -want +got:\n%s", err, d)
	}
	none, err := dhcpv6.NewMessage()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fromDHCP6(none); err == nil {
		t.Error("a reply without an address was taken")
	}
}

func TestOtherRoot(t *testing.T) {
	if _, err := Discover("/srv/sosreport", "192.0.2.9"); err == nil || !strings.Contains(err.Error(), "on the host itself") {
		t.Errorf("%v", err)
	}
	if _, err := FromConfig("/srv/sosreport", config.Network{NIC: "eth0", Mode: "dhcp"}); err == nil || !strings.Contains(err.Error(), "on the host itself") {
		t.Errorf("%v", err)
	}
}

func TestWait(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	where := l.Addr().String()
	// 192.0.2.1 is nobody's: either there is no route, or the connection takes longer than the other's.
	ctx, cancel := context.WithTimeout(context.Background(), 200*time.Millisecond)
	defer cancel()
	if err := Wait(ctx, where, "192.0.2.1:9"); err != nil {
		t.Error(err)
	}
	l.Close()
	if err := Wait(context.Background(), where); err == nil || !strings.Contains(err.Error(), where+" did not answer") || !errors.Is(err, unix.ECONNREFUSED) {
		t.Errorf("%v", err)
	}
	begin := time.Now()
	if err := Wait(ctx, where, "192.0.2.1:9"); err == nil || !strings.Contains(err.Error(), "192.0.2.1:9 did not answer") || time.Since(begin) > 5*time.Second {
		t.Errorf("%v after %v", err, time.Since(begin))
	}
}

func TestResolvConf(t *testing.T) {
	name := filepath.Join(t.TempDir(), "etc/resolv.conf")
	u := &up{opt: Options{ResolvConf: name}}
	if err := u.resolvConf(); err != nil || exists(name) {
		t.Errorf("without servers: %v", err)
	}
	u.addDNS([]netip.Addr{addrOf("192.0.2.53"), addrOf("192.0.2.53"), {}, addrOf("2001:db8::53"), addrOf("192.0.2.54"), addrOf("192.0.2.55")})
	if err := u.resolvConf(); err != nil {
		t.Fatal(err)
	}
	got, err := os.ReadFile(name)
	if want := "nameserver 192.0.2.53\nnameserver 2001:db8::53\nnameserver 192.0.2.54\n"; string(got) != want || err != nil {
		t.Errorf("%q, %v; want %q", got, err, want)
	}
}

func FuzzLink(f *testing.F) {
	f.Add([]byte(`{"kind":"physical","name":"e","mac":"02:00:00:00:00:01","mode":"static","addresses":["192.0.2.7/24"],"routes":[{"to":"0.0.0.0/0","via":"192.0.2.1"}]}`))
	f.Add([]byte(`{"kind":"vlan","name":"v","vlan":{"id":5},"below":[{"kind":"bond","name":"b","bond":{"mode":"802.3ad"},"below":[{"kind":"physical","mac":"02:00:00:00:00:01"}]}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		var l Link
		if json.Unmarshal(data, &l) != nil || l.Check() != nil {
			return
		}
		l.Modules()
		_ = l.who()
		if l.Bond != nil {
			l.Bond.link(netlink.NewLinkAttrs())
		}
		for _, p := range l.Addresses {
			_ = fmt.Sprint(ipNet(p))
		}
		for _, r := range l.Routes {
			ipNet(r.To)
		}
	})
}

func FuzzDHCP4(f *testing.F) {
	m, err := dhcpv4.New(dhcpv4.WithYourIP(net.IP{192, 0, 2, 7}), dhcpv4.WithNetmask(net.CIDRMask(25, 32)), dhcpv4.WithRouter(net.IP{192, 0, 2, 1}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(m.ToBytes())
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := dhcpv4.FromBytes(data)
		if err != nil {
			return
		}
		l, err := fromDHCP4(m)
		if err != nil {
			return
		}
		for _, p := range l.Addresses {
			if !p.IsValid() {
				t.Errorf("%v", p)
			}
		}
		for _, r := range l.Routes {
			if !r.To.IsValid() {
				t.Errorf("%v", r)
			}
			ipNet(r.To)
		}
	})
}
