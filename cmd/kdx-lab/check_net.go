package main

import (
	"context"
	"encoding/hex"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"strings"
)

// netSocket is a socket as kdx says.
type netSocket struct {
	Sock  string `json:"sock"`
	Kind  string `json:"kind"`
	State string `json:"state"`
	Local *struct {
		Address string `json:"address"`
		Port    uint16 `json:"port"`
	} `json:"local"`
	Remote *struct {
		Address string `json:"address"`
		Port    uint16 `json:"port"`
	} `json:"remote"`
	RecvQ *uint64 `json:"recv_queue"`
	SendQ *uint64 `json:"send_queue"`
	Path  *string `json:"path"`
	ID    *uint32 `json:"netlink_id"`
}

// checkNet holds net, net -a and foreach net -s against what the guest read in /proc/net.
func checkNet(ctx context.Context, s *subject) (string, error) {
	var devices []netDevice
	var neighbours []netNeighbour
	var tasks []struct {
		Sockets []netSocket `json:"result"`
	}
	var tables []tcpSocket
	if err := s.ask(ctx, []string{"net", "net -a", "foreach net -s", "net -t"}, &devices, &neighbours, &tasks, &tables); err != nil {
		return "", err
	}
	var d differences
	proc := s.truth.Proc
	addrs, err := compareDevices(devices, proc["/proc/net/dev"], proc["/proc/net/if_inet6"], proc["/proc/net/fib_trie"], &d)
	if err != nil {
		return "", err
	}
	linked := checkLinked(devices, proc, &d)
	space := ""
	for _, x := range devices {
		space = x.Namespace
	}
	arp := checkNeighbours(s, neighbours, space, &d)
	sockets := make(map[string]netSocket)
	for _, t := range tasks {
		for _, x := range t.Sockets {
			sockets[x.Sock] = x
		}
	}
	n := 0
	for _, file := range []string{"tcp", "tcp6", "udp", "udp6", "raw", "raw6"} {
		k, err := checkInet(s.truth.described(proc["/proc/net/"+file]), file, sockets, &d)
		if err != nil {
			return "", err
		}
		n += k
	}
	without, err := checkTCP(s, tables, &d)
	if err != nil {
		return "", err
	}
	u := checkUnix(proc["/proc/net/unix"], sockets, &d)
	o := checkLinks(proc["/proc/net/packet"], proc["/proc/net/netlink"], sockets, &d)
	return fmt.Sprintf("%d devices (%d of them with all that /sys says), %d addresses, %d neighbours (%d of them asked for); of %d sockets %d of IP, %d of Unix, %d of packets and netlink as the guest says; %d of TCP, %d of them no task's",
		len(devices), linked, addrs, len(neighbours), arp, len(sockets), n, u, o, len(tables), without), d.err()
}

// netDevice is a row of net.
type netDevice struct {
	Name      string   `json:"name"`
	Index     int      `json:"index"`
	Flags     uint64   `json:"flags"`
	MTU       uint64   `json:"mtu"`
	HW        string   `json:"hw_address"`
	Addrs     []string `json:"addresses"`
	Namespace string   `json:"namespace"`
}

// checkLinked holds what each device is like against /sys/class/net, for truths that have it, and returns how many devices there were.
func checkLinked(devices []netDevice, proc map[string]string, d *differences) int {
	n := 0
	for _, x := range devices {
		dir := "/sys/class/net/" + x.Name + "/"
		if proc[dir+"ifindex"] == "" {
			continue
		}
		n++
		got := fmt.Sprintf("%d %d %#x %s", x.Index, x.MTU, x.Flags, x.HW)
		if want := strings.Join([]string{proc[dir+"ifindex"], proc[dir+"mtu"], proc[dir+"flags"], proc[dir+"address"]}, " "); got != want {
			d.add("device %s: number, MTU, flags, address = %s; want %s", x.Name, got, want)
		}
	}
	return n
}

