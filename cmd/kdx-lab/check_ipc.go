package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// ipcPerm is what all kinds of System V's IPC have.
type ipcPerm struct {
	Key     uint32 `json:"key"`
	ID      int32  `json:"id"`
	UID     uint32 `json:"uid"`
	GID     uint32 `json:"gid"`
	Perms   uint16 `json:"perms"`
	Changed int64  `json:"changed"`
}

// ipcSegment is a segment of shared memory.
type ipcSegment struct {
	ipcPerm
	Bytes    uint64 `json:"bytes"`
	Attached uint64 `json:"attached"`
	Status   string `json:"status"`
	Creator  int32  `json:"creator_pid"`
	Last     int32  `json:"last_pid"`
	Attach   int64  `json:"attach_time"`
	Detach   int64  `json:"detach_time"`
	Resident uint64 `json:"pages_resident"`
	Swapped  uint64 `json:"pages_swapped"`
}

// kdxIPC is ipcs.
type kdxIPC struct {
	Shm []ipcSegment `json:"shared_memory"`
	Sem []struct {
		ipcPerm
		Count  int     `json:"count"`
		Values []int32 `json:"values"`
	} `json:"semaphores"`
	Msg []struct {
		ipcPerm
		Bytes    uint64 `json:"bytes"`
		Messages uint64 `json:"messages"`
		Sender   int32  `json:"last_sender_pid"`
		Reader   int32  `json:"last_reader_pid"`
		Sent     int64  `json:"send_time"`
		Received int64  `json:"receive_time"`
	} `json:"message_queues"`
}

// checkIPC holds ipcs against /proc/sysvipc.
func checkIPC(ctx context.Context, s *subject) (string, error) {
	var got kdxIPC
	if err := s.ask(ctx, []string{"ipcs"}, &got); err != nil {
		return "", err
	}
	var d differences
	compare := func(what string, have []string, file string, columns []int) {
		want := saidColumns(s.truth.Proc["/proc/sysvipc/"+file], columns)
		if !slices.Equal(have, want) {
			d.add("%s: %q; want %q", what, have, want)
		}
	}
	compareShm(s, got.Shm, s.truth.Proc["/proc/sysvipc/shm"], nil, &d)
	var rows []string
	sum := int32(0)
	for _, x := range got.Sem {
		rows = append(rows, spaced(x.Key, x.ID, fmt.Sprintf("%o", x.Perms), x.Count, x.UID, x.GID, x.Changed))
		for _, v := range x.Values {
			sum += v
		}
	}
	compare("semaphores", rows, "sem", []int{0, 1, 2, 3, 4, 5, 9})
	rows = nil
	for _, x := range got.Msg {
		rows = append(rows, spaced(x.Key, x.ID, fmt.Sprintf("%o", x.Perms), x.Bytes, x.Messages, x.Sender, x.Reader, x.UID, x.GID, x.Sent, x.Received, x.Changed))
	}
	compare("message queues", rows, "msg", []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13})
	if len(got.Sem) > 0 && sum != 5 { // the workload raised one by 5
		d.add("the semaphores' values are %d together; want 5", sum)
	}
	return fmt.Sprintf("%d segments, %d arrays of semaphores, %d queues", len(got.Shm), len(got.Sem), len(got.Msg)), d.err()
}

// compareShm holds the segments of a namespace against its /proc/sysvipc/shm. PIDs there are those of the namespace that it was read in: pids has
// them by the first namespace's.
func compareShm(s *subject, segments []ipcSegment, said string, pids map[int32]int32, d *differences) {
	inside := func(pid int32) int32 {
		if p, ok := pids[pid]; ok {
			return p
		}
		return pid
	}
	var rows []string
	page := uint64(s.truth.PageSize)
	for _, x := range segments {
		mode := x.Perms
		if strings.Contains(x.Status, "dest") {
			mode |= 0o1000
		}
		if strings.Contains(x.Status, "locked") {
			mode |= 0o2000
		}
		if x.Swapped*page > x.Bytes || x.Resident*page > x.Bytes {
			d.add("segment %d of %d bytes has %d pages in memory and %d in swap", x.ID, x.Bytes, x.Resident, x.Swapped)
		}
		rows = append(rows, spaced(x.Key, x.ID, fmt.Sprintf("%o", mode), x.Bytes, inside(x.Creator), inside(x.Last), x.Attached, x.UID, x.GID, x.Attach, x.Detach, x.Changed))
	}
	if want := saidColumns(said, []int{0, 1, 2, 3, 4, 5, 6, 7, 8, 11, 12, 13}); !slices.Equal(rows, want) {
		d.add("shared memory: %q; want %q", rows, want)
	}
	// What is in memory. From 6.7 to at least 7.2 the kernel itself counts a huge page of a segment 512 times: there kdx is right.
	for i, line := range saidColumns(said, []int{3, 14, 15}) {
		var size, rss, swap uint64
		if _, err := fmt.Sscan(line, &size, &rss, &swap); err != nil || i >= len(segments) {
			continue
		}
		x := segments[i]
		if pids != nil && x.Resident+x.Swapped == (rss+swap)/page { // read as soon as it was made: it may have gone to swap since
			continue
		}
		if rss <= size && (x.Resident*page != rss || x.Swapped*page != swap) && s.way.name != "oom" {
			d.add("segment %d: %d bytes in memory, %d in swap; want %d and %d", x.ID, x.Resident*page, x.Swapped*page, rss, swap)
		}
	}
}

