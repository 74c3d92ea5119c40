//go:build linux && amd64

package main

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// procFiles are kept as they read.
var procFiles = strings.Fields(`/proc/version /proc/cmdline /proc/uptime /proc/loadavg /proc/meminfo /proc/slabinfo /proc/modules /proc/swaps
	/proc/self/mountinfo /proc/mounts /proc/filesystems /proc/devices /proc/misc /proc/interrupts /proc/softirqs /proc/stat /proc/vmstat
	/proc/zoneinfo /proc/buddyinfo /proc/pagetypeinfo /proc/iomem /proc/ioports /proc/vmallocinfo /proc/locks /proc/partitions
	/proc/diskstats /proc/consoles /proc/cpuinfo /proc/cgroups /proc/timer_list /proc/sched_debug /proc/crypto /proc/key-users /proc/keys
	/proc/net/tcp /proc/net/tcp6 /proc/net/udp /proc/net/udp6 /proc/net/unix /proc/net/raw /proc/net/packet /proc/net/netlink
	/proc/net/dev /proc/net/route /proc/net/if_inet6 /proc/net/fib_trie /proc/net/arp /proc/net/sockstat /proc/net/ptype
	/proc/sysvipc/shm /proc/sysvipc/msg /proc/sysvipc/sem /proc/tty/drivers /proc/bus/pci/devices /proc/fs/ext4/nvme0n1/options
	/proc/sys/kernel/tainted /proc/sys/kernel/random/boot_id /proc/sys/kernel/hostname /sys/kernel/debug/sched/debug /sys/kernel/vmcoreinfo
	/sys/kernel/notes-hex /sys/kernel/tracing/current_tracer /sys/kernel/tracing/kprobe_events /sys/kernel/tracing/enabled_functions
	/sys/block/zram0/mm_stat /sys/fs/cgroup/cgroup.controllers /proc/net/raw6 /proc/schedstat /run/inner-shm
	/sys/block/nbd15/inflight /sys/block/dm-0/inflight /sys/block/nvme0n1/inflight
	/sys/devices/system/cpu/online /sys/devices/system/cpu/offline /sys/devices/system/cpu/possible /sys/devices/system/cpu/present
	/sys/devices/system/node/online /sys/devices/system/node/has_cpu /sys/devices/system/node/has_memory /proc/net/vlan/config`)

// procGlobs are kept too, as they read or where they lead.
var procGlobs = strings.Fields(`/sys/module/*/sections/.text /sys/devices/system/node/node*/meminfo /sys/devices/system/node/node*/numastat
	/sys/devices/system/node/node*/cpulist /sys/devices/system/node/node*/distance /sys/devices/system/node/node*/memory*
	/sys/devices/system/node/node*/hugepages/*/*_hugepages /sys/devices/system/memory/memory*/state /sys/bus/pci/devices/* /proc/net/bonding/*
	/sys/class/net/*/ifindex /sys/class/net/*/mtu /sys/class/net/*/flags /sys/class/net/*/address /sys/class/net/*/type /sys/class/net/*/master`)

// guestTruth writes the truth to a file and makes sure that it is on the disk.
func guestTruth(args []string) error {
	if len(args) != 1 {
		return errUsage
	}
	f, err := os.Create(args[0])
	if err != nil {
		return err
	}
	t := takeTruth()
	w := bufio.NewWriterSize(f, 1<<20)
	if err := json.NewEncoder(w).Encode(t); err != nil {
		return err
	}
	// fsync and not sync: a frozen file system would hold sync for ever.
	return errors.Join(w.Flush(), f.Sync(), f.Close())
}

