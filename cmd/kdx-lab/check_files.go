package main

import (
	"context"
	"fmt"
	"maps"
	"path"
	"slices"
	"strconv"
	"strings"
)

// kdxFiles is what a task has open.
type kdxFiles struct {
	PID   int     `json:"pid"`
	Root  *string `json:"root"`
	CWD   *string `json:"cwd"`
	Files []struct {
		FD   int     `json:"fd"`
		Path *string `json:"path"`
		Type string  `json:"type"`
	} `json:"files"`
}

// checkFiles holds what processes have open against the links of /proc/PID/fd, cwd and root: descriptor by descriptor, name by name.
// Processes that ran since the guest spoke may have changed what they have open, and are left out.
func checkFiles(ctx context.Context, s *subject) (string, error) {
	var tables []kdxFiles
	if err := s.ask(ctx, []string{"foreach files"}, &tables); err != nil {
		return "", err
	}
	still, err := s.still(ctx)
	if err != nil {
		return "", err
	}
	got := make(map[int]kdxFiles)
	for _, t := range tables {
		got[t.PID] = t
	}
	var d differences
	processes, files := 0, 0
	for _, want := range s.truth.Tasks {
		if want.Leader == nil || !still[want.TID] || len(want.Files) == 0 {
			continue
		}
		t, ok := got[want.TID]
		if !ok {
			d.add("process %d is missing", want.TID)
			continue
		}
		processes++
		for what, p := range map[string]*string{"root": t.Root, "cwd": t.CWD} {
			if p == nil || *p != want.Leader[what] {
				d.add("process %d: %s = %s; want %s", want.TID, what, orUnknown(p), want.Leader[what])
			}
		}
		left := maps.Clone(want.Files)
		for _, f := range t.Files {
			files++
			link, ok := left[strconv.Itoa(f.FD)]
			delete(left, strconv.Itoa(f.FD))
			switch {
			case !ok:
				d.add("process %d: file %d is %s; the guest had none", want.TID, f.FD, orUnknown(f.Path))
			case f.Path == nil || *f.Path != link:
				d.add("process %d: file %d = %q; want %q", want.TID, f.FD, orUnknown(f.Path), link)
			}
		}
		for fd, link := range left {
			d.add("process %d: file %s (%s) is missing", want.TID, fd, link)
		}
	}
	if processes < 10 && s.way.name != "oom" {
		d.add("only %d processes had not run since", processes)
	}
	return fmt.Sprintf("%d files of %d processes", files, processes), d.err()
}

// checkFuser holds fuser against the same links: each process that has /dev/console open, and no other.
func checkFuser(ctx context.Context, s *subject) (string, error) {
	const file = "/tmp/t1/blob"
	var users []struct {
		PID   int      `json:"pid"`
		TGID  int      `json:"tgid"`
		Usage []string `json:"usage"`
	}
	if err := s.ask(ctx, []string{"fuser " + file}, &users); err != nil {
		return "", err
	}
	still, err := s.still(ctx)
	if err != nil {
		return "", err
	}
	got := make(map[int]bool)
	for _, u := range users {
		if slices.Contains(u.Usage, "fd") && u.PID == u.TGID {
			got[u.PID] = true
		}
	}
	var d differences
	n := 0
	for _, want := range s.truth.Tasks {
		if want.Leader == nil || !still[want.TID] {
			continue
		}
		has := false
		for _, link := range want.Files {
			has = has || link == file || link == "/tmp/ro/"+path.Base(file) // the same file, mounted twice
		}
		if has {
			n++
		}
		if has != got[want.TID] {
			d.add("process %d has %s open: %v; want %v", want.TID, file, got[want.TID], has)
		}
	}
	return fmt.Sprintf("%d users of a file", n), d.err()
}

// saidMount is a line of mountinfo.
type saidMount struct {
	ID, Parent                             int
	Device, Root, Path, Options, Type, Src string
}

// parseMountinfo: id parent major:minor root path options [optional…] - type source super-options.
func parseMountinfo(text string) ([]saidMount, error) {
	var out []saidMount
	for line := range strings.Lines(text) {
		f := strings.Fields(line)
		dash := slices.Index(f, "-")
		if dash < 6 || len(f) < dash+3 {
			return nil, fmt.Errorf("mountinfo: %q", line)
		}
		id, err1 := strconv.Atoi(f[0])
		parent, err2 := strconv.Atoi(f[1])
		if err1 != nil || err2 != nil {
			return nil, fmt.Errorf("mountinfo: %q", line)
		}
		out = append(out, saidMount{id, parent, f[2], f[3], f[4], f[5], f[dash+1], f[dash+2]})
	}
	return out, nil
}

// kdxMount is a row of mount.
type kdxMount struct {
	ID      int      `json:"id"`
	Parent  *int     `json:"parent_id"`
	Device  *string  `json:"device"`
	Root    *string  `json:"root"`
	Path    *string  `json:"path"`
	Options []string `json:"options"`
	Type    *string  `json:"type"`
	Source  *string  `json:"source"`
	Covered bool     `json:"overmounted"`
	Space   uint64   `json:"namespace_id"`
}

// checkMounts holds mount against mountinfo, field by field.
func checkMounts(ctx context.Context, s *subject) (string, error) {
	var mounts []kdxMount
	if err := s.ask(ctx, []string{"mount"}, &mounts); err != nil {
		return "", err
	}
	var d differences
	n, err := compareMounts(mounts, s.truth.Proc["/proc/self/mountinfo"], &d)
	if err != nil {
		return "", err
	}
	return fmt.Sprintf("%d mounts", n), d.err()
}

// compareMounts holds the mounts of a namespace against its mountinfo, and returns how many there are.
func compareMounts(mounts []kdxMount, mountinfo string, d *differences) (int, error) {
	want, err := parseMountinfo(mountinfo)
	if err != nil {
		return 0, err
	}
	got := make(map[int]saidMount)
	for _, m := range mounts {
		if m.Covered { // mountinfo leaves out what can't be reached: since 7.0 an empty file system below the first one
			continue
		}
		parent := -1
		if m.Parent != nil {
			parent = *m.Parent
		}
		got[m.ID] = saidMount{m.ID, parent, orUnknown(m.Device), orUnknown(m.Root), orUnknown(m.Path), strings.Join(m.Options, ","), orUnknown(m.Type), orUnknown(m.Source)}
	}
	for _, w := range want {
		if g := got[w.ID]; g != w {
			d.add("mount %d = %+v; want %+v", w.ID, g, w)
		}
	}
	if len(got) != len(want) {
		d.add("%d mounts; want %d", len(got), len(want))
	}
	return len(want), nil
}

func orUnknown(s *string) string {
	if s == nil {
		return "unknown"
	}
	return *s
}
