package initd

import (
	"fmt"
	"os"
	"runtime/debug"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// dataLimitEnv tells a stage how much it may take, in bytes.
const dataLimitEnv = "KDX_STAGE_DATA"

// limitStage puts the limits on this process; see "Memory of stages". What can't be set is said and left out: a stage without a limit is better than none.
func limitStage(ahead bool) {
	syscall.Umask(0o077)
	var failed []string
	try := func(what string, err error) {
		if err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", what, err))
		}
	}
	try("oom_score_adj", setVictim(ahead))
	try("RLIMIT_CORE", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}))
	if text := os.Getenv(dataLimitEnv); text != "" {
		try("RLIMIT_DATA", limitData(text))
	}
	for _, f := range failed {
		fmt.Println("no limit on memory:", f)
	}
}

// setVictim has the kernel kill this process rather than PID 1 if it must kill, and one that was started ahead of its turn rather than another.
func setVictim(ahead bool) error {
	score := "900"
	if ahead {
		score = "1000"
	}
	return os.WriteFile("/proc/self/oom_score_adj", []byte(score), 0o644)
}

// apply puts the limits on a process that runs already.
func (a *allowance) apply() {
	debug.SetGCPercent(a.GOGC)
	debug.SetMemoryLimit(int64(a.Soft))
	if err := limitMore(a.Hard); err != nil {
		fmt.Println("no limit on memory: RLIMIT_DATA:", err)
	}
}

func limitData(text string) error {
	limit, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return err
	}
	return limitMore(limit)
}

// limitMore lets the process map so many bytes beyond what it has, and no more than it was allowed before.
func limitMore(limit uint64) error {
	mapped, err := mappedData()
	if err != nil {
		return err
	}
	var before unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_DATA, &before); err != nil {
		return err
	}
	most := min(mapped+limit, before.Max)
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: most, Max: most})
}

// mappedData is what RLIMIT_DATA counts of this process so far, in bytes.
func mappedData() (uint64, error) {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0, err
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, "VmData:"); ok {
			n, err := strconv.ParseUint(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 53)
			return n << 10, err
		}
	}
	return 0, fmt.Errorf("/proc/self/status has no VmData")
}
