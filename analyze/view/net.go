package view

import (
	"bufio"
	"fmt"
	"io"
	"net/netip"
	"strings"

	"kdx/analyze/vmem"
)

// NetDevices is net. Its JSON is an array of NetDevice.
type NetDevices []NetDevice

// NetDevice is a network device. What could not be read is null.
type NetDevice struct {
	Addr      vmem.Addr `json:"address"`
	Name      *string   `json:"name"`
	Index     *int      `json:"index"`
	Flags     *uint32   `json:"flags"` // IFF_…
	MTU       *uint32   `json:"mtu"`   // bytes
	Type      *string   `json:"type"`
	HW        string    `json:"hw_address,omitempty"`
	Namespace vmem.Addr `json:"namespace,omitempty"`
	Addrs     []string  `json:"addresses"` // with the length of the prefix
}

// Text writes crash's table.
func (l NetDevices) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	bw.WriteString("   NET_DEVICE     NAME       IP ADDRESS(ES)\n")
	for _, d := range l {
		name := "-"
		if d.Name != nil {
			name = Printable(*d.Name)
		}
		var addrs []string
		for _, a := range d.Addrs {
			ip, _, _ := strings.Cut(a, "/")
			addrs = append(addrs, ip)
		}
		bw.WriteString(strings.TrimRight(fmt.Sprintf("%016x  %-10s %s", uint64(d.Addr), name, strings.Join(addrs, ", ")), " ") + "\n")
	}
	return bw.Flush()
}

// NetNeighbours is net -a. Its JSON is an array of NetNeighbour.
type NetNeighbours []NetNeighbour

// NetNeighbour is an entry of ARP's or of IPv6's table. What could not be read is null.
type NetNeighbour struct {
	Addr      vmem.Addr `json:"address"`
	IP        *string   `json:"ip"`
	HWType    *string   `json:"hw_type"`
	HW        *string   `json:"hw_address"`
	Device    *string   `json:"device"`
	State     *string   `json:"state"`
	Namespace vmem.Addr `json:"namespace,omitempty"`
}

// Text writes crash's table.
func (l NetNeighbours) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	const row = "%-16s %-15s %-10s %-18s %-7s %s\n"
	fmt.Fprintf(bw, row, "NEIGHBOUR", "IP ADDRESS", "HW TYPE", "HW ADDRESS", "DEVICE", "STATE")
	for _, n := range l {
		fmt.Fprintf(bw, row, fmt.Sprintf("%016x", uint64(n.Addr)), text(n.IP), text(n.HWType), text(n.HW), text(n.Device), text(n.State))
	}
	return bw.Flush()
}

// text is a string that may be unknown; an empty one keeps its column.
func text(s *string) string {
	if s == nil || *s == "" {
		return "-"
	}
	return Printable(*s)
}

// NetSockets are the open sockets of a task (net -s). Its JSON is an array of NetSocket.
type NetSockets []NetSocket

// NetSocket is an open socket. What could not be read, or is not of its kind, is null.
type NetSocket struct {
	FD       int          `json:"fd"`
	Socket   vmem.Addr    `json:"socket"`
	Sock     vmem.Addr    `json:"sock"`
	Kind     *string      `json:"kind"` // "INET:STREAM"
	Protocol *uint16      `json:"protocol"`
	State    *string      `json:"state"`
	Local    *NetEndpoint `json:"local"`
	Remote   *NetEndpoint `json:"remote"`
	RecvQ    *uint64      `json:"recv_queue"`
	SendQ    *uint64      `json:"send_queue"`
	Path     *string      `json:"path"`           // AF_UNIX; an abstract name begins with @, one that is not bound is ""
	Peer     vmem.Addr    `json:"peer,omitempty"` // AF_UNIX: the other end's struct sock
	PortID   *uint32      `json:"netlink_id"`     // AF_NETLINK
	Structs  []*Objects   `json:"-"`              // net -S: struct socket and what is behind it
}

// NetEndpoint is an address and a port.
type NetEndpoint struct {
	Address string `json:"address"`
	Port    uint16 `json:"port"`
}

