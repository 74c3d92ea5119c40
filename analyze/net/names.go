package net

import "fmt"

// families by AF_ number, with crash's names.
var families = map[uint16]string{
	1: "UNIX", 2: "INET", 3: "AX25", 4: "IPX", 5: "APPLETALK", 6: "NETROM", 7: "BRIDGE", 8: "ATMPVC", 9: "X25", 10: "INET6", 11: "ROSE", 12: "DECnet",
	13: "NETBEUI", 14: "SECURITY", 15: "KEY", 16: "NETLINK", 17: "PACKET", 18: "ASH", 19: "ECONET", 20: "ATMSVC", 21: "RDS", 22: "SNA", 23: "IRDA",
	24: "PPPOX", 25: "WANPIPE", 26: "LLC", 27: "IB", 28: "MPLS", 29: "CAN", 30: "TIPC", 31: "BLUETOOTH", 32: "IUCV", 33: "RXRPC", 34: "ISDN", 35: "PHONET",
	36: "IEEE802154", 37: "CAIF", 38: "ALG", 39: "NFC", 40: "VSOCK", 41: "KCM", 42: "QIPCRTR", 43: "SMC", 44: "XDP", 45: "MCTP",
}

// Family names an AF_ number: "INET6".
func Family(f uint16) string {
	if name, ok := families[f]; ok {
		return name
	}
	return fmt.Sprint(f)
}

var socketTypes = map[uint16]string{1: "STREAM", 2: "DGRAM", 3: "RAW", 4: "RDM", 5: "SEQPACKET", 6: "DCCP", 10: "PACKET"}

// Type names a SOCK_ number: "STREAM".
func Type(t uint16) string {
	if name, ok := socketTypes[t]; ok {
		return name
	}
	return fmt.Sprint(t)
}

// netlinkProtocols by NETLINK_ number.
var netlinkProtocols = map[uint16]string{
	0: "ROUTE", 1: "UNUSED", 2: "USERSOCK", 3: "FIREWALL", 4: "SOCK_DIAG", 5: "NFLOG", 6: "XFRM", 7: "SELINUX", 8: "ISCSI", 9: "AUDIT", 10: "FIB_LOOKUP",
	11: "CONNECTOR", 12: "NETFILTER", 13: "IP6_FW", 14: "DNRTMSG", 15: "KOBJECT_UEVENT", 16: "GENERIC", 18: "SCSITRANSPORT", 19: "ECRYPTFS", 20: "RDMA", 21: "CRYPTO", 22: "SMC",
}

// FamilyType is how crash names a socket: "INET:STREAM", "NETLINK/ROUTE:RAW".
func (s *Socket) FamilyType() string {
	name := Family(s.Family)
	if s.Family == AFNetlink {
		if p, ok := netlinkProtocols[s.Protocol]; ok {
			name += "/" + p
		}
	}
	return name + ":" + Type(s.Type)
}

// tcpStates by TCP_ number, with ss's spelling. SCTP's and AF_UNIX's states use those that they need.
var tcpStates = []string{"", "ESTABLISHED", "SYN-SENT", "SYN-RECV", "FIN-WAIT-1", "FIN-WAIT-2", "TIME-WAIT", "CLOSE", "CLOSE-WAIT", "LAST-ACK", "LISTEN", "CLOSING", "NEW-SYN-RECV", "BOUND-INACTIVE"}

// StateName names the socket's state as ss does; "" for families that have none.
func (s *Socket) StateName() string {
	if s.Sock == 0 {
		return "CLOSED"
	}
	switch s.Family {
	case AFInet, AFInet6, AFUnix:
	default:
		return ""
	}
	if s.Family != AFUnix && s.Type != typeStream && s.State == 7 || s.Family == AFUnix && s.State == 7 {
		return "UNCONNECTED"
	}
	return stateName(s.State)
}

// stateName names a TCP_ number.
func stateName(state uint8) string {
	if int(state) < len(tcpStates) && state > 0 {
		return tcpStates[state]
	}
	return fmt.Sprint(state)
}