// compareDevices holds the devices of a network namespace and their addresses against its net/dev, net/if_inet6 and net/fib_trie, and returns how many addresses
// there are.
func compareDevices(devices []netDevice, dev, inet6, trie string, d *differences) (int, error) {
	var names []string
	addrs := make(map[string]bool)
	for _, x := range devices {
		names = append(names, x.Name)
		for _, a := range x.Addrs {
			addrs[x.Name+" "+a] = true
		}
	}
	if want := saidDevices(dev); !slices.Equal(names, want) {
		d.add("devices %v; want %v", names, want)
	}
	six := 0
	for line := range strings.Lines(inet6) {
		f := strings.Fields(line)
		if len(f) < 6 {
			continue
		}
		b, err := hex.DecodeString(f[0])
		bits, err2 := strconv.ParseUint(f[2], 16, 8)
		if err != nil || err2 != nil || len(b) != 16 {
			return 0, fmt.Errorf("/proc/net/if_inet6: %q", line)
		}
		six++
		if a := fmt.Sprintf("%s %s/%d", f[5], netip.AddrFrom16([16]byte(b)), bits); !addrs[a] {
			d.add("no address %s", a)
		}
	}
	four := 0
	for a := range addrs {
		if ip := strings.Fields(a)[1]; !strings.Contains(ip, ":") {
			four++
			host, _, _ := strings.Cut(ip, "/")
			if !strings.Contains(trie, "|-- "+host+"\n           /32 host LOCAL") && !strings.Contains(trie, "|-- "+host+"\n") {
				d.add("the guest has no address %s", ip)
			}
		}
	}
	if len(addrs) != six+four {
		d.add("%d addresses of IPv6; want %d", len(addrs)-four, six)
	}
	return len(addrs), nil
}

// netNeighbour is a row of net -a.
type netNeighbour struct {
	IP     string `json:"ip"`
	HW     string `json:"hw_address"`
	Device string `json:"device"`
	State  string `json:"state"`

	Namespace string `json:"namespace"`
}

// checkNeighbours holds net -a against what the kernel listed for the guest (truths from before it was asked have /proc/net/arp alone), and returns how many were asked
// for. An entry goes from state to state by itself; whose address is known keeps it. The guest listed those of its own namespace (space) alone.
func checkNeighbours(s *subject, got []netNeighbour, space string, d *differences) (asked int) {
	states := map[int]string{1: "INCOMPLETE", 2: "REACHABLE", 4: "STALE", 8: "DELAY", 16: "PROBE", 32: "FAILED", 64: "NOARP", 128: "PERMANENT"}
	known := func(state string) bool { return state != "INCOMPLETE" && state != "FAILED" }
	moving := map[string]bool{"INCOMPLETE": true, "REACHABLE": true, "STALE": true, "DELAY": true, "PROBE": true, "FAILED": true}
	have := make(map[string]netNeighbour)
	for _, n := range got {
		if n.Namespace == space {
			have[n.Device+" "+n.IP] = n
		}
		if !moving[n.State] {
			continue
		}
		asked++
		said := s.truth.Proc["/proc/net/arp"]
		for _, t := range s.truth.Tasks {
			said += t.Inner["net/arp"]
		}
		if !strings.Contains(n.IP, ":") && (!strings.Contains(said, n.IP+" ") || n.State != "FAILED" && n.State != "INCOMPLETE" && !strings.Contains(said, n.HW)) {
			d.add("neighbour %s (%s) is in no /proc/net/arp of the guest", n.IP, n.HW)
		}
	}
	for _, w := range s.truth.Neighbours {
		state := states[w.State]
		n, ok := have[w.Device+" "+w.IP]
		switch {
		case !ok && moving[state]: // given up since
		case !ok:
			d.add("no neighbour %s on %s", w.IP, w.Device)
		case n.State != state && (!moving[state] || !moving[n.State]), n.HW != w.HW && known(n.State) && known(state):
			d.add("neighbour %s on %s is %s, %s; want %s, %s", w.IP, w.Device, n.HW, n.State, w.HW, state)
		}
		delete(have, w.Device+" "+w.IP)
	}
	if len(s.truth.Neighbours) == 0 {
		return asked
	}
	for _, n := range have {
		ip, err := netip.ParseAddr(n.IP)
		if err != nil || !moving[n.State] && !ip.IsMulticast() { // a group's report may have been due since
			d.add("neighbour %s on %s (%s): the guest had none", n.IP, n.Device, n.State)
		}
	}
	return asked
}

// tcpSocket is a row of net -t.
type tcpSocket struct {
	netSocket
	Inode *uint64 `json:"inode"`
}