func takeTruth() truth {
	t := truth{PageSize: os.Getpagesize(), Proc: map[string]string{}}
	var u unix.Utsname
	if unix.Uname(&u) == nil {
		for _, f := range [][]byte{u.Sysname[:], u.Nodename[:], u.Release[:], u.Version[:], u.Machine[:]} {
			t.Uname = append(t.Uname, unix.ByteSliceToString(f))
		}
	}
	t.Kallsyms = takeKallsyms()
	t.BPF = takeBPF()
	t.Neighbours = takeNeighbours()
	for _, p := range procFiles {
		switch {
		case p == "/sys/kernel/notes-hex":
			b, _ := os.ReadFile("/sys/kernel/notes")
			t.Proc["/sys/kernel/notes"] = hex.EncodeToString(b)
		case exists(p):
			t.Proc[p] = readText(p)
		}
	}
	t.CPUs = strings.Count(t.Proc["/proc/cpuinfo"], "processor\t:")
	for _, g := range procGlobs {
		paths, _ := filepath.Glob(g)
		for _, p := range paths {
			if link, err := os.Readlink(p); err == nil {
				t.Proc[p] = link
				continue
			}
			t.Proc[p] = strings.TrimSpace(readText(p))
		}
	}
	first := map[int]string{}
	for _, tid := range allTIDs() {
		first[tid] = quietness(tid)
	}
	for _, tid := range allTIDs() {
		if task, ok := takeTask(tid); ok {
			t.Tasks = append(t.Tasks, task)
		}
	}
	time.Sleep(300 * time.Millisecond)
	for i := range t.Tasks {
		tid := t.Tasks[i].TID
		q := quietness(tid)
		t.Tasks[i].Quiet = q != "" && q == first[tid]
	}
	// What moves all the time comes last, nearest to the crash.
	for _, p := range []string{"/proc/meminfo", "/proc/slabinfo", "/proc/loadavg", "/proc/uptime"} {
		t.Proc[p] = readText(p)
	}
	t.Kmsg = takeKmsg()
	t.TakenNs = time.Now().UnixNano()
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) == nil {
		t.BootNs = ts.Nano()
	}
	return t
}

func allTIDs() []int {
	var out []int
	for _, pid := range pids("/proc") {
		out = append(out, pids(fmt.Sprintf("/proc/%d/task", pid))...)
	}
	return out
}

// quietness changes when a task was scheduled: its state and its context switches.
func quietness(tid int) string {
	var s strings.Builder
	for line := range strings.Lines(readText(fmt.Sprintf("/proc/%d/status", tid))) {
		if strings.HasPrefix(line, "State:") || strings.Contains(line, "ctxt_switches:") {
			s.WriteString(line)
		}
	}
	return s.String()
}

func takeTask(tid int) (truthTask, bool) {
	// /proc/TID works for every thread, though only leaders are listed there.
	status := readText(fmt.Sprintf("/proc/%d/status", tid))
	tgid := 0
	for line := range strings.Lines(status) {
		if v, ok := strings.CutPrefix(line, "Tgid:"); ok {
			tgid, _ = strconv.Atoi(strings.TrimSpace(v))
		}
	}
	dir := fmt.Sprintf("/proc/%d/task/%d/", tgid, tid)
	t := truthTask{TID: tid, Stat: strings.TrimSpace(readText(dir + "stat")), Status: status}
	if t.Stat == "" {
		return t, false
	}
	for line := range strings.Lines(readText(dir + "stack")) {
		_, fn, _ := strings.Cut(strings.TrimSpace(line), "] ")
		t.Stack = append(t.Stack, fn)
	}
	t.Wchan, t.Syscall = readText(dir+"wchan"), strings.TrimSpace(readText(dir+"syscall"))
	t.Cgroup = strings.TrimSpace(readText(dir + "cgroup"))
	if tid != tgid {
		return t, true
	}
	t.Leader = map[string]string{"cmdline": readText(dir + "cmdline"), "maps": readText(dir + "maps"), "environ": readText(dir + "environ"), "limits": readText(dir + "limits")}
	for _, l := range []string{"exe", "cwd", "root"} {
		if target, err := os.Readlink(dir + l); err == nil {
			t.Leader[l] = target
		}
	}
	t.Leader["smaps"] = takeSmaps(dir)
	if exists("/sys/devices/system/node/node1") {
		t.Leader["numa_maps"] = readText(dir + "numa_maps")
	}
	t.Spaces, t.Inner = takeSpaces(dir)
	for _, fd := range pids(dir + "fd") {
		if target, err := os.Readlink(fmt.Sprintf("%sfd/%d", dir, fd)); err == nil {
			if t.Files == nil {
				t.Files = map[string]string{}
			}
			t.Files[strconv.Itoa(fd)] = target
		}
	}
	return t, true
}

