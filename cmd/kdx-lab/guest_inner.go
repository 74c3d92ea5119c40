//go:build linux && amd64

package main

import (
	"errors"
	"net"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// innerAddr is that of the process in namespaces of its own, at the far end of a pair of devices.
const innerAddr = "203.0.113.2"

// held may not be collected, and so closed.
var held []any

// live is what the process in namespaces of its own does: it waits for its end of the pair, has sockets of its own, a segment of shared
// memory, a mount and a name that only it sees.
func live() error {
	s := setup{"inner"}
	s.try("name", unix.Sethostname([]byte("inner")))
	s.try("mount", os.MkdirAll("/tmp/inner", 0o755))
	s.try("mount", unix.Mount("inner", "/tmp/inner", "tmpfs", 0, "size=1m"))
	s.try("shm", shareSegment(0x4b445810, 128<<10))
	s.try("shm", writeText("/run/inner-shm", readText("/proc/sysvipc/shm"))) // only from within one sees it
	for range 600 {
		if _, err := net.InterfaceByName("inner1"); err == nil {
			break
		}
		time.Sleep(100 * time.Millisecond)
	}
	for _, args := range [][]string{{"link", "set", "lo", "up"}, {"addr", "add", innerAddr + "/24", "dev", "inner1"}, {"link", "set", "inner1", "up"}} {
		s.try(args[0], exec.Command("/bin/ip", args...).Run())
	}
	l, err := net.Listen("tcp4", innerAddr+":9001")
	if err != nil {
		return err
	}
	l6, err := net.Listen("tcp6", "[::1]:9002")
	s.try("tcp6", err)
	u, err := net.ListenPacket("udp4", innerAddr+":9003")
	s.try("udp4", err)
	s.ready()
	c, err := l.Accept()
	s.try("accept", err)
	held = append(held, l, l6, u, c)
	return hold()
}

// shareSegment makes a segment of System V's shared memory and attaches it.
func shareSegment(key, size int) error {
	id, err := unix.SysvShmGet(key, size, unix.IPC_CREAT|0o640)
	if err != nil {
		return err
	}
	b, err := unix.SysvShmAttach(id, 0, 0)
	if err == nil {
		b[0] = 1
	}
	return err
}

// guestNeighbours talks to the process in namespaces of its own, and gives the table of neighbours entries in several states: one that was
// asked for and answered, of either protocol, one that nobody answers for, and one that is set for good.
func guestNeighbours([]string) error {
	s := setup{"neighbours"}
	s.try("pair", pairWithInner())
	c, err := net.Dial("tcp4", innerAddr+":9001")
	if s.try("tcp", err) {
		_, err = c.Write([]byte("over the wire"))
		s.try("tcp write", err)
		held = append(held, c)
	}
	if u, err := net.Dial("udp4", innerAddr+":9003"); s.try("udp", err) {
		_, err = u.Write([]byte("datagram"))
		s.try("udp write", err)
		held = append(held, u)
	}
	if u, err := net.Dial("udp4", "198.51.100.77:9"); s.try("nobody", err) {
		_, _ = u.Write([]byte("nobody there"))
		held = append(held, u)
	}
	if br, err := netlink.LinkByName("br0"); s.try("br0", err) {
		for ip, mac := range map[string]string{"198.51.100.9": "02:00:00:00:00:09", "2001:db8:9::9": "02:00:00:00:00:99"} {
			hw, err := net.ParseMAC(mac)
			s.try(mac, err)
			s.try(ip, netlink.NeighSet(&netlink.Neigh{LinkIndex: br.Attrs().Index, State: netlink.NUD_PERMANENT, IP: net.ParseIP(ip), HardwareAddr: hw}))
		}
	}
	s.ready()
	return hold()
}

// pairWithInner makes a pair of devices, gives one end to the process in namespaces of its own, and waits until that listens there.
func pairWithInner() error {
	pid, err := strconv.Atoi(readText("/run/inner-pid"))
	if err != nil {
		return err
	}
	pair := &netlink.Veth{LinkAttrs: netlink.LinkAttrs{Name: "inner0"}, PeerName: "inner1", PeerNamespace: netlink.NsPid(pid)}
	if err := netlink.LinkAdd(pair); err != nil {
		return err
	}
	addr, err := netlink.ParseAddr("203.0.113.1/24")
	if err != nil {
		return err
	}
	if err := errors.Join(netlink.AddrAdd(pair, addr), netlink.LinkSetUp(pair)); err != nil {
		return err
	}
	for range 200 {
		if exists("/run/ready/inner") {
			return nil
		}
		time.Sleep(100 * time.Millisecond)
	}
	return errors.New("nobody listens at the far end")
}

// takeNeighbours lists the tables of neighbours: device, address, hardware address and state.
func takeNeighbours() []truthNeighbour {
	list, err := netlink.NeighList(0, netlink.FAMILY_V4)
	six, err6 := netlink.NeighList(0, netlink.FAMILY_V6)
	if err != nil || err6 != nil {
		return nil
	}
	var out []truthNeighbour
	for _, n := range append(list, six...) {
		x := truthNeighbour{IP: n.IP.String(), HW: n.HardwareAddr.String(), State: n.State}
		if l, err := netlink.LinkByIndex(n.LinkIndex); err == nil {
			x.Device = l.Attrs().Name
		}
		out = append(out, x)
	}
	return out
}