// checkTCP holds net -t against /proc/net/tcp and tcp6 of each network namespace: the same sockets, no more and no fewer, those that no task has too. It
// returns how many of them there are.
func checkTCP(s *subject, tables []tcpSocket, d *differences) (without int, err error) {
	have := make(map[string]int)
	for _, x := range tables {
		if x.Local == nil || x.Remote == nil || x.Inode == nil {
			d.add("the TCP socket %s is not whole", x.Sock)
			continue
		}
		if *x.Inode == 0 {
			without++
		}
		have[fmt.Sprintf("%s %s %d %s %d %s %d", x.Kind, x.Local.Address, x.Local.Port, x.Remote.Address, x.Remote.Port, x.State, *x.Inode)]++
	}
	files := []map[string]string{{"net/tcp": s.truth.Proc["/proc/net/tcp"], "net/tcp6": s.truth.Proc["/proc/net/tcp6"]}}
	seen := make(map[string]bool)
	for _, t := range s.truth.Tasks {
		if ns := t.Spaces["net"]; t.Inner["net/tcp"] != "" && !seen[ns] {
			seen[ns] = true
			files = append(files, t.Inner)
		}
	}
	states := maps.Clone(inetStates)
	states["03"], states["06"] = "SYN-RECV", "TIME-WAIT"
	for _, f := range files {
		for name, kind := range map[string]string{"net/tcp": "INET:STREAM", "net/tcp6": "INET6:STREAM"} {
			for i, line := range strings.Split(strings.TrimSpace(f[name]), "\n") {
				w := strings.Fields(line)
				if i == 0 || len(w) < 10 {
					continue
				}
				local, err := saidAddress(w[1])
				if err != nil {
					return without, err
				}
				remote, err := saidAddress(w[2])
				if err != nil {
					return without, err
				}
				key := fmt.Sprintf("%s %s %s %s %s", kind, local, remote, states[w[3]], w[9])
				passes := w[3] == "03" || w[3] == "06" // their time may have come since
				if have[key] == 0 && !passes {
					d.add("TCP's tables lack %s", key)
				}
				have[key]--
			}
		}
	}
	for key, n := range have {
		if n > 0 {
			d.add("TCP's tables have %s, which the guest has not", key)
		}
	}
	return without, nil
}

func saidDevices(text string) []string {
	var out []string
	for line := range strings.Lines(text) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			out = append(out, strings.TrimSpace(name))
		}
	}
	return out
}

// inetStates are the states of /proc/net/tcp as kdx spells them.
var inetStates = map[string]string{"01": "ESTABLISHED", "02": "SYN-SENT", "04": "FIN-WAIT-1", "05": "FIN-WAIT-2", "07": "UNCONNECTED", "08": "CLOSE-WAIT", "0A": "LISTEN"}

// checkInet holds the rows of one file that a process has a descriptor for (inode is not 0) against kdx's; it returns how many.
func checkInet(text, file string, sockets map[string]netSocket, d *differences) (int, error) {
	have := make(map[string]netSocket)
	for _, x := range sockets {
		if x.Local == nil || x.Remote == nil {
			continue
		}
		kind := map[string]string{"INET:STREAM": "tcp", "INET6:STREAM": "tcp6", "INET:DGRAM": "udp", "INET6:DGRAM": "udp6", "INET:RAW": "raw", "INET6:RAW": "raw6"}[x.Kind]
		have[fmt.Sprintf("%s %s %d %s %d", kind, x.Local.Address, x.Local.Port, x.Remote.Address, x.Remote.Port)] = x
	}
	n := 0
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Fields(line)
		if i == 0 || len(f) < 10 || f[9] == "0" { // in TIME-WAIT, or nobody has accepted it yet
			continue
		}
		local, err := saidAddress(f[1])
		if err != nil {
			return n, err
		}
		remote, err := saidAddress(f[2])
		if err != nil {
			return n, err
		}
		key := fmt.Sprintf("%s %s %s", file, local, remote)
		x, ok := have[key]
		if !ok {
			d.add("no socket %s, which the guest says is %s", key, inetStates[f[3]])
			continue
		}
		n++
		tx, rx, _ := strings.Cut(f[4], ":")
		send, err1 := strconv.ParseUint(tx, 16, 64)
		recv, err2 := strconv.ParseUint(rx, 16, 64)
		if err1 != nil || err2 != nil {
			return n, fmt.Errorf("/proc/net/%s: %q", file, line)
		}
		if x.State != inetStates[f[3]] {
			d.add("%s is %s; want %s", key, x.State, inetStates[f[3]])
		}
		if x.RecvQ == nil || *x.RecvQ != recv {
			d.add("%s: RECV-Q %v; want %d", key, deref(x.RecvQ), recv)
		}
		unanswered := strings.HasPrefix(remote, "198.51.100.77 ") && x.SendQ != nil && *x.SendQ == 0 // dropped once it is clear that nobody is there
		if x.State != "LISTEN" && !unanswered && (x.SendQ == nil || *x.SendQ != send) {              // of a listener the guest says 0, ss and kdx the limit
			d.add("%s: SEND-Q %v; want %d", key, deref(x.SendQ), send)
		}
	}
	return n, nil
}

