package commands

import (
	"encoding/hex"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"kdx/analyze/net"
	"kdx/analyze/task"
	"kdx/analyze/vfs"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

func netCommand() *Command {
	return &Command{
		Name: "net", Group: "kernel", Summary: "network devices and their addresses, neighbours, sockets and their queues", Needs: NeedsTypes, Complete: "task", Tasks: true,
		Usage: []string{"", "-n [pid | task]", "-a", "[-s | -S [-x|-d]] [-R REFERENCE] [pid | task | name]…", "-t", "-N ADDRESS"},
		Flags: []Flag{
			{Name: "n", Help: "the devices of the network namespace of this task, or of the context"},
			{Name: "a", Help: "ARP's table and IPv6's neighbours, of all namespaces"},
			{Name: "s", Help: "the open sockets of tasks: protocol, addresses and ports, state, bytes in the queues"},
			{Name: "S", Help: "as -s, with struct socket and the struct of its family"},
			{Name: "t", Help: "all sockets of TCP, of all namespaces, those that no task has open too: in TIME-WAIT, orphaned, asked for and not accepted yet"},
			{Name: "R", Arg: "REFERENCE", Help: "only sockets with this struct socket, struct sock or descriptor"},
			{Name: "N", Arg: "ADDRESS", Help: "an IP address as a number in memory (the target's byte order; 32 digits for IPv6) as it is usually written", Needs: NeedsNothing},
			{Name: "x", Help: "with -S: integers in hexadecimal"},
			{Name: "d", Help: "with -S: integers in decimal"},
		},
		Help: prose(`Without a flag it lists the devices of the first network namespace. With tasks, and in foreach, it lists sockets.

RECV-Q and SEND-Q are what ss shows: of TCP the bytes that nobody read yet and those that the peer did not acknowledge; of a listener how many
connections wait to be accepted and how many may; of others the memory of what waits. The source of a unix socket is the name that it is bound to (@ begins an
abstract one), of a netlink socket its port.`),
		Examples: []Example{{"net", "devices and addresses"}, {"net -s 274", "a process's sockets"}, {"foreach net -s", "all sockets"}, {"net -t", "all of TCP, as ss -a"}, {"net -a", "neighbours"}, {"net -N 100007f", "127.0.0.1"}},
		Run:      runNet,
	}
}

func runNet(c *Call) (view.Result, error) {
	switch {
	case c.Flags.Has("N"):
		return netAddress(c)
	case c.Flags.Has("a"):
		return neighbours(c)
	case c.Flags.Has("n"):
		return namespaceDevices(c)
	case c.Flags.Has("t"):
		return tcpSockets(c)
	case c.Flags.Has("s"), c.Flags.Has("S"), c.Flags.Has("R"), len(c.Args) > 0:
		return sockets(c)
	}
	ns, err := net.Initial(c.View)
	if err != nil {
		return nil, err
	}
	return netDevices(c, ns)
}

func namespaceDevices(c *Call) (view.Result, error) {
	xs, err := selectTasks(c, c.Args)
	if err != nil {
		return nil, err
	}
	if len(xs) > 1 {
		return nil, &UsageError{"net", fmt.Sprintf("-n takes one task; %d have that name", len(xs))}
	}
	ns, err := net.Namespace(c.View, xs[0].Addr)
	if err != nil {
		return nil, err
	}
	if ns == 0 {
		return nil, fmt.Errorf("PID %d (%s) has no network namespace any more: it is exiting", xs[0].PID, xs[0].Comm)
	}
	return netDevices(c, ns)
}

func netDevices(c *Call, ns vmem.Addr) (view.Result, error) {
	out := view.NetDevices{}
	for d, err := range net.Devices(c.View, ns) {
		if d == nil {
			c.View.Gap("network devices", err)
			continue
		}
		row := view.NetDevice{Addr: d.Addr, Addrs: []string{}}
		if err != nil {
			c.View.Gap(fmt.Sprintf("network device %s at %#x", d.Name, uint64(d.Addr)), err)
		}
		if d.Name != "" || err == nil {
			kind := net.HWType(d.Type)
			row.Name, row.Index, row.Flags, row.MTU, row.Type = &d.Name, &d.Index, &d.Flags, &d.MTU, &kind
			row.HW, row.Namespace = net.HWString(d.HW), d.Namespace
		}
		for _, a := range d.Addrs {
			row.Addrs = append(row.Addrs, a.String())
		}
		out = append(out, row)
	}
	return out, c.View.Context().Err()
}

func neighbours(c *Call) (view.Result, error) {
	out := view.NetNeighbours{}
	for _, table := range net.Tables {
		if _, err := c.View.Symbol(table); symbols.Absent(err) { // IPv6 may be a module that is not loaded
			continue
		}
		for n, err := range net.Neighbours(c.View, table) {
			if n == nil {
				c.View.Gap(table, err)
				continue
			}
			row := view.NetNeighbour{Addr: n.Addr}
			if err != nil {
				c.View.Gap(fmt.Sprintf("neighbour at %#x", uint64(n.Addr)), err)
			}
			if n.IP.IsValid() {
				ip, state := n.IP.String(), net.NeighState(n.State)
				row.IP, row.State = &ip, &state
			}
			if n.Device != nil {
				kind := net.HWType(n.Device.Type)
				row.HWType, row.Device, row.Namespace = &kind, &n.Device.Name, n.Device.Namespace
			}
			if err == nil {
				hw := net.HWString(n.HW)
				row.HW = &hw
			}
			out = append(out, row)
		}
	}
	return out, c.View.Context().Err()
}

// tcpSockets lists TCP's own tables.
func tcpSockets(c *Call) (view.Result, error) {
	if len(c.Args) > 0 {
		return nil, &UsageError{"net", "-t takes no task: it shows what the kernel's tables have; -s shows what tasks have"}
	}
	out := view.NetTCPs{}
	for s, err := range net.TCP(c.View) {
		if s == nil {
			c.View.Gap("TCP", err)
			continue
		}
		row := view.NetTCP{Sock: s.Sock, Socket: s.Addr, RecvQ: s.RecvQ, SendQ: s.SendQ, Namespace: s.Namespace}
		if err != nil {
			c.View.Gap(fmt.Sprintf("TCP socket at %#x", uint64(s.Sock)), err)
		} else {
			row.Inode = &s.Inode
		}
		if s.Local.IsValid() {
			kind := s.FamilyType()
			row.Kind, row.Local, row.Remote = &kind, view.Endpoint(s.Local), view.Endpoint(s.Remote)
		}
		if s.State != "" {
			row.State = &s.State
		}
		out = append(out, row)
	}
	return out, c.View.Context().Err()
}

func sockets(c *Call) (view.Result, error) {
	xs, err := selectTasks(c, c.Args)
	if err != nil {
		return nil, err
	}
	files, err := vfs.NewReader(c.View)
	if err != nil {
		return nil, err
	}
	ref, err := socketReference(c)
	if err != nil {
		return nil, err
	}
	out := view.TaskResults{}
	for _, x := range xs {
		if err := c.View.Context().Err(); err != nil {
			return nil, err
		}
		list := taskSockets(c, files, x, ref)
		if ref != nil && len(list) == 0 && len(xs) > 1 {
			continue // of many tasks, those that refer to it
		}
		out = append(out, view.TaskResult{TaskHeader: header(x), Result: list})
	}
	return out, nil
}

// socketReference is what -R asks for; nil without.
func socketReference(c *Call) (func(*view.NetSocket) bool, error) {
	word := c.Flags.Value("R")
	if word == "" {
		return nil, nil
	}
	fd, fdErr := strconv.Atoi(word)
	addr, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), 16, 64)
	if err != nil && fdErr != nil {
		return nil, &UsageError{"net", word + " is neither an address nor a descriptor"}
	}
	return func(s *view.NetSocket) bool {
		return fdErr == nil && s.FD == fd || err == nil && addr != 0 && (uint64(s.Socket) == addr || uint64(s.Sock) == addr)
	}, nil
}

