package initd

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// dataLimitEnv tells a stage how much it may take, in bytes.
const dataLimitEnv = "KDX_STAGE_DATA"

// limitStage puts the limits on this process; see "Memory of stages". What can't be set is said and left out: a stage without a limit is better than none.
func limitStage() {
	syscall.Umask(0o077)
	var failed []string
	try := func(what string, err error) {
		if err != nil {
			failed = append(failed, fmt.Sprintf("%s: %v", what, err))
		}
	}
	try("oom_score_adj", os.WriteFile("/proc/self/oom_score_adj", []byte("1000"), 0o644))
	try("RLIMIT_CORE", unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}))
	if text := os.Getenv(dataLimitEnv); text != "" {
		try("RLIMIT_DATA", limitData(text))
	}
	for _, f := range failed {
		fmt.Println("no limit on memory:", f)
	}
}

func limitData(text string) error {
	limit, err := strconv.ParseUint(text, 10, 63)
	if err != nil {
		return err
	}
	mapped, err := mappedData()
	if err != nil {
		return err
	}
	return unix.Setrlimit(unix.RLIMIT_DATA, &unix.Rlimit{Cur: mapped + limit, Max: mapped + limit})
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
