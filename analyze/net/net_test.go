package net

import (
	"fmt"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
)

// decls are the types of 6.1, cut down to what is read.
const decls = `
struct list_head { struct list_head *next, *prev; };
struct hlist_node { struct hlist_node *next, **pprev; };
struct hlist_head { struct hlist_node *first; };
struct possible_net { struct net *net; };
struct net { int x; struct list_head dev_base_head; };
struct net_device { char name[16]; int ifindex; unsigned int flags; unsigned int mtu; unsigned short type; unsigned char addr_len; unsigned char *dev_addr;
  struct list_head dev_list; struct possible_net nd_net; struct in_device *ip_ptr; struct inet6_dev *ip6_ptr; };
struct in_device { int x; struct in_ifaddr *ifa_list; };
struct in_ifaddr { int x; struct in_ifaddr *ifa_next; unsigned int ifa_local; unsigned char ifa_prefixlen; };
struct inet6_dev { int x; struct list_head addr_list; };
union u6 { unsigned char u6_addr8[16]; };
struct in6_addr { union u6 in6_u; };
struct inet6_ifaddr { struct in6_addr addr; unsigned int prefix_len; struct list_head if_list; };
struct sock_common { unsigned short skc_family; unsigned char skc_state; unsigned short skc_dport; unsigned short skc_num; unsigned int skc_daddr; unsigned int skc_rcv_saddr;
  struct in6_addr skc_v6_daddr; struct in6_addr skc_v6_rcv_saddr; };
struct backlog { unsigned int rmem_alloc; };
struct sock { struct sock_common __sk_common; unsigned short sk_protocol; unsigned short sk_type; struct backlog sk_backlog; unsigned int sk_wmem_alloc;
  unsigned int sk_ack_backlog; unsigned int sk_max_ack_backlog; };
struct socket { unsigned int state; short type; struct sock *sk; };
struct tcp_sock { struct sock sk; unsigned int rcv_nxt; unsigned int copied_seq; unsigned int write_seq; unsigned int snd_una; };
struct udp_sock { struct sock sk; int forward_deficit; };
struct mptcp_sock { struct sock sk; struct sock *first; };
struct netlink_sock { struct sock sk; unsigned int portid; };
struct sockaddr_un { unsigned short sun_family; char sun_path[108]; };
struct unix_address { unsigned int refcnt; int len; struct sockaddr_un name[]; };
struct unix_sock { struct sock sk; struct unix_address *addr; struct sock *peer; };
struct neigh_table { int family; unsigned int key_len; struct neigh_hash_table *nht; };
`

const neighOld = `struct neigh_hash_table { struct neighbour **hash_buckets; unsigned int hash_shift; };
struct neighbour { struct neighbour *next; unsigned char nud_state; unsigned char ha[32]; struct net_device *dev; unsigned char primary_key[]; };`

const neighNew = `struct neigh_hash_table { struct hlist_head *hash_heads; unsigned int hash_shift; };
struct neighbour { struct hlist_node hash; unsigned char nud_state; unsigned char ha[32]; struct net_device *dev; unsigned char primary_key[]; };`

const wild = 0xdead000000000100

// device makes a net_device called name.
func device(m *kerneltest.Machine, name string) vmem.Addr {
	d := m.Alloc(256)
	m.Write(d, []byte(name))
	m.Set(d, "net_device", "type", 1)
	hw := m.Alloc(8)
	m.Write(hw, []byte{2, 0, 0, 0, 0, 9})
	m.Set(d, "net_device", "addr_len", 6)
	m.Set(d, "net_device", "dev_addr", uint64(hw))
	return d
}

// ring links entries, whose list_head lies at off, behind head.
func ring(m *kerneltest.Machine, head vmem.Addr, off uint64, entries ...vmem.Addr) {
	at := []vmem.Addr{head}
	for _, e := range entries {
		at = append(at, e+vmem.Addr(off))
	}
	m.Ring(at...)
}

