package main

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// What the guest said, taken apart. Formats are those of /proc, see proc(5).

// saidTask is a task by the guest's word.
type saidTask struct {
	TID, TGID, PPID int
	Comm            string // of a kernel thread maybe longer than the kernel's own field
	State           string // one letter
	Kernel          bool
	UID             int
	Prio            int    // the kernel's: 100 is real time's end
	Policy          string // as sched(7) names it, without SCHED_
	VSZ, RSS        uint64 // bytes
	Quiet           bool
	Switches        uint64 // context switches so far, of its own will or not
	Stack           []saidFrame
}

// saidFrame is a line of /proc/PID/stack.
type saidFrame struct {
	Function string
	Offset   uint64
}

// said takes all tasks apart. The process that took the truth ended before the crash: it is left out.
func (t truth) said() ([]saidTask, error) {
	var all []saidTask
	self := 0
	for _, raw := range t.Tasks {
		s, err := raw.said()
		if err != nil {
			return nil, err
		}
		if s.Comm == "lab-truth" && s.TID == s.TGID {
			self = s.TGID
		}
		all = append(all, s)
	}
	return slices.DeleteFunc(all, func(s saidTask) bool { return s.TGID == self }), nil
}

func (t truthTask) said() (saidTask, error) {
	s := saidTask{TID: t.TID, Quiet: t.Quiet}
	open, end := strings.IndexByte(t.Stat, '('), strings.LastIndexByte(t.Stat, ')')
	if open < 0 || end < open {
		return s, fmt.Errorf("task %d: stat %q has no name", t.TID, t.Stat)
	}
	s.Comm = t.Stat[open+1 : end]
	f := strings.Fields(t.Stat[end+1:])
	if len(f) < 7 {
		return s, fmt.Errorf("task %d: stat %q is short", t.TID, t.Stat)
	}
	s.State = f[0]
	flags, err := strconv.ParseUint(f[6], 10, 64)
	if err != nil {
		return s, fmt.Errorf("task %d: flags: %w", t.TID, err)
	}
	const pfKthread = 0x00200000
	s.Kernel = flags&pfKthread != 0
	if err := s.numbers(f); err != nil {
		return s, fmt.Errorf("task %d: %w", t.TID, err)
	}
	for line := range strings.Lines(t.Status) {
		key, value, _ := strings.Cut(line, ":")
		v := strings.Fields(value)
		if len(v) == 0 {
			continue
		}
		n, _ := strconv.Atoi(v[0])
		switch key {
		case "Tgid":
			s.TGID = n
		case "PPid":
			s.PPID = n
		case "Uid":
			s.UID = n
		case "voluntary_ctxt_switches", "nonvoluntary_ctxt_switches":
			s.Switches += uint64(n)
		}
	}
	for _, line := range t.Stack {
		if fr, ok := parseFrame(line); ok {
			s.Stack = append(s.Stack, fr)
		}
	}
	return s, nil
}

// policies are the numbers of sched(7).
var policies = map[int]string{0: "NORMAL", 1: "FIFO", 2: "RR", 3: "BATCH", 5: "IDLE", 6: "DEADLINE", 7: "EXT"}

// numbers reads what lies further back in stat; f[0] is its third field. See proc_pid_stat(5).
func (s *saidTask) numbers(f []string) error {
	const prio, vsize, rss, policy = 18 - 3, 23 - 3, 24 - 3, 41 - 3
	if len(f) <= policy {
		return nil // a short one, of a test
	}
	var n [4]int64
	for i, at := range []int{prio, vsize, rss, policy} {
		var err error
		if n[i], err = strconv.ParseInt(f[at], 10, 64); err != nil {
			return fmt.Errorf("stat, field %d: %w", at+3, err)
		}
	}
	const maxRTPrio, pageSize = 100, 4096
	s.Prio, s.VSZ, s.RSS, s.Policy = int(n[0])+maxRTPrio, uint64(n[1]), uint64(n[2])*pageSize, policies[int(n[3])]
	return nil
}

