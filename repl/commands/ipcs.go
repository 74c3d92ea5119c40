package commands

import (
	"fmt"
	"strconv"
	"strings"

	"kdx/analyze/ipc"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func ipcsCommand() *Command {
	return &Command{
		Name: "ipcs", Group: "kernel", Summary: "System V shared memory, semaphores and message queues", Needs: NeedsTypes,
		Usage: []string{"[-s] [-m | -M] [-q] [-n TASK] [id | address]"},
		Flags: []Flag{
			{Name: "s", Help: "arrays of semaphores"},
			{Name: "m", Help: "segments of shared memory"},
			{Name: "M", Help: "segments of shared memory, with their pages in memory and in swap, and the inode"},
			{Name: "q", Help: "message queues"},
			{Name: "n", Arg: "TASK", Help: "those of this task's IPC namespace"},
		},
		Help: "Without a flag it lists all three, of the first namespace. STATUS says dest of a segment that goes when its last user detaches, locked of one that is not " +
			"swapped out. In JSON there are also the times and pids of the last operations, and the value of each semaphore.",
		Examples: []Example{{"ipcs", "all three"}, {"ipcs -M", "how much of each segment is in memory"}, {"ipcs -m 2", "one of them"}},
		Run:      runIPCS,
	}
}

func runIPCS(c *Call) (view.Result, error) {
	ns, err := ipcNamespace(c)
	if err != nil {
		return nil, err
	}
	if len(c.Args) > 1 {
		return nil, &UsageError{"ipcs", "takes one id or address"}
	}
	wanted := func(ipc.Perm) bool { return true }
	if len(c.Args) == 1 {
		if wanted, err = ipcWanted(c.Args[0]); err != nil {
			return nil, err
		}
	}
	all := !c.Flags.Has("s") && !c.Flags.Has("m") && !c.Flags.Has("M") && !c.Flags.Has("q")
	out := &view.IPC{Details: c.Flags.Has("M"), Found: len(c.Args) == 1}
	if all || c.Flags.Has("m") || c.Flags.Has("M") {
		out.Segments = []view.IPCSegment{}
		for s, err := range ipc.Shm(c.View, ns) {
			if s == nil || !wanted(s.Perm) {
				c.View.Gap("ipcs", err)
				continue
			}
			out.Segments = append(out.Segments, segmentRow(c, s, err))
		}
	}
	if all || c.Flags.Has("s") {
		out.Semaphores = []view.IPCSemaphores{}
		for s, err := range ipc.Sem(c.View, ns) {
			if s == nil || !wanted(s.Perm) {
				c.View.Gap("ipcs", err)
				continue
			}
			row := view.IPCSemaphores{IPCPerm: permRow(c, &s.Perm, "semaphores", err), Values: s.Values}
			if err == nil {
				row.Count, row.Changed = &s.Count, &s.Changed
			}
			out.Semaphores = append(out.Semaphores, row)
		}
	}
	if all || c.Flags.Has("q") {
		out.Queues = []view.IPCQueue{}
		for q, err := range ipc.Msg(c.View, ns) {
			if q == nil || !wanted(q.Perm) {
				c.View.Gap("ipcs", err)
				continue
			}
			row := view.IPCQueue{IPCPerm: permRow(c, &q.Perm, "message queue", err)}
			if err == nil {
				row.Bytes, row.Messages, row.Limit, row.LastSender, row.LastReader = &q.Bytes, &q.Messages, &q.Limit, &q.LastSender, &q.LastReader
				row.Sent, row.Received, row.Changed = &q.Sent, &q.Received, &q.Changed
			}
			out.Queues = append(out.Queues, row)
		}
	}
	if out.Found && len(out.Segments)+len(out.Semaphores)+len(out.Queues) == 0 {
		return nil, fmt.Errorf("there is nothing with the id or address %s", c.Args[0])
	}
	return out, c.View.Context().Err()
}

func ipcNamespace(c *Call) (vmem.Addr, error) {
	name := c.Flags.Value("n")
	if name == "" {
		return ipc.Initial(c.View)
	}
	xs, err := selectTasks(c, []string{name})
	if err != nil {
		return 0, err
	}
	if len(xs) > 1 {
		return 0, &UsageError{"ipcs", fmt.Sprintf("-n takes one task; %d have the name %s", len(xs), name)}
	}
	ns, err := ipc.Namespace(c.View, xs[0].Addr)
	if err == nil && ns == 0 {
		err = fmt.Errorf("PID %d (%s) has no IPC namespace any more: it is exiting", xs[0].PID, xs[0].Comm)
	}
	return ns, err
}

// ipcWanted takes an id, which is decimal, or an address.
func ipcWanted(word string) (func(ipc.Perm) bool, error) {
	id, idErr := strconv.ParseInt(word, 10, 32)
	addr, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), 16, 64)
	if idErr != nil && err != nil {
		return nil, &UsageError{"ipcs", word + " is neither an id nor an address"}
	}
	return func(p ipc.Perm) bool {
		return idErr == nil && int64(p.ID) == id || err == nil && uint64(p.Addr) == addr
	}, nil
}

// permRow is what all have; with an error, what of it was read.
func permRow(c *Call, p *ipc.Perm, what string, err error) view.IPCPerm {
	row := view.IPCPerm{Addr: p.Addr}
	if err != nil {
		c.View.Gap(fmt.Sprintf("%s at %#x", what, uint64(p.Addr)), err)
		if p.Mode == 0 && p.ID == 0 && p.Key == 0 { // not even kern_ipc_perm could be read
			return row
		}
	}
	perms := p.Mode & 0o777
	row.Key, row.ID, row.UID, row.GID, row.Perms = &p.Key, &p.ID, &p.UID, &p.GID, &perms
	return row
}

func segmentRow(c *Call, s *ipc.Segment, err error) view.IPCSegment {
	row := view.IPCSegment{IPCPerm: permRow(c, &s.Perm, "shared memory", err)}
	if s.Inode != 0 {
		row.Inode = &s.Inode
	}
	if s.Allocated == 0 && err != nil {
		return row
	}
	var status []string
	if s.Destroyed() {
		status = append(status, "dest")
	}
	if s.Locked() {
		status = append(status, "locked")
	}
	text := strings.Join(status, " ")
	row.Bytes, row.Attached, row.Status, row.Attach, row.Detach, row.Changed = &s.Size, &s.Attached, &text, &s.Attach, &s.Detach, &s.Changed
	row.Creator, row.Last, row.Allocated = s.Creator, s.Last, &s.Allocated
	if err == nil {
		row.Resident, row.Swapped = &s.Resident, &s.Swapped
	}
	return row
}
