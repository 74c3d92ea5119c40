package net

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// Socket is a socket and what waits in it. Queues that could not be read, or that its kind does not have, are nil.
type Socket struct {
	Addr     vmem.Addr // struct socket
	Sock     vmem.Addr // struct sock; 0 once the kernel let go of it
	Family   uint16
	Type     uint16
	Protocol uint16
	State    uint8  // TCP_…, which other families use too
	Phase    uint32 // enum socket_state: SS_…
	Local    netip.AddrPort
	Remote   netip.AddrPort
	RecvQ    *uint64 // bytes that wait to be read, of a listener connections that wait to be accepted: as ss and /proc/net show
	SendQ    *uint64 // bytes that the peer has not acknowledged; of a listener, how many connections may wait
	Path     *string // of AF_UNIX: where it is bound, an abstract name with @; "" if it is not
	Peer     vmem.Addr
	Port     *uint32 // of AF_NETLINK
}

// Families of sockets that have more to tell.
const (
	AFUnix    = 1
	AFInet    = 2
	AFInet6   = 10
	AFNetlink = 16
)

const (
	typeStream  = 1
	protoTCP    = 6
	protoMPTCP  = 262 // 5.6
	protoUDP    = 17
	stateListen = 10
)

type socket struct {
	Phase uint32    `k:"state"`
	Type  int16     `k:"type"`
	Sock  vmem.Addr `k:"sk"`
}

type sock struct {
	Family   uint16    `k:"__sk_common.skc_family"`
	State    uint8     `k:"__sk_common.skc_state"`
	Dport    uint16    `k:"__sk_common.skc_dport"`
	Num      uint16    `k:"__sk_common.skc_num"`
	Daddr    uint32    `k:"__sk_common.skc_daddr"`
	Saddr    uint32    `k:"__sk_common.skc_rcv_saddr"`
	Daddr6   vmem.Addr `k:"&__sk_common.skc_v6_daddr,optional"`
	Saddr6   vmem.Addr `k:"&__sk_common.skc_v6_rcv_saddr,optional"`
	Protocol uint16    `k:"sk_protocol"`
	Type     uint16    `k:"sk_type"`
	Rmem     uint32    `k:"sk_backlog.rmem_alloc"`
	Wmem     uint32    `k:"sk_wmem_alloc"`
	Backlog  uint32    `k:"sk_ack_backlog"`
	MaxLog   uint32    `k:"sk_max_ack_backlog"`
}

// ReadSocket reads the struct socket at addr. The error says what is missing in the answer.
func ReadSocket(v *kernel.View, addr vmem.Addr) (*Socket, error) {
	s := &Socket{Addr: addr}
	o, err := kernel.ReadStruct[socket](v, "socket", addr)
	if err != nil {
		return s, err
	}
	s.Sock, s.Phase, s.Type = o.Sock, o.Phase, uint16(o.Type)
	if s.Sock == 0 { // closed, or a protocol that failed to make one
		return s, nil
	}
	k, err := kernel.ReadStruct[sock](v, "sock", s.Sock)
	if err != nil {
		return s, err
	}
	s.Family, s.Type, s.Protocol, s.State = k.Family, k.Type, k.Protocol, k.State
	switch s.Family {
	case AFInet, AFInet6:
		return s, s.inet(v, &k)
	case AFUnix:
		return s, s.unix(v, &k)
	case AFNetlink:
		port, err := v.ObjectOf("netlink_sock", s.Sock).Field("portid").Uint()
		s.buffers(&k)
		if err != nil {
			return s, err
		}
		id := uint32(port)
		s.Port = &id
		return s, nil
	}
	s.buffers(&k)
	return s, nil
}

// buffers are the queues where nothing better is known: memory that skbs hold, which is more than their bytes.
func (s *Socket) buffers(k *sock) {
	recv, send := uint64(k.Rmem), uint64(max(k.Wmem, 1)-1) // sk_wmem_alloc starts at one
	s.RecvQ, s.SendQ = &recv, &send
}

func (s *Socket) inet(v *kernel.View, k *sock) error {
	named := s.endpoints(v, k.Saddr, k.Daddr, k.Saddr6, k.Daddr6, k.Num, k.Dport)
	var err error
	switch {
	case s.Type == typeStream && s.Protocol == protoTCP:
		err = s.tcp(v, k)
	case s.Type == typeStream && s.Protocol == protoMPTCP:
		err = s.mptcp(v)
	case s.Protocol == protoUDP:
		s.buffers(k)
		var deficit int64
		if deficit, err = v.ObjectOf("udp_sock", s.Sock).Field("forward_deficit").Int(); err == nil {
			*s.RecvQ -= min(*s.RecvQ, uint64(max(deficit, 0))) // 4.10: what was read and is not yet given back
		}
	default:
		s.buffers(k)
	}
	return errors.Join(named, err)
}