func taskSockets(c *Call, files *vfs.Reader, x *task.Task, wanted func(*view.NetSocket) bool) view.NetSockets {
	out := view.NetSockets{}
	who := fmt.Sprintf("PID %d (%s)", x.PID, x.Comm)
	for d, err := range files.OfTask(x.Addr) {
		if err != nil {
			c.View.Gap(fmt.Sprintf("%s: descriptor %d", who, d.FD), err)
			continue
		}
		if d.File.Inode == 0 || d.File.Meta.Kind() != "SOCK" {
			continue
		}
		addr, err := files.Socket(d.File.Inode)
		if err != nil {
			c.View.Gap(who, err)
			return out
		}
		row := socketRow(c, who, d.FD, addr)
		if wanted != nil && !wanted(&row) {
			continue
		}
		if c.Flags.Has("S") {
			row.Structs = socketStructs(c, &row)
		}
		out = append(out, row)
	}
	return out
}

func socketRow(c *Call, who string, fd int, addr vmem.Addr) view.NetSocket {
	row := view.NetSocket{FD: fd, Socket: addr}
	s, err := net.ReadSocket(c.View, addr)
	if err != nil {
		c.View.Gap(fmt.Sprintf("%s: descriptor %d: socket at %#x", who, fd, uint64(addr)), err)
	}
	row.Sock, row.RecvQ, row.SendQ, row.Peer = s.Sock, s.RecvQ, s.SendQ, s.Peer
	if s.Family == 0 && (err != nil || s.Sock != 0) {
		return row
	}
	kind, state := s.FamilyType(), s.StateName()
	if s.Sock == 0 {
		kind = net.Type(s.Type)
	}
	row.Kind, row.State, row.Protocol = &kind, &state, &s.Protocol
	switch s.Family {
	case net.AFInet, net.AFInet6:
		row.Local, row.Remote = view.Endpoint(s.Local), view.Endpoint(s.Remote)
	case net.AFUnix:
		row.Path = s.Path
	case net.AFNetlink:
		row.PortID = s.Port
	}
	return row
}

