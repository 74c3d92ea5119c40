//go:build linux && amd64

package main

import (
	"encoding/binary"
	"fmt"
	"net"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// guestSockets holds sockets of many families in many states. Those that the runtime's poller would hide are made by system calls.
func guestSockets([]string) error {
	s := setup{"sockets"}
	var keep []any // nothing here may be collected and closed
	listen := func(network, addr string) net.Listener {
		l, err := net.Listen(network, addr)
		if !s.try(network+" "+addr, err) {
			return nil
		}
		keep = append(keep, l)
		return l
	}
	pair := func(network, addr string) (client, server net.Conn) {
		l := listen(network, addr)
		if l == nil {
			return nil, nil
		}
		client, err := net.Dial(network, l.Addr().String())
		if !s.try("dial "+addr, err) {
			return nil, nil
		}
		server, err = l.Accept()
		s.try("accept "+addr, err)
		keep = append(keep, client, server)
		return client, server
	}
	// TCP: LISTEN, ESTABLISHED with unread and with unsent bytes, CLOSE_WAIT and FIN_WAIT2, TIME_WAIT, SYN_SENT, a full backlog.
	if c, _ := pair("tcp4", "127.0.0.1:5001"); c != nil {
		_, err := c.Write([]byte("unread bytes in the receive queue"))
		s.try("write", err)
	}
	if c, _ := pair("tcp4", "192.0.2.1:5002"); c != nil {
		s.try("deadline", c.SetWriteDeadline(time.Now().Add(time.Second)))
		for { // until the peer's window is full
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				break
			}
		}
	}
	if c, _ := pair("tcp6", "[::1]:5003"); c != nil { // this end FIN_WAIT2, the other CLOSE_WAIT
		s.try("shutdown", c.(*net.TCPConn).CloseWrite())
	}
	if c, srv := pair("tcp4", "127.0.0.1:5004"); c != nil { // the end that closes first is left in TIME_WAIT
		c.Close()
		srv.Close()
	}
	if l := listen("tcp4", "127.0.0.1:5005"); l != nil { // established, never accepted
		c, err := net.Dial("tcp4", l.Addr().String())
		if s.try("backlog", err) {
			keep = append(keep, c)
		}
	}
	if c, srv := pair("tcp6", "[::1]:5008"); c != nil {
		c.Close()
		srv.Close()
	}
	// Closed with bytes that the peer does not take: a socket in FIN-WAIT-1 that no process has.
	if c, _ := pair("tcp4", "127.0.0.1:5009"); c != nil {
		s.try("deadline", c.SetWriteDeadline(time.Now().Add(300*time.Millisecond)))
		for {
			if _, err := c.Write(make([]byte, 64<<10)); err != nil {
				break
			}
		}
		c.Close()
	}
	// A connection that is asked for from where no answer goes: a request in SYN-RECV.
	s.try("retries", writeText("/proc/sys/net/ipv4/tcp_synack_retries", "10"))
	s.try("request", requestFrom([4]byte{192, 0, 2, 99}, [4]byte{192, 0, 2, 1}, 5002))
	socket := func(what string, family, typ, proto int) (int, bool) {
		fd, err := unix.Socket(family, typ, proto)
		return fd, s.try(what, err)
	}
	if fd, ok := socket("syn-sent", unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_NONBLOCK, 0); ok {
		err := unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{192, 0, 2, 77}}) // nobody answers behind a dummy
		if err != unix.EINPROGRESS {
			s.try("syn-sent", fmt.Errorf("connect: %v", err))
		}
	}
	if fd, ok := socket("bound only", unix.AF_INET, unix.SOCK_STREAM, 0); ok {
		s.try("bound only", unix.Bind(fd, &unix.SockaddrInet4{Port: 5006}))
	}
	// UDP bound and connected, over both IPs, with a datagram waiting.
	if u, err := net.ListenPacket("udp4", "127.0.0.1:6001"); s.try("udp4", err) {
		c, err := net.Dial("udp4", "127.0.0.1:6001")
		if s.try("udp dial", err) {
			_, err = c.Write([]byte("waiting datagram"))
			s.try("udp write", err)
		}
		keep = append(keep, u, c)
	}
	if u, err := net.ListenPacket("udp6", "[2001:db8::1]:6002"); s.try("udp6", err) {
		keep = append(keep, u)
	}
	// Unix: stream listening, connected and queued; datagram; seqpacket pair; abstract; descriptors in flight.
	if c, _ := pair("unix", "/run/stream.sock"); c != nil {
		_, err := c.Write([]byte("unread"))
		s.try("unix write", err)
	}
	listen("unix", "@kdx-lab-abstract")
	listen("unixpacket", "/run/seqpacket.sock")
	if u, err := net.ListenPacket("unixgram", "/run/dgram.sock"); s.try("unixgram", err) {
		keep = append(keep, u)
	}
	if p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0); s.try("socketpair", err) {
		f, err := os.Open("/tmp/t1/blob")
		if s.try("in flight", err) {
			s.try("in flight", unix.Sendmsg(p[0], []byte("fd"), unix.UnixRights(int(f.Fd())), nil, 0))
			f.Close() // only the message holds it now
		}
	}
	// Raw, packet, netlink, vsock, SCTP.
	if fd, ok := socket("raw", unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_ICMP); ok {
		s.try("raw bind", unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}))
	}
	socket("packet", unix.AF_PACKET, unix.SOCK_DGRAM, 0)
	if fd, ok := socket("netlink", unix.AF_NETLINK, unix.SOCK_RAW, unix.NETLINK_ROUTE); ok {
		s.try("netlink bind", unix.Bind(fd, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: 1}))
	}
	if fd, ok := socket("vsock", unix.AF_VSOCK, unix.SOCK_STREAM, 0); ok {
		if s.try("vsock bind", unix.Bind(fd, &unix.SockaddrVM{CID: unix.VMADDR_CID_ANY, Port: 1234})) {
			s.try("vsock listen", unix.Listen(fd, 4))
		}
	}
	if fd, ok := socket("sctp", unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP); ok {
		if s.try("sctp bind", unix.Bind(fd, &unix.SockaddrInet4{Port: 5007, Addr: [4]byte{127, 0, 0, 1}})) {
			s.try("sctp listen", unix.Listen(fd, 4))
		}
	}
	s.ready()
	err := hold()
	fmt.Fprint(os.Stderr, keep...)
	return err
}