// endpoints sets both ends. Of IPv6 the addresses lie at saddr6 and daddr6; an end whose address can't be read is not set.
func (s *Socket) endpoints(v *kernel.View, saddr, daddr uint32, saddr6, daddr6 vmem.Addr, num, dport uint16) error {
	local, remote := IPv4(v, saddr), IPv4(v, daddr)
	var failed error
	if s.Family == AFInet6 {
		if saddr6 == 0 || daddr6 == 0 {
			return errors.New("struct sock_common of this kernel has no IPv6 addresses")
		}
		read := func(at vmem.Addr) (ip netip.Addr) {
			var b [16]byte
			if err := v.Read(b[:], at); err != nil {
				failed = errors.Join(failed, fmt.Errorf("IPv6 address: %w", err))
				return ip
			}
			return netip.AddrFrom16(b)
		}
		local, remote = read(saddr6), read(daddr6)
	}
	s.Local, s.Remote = netip.AddrPortFrom(local, num), netip.AddrPortFrom(remote, port(v, dport))
	return failed
}

func (s *Socket) tcp(v *kernel.View, k *sock) error {
	if s.State == stateListen {
		waiting, room := uint64(k.Backlog), uint64(k.MaxLog)
		s.RecvQ, s.SendQ = &waiting, &room
		return nil
	}
	t, err := kernel.ReadStruct[struct {
		RcvNxt   uint32 `k:"rcv_nxt"`
		Copied   uint32 `k:"copied_seq"`
		WriteSeq uint32 `k:"write_seq"`
		Una      uint32 `k:"snd_una"`
	}](v, "tcp_sock", s.Sock)
	if err != nil {
		return err
	}
	recv, send := uint64(max(int32(t.RcvNxt-t.Copied), 0)), uint64(t.WriteSeq-t.Una)
	s.RecvQ, s.SendQ = &recv, &send
	return nil
}

// mptcp: the connections that wait for a listener do so at its first subflow, a TCP socket of the kernel's own. What waits in
// the several subflows of a connection is not known.
func (s *Socket) mptcp(v *kernel.View) error {
	if s.State != stateListen {
		return nil
	}
	first, err := v.ObjectOf("mptcp_sock", s.Sock).Field("first").Pointer()
	if err != nil || first == 0 {
		return err
	}
	k, err := kernel.ReadStruct[sock](v, "sock", first)
	if err != nil {
		return fmt.Errorf("first subflow: %w", err)
	}
	return s.tcp(v, &k)
}

// unix reads the name of a socket of AF_UNIX, a struct sockaddr_un of len bytes.
func (s *Socket) unix(v *kernel.View, k *sock) error {
	s.buffers(k)
	if s.State == stateListen {
		waiting, room := uint64(k.Backlog), uint64(k.MaxLog)
		s.RecvQ, s.SendQ = &waiting, &room
	}
	u := v.ObjectOf("unix_sock", s.Sock)
	peer, err := u.Field("peer").Pointer()
	if err != nil {
		return err
	}
	s.Peer = peer
	at, err := u.Field("addr").Pointer()
	if err != nil {
		return err
	}
	unbound := ""
	if at == 0 {
		s.Path = &unbound
		return nil
	}
	const family = 2 // sizeof(sa_family_t), before the path
	a := v.ObjectOf("unix_address", at)
	n, err := a.Field("len").Int()
	if err != nil {
		return err
	}
	if n < family || n > family+108 { // sizeof(struct sockaddr_un)
		return fmt.Errorf("unix_address at %#x: a name of %d bytes: damaged", uint64(at), n)
	}
	name, ok := a.Field("name").Addr()
	if !ok {
		return fmt.Errorf("struct unix_address of this kernel has no name")
	}
	b := make([]byte, n-family)
	if err := v.Read(b, name+family); err != nil {
		return err
	}
	path := ""
	if len(b) > 0 && b[0] == 0 { // abstract: all bytes count
		path = "@" + string(b[1:])
	} else {
		path, _, _ = strings.Cut(string(b), "\x00")
	}
	s.Path = &path
	return nil
}