// saidColumns are some columns of a table of /proc, in lines; keys there are signed.
func saidColumns(text string, columns []int) []string {
	var out []string
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		f := strings.Fields(line)
		if i == 0 || len(f) == 0 {
			continue
		}
		var row []string
		for _, c := range columns {
			if c >= len(f) {
				continue
			}
			if c == 0 {
				if n, err := strconv.ParseInt(f[c], 10, 64); err == nil {
					f[c] = fmt.Sprint(uint32(n))
				}
			}
			row = append(row, f[c])
		}
		out = append(out, strings.Join(row, " "))
	}
	return out
}

// checkBPF holds bpf against what the system call listed.
func checkBPF(ctx context.Context, s *subject) (string, error) {
	var got struct {
		Programs []struct {
			ID    uint32   `json:"id"`
			Name  string   `json:"name"`
			Type  string   `json:"type"`
			Tag   string   `json:"tag"`
			Jited uint64   `json:"jited_bytes"`
			Maps  []uint32 `json:"used_maps"`
		} `json:"programs"`
		Maps []struct {
			ID         uint32 `json:"id"`
			Name       string `json:"name"`
			Type       string `json:"type"`
			KeySize    uint32 `json:"key_size"`
			ValueSize  uint32 `json:"value_size"`
			MaxEntries uint32 `json:"max_entries"`
		} `json:"maps"`
	}
	if err := s.ask(ctx, []string{"bpf"}, &got); err != nil {
		return "", err
	}
	var d differences
	plain := func(s string) string { return strings.ToLower(strings.ReplaceAll(s, "_", "")) }
	if len(got.Programs) != len(s.truth.BPF.Programs) || len(got.Maps) != len(s.truth.BPF.Maps) {
		d.add("%d programs and %d maps; want %d and %d", len(got.Programs), len(got.Maps), len(s.truth.BPF.Programs), len(s.truth.BPF.Maps))
		return "", d.err()
	}
	for i, w := range s.truth.BPF.Programs {
		g := got.Programs[i]
		if g.ID != w.ID || g.Name != w.Name || g.Tag != w.Tag || g.Jited != uint64(w.Jited) || !slices.Equal(g.Maps, w.Maps) || plain(g.Type) != plain(w.Type) {
			d.add("program %+v; want %+v", g, w)
		}
	}
	for i, w := range s.truth.BPF.Maps {
		g := got.Maps[i]
		if g.ID != w.ID || g.Name != w.Name || g.KeySize != w.KeySize || g.ValueSize != w.ValueSize || g.MaxEntries != w.MaxEntries || plain(g.Type) != plain(w.Type) {
			d.add("map %+v; want %+v", g, w)
		}
	}
	return fmt.Sprintf("%d programs, %d maps", len(got.Programs), len(got.Maps)), d.err()
}

// checkMachine holds mach -m against /proc/iomem, and mach -c against /proc/cpuinfo.
func checkMachine(ctx context.Context, s *subject) (string, error) {
	var ranges []struct {
		Start string `json:"start"`
		End   string `json:"end"`
		Type  string `json:"type"`
	}
	var cpus []struct {
		CPU  int `json:"cpu"`
		Info struct {
			Objects []struct {
				Value struct {
					Model string `json:"x86_model_id"`
				} `json:"value"`
			} `json:"objects"`
		} `json:"info"`
	}
	if err := s.ask(ctx, []string{"mach -m", "mach -c"}, &ranges, &cpus); err != nil {
		return "", err
	}
	var d differences
	var have, want []string
	for _, r := range ranges {
		start, err1 := strconv.ParseUint(r.Start, 0, 64)
		end, err2 := strconv.ParseUint(r.End, 0, 64)
		if err1 != nil || err2 != nil {
			return "", fmt.Errorf("mach -m: %s to %s", r.Start, r.End)
		}
		if r.Type == "E820_RAM" {
			have = append(have, fmt.Sprintf("%08x-%08x", start, end-1))
		}
	}
	for line := range strings.Lines(s.truth.Proc["/proc/iomem"]) {
		if at, what, _ := strings.Cut(strings.TrimRight(line, "\n"), " : "); what == "System RAM" && !strings.HasPrefix(at, " ") {
			want = append(want, at)
		}
	}
	if !slices.Equal(have, want) {
		d.add("RAM %v; want %v", have, want)
	}
	models := make(map[int]string)
	for _, c := range cpus {
		if len(c.Info.Objects) == 1 {
			models[c.CPU] = strings.TrimRight(c.Info.Objects[0].Value.Model, "\x00 ")
		}
	}
	cpu := -1
	for line := range strings.Lines(s.truth.Proc["/proc/cpuinfo"]) {
		name, value, _ := strings.Cut(line, ":")
		switch value = strings.TrimSpace(value); strings.TrimSpace(name) {
		case "processor":
			var err error
			if cpu, err = strconv.Atoi(value); err != nil {
				return "", fmt.Errorf("/proc/cpuinfo: %q", line)
			}
		case "model name":
			if models[cpu] != value {
				d.add("CPU %d is %q; want %q", cpu, models[cpu], value)
			}
		}
	}
	if n := len(s.truth.present()); len(cpus) != n {
		d.add("%d CPUs; want %d", len(cpus), n)
	}
	return fmt.Sprintf("%d ranges, %d CPUs", len(ranges), len(cpus)), d.err()
}

// spaced are values with a blank between any two.
func spaced(values ...any) string { return strings.TrimSpace(fmt.Sprintln(values...)) }