// TestDevices: names, both kinds of addresses, and what is damaged is an error beside the rest.
func TestDevices(t *testing.T) {
	for _, damage := range []string{"", "list loops", "list wild", "ifa loops", "ifa wild", "ip6 wild", "hw wild"} {
		m := kerneltest.New(t, decls)
		ns := m.Alloc(64)
		m.Var("init_net", ns, "struct net")
		a, b := device(m, "lo"), device(m, "eth0")
		link := m.Offset("net_device", "dev_list")
		ring(m, ns+vmem.Addr(m.Offset("net", "dev_base_head")), link, a, b)
		in, ifa := m.Alloc(32), m.Alloc(64)
		m.Set(b, "net_device", "ip_ptr", uint64(in))
		m.Set(in, "in_device", "ifa_list", uint64(ifa))
		m.Set(ifa, "in_ifaddr", "ifa_local", 0x010200c0)
		m.Set(ifa, "in_ifaddr", "ifa_prefixlen", 24)
		in6, ifa6 := m.Alloc(64), m.Alloc(64)
		m.Set(b, "net_device", "ip6_ptr", uint64(in6))
		m.Write(ifa6, []byte{0x20, 1, 0xd, 0xb8, 15: 1})
		m.Set(ifa6, "inet6_ifaddr", "prefix_len", 64)
		ring(m, in6+vmem.Addr(m.Offset("inet6_dev", "addr_list")), m.Offset("inet6_ifaddr", "if_list"), ifa6)
		want := "lo [] 02:00:00:00:00:09;eth0 [192.0.2.1/24 2001:db8::1/64] 02:00:00:00:00:09;"
		switch damage {
		case "list loops":
			m.Word(b+vmem.Addr(link), uint64(a)+link)
			want += "loop;"
		case "list wild":
			m.Word(a+vmem.Addr(link), wild)
			want = "lo [] 02:00:00:00:00:09;error;eth0 [192.0.2.1/24 2001:db8::1/64] 02:00:00:00:00:09;"
		case "ifa loops":
			m.Set(ifa, "in_ifaddr", "ifa_next", uint64(ifa))
			want += "loop;"
		case "ifa wild":
			m.Set(in, "in_device", "ifa_list", wild)
			want = "lo [] 02:00:00:00:00:09;eth0 [2001:db8::1/64] 02:00:00:00:00:09;error;"
		case "ip6 wild":
			m.Set(b, "net_device", "ip6_ptr", wild)
			want = "lo [] 02:00:00:00:00:09;eth0 [192.0.2.1/24] 02:00:00:00:00:09;error;"
		case "hw wild":
			m.Set(b, "net_device", "dev_addr", wild)
			want = "lo [] 02:00:00:00:00:09;eth0 [192.0.2.1/24 2001:db8::1/64] ;error;"
		}
		got := ""
		v := m.View()
		for d, err := range Devices(v, ns) {
			if d != nil {
				got += fmt.Sprintf("%s %v %s;", d.Name, d.Addrs, HWString(d.HW))
			}
			got += kerneltest.Ending(err)
		}
		if got != want {
			t.Errorf("%s: %s; want %s", damage, got, want)
		}
	}
}