// socketStructs are struct socket and the struct that embeds its sock.
func socketStructs(c *Call, s *view.NetSocket) []*view.Objects {
	out := wholeStruct(c, "socket", s.Socket)
	if s.Sock == 0 || s.Kind == nil {
		return out
	}
	tag := "sock"
	switch family, _, _ := strings.Cut(*s.Kind, ":"); family {
	case "INET", "INET6":
		tag = "inet_sock"
	case "UNIX":
		tag = "unix_sock"
	}
	return append(out, wholeStruct(c, tag, s.Sock)...)
}

// netAddress writes a number in memory as an address: its bytes lie in network byte order.
func netAddress(c *Call) (view.Result, error) {
	if len(c.Args) > 0 {
		return nil, &UsageError{"net", "-N takes one address"}
	}
	word := strings.TrimPrefix(c.Flags.Value("N"), "0x")
	if len(word) == 32 {
		b, err := hex.DecodeString(word)
		if err == nil {
			return view.Lines{netip.AddrFrom16([16]byte(b)).String()}, nil
		}
	}
	base := 16
	if word == c.Flags.Value("N") && strings.Trim(word, "0123456789") == "" {
		base = 10 // as everywhere else, what may be decimal is
	}
	n, err := strconv.ParseUint(word, base, 32)
	if err != nil {
		if errors.Is(err, strconv.ErrRange) {
			err = errors.New("an IPv4 address has 32 bits")
		} else {
			err = errors.New("it is no number")
		}
		return nil, &UsageError{"net", fmt.Sprintf("-N %s: %v", c.Flags.Value("N"), err)}
	}
	return view.Lines{net.IPv4(c.View, uint32(n)).String()}, nil
}