// Endpoint makes a NetEndpoint; nil if the address is not known.
func Endpoint(a netip.AddrPort) *NetEndpoint {
	if !a.IsValid() {
		return nil
	}
	return &NetEndpoint{a.Addr().String(), a.Port()}
}

// crashForm is ADDRESS-PORT; crash writes each of the eight groups of an IPv6 address.
func (e *NetEndpoint) crashForm() string {
	if e == nil {
		return ""
	}
	a, err := netip.ParseAddr(e.Address)
	if err != nil || !a.Is6() {
		return fmt.Sprintf("%s-%d", e.Address, e.Port)
	}
	b := a.As16()
	var groups []string
	for i := 0; i < 16; i += 2 {
		groups = append(groups, fmt.Sprintf("%x", uint16(b[i])<<8|uint16(b[i+1])))
	}
	return fmt.Sprintf("%s-%d", strings.Join(groups, ":"), e.Port)
}

// Text writes crash's table, and behind its columns the state and the queues.
func (l NetSockets) Text(w io.Writer, o Options) error {
	bw := bufio.NewWriter(w)
	switch {
	case len(l) == 0:
		bw.WriteString("No open sockets.\n")
	case len(l[0].Structs) > 0:
		for _, s := range l {
			fmt.Fprintf(bw, "FD       SOCKET             SOCK      \n%2d  %016x  %016x\n\n", s.FD, uint64(s.Socket), uint64(s.Sock))
			for _, x := range s.Structs {
				if err := x.Text(bw, o); err != nil {
					return err
				}
			}
			bw.WriteByte('\n')
		}
	default:
		l.table(bw)
	}
	return bw.Flush()
}

func (l NetSockets) table(bw *bufio.Writer) {
	rows := [][]string{{"FAMILY:TYPE", "SOURCE-PORT", "DESTINATION-PORT", "STATE", "RECV-Q", "SEND-Q"}}
	for _, s := range l {
		from, to := s.ends()
		rows = append(rows, []string{text(s.Kind), from, to, text(s.State), orDash(s.RecvQ), orDash(s.SendQ)})
	}
	writeSockets(bw, rows, func(i int) (head, tail string) {
		if i == 0 {
			return "FD      SOCKET            SOCK      ", ""
		}
		s := l[i-1]
		return fmt.Sprintf("%2d %016x %016x", s.FD, uint64(s.Socket), uint64(s.Sock)), ""
	})
}

// ends are the two ends as the columns show them, which are empty for what the socket's kind does not have.
func (s *NetSocket) ends() (from, to string) {
	if s.Kind == nil {
		return "-", "-"
	}
	family, _, _ := strings.Cut(*s.Kind, ":")
	family, _, _ = strings.Cut(family, "/") // NETLINK/ROUTE
	switch {
	case family == "INET" || family == "INET6":
		return endOrDash(s.Local), endOrDash(s.Remote)
	case family == "UNIX" && s.Path != nil:
		return Printable(*s.Path), ""
	case family == "NETLINK" && s.PortID != nil:
		return fmt.Sprint(*s.PortID), ""
	case family == "UNIX" || family == "NETLINK":
		return "-", ""
	}
	return "", ""
}

func endOrDash(e *NetEndpoint) string {
	if e == nil {
		return "-"
	}
	return e.crashForm()
}

// writeSockets writes a table of sockets, whose first row is the heading: columns as wide as they need be, queues and what is behind them to
// the right. ends are what stands in front of a row and behind it.
func writeSockets(bw *bufio.Writer, rows [][]string, ends func(row int) (head, tail string)) {
	const firstNumber = 4
	widths := make([]int, len(rows[0]))
	for _, r := range rows {
		for i, c := range r {
			widths[i] = max(widths[i], len(c))
		}
	}
	for i, r := range rows {
		head, tail := ends(i)
		bw.WriteString(head)
		for k, c := range r {
			if k >= firstNumber {
				fmt.Fprintf(bw, " %*s", widths[k], c)
				continue
			}
			fmt.Fprintf(bw, " %-*s", widths[k], c)
		}
		bw.WriteString(tail + "\n")
	}
}
