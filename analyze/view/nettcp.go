package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// NetTCPs are the sockets of TCP's tables (net -t). Its JSON is an array of NetTCP.
type NetTCPs []NetTCP

// NetTCP is a socket of TCP, whether a task has it open or not. What could not be read, or is not of its kind, is null: of sockets in TIME-WAIT, and of requests for
// a connection, there are no queues.
type NetTCP struct {
	Sock      vmem.Addr    `json:"sock"`             // struct sock, inet_timewait_sock or request_sock
	Socket    vmem.Addr    `json:"socket,omitempty"` // 0 if no task has it
	Inode     *uint64      `json:"inode"`            // of the descriptors that it is open under; 0 if no task has it
	Kind      *string      `json:"kind"`
	State     *string      `json:"state"`
	Local     *NetEndpoint `json:"local"`
	Remote    *NetEndpoint `json:"remote"`
	RecvQ     *uint64      `json:"recv_queue"`
	SendQ     *uint64      `json:"send_queue"`
	Namespace vmem.Addr    `json:"namespace,omitempty"`
}

// Text writes a table. An inode of - is that of a socket that no task has open.
func (l NetTCPs) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	rows := [][]string{{"FAMILY:TYPE", "SOURCE-PORT", "DESTINATION-PORT", "STATE", "RECV-Q", "SEND-Q", "INODE"}}
	for _, s := range l {
		inode := "-"
		if s.Inode != nil && *s.Inode != 0 {
			inode = fmt.Sprint(*s.Inode)
		}
		rows = append(rows, []string{text(s.Kind), s.Local.crashForm(), s.Remote.crashForm(), text(s.State), orDash(s.RecvQ), orDash(s.SendQ), inode})
	}
	writeSockets(bw, rows, func(i int) (head, tail string) {
		if i == 0 {
			return "SOCK            ", " NAMESPACE"
		}
		return fmt.Sprintf("%016x", uint64(l[i-1].Sock)), fmt.Sprintf(" %016x", uint64(l[i-1].Namespace))
	})
	return bw.Flush()
}