// described are the lines of /proc/net/udp and its like whose socket a process has a descriptor of; tunnels have theirs without.
func (t truth) described(text string) string {
	open := make(map[string]bool)
	for _, x := range t.Tasks {
		for _, target := range x.Files {
			open[target] = true
		}
	}
	var out strings.Builder
	for line := range strings.Lines(text) {
		if f := strings.Fields(line); len(f) > 9 && f[0] != "sl" && !open["socket:["+f[9]+"]"] {
			continue
		}
		out.WriteString(line)
	}
	return out.String()
}

func deref(n *uint64) any {
	if n == nil {
		return "unknown"
	}
	return *n
}

// saidAddress is "ADDRESS PORT" of 0100007F:1F90: words of the machine's byte order, and a port.
func saidAddress(s string) (string, error) {
	words, port, _ := strings.Cut(s, ":")
	b, err := hex.DecodeString(words)
	p, err2 := strconv.ParseUint(port, 16, 16)
	if err != nil || err2 != nil || len(b) != 4 && len(b) != 16 {
		return "", fmt.Errorf("%q is no address of /proc/net", s)
	}
	for i := 0; i < len(b); i += 4 {
		slices.Reverse(b[i : i+4])
	}
	a, _ := netip.AddrFromSlice(b)
	return fmt.Sprintf("%s %d", a, p), nil
}

// checkUnix holds bound sockets of AF_UNIX against kdx's, by type, state and name.
func checkUnix(text string, sockets map[string]netSocket, d *differences) int {
	have := make(map[string]int)
	for _, x := range sockets {
		if x.Path != nil && *x.Path != "" {
			have[x.Kind+" "+x.State+" "+*x.Path]++
		}
	}
	n := 0
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		if len(f) < 8 || f[0] == "Num" {
			continue
		}
		kind := map[string]string{"0001": "UNIX:STREAM", "0002": "UNIX:DGRAM", "0005": "UNIX:SEQPACKET"}[f[4]]
		state := map[string]string{"01": "UNCONNECTED", "03": "ESTABLISHED"}[f[5]]
		if f[3] == "00010000" { // __SO_ACCEPTCON
			state = "LISTEN"
		}
		key := kind + " " + state + " " + f[7]
		if have[key] == 0 {
			d.add("no socket %s", key)
			continue
		}
		have[key]--
		n++
	}
	return n
}

// checkLinks holds sockets of AF_PACKET and of netlink that processes have against kdx's, by type, number and what waits in them. The kernel's own
// sockets of netlink have no number, and what is sent to a group may have come since. It returns how many there are.
func checkLinks(packet, netlink string, sockets map[string]netSocket, d *differences) int {
	var got, want []string
	waits := make(map[string]uint64)
	for _, x := range sockets {
		switch family, kind, _ := strings.Cut(x.Kind, ":"); {
		case family == "PACKET":
			got = append(got, "packet "+map[string]string{"RAW": "3", "DGRAM": "2"}[kind])
		case x.ID != nil:
			key := fmt.Sprintf("netlink %d", *x.ID)
			got = append(got, key)
			if x.RecvQ != nil {
				waits[key] = *x.RecvQ
			}
		}
	}
	for line := range strings.Lines(packet) {
		if f := strings.Fields(line); len(f) >= 9 && f[0] != "sk" {
			want = append(want, "packet "+f[2])
		}
	}
	for line := range strings.Lines(netlink) {
		f := strings.Fields(line)
		if len(f) < 10 || f[0] == "sk" || f[2] == "0" {
			continue
		}
		key := "netlink " + f[2]
		want = append(want, key)
		if n, err := strconv.ParseUint(f[4], 10, 64); err != nil || waits[key] < n {
			d.add("%s: %d bytes wait; want %s", key, waits[key], f[4])
		}
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		d.add("sockets of packets and netlink: %v; want %v", got, want)
	}
	return len(want)
}