// parseFrame reads "do_wait+0x5e/0xe0 [module]"; a bare address, for code without a symbol, is no frame.
func parseFrame(line string) (saidFrame, bool) {
	word, _, _ := strings.Cut(line, " ")
	fn, rest, ok := strings.Cut(word, "+0x")
	off, _, ok2 := strings.Cut(rest, "/")
	n, err := strconv.ParseUint(off, 16, 64)
	return saidFrame{fn, n}, ok && ok2 && err == nil
}

// saidModule is a line of /proc/modules.
type saidModule struct {
	Name string
	Size uint64 // bytes
	Addr uint64
}

func parseModules(text string) ([]saidModule, error) {
	var out []saidModule
	for line := range strings.Lines(text) {
		f := strings.Fields(line) // name size refs users state address [taint]
		if len(f) < 6 {
			return nil, fmt.Errorf("/proc/modules: %q", line)
		}
		size, err := strconv.ParseUint(f[1], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("/proc/modules: %w", err)
		}
		addr, err := strconv.ParseUint(strings.TrimPrefix(f[5], "0x"), 16, 64)
		if err != nil {
			return nil, fmt.Errorf("/proc/modules: %w", err)
		}
		out = append(out, saidModule{f[0], size, addr})
	}
	return out, nil
}

// saidSlab is a line of /proc/slabinfo. Sizes are bytes, counts objects and slabs.
type saidSlab struct {
	Name                                string
	Active, Total, Size, PerSlab, Pages uint64
	Slabs                               uint64
}

func parseSlabinfo(text string) ([]saidSlab, error) {
	var out []saidSlab
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "slabinfo ") || strings.HasPrefix(line, "#") {
			continue
		}
		f := strings.Fields(line)
		// name active num size perslab pages : tunables a b c : slabdata active slabs shared
		if len(f) < 15 || f[11] != ":" || f[12] != "slabdata" {
			return nil, fmt.Errorf("/proc/slabinfo: %q", line)
		}
		s := saidSlab{Name: f[0]}
		for i, p := range []*uint64{&s.Active, &s.Total, &s.Size, &s.PerSlab, &s.Pages} {
			n, err := strconv.ParseUint(f[1+i], 10, 64)
			if err != nil {
				return nil, fmt.Errorf("/proc/slabinfo: %w", err)
			}
			*p = n
		}
		var err error
		if s.Slabs, err = strconv.ParseUint(f[14], 10, 64); err != nil {
			return nil, fmt.Errorf("/proc/slabinfo: %w", err)
		}
		out = append(out, s)
	}
	return out, nil
}

// parseMeminfo gives values in bytes, or pages where the kernel says no unit.
func parseMeminfo(text string) map[string]uint64 {
	out := map[string]uint64{}
	for line := range strings.Lines(text) {
		key, value, _ := strings.Cut(line, ":")
		f := strings.Fields(value)
		if len(f) == 0 {
			continue
		}
		n, err := strconv.ParseUint(f[0], 10, 64)
		if err != nil {
			continue
		}
		if len(f) > 1 && f[1] == "kB" {
			n <<= 10
		}
		out[key] = n
	}
	return out
}

// saidRecord is a record of /dev/kmsg.
type saidRecord struct {
	Seq  uint64
	Usec uint64
	Text string
}

// parseKmsg reads "priority,sequence,microseconds,flags;text" with \xHH for what is not printable; lines behind are properties.
func parseKmsg(record string) (saidRecord, error) {
	var r saidRecord
	head, text, ok := strings.Cut(record, ";")
	f := strings.Split(head, ",")
	if !ok || len(f) < 4 {
		return r, fmt.Errorf("/dev/kmsg: %q", record)
	}
	var err, err2 error
	r.Seq, err = strconv.ParseUint(f[1], 10, 64)
	r.Usec, err2 = strconv.ParseUint(f[2], 10, 64)
	if err != nil || err2 != nil {
		return r, fmt.Errorf("/dev/kmsg: %q", record)
	}
	text, _, _ = strings.Cut(text, "\n")
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] == '\\' && i+3 < len(text) && text[i+1] == 'x' {
			if n, err := strconv.ParseUint(text[i+2:i+4], 16, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(text[i])
	}
	r.Text = b.String()
	return r, nil
}