// TestNeighbours: both forms of the hash, with chains that are whole, loop or lead astray.
func TestNeighbours(t *testing.T) {
	for _, form := range []string{neighOld, neighNew} {
		for _, damage := range []string{"", "loop", "wild", "bits", "key", "device"} {
			m := kerneltest.New(t, decls+form)
			tbl, nht, heads := m.Alloc(64), m.Alloc(64), m.Alloc(64)
			m.Var("arp_tbl", tbl, "struct neigh_table")
			m.Set(tbl, "neigh_table", "key_len", 4)
			m.Set(tbl, "neigh_table", "nht", uint64(nht))
			m.Set(nht, "neigh_hash_table", "hash_shift", 1)
			isNew := form == neighNew
			if isNew {
				m.Set(nht, "neigh_hash_table", "hash_heads", uint64(heads))
			} else {
				m.Set(nht, "neigh_hash_table", "hash_buckets", uint64(heads))
			}
			dev := device(m, "eth0")
			a, b := m.Alloc(128), m.Alloc(128)
			for i, n := range []vmem.Addr{a, b} {
				m.Set(n, "neighbour", "nud_state", 2)
				m.Set(n, "neighbour", "dev", uint64(dev))
				m.Write(n+vmem.Addr(m.Offset("neighbour", "ha")), []byte{1, 2, 3, 4, 5, byte(i)})
				m.Write(n+vmem.Addr(m.Offset("neighbour", "primary_key")), []byte{10, 0, 0, byte(i + 1)})
			}
			m.Word(heads+8, uint64(a)) // the second bucket; the link is the first member
			m.Word(a, uint64(b))
			if isNew {
				m.Word(a+8, uint64(heads)+8)
				m.Word(b+8, uint64(a))
			}
			want := "10.0.0.1 01:02:03:04:05:00 REACHABLE eth0;10.0.0.2 01:02:03:04:05:01 REACHABLE eth0;"
			switch damage {
			case "loop":
				m.Word(b, uint64(a))
				want += "loop;"
			case "wild":
				m.Word(a, wild)
				want = "10.0.0.1 01:02:03:04:05:00 REACHABLE eth0;error;"
			case "bits":
				m.Set(nht, "neigh_hash_table", "hash_shift", 63)
				want = "error;"
			case "key":
				m.Set(tbl, "neigh_table", "key_len", 1<<20)
				want = "error;"
			case "device":
				m.Set(b, "neighbour", "dev", wild)
				want = "10.0.0.1 01:02:03:04:05:00 REACHABLE eth0;10.0.0.2  REACHABLE ;error;"
			}
			got := ""
			for n, err := range Neighbours(m.View(), "arp_tbl") {
				if n != nil {
					name := ""
					if n.Device != nil {
						name = n.Device.Name
					}
					got += fmt.Sprintf("%s %s %s %s;", n.IP, HWString(n.HW), NeighState(n.State), name)
				}
				got += kerneltest.Ending(err)
			}
			if got != want {
				t.Errorf("%s: %s; want %s", damage, got, want)
			}
		}
	}
}

// sockets made of Go values.
type sockets struct {
	m    *kerneltest.Machine
	sock vmem.Addr
	sk   vmem.Addr
}

func newSocket(t *testing.T, family, typ, proto, state uint64) sockets {
	m := kerneltest.New(t, decls+neighOld)
	s := sockets{m, m.Alloc(64), m.Alloc(512)}
	m.Set(s.sock, "socket", "type", typ)
	m.Set(s.sock, "socket", "sk", uint64(s.sk))
	for path, x := range map[string]uint64{"__sk_common.skc_family": family, "__sk_common.skc_state": state, "sk_protocol": proto, "sk_type": typ,
		"__sk_common.skc_dport": 0x901f, "__sk_common.skc_num": 5001, "__sk_common.skc_daddr": 0x0100007f, "__sk_common.skc_rcv_saddr": 0x0200007f,
		"sk_backlog.rmem_alloc": 768, "sk_wmem_alloc": 1, "sk_ack_backlog": 3, "sk_max_ack_backlog": 4096} {
		m.Set(s.sk, "sock", path, x)
	}
	return s
}

func (s sockets) read(t *testing.T) string {
	x, err := ReadSocket(s.m.View(), s.sock)
	q := func(n *uint64) string {
		if n == nil {
			return "-"
		}
		return fmt.Sprint(*n)
	}
	out := fmt.Sprintf("%s %s %s %s %s/%s", x.FamilyType(), x.Local, x.Remote, x.StateName(), q(x.RecvQ), q(x.SendQ))
	if x.Path != nil && *x.Path != "" {
		out += " " + *x.Path
	}
	if err != nil {
		out += " error"
	}
	return strings.ReplaceAll(out, "invalid AddrPort", "-")
}