// requestFrom sends the first packet of a connection of TCP, as if it came from another machine.
func requestFrom(from, to [4]byte, port uint16) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_RAW)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	const client, synFlag, window, words = 40099, 0x02, 8192, 5
	tcp := binary.BigEndian.AppendUint16(nil, client)
	tcp = binary.BigEndian.AppendUint16(tcp, port)
	tcp = append(tcp, 0, 0, 0, 1, 0, 0, 0, 0, words<<4, synFlag)
	tcp = binary.BigEndian.AppendUint16(tcp, window)
	tcp = append(tcp, 0, 0, 0, 0) // checksum, urgent pointer
	pseudo := append(append([]byte{}, from[:]...), to[:]...)
	pseudo = append(pseudo, 0, unix.IPPROTO_TCP, 0, byte(len(tcp)))
	sum := uint32(0)
	for i, all := 0, append(pseudo, tcp...); i < len(all); i += 2 {
		sum += uint32(binary.BigEndian.Uint16(all[i:]))
	}
	sum = sum>>16 + sum&0xffff
	sum += sum >> 16
	binary.BigEndian.PutUint16(tcp[16:], ^uint16(sum))
	// The kernel fills in length, number and checksum of the header.
	ip := append([]byte{0x45, 0, 0, 0, 0, 0, 0, 0, 64, unix.IPPROTO_TCP, 0, 0}, append(append([]byte{}, from[:]...), to[:]...)...)
	return unix.Sendto(fd, append(ip, tcp...), 0, &unix.SockaddrInet4{Addr: to})
}
