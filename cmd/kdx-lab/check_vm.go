package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// saidMapping is a line of /proc/PID/maps.
type saidMapping struct {
	Start, End, Offset uint64
	Perms              string
	Path               string // "" without a file
}

func parseMaps(text string) ([]saidMapping, error) {
	var out []saidMapping
	for line := range strings.Lines(text) {
		f := strings.Fields(line) // start-end perms offset device inode path…
		if len(f) < 5 {
			return nil, fmt.Errorf("maps: %q", line)
		}
		from, to, _ := strings.Cut(f[0], "-")
		m := saidMapping{Perms: f[1]}
		for text, p := range map[string]*uint64{from: &m.Start, to: &m.End, f[2]: &m.Offset} {
			n, err := strconv.ParseUint(text, 16, 64)
			if err != nil {
				return nil, fmt.Errorf("maps: %w", err)
			}
			*p = n
		}
		if m.Start>>63 != 0 { // [vsyscall] is no mapping of the task
			continue
		}
		if len(f) > 5 && !strings.HasPrefix(f[5], "[") {
			m.Path = strings.Join(f[5:], " ")
		}
		out = append(out, m)
	}
	return out, nil
}

// vmAnswer is vm in JSON, of one task.
type vmAnswer struct {
	PID      int     `json:"pid"`
	TGID     int     `json:"tgid"`
	MM       *string `json:"mm"`
	Mappings []struct {
		Start  string  `json:"start"`
		End    string  `json:"end"`
		Flags  string  `json:"flags"`
		File   *string `json:"file"`
		Offset *uint64 `json:"offset"`
	} `json:"mappings"`
}

func (a *vmAnswer) mappings() []saidMapping {
	var out []saidMapping
	for _, m := range a.Mappings {
		flags := hexNumber(m.Flags)
		perm := []byte("---p")
		for i, c := range "rwx" {
			if flags>>i&1 != 0 {
				perm[i] = byte(c)
			}
		}
		const mayShare = 0x80
		if flags&mayShare != 0 {
			perm[3] = 's'
		}
		s := saidMapping{Start: hexNumber(m.Start), End: hexNumber(m.End), Perms: string(perm)}
		if m.File != nil && m.Offset != nil {
			s.Path, s.Offset = *m.File, *m.Offset
		}
		out = append(out, s)
	}
	return out
}

func hexNumber(s string) uint64 {
	n, _ := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	return n
}

func (m saidMapping) equal(o saidMapping) bool {
	same := m.Start == o.Start && m.End == o.End && m.Perms == o.Perms
	if m.Path == "" || o.Path == "" {
		return same && m.Path == o.Path
	}
	return same && m.Offset == o.Offset && strings.TrimPrefix(m.Path, "/") == strings.TrimPrefix(o.Path, "/")
}

// checkMappings holds foreach vm against /proc/PID/maps of every process that did nothing since.
func checkMappings(ctx context.Context, s *subject) (string, error) {
	var tasks []vmAnswer
	if err := s.ask(ctx, []string{"foreach vm"}, &tasks); err != nil {
		return "", err
	}
	byPID := map[int]*vmAnswer{}
	for i := range tasks {
		byPID[tasks[i].PID] = &tasks[i]
	}
	var d differences
	processes, mappings, moved := 0, 0, 0
	for _, t := range s.truth.Tasks {
		got := byPID[t.TID]
		if t.Leader["maps"] == "" || got == nil || got.MM == nil {
			continue
		}
		want, err := parseMaps(t.Leader["maps"])
		if err != nil {
			return "", err
		}
		have := got.mappings()
		wrong := ""
		for i := range max(len(want), len(have)) {
			switch {
			case i >= len(want):
				wrong = fmt.Sprintf("PID %d: mapping %+v is too many", t.TID, have[i])
			case i >= len(have):
				wrong = fmt.Sprintf("PID %d: mapping %+v is missing", t.TID, want[i])
			case !have[i].equal(want[i]):
				wrong = fmt.Sprintf("PID %d: mapping %+v; want %+v", t.TID, have[i], want[i])
			}
			if wrong != "" {
				break
			}
		}
		switch {
		case wrong == "":
			processes, mappings = processes+1, mappings+len(want)
		case t.Quiet && s.way.name != "oom":
			d.add("%s", wrong)
		default:
			moved++
		}
	}
	if processes == 0 {
		d.add("no process was compared")
	}
	return fmt.Sprintf("%d mappings of %d processes; %d processes had changed theirs", mappings, processes, moved), d.err()
}

// checkSwap holds swap against /proc/swaps. Where the machine crashed for want of memory it had swapped on.
func checkSwap(ctx context.Context, s *subject) (string, error) {
	var devices []struct {
		Type     string  `json:"type"`
		Size     uint64  `json:"size"`
		Used     uint64  `json:"used"`
		Counted  *uint64 `json:"used_counted"`
		Priority int     `json:"priority"`
		File     *string `json:"file"`
	}
	if err := s.ask(ctx, []string{"swap"}, &devices); err != nil {
		return "", err
	}
	var d differences
	n := 0
	for line := range strings.Lines(s.truth.Proc["/proc/swaps"]) {
		f := strings.Fields(line) // name type size used priority
		if len(f) != 5 || f[0] == "Filename" {
			continue
		}
		if n >= len(devices) {
			d.add("no device %s", f[0])
			continue
		}
		g := devices[n]
		n++
		size, _ := strconv.ParseUint(f[2], 10, 64)
		used, _ := strconv.ParseUint(f[3], 10, 64)
		prio, _ := strconv.Atoi(f[4])
		if g.File == nil || *g.File != f[0] || !strings.EqualFold(g.Type, f[1]) || g.Size != size<<10 || g.Priority != prio {
			d.add("device %+v; want %q", g, line)
		}
		if s.way.name != "oom" && !near(g.Used, used<<10, 2<<20) {
			d.add("%s: %d KiB used; want %d", f[0], g.Used>>10, used)
		}
		if g.Counted == nil || *g.Counted != g.Used {
			d.add("%s: %d KiB used, but counted otherwise", f[0], g.Used>>10)
		}
	}
	if n != len(devices) {
		d.add("%d devices; want %d", len(devices), n)
	}
	return fmt.Sprintf("%d devices", n), d.err()
}
