package view

import (
	"bufio"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/vmem"
)

// FileUsers is fuser: who uses a file. Its JSON is an array of FileUser.
type FileUsers []FileUser

// FileUser is a task that uses the file, and how.
type FileUser struct {
	PID   int32     `json:"pid"`
	TGID  int32     `json:"tgid"`
	Task  vmem.Addr `json:"task"`
	Comm  string    `json:"comm"`
	Usage []string  `json:"usage"` // root, cwd, exe, fd, mmap
	FDs   []int     `json:"fds,omitempty"`
	Inode vmem.Addr `json:"inode"`
}

// Text writes crash's table.
func (l FileUsers) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	bw.WriteString(" PID         TASK        COMM             USAGE\n")
	for _, u := range l {
		fmt.Fprintf(bw, "%5d  %016x  %-16s %s\n", u.PID, uint64(u.Task), `"`+Printable(u.Comm)+`"`, strings.Join(u.Usage, " "))
	}
	return bw.Flush()
}