// TestSockets: of each family what is known, and what is damaged is an error.
func TestSockets(t *testing.T) {
	tcp := newSocket(t, AFInet, 1, 6, 1)
	tcp.m.Set(tcp.sk, "tcp_sock", "rcv_nxt", 5)
	tcp.m.Set(tcp.sk, "tcp_sock", "copied_seq", 0xfffffffe) // the numbers go round
	tcp.m.Set(tcp.sk, "tcp_sock", "write_seq", 100)
	tcp.m.Set(tcp.sk, "tcp_sock", "snd_una", 90)
	listen := newSocket(t, AFInet, 1, 6, 10)
	udp := newSocket(t, AFInet6, 2, 17, 7)
	udp.m.Set(udp.sk, "udp_sock", "forward_deficit", 700)
	udp.m.Write(udp.sk+vmem.Addr(udp.m.Offset("sock", "__sk_common.skc_v6_rcv_saddr")), []byte{15: 1})
	mptcp := newSocket(t, AFInet, 1, 262, 10)
	first := mptcp.m.Alloc(512)
	mptcp.m.Set(mptcp.sk, "mptcp_sock", "first", uint64(first))
	mptcp.m.Set(first, "sock", "sk_ack_backlog", 7)
	astray := newSocket(t, AFInet, 1, 262, 10)
	astray.m.Set(astray.sk, "mptcp_sock", "first", wild)
	closed := newSocket(t, AFInet, 1, 6, 7)
	closed.m.Set(closed.sock, "socket", "sk", 0)
	gone := newSocket(t, AFInet, 1, 6, 7)
	gone.m.Set(gone.sock, "socket", "sk", wild)
	unix := func(n uint64, name string) sockets {
		s := newSocket(t, AFUnix, 2, 0, 7)
		a := s.m.Alloc(256)
		s.m.Set(s.sk, "unix_sock", "addr", uint64(a))
		s.m.Set(a, "unix_address", "len", n)
		s.m.Write(a+8, append([]byte{1, 0}, name...))
		return s
	}
	lost := newSocket(t, AFUnix, 2, 0, 7)
	lost.m.Set(lost.sk, "unix_sock", "addr", wild)
	netlink := newSocket(t, AFNetlink, 3, 16, 7)
	for _, tt := range []struct {
		name, want string
		s          sockets
	}{
		{"tcp", "INET:STREAM 127.0.0.2:5001 127.0.0.1:8080 ESTABLISHED 7/10", tcp},
		{"listen", "INET:STREAM 127.0.0.2:5001 127.0.0.1:8080 LISTEN 3/4096", listen},
		{"udp6", "INET6:DGRAM [::1]:5001 [::]:8080 UNCONNECTED 68/0", udp},
		{"mptcp", "INET:STREAM 127.0.0.2:5001 127.0.0.1:8080 LISTEN 7/0", mptcp},
		{"mptcp astray", "INET:STREAM 127.0.0.2:5001 127.0.0.1:8080 LISTEN -/- error", astray},
		{"closed", "0:STREAM - - CLOSED -/-", closed},
		{"wild sock", "0:STREAM - -  -/- error", gone},
		{"unix", "UNIX:DGRAM - - UNCONNECTED 768/0 /run/x", unix(10, "/run/x\x00\x00")},
		{"abstract", "UNIX:DGRAM - - UNCONNECTED 768/0 @ab\x00c", unix(7, "\x00ab\x00c")},
		{"unnamed", "UNIX:DGRAM - - UNCONNECTED 768/0", unix(2, "")},
		{"long", "UNIX:DGRAM - - UNCONNECTED 768/0 error", unix(1<<30, "x")},
		{"wild name", "UNIX:DGRAM - - UNCONNECTED 768/0 error", lost},
		{"netlink", "NETLINK/GENERIC:RAW - -  768/0", netlink},
	} {
		if got := tt.s.read(t); got != tt.want {
			t.Errorf("%s: %q; want %q", tt.name, got, tt.want)
		}
	}
}