// takeSmaps reads of each mapping how much is in memory and in swap; all that smaps says would be half of the truth.
func takeSmaps(dir string) string {
	var out strings.Builder
	for line := range strings.Lines(readText(dir + "smaps")) {
		name, _, _ := strings.Cut(line, ":")
		switch name {
		case "Size", "Rss", "Swap", "Shared_Hugetlb", "Private_Hugetlb":
			out.WriteString(line)
		default:
			if from, _, ok := strings.Cut(line, "-"); ok && from == strings.ToLower(from) && !strings.Contains(from, " ") {
				out.WriteString(line)
			}
		}
	}
	return out.String()
}

// takeSpaces reads the namespaces of a process, and where they are not this one's what is to be seen in them.
func takeSpaces(dir string) (spaces, inner map[string]string) {
	files := map[string][]string{
		"mnt": {"mountinfo"},
		"net": {"net/tcp", "net/tcp6", "net/udp", "net/udp6", "net/unix", "net/dev", "net/arp", "net/if_inet6", "net/fib_trie"},
	}
	spaces, inner = map[string]string{}, map[string]string{}
	for _, kind := range []string{"net", "mnt", "ipc", "uts", "pid", "user", "cgroup"} {
		target, err := os.Readlink(dir + "ns/" + kind)
		if err != nil {
			continue
		}
		spaces[kind] = target
		if mine, err := os.Readlink("/proc/self/ns/" + kind); err != nil || mine == target {
			continue
		}
		for _, f := range files[kind] {
			inner[f] = readText(dir + f)
		}
	}
	return spaces, inner
}

// boundSymbols are kept whatever the sample picks.
var boundSymbols = strings.Fields("_text _stext _etext __sched_text_start __sched_text_end __lock_text_start __lock_text_end __entry_text_start __entry_text_end __irqentry_text_start __irqentry_text_end init_task init_pid_ns")

func takeKallsyms() truthKallsyms {
	const every = 601 // prime: no pattern of the table lines up with it
	t := truthKallsyms{Bounds: map[string]string{}}
	f, err := os.Open("/proc/kallsyms")
	if err != nil {
		return t
	}
	defer f.Close()
	h := sha256.New()
	sc := bufio.NewScanner(f)
	for sc.Scan() {
		line := sc.Bytes()
		if bytes.IndexByte(line, '\t') >= 0 { // a module's: "\t[module]"
			if t.Module%every == 0 {
				if f := strings.Fields(string(line)); len(f) == 4 {
					t.ModuleSample = append(t.ModuleSample, [4]string{f[0], f[1], f[2], strings.Trim(f[3], "[]")})
				}
			}
			t.Module++
			continue
		}
		if p := strings.SplitN(string(line), " ", 3); len(p) == 3 {
			if t.Lines%every == 0 {
				t.Sample = append(t.Sample, [3]string{p[0], p[1], p[2]})
			}
			if slices.Contains(boundSymbols, p[2]) {
				t.Bounds[p[2]] = p[0]
			}
		}
		t.Lines++
		h.Write(line)
		h.Write([]byte{'\n'})
	}
	t.SHA256 = hex.EncodeToString(h.Sum(nil))
	return t
}

// takeKmsg reads the log: one record a read.
func takeKmsg() []string {
	fd, err := unix.Open("/dev/kmsg", unix.O_RDONLY|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil
	}
	defer unix.Close(fd)
	var out []string
	buf := make([]byte, 16<<10)
	for {
		n, err := unix.Read(fd, buf)
		switch {
		case err == unix.EPIPE: // overwritten while reading: go on with the next that is there
			continue
		case err != nil || n <= 0:
			return out
		}
		out = append(out, strings.TrimRight(string(buf[:n]), "\n"))
	}
}
