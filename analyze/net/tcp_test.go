package net

import (
	"fmt"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
)

// tcpDecls are the tables of TCP; the one of listeners as it is since 5.19, the one of all as it is without namespaces' own.
const tcpDecls = `
struct hlist_nulls_head { struct hlist_node *first; };
struct sock_common { struct hlist_node skc_node; unsigned short skc_family; unsigned char skc_state; unsigned short skc_dport; unsigned short skc_num; unsigned int skc_daddr;
  unsigned int skc_rcv_saddr; unsigned char skc_v6_daddr[16]; unsigned char skc_v6_rcv_saddr[16]; struct possible_net skc_net; };
struct sock { struct sock_common __sk_common; unsigned short sk_protocol; unsigned short sk_type; struct backlog sk_backlog; unsigned int sk_wmem_alloc;
  unsigned int sk_ack_backlog; unsigned int sk_max_ack_backlog; struct socket *sk_socket; };
struct inet_timewait_sock { struct sock_common __tw_common; unsigned char tw_substate; };
struct inode { unsigned long i_ino; };
struct socket_alloc { struct socket socket; struct inode vfs_inode; };
struct inet_ehash_bucket { struct hlist_nulls_head chain; };
`

const listenNew = `struct inet_listen_hashbucket { unsigned int lock; struct hlist_nulls_head nulls_head; };
struct inet_hashinfo { struct inet_ehash_bucket *ehash; unsigned int ehash_mask; unsigned int lhash2_mask; struct inet_listen_hashbucket *lhash2; };`

const listenOld = `struct inet_listen_hashbucket { unsigned int lock; unsigned int count; struct hlist_head head; };
struct inet_hashinfo { struct inet_ehash_bucket *ehash; unsigned int ehash_mask; struct inet_listen_hashbucket listening_hash[32]; };`

// tcpTypes are decls with the larger sock in place of the smaller one.
func tcpTypes(form string) string {
	var out []string
	for line := range strings.Lines(decls) {
		switch {
		case strings.HasPrefix(line, "struct sock_common "), strings.HasPrefix(line, "  struct in6_addr skc_v6_daddr"), strings.HasPrefix(line, "struct sock "), strings.HasPrefix(line, "  unsigned int sk_ack_backlog"):
		case strings.HasPrefix(line, "struct socket "):
			out = append(out, line, tcpDecls)
		default:
			out = append(out, line)
		}
	}
	return strings.Join(out, "") + form
}

// TestTCP: sockets that tasks have and that none has, of both kinds of tables, and chains that loop, lead astray or into each other.
func TestTCP(t *testing.T) {
	for _, form := range []string{listenNew, listenOld} {
		for _, damage := range []string{"", "loop", "wild", "mask", "family", "other bucket", "substate"} {
			m := kerneltest.New(t, tcpTypes(form))
			table, ehash, listeners := m.Alloc(1024), m.Alloc(64), m.Alloc(1024)
			m.Var("tcp_hashinfo", table, "struct inet_hashinfo")
			m.Set(table, "inet_hashinfo", "ehash", uint64(ehash))
			m.Set(table, "inet_hashinfo", "ehash_mask", 3)
			if form == listenNew {
				m.Set(table, "inet_hashinfo", "lhash2", uint64(listeners))
				m.Set(table, "inet_hashinfo", "lhash2_mask", 1)
			} else {
				listeners = table + vmem.Addr(m.Offset("inet_hashinfo", "listening_hash"))
			}
			link := vmem.Addr(m.Offset("sock_common", "skc_node"))
			sock := func(state, num uint64) vmem.Addr {
				a := m.Alloc(512)
				for member, x := range map[string]uint64{"skc_family": AFInet, "skc_state": state, "skc_num": num, "skc_daddr": 0x0100007f, "skc_rcv_saddr": 0x0200007f, "skc_dport": 0x901f} {
					m.Set(a, "sock_common", member, x)
				}
				m.Set(a, "sock", "sk_type", 1)
				m.Set(a, "sock", "sk_protocol", 6)
				return a
			}
			into := func(head vmem.Addr, socks ...vmem.Addr) {
				at := head
				for _, s := range socks {
					m.Word(at, uint64(s+link))
					m.Word(s+link+8, uint64(at))
					at = s + link
				}
				m.Word(at, 1) // the mark that ends a chain of hlist_nulls
			}
			listen, open, waiting, request := sock(10, 80), sock(1, 81), sock(6, 82), sock(12, 83)
			in := m.Alloc(128)
			m.Set(open, "sock", "sk_socket", uint64(in))
			m.Set(in, "socket_alloc", "vfs_inode.i_ino", 4711)
			m.Set(waiting, "inet_timewait_sock", "tw_substate", 5)
			into(listeners+vmem.Addr(8), listen)
			into(ehash+16, open, waiting)
			into(ehash+24, request)
			want := "80 LISTEN 0;81 ESTABLISHED 4711;82 FIN-WAIT-2 0;83 SYN-RECV 0;"
			switch damage {
			case "loop":
				m.Word(waiting+link, uint64(open+link))
				want = "80 LISTEN 0;81 ESTABLISHED 4711;82 FIN-WAIT-2 0;loop;83 SYN-RECV 0;"
			case "wild":
				m.Word(open+link, wild)
				want = "80 LISTEN 0;81 ESTABLISHED 4711;error;83 SYN-RECV 0;"
			case "mask":
				m.Set(table, "inet_hashinfo", "ehash_mask", 1<<31)
				want = "80 LISTEN 0;error;"
			case "family":
				m.Set(waiting, "sock_common", "skc_family", 99)
				want = "80 LISTEN 0;81 ESTABLISHED 4711;0  0;error;83 SYN-RECV 0;"
			case "other bucket":
				m.Word(request+link, uint64(open+link))
				want += "loop;"
			case "substate":
				m.Set(open, "sock", "sk_socket", wild)
				want = "80 LISTEN 0;81 ESTABLISHED 0;error;82 FIN-WAIT-2 0;83 SYN-RECV 0;"
			}
			got := ""
			for s, err := range TCP(m.View()) {
				if s != nil {
					port := uint16(0)
					if s.Local.IsValid() {
						port = s.Local.Port()
					}
					got += fmt.Sprintf("%d %s %d;", port, s.State, s.Inode)
				}
				got += kerneltest.Ending(err)
			}
			if got != want {
				t.Errorf("%s: %s; want %s", damage, got, want)
			}
		}
	}
}
