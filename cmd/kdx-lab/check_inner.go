package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// innerTask is the process in namespaces of its own. A truth from before the guest had one, or before what it sees was asked for, skips the leg.
func (s *subject) innerTask(kind string) (truthTask, error) {
	if s.way.name == "oom" {
		return truthTask{}, skip("the kernel may have killed the process in namespaces of its own")
	}
	for _, t := range s.truth.Tasks {
		if t.Inner["net/dev"] != "" && t.Inner["mountinfo"] != "" && t.Spaces[kind] != "" {
			return t, nil
		}
	}
	return truthTask{}, skip("the guest did not say what a process in namespaces of its own sees")
}

// checkInnerNet holds net -n and net -s of a process in a network namespace of its own against what it reads in /proc/net: devices with their addresses, its
// sockets and neighbours; and nothing of the first namespace is among them.
func checkInnerNet(ctx context.Context, s *subject) (string, error) {
	t, err := s.innerTask("net")
	if err != nil {
		return "", err
	}
	var devices []netDevice
	var tasks []struct {
		Sockets []netSocket `json:"result"`
	}
	var neighbours []netNeighbour
	if err := s.ask(ctx, []string{fmt.Sprintf("net -n %d", t.TID), fmt.Sprintf("net -s %d", t.TID), "net -a"}, &devices, &tasks, &neighbours); err != nil {
		return "", err
	}
	var d differences
	addrs, err := compareDevices(devices, t.Inner["net/dev"], t.Inner["net/if_inet6"], t.Inner["net/fib_trie"], &d)
	if err != nil {
		return "", err
	}
	sockets := make(map[string]netSocket)
	for _, x := range tasks {
		for _, y := range x.Sockets {
			sockets[y.Sock] = y
		}
	}
	n := 0
	for _, file := range []string{"tcp", "tcp6", "udp", "udp6"} {
		k, err := checkInet(t.Inner["net/"+file], file, sockets, &d)
		if err != nil {
			return "", err
		}
		n += k
	}
	if n == 0 || n != len(sockets) {
		d.add("%d sockets, %d of them as the guest says", len(sockets), n)
	}
	space := ""
	for _, x := range devices {
		space = x.Namespace
	}
	asked := 0
	for _, x := range neighbours {
		if x.Namespace != space || strings.Contains(x.IP, ":") || x.State == "NOARP" {
			continue
		}
		asked++
		if !slices.ContainsFunc(strings.Split(t.Inner["net/arp"], "\n"), func(line string) bool {
			f := strings.Fields(line)
			return len(f) == 6 && f[0] == x.IP && f[3] == x.HW && f[5] == x.Device
		}) {
			d.add("neighbour %s (%s) on %s is not in net/arp", x.IP, x.HW, x.Device)
		}
	}
	if want := len(strings.Split(strings.TrimSpace(t.Inner["net/arp"]), "\n")) - 1; asked != want {
		d.add("%d neighbours; want %d", asked, want)
	}
	return fmt.Sprintf("%d devices, %d addresses, %d sockets, %d neighbours", len(devices), addrs, n, asked), d.err()
}

// checkInnerIPC holds ipcs -n of a process in an IPC namespace of its own against what it read in /proc/sysvipc/shm, which nobody outside can.
func checkInnerIPC(ctx context.Context, s *subject) (string, error) {
	t, err := s.innerTask("ipc")
	if err != nil {
		return "", err
	}
	said := s.truth.Proc["/run/inner-shm"]
	if said == "" {
		return "", skip("the guest did not say what shared memory it has in there")
	}
	var got kdxIPC
	if err := s.ask(ctx, []string{fmt.Sprintf("ipcs -n %d", t.TID)}, &got); err != nil {
		return "", err
	}
	var d differences
	pids := map[int32]int32{}
	for line := range strings.Lines(t.Status) {
		if f := strings.Fields(line); len(f) == 3 && f[0] == "NSpid:" {
			outer, err1 := strconv.ParseInt(f[1], 10, 32)
			inner, err2 := strconv.ParseInt(f[2], 10, 32)
			if err1 != nil || err2 != nil {
				return "", fmt.Errorf("status of %d: %q", t.TID, line)
			}
			pids[int32(outer)] = int32(inner)
		}
	}
	compareShm(s, got.Shm, said, pids, &d)
	if len(got.Shm) != 1 || len(got.Sem) != 0 || len(got.Msg) != 0 {
		d.add("%d segments, %d arrays of semaphores, %d queues; want one segment", len(got.Shm), len(got.Sem), len(got.Msg))
	}
	return fmt.Sprintf("%d segments", len(got.Shm)), d.err()
}

// checkInnerMounts holds mount -n of each process in a mount namespace of its own against its mountinfo, field by field. The kernel's own thread
// that makes the files of /dev has one, too.
func checkInnerMounts(ctx context.Context, s *subject) (string, error) {
	if _, err := s.innerTask("mnt"); err != nil {
		return "", err
	}
	var d differences
	seen, all := map[string]bool{}, 0
	for _, t := range s.truth.Tasks {
		if t.Inner["mountinfo"] == "" || seen[t.Spaces["mnt"]] {
			continue
		}
		var mounts []kdxMount
		if err := s.ask(ctx, []string{fmt.Sprintf("mount -n %d", t.TID)}, &mounts); err != nil {
			return "", err
		}
		for _, m := range mounts {
			if got := fmt.Sprintf("mnt:[%d]", m.Space); got != t.Spaces["mnt"] {
				d.add("mount %d is of %s; want %s", m.ID, got, t.Spaces["mnt"])
			}
		}
		n, err := compareMounts(mounts, t.Inner["mountinfo"], &d)
		if err != nil {
			return "", err
		}
		seen[t.Spaces["mnt"]] = true
		all += n
	}
	return fmt.Sprintf("%d mounts of %d namespaces", all, len(seen)), d.err()
}
