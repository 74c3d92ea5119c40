package initd

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
)

// Memory of stages
//
// A stage must not take what the kernel needs to write the dump, and must die before PID 1 does. What is used, and what not:
//
//   - GOMEMLIMIT, GOGC and GOMAXPROCS, from MemAvailable when the stage starts: the collector works harder instead of the heap growing.
//   - RLIMIT_DATA, which counts private writable mappings (since 4.7) and so what Go's heap has asked of the kernel, in steps of 4 MB. A stage
//     that would exceed it gets ENOMEM, says so and ends with status 2, before the kernel looks for a victim. It is set by the stage itself, on top of what the
//     runtime has mapped by then (some 40 MB of tables that are hardly touched).
//   - oom_score_adj 900, and 1000 as long as it is not its turn: if the kernel must kill after all, it kills a stage, and first one that is started anew.
//
// Not RLIMIT_AS: Go reserves hundreds of MB of addresses without memory behind them. Not RLIMIT_RSS, which Linux ignores. Not memory.max of cgroup v2: it
// counts the page cache of the dump being written, too, and would make the kernel write it back sooner than needed; the controller takes memory itself, and
// capture kernels usually are started with cgroup_disable=memory.

const mib = 1 << 20

// meminfo is what /proc/meminfo says, in bytes.
type meminfo struct{ total, free, available uint64 }

func readMeminfo(path string) (meminfo, error) {
	var m meminfo
	f, err := os.Open(path)
	if err != nil {
		return m, err
	}
	defer f.Close()
	sc := bufio.NewScanner(io.LimitReader(f, 64<<10))
	for sc.Scan() {
		key, rest, _ := strings.Cut(sc.Text(), ":")
		var to *uint64
		switch key {
		case "MemTotal":
			to = &m.total
		case "MemFree":
			to = &m.free
		case "MemAvailable":
			to = &m.available
		default:
			continue
		}
		n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 53)
		if err != nil {
			return m, fmt.Errorf("%s: %s: %w", path, key, err)
		}
		*to = n << 10
	}
	if err := sc.Err(); err != nil {
		return m, fmt.Errorf("%s: %w", path, err)
	}
	if m.total == 0 || m.available == 0 {
		return m, fmt.Errorf("%s: MemTotal or MemAvailable is missing", path)
	}
	return m, nil
}

func (m meminfo) String() string {
	return fmt.Sprintf("%d MiB available of %d MiB", m.available/mib, m.total/mib)
}

// allowance is what a stage may take, in bytes.
type allowance struct {
	// Hard is RLIMIT_DATA's, 0 for none.
	Hard uint64 `json:"hard"`
	// Soft is where Go's collector begins to work harder.
	Soft uint64 `json:"soft"`
	GOGC int    `json:"gogc"`
}

const (
	// roomy is the soft limit where there is plenty: more would not make saving faster.
	roomy = 256 * mib
	// tight is where a stage starts to be short of memory; below it the collector runs more often.
	tight = 48 * mib
	// least is what a stage gets however little there is: below it nothing works, and trying may.
	least = 8 * mib
)

// allow divides what there is. configured is the configuration's memory, 0 for what the capture kernel leaves.
func allow(m meminfo, err error, configured uint64) allowance {
	available := m.available
	if err != nil {
		available = tight // unknown: neither generous nor hopeless
	}
	// An eighth, and 4 MiB at least, stays for pages on their way to the disk and what drivers allocate.
	hard := available - min(available, max(available/8, 4*mib))
	if configured > 0 {
		hard = min(hard, configured)
	}
	hard = max(hard, least)
	a := allowance{Hard: hard, Soft: min(hard/8*5, roomy), GOGC: 100}
	if hard < tight {
		a.GOGC = 50
	}
	if hard < tight/2 {
		a.GOGC = 25
	}
	return a
}

// env is the environment that makes a Go program keep to it. cpus is how many it may use.
func (a allowance) env(cpus int) []string {
	return []string{
		fmt.Sprintf("GOMEMLIMIT=%d", a.Soft), fmt.Sprintf("GOGC=%d", a.GOGC), fmt.Sprintf("GOMAXPROCS=%d", max(cpus, 1)),
		fmt.Sprintf("%s=%d", dataLimitEnv, a.Hard),
	}
}

// usage is what a process had in memory when it was looked at, in bytes.
type usage struct{ peak, anonymous uint64 }

// readUsage reads /proc/PID/status. A process that is ending has none any more.
func readUsage(pid int) usage {
	var u usage
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return u
	}
	for line := range strings.Lines(string(text)) {
		key, rest, _ := strings.Cut(line, ":")
		n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 53)
		if err != nil {
			continue
		}
		switch key {
		case "VmHWM":
			u.peak = n << 10
		case "RssAnon":
			u.anonymous = n << 10
		}
	}
	return u
}

// max keeps the larger of both figures.
func (u *usage) max(v usage) {
	u.peak, u.anonymous = max(u.peak, v.peak), max(u.anonymous, v.anonymous)
}
