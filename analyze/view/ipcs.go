package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// IPC is ipcs: the kinds that were asked for; null for the others.
type IPC struct {
	Segments   []IPCSegment    `json:"shared_memory"`
	Semaphores []IPCSemaphores `json:"semaphores"`
	Queues     []IPCQueue      `json:"message_queues"`
	Details    bool            `json:"-"` // ipcs -M: pages and inode, each segment by itself
	Found      bool            `json:"-"` // an id or address was asked for: kinds without it are not named
}

// IPCPerm is what all three have. Values that could not be read are null. Times are seconds since 1970, 0 for never.
type IPCPerm struct {
	Addr    vmem.Addr `json:"address"`
	Key     *uint32   `json:"key"`
	ID      *int32    `json:"id"`
	UID     *uint32   `json:"uid"`
	GID     *uint32   `json:"gid"`
	Perms   *uint16   `json:"perms"` // access bits alone
	Changed *int64    `json:"changed"`
}

// IPCSegment is a segment of shared memory.
type IPCSegment struct {
	IPCPerm
	Bytes     *uint64    `json:"bytes"`
	Attached  *uint64    `json:"attached"`
	Status    *string    `json:"status"` // "", "dest", "locked" or both
	Creator   *int32     `json:"creator_pid"`
	Last      *int32     `json:"last_pid"`
	Attach    *int64     `json:"attach_time"`
	Detach    *int64     `json:"detach_time"`
	Inode     *vmem.Addr `json:"inode"`
	Allocated *uint64    `json:"pages_allocated"`
	Resident  *uint64    `json:"pages_resident"`
	Swapped   *uint64    `json:"pages_swapped"`
}

// IPCSemaphores is an array of semaphores.
type IPCSemaphores struct {
	IPCPerm
	Count  *int    `json:"count"`
	Values []int32 `json:"values"`
}

// IPCQueue is a queue of messages.
type IPCQueue struct {
	IPCPerm
	Bytes      *uint64 `json:"bytes"`
	Messages   *uint64 `json:"messages"`
	Limit      *uint64 `json:"limit_bytes"`
	LastSender *int32  `json:"last_sender_pid"`
	LastReader *int32  `json:"last_reader_pid"`
	Sent       *int64  `json:"send_time"`
	Received   *int64  `json:"receive_time"`
}

// or writes a value, or a dash for what is not known.
func or[T any](x *T, format string) string {
	if x == nil {
		return "-"
	}
	return fmt.Sprintf(format, *x)
}

func (p *IPCPerm) text() string {
	return fmt.Sprintf("%016x %-8s %-10s %-5s %-5s", uint64(p.Addr), or(p.Key, "%08x"), or(p.ID, "%d"), or(p.UID, "%d"), or(p.Perms, "%o"))
}

func (s *IPCSegment) row() string {
	status := text(s.Status)
	if s.Status != nil {
		status = *s.Status
	}
	return fmt.Sprintf("%s %-10s %-6s %s \n", s.text(), or(s.Bytes, "%d"), or(s.Attached, "%d"), status)
}

// Text writes crash's tables.
func (i *IPC) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	if i.Segments != nil {
		i.segments(bw)
	}
	if i.Semaphores != nil && i.begin(bw, "SEM_ARRAY        KEY      SEMID      UID   PERMS NSEMS     \n", len(i.Semaphores)) {
		for _, s := range i.Semaphores {
			fmt.Fprintf(bw, "%s %-10s\n", s.text(), or(s.Count, "%d"))
		}
		bw.WriteByte('\n')
	}
	if i.Queues != nil && i.begin(bw, "MSG_QUEUE        KEY      MSQID      UID   PERMS USED-BYTES   MESSAGES    \n", len(i.Queues)) {
		for _, q := range i.Queues {
			fmt.Fprintf(bw, "%s %-12s %-12s\n", q.text(), or(q.Bytes, "%d"), or(q.Messages, "%d"))
		}
		bw.WriteByte('\n')
	}
	return bw.Flush()
}

// begin writes a table's header; false: there is nothing to write below it.
func (i *IPC) begin(bw *bufio.Writer, header string, rows int) bool {
	if rows == 0 && i.Found {
		return false
	}
	bw.WriteString(header)
	if rows == 0 {
		bw.WriteString("(none allocated)\n\n")
		return false
	}
	return true
}

func (i *IPC) segments(bw *bufio.Writer) {
	const header = "SHMID_KERNEL     KEY      SHMID      UID   PERMS BYTES      NATTCH STATUS\n"
	if !i.begin(bw, header, len(i.Segments)) {
		return
	}
	for n, s := range i.Segments {
		if i.Details && n > 0 {
			bw.WriteString(header)
		}
		bw.WriteString(s.row())
		if i.Details {
			fmt.Fprintf(bw, "PAGES ALLOCATED/RESIDENT/SWAPPED: %s/%s/%s\nINODE: %s\n\n", orDash(s.Allocated), orDash(s.Resident), orDash(s.Swapped), addrOrDash(s.Inode))
		}
	}
	if !i.Details {
		bw.WriteByte('\n')
	}
}
