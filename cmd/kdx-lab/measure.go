package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// runMeasure runs a program, silently, and prints how long it took (s), its largest resident size and, if asked for, its
// largest anonymous size (both kB), its exit status, and its processor time (s).
func runMeasure(ctx context.Context, l *lab, args []string) error {
	fs := flags(l, "measure")
	anon := fs.Bool("anon", false, "look every millisecond how much anonymous memory there is; it costs the program some time")
	if err := parse(fs, args); err != nil {
		return err
	}
	if fs.NArg() == 0 {
		return errors.New("name a program")
	}
	cmd := exec.CommandContext(ctx, fs.Arg(0), fs.Args()[1:]...)
	begin := time.Now()
	if err := cmd.Start(); err != nil {
		return err
	}
	peak := make(chan int)
	done := make(chan struct{})
	if *anon {
		go func() { peak <- peakAnon(cmd.Process.Pid, done) }()
	}
	err := cmd.Wait()
	took := time.Since(begin)
	close(done)
	most := 0
	if *anon {
		most = <-peak
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return err
	}
	usage, ok := cmd.ProcessState.SysUsage().(*syscall.Rusage)
	if !ok {
		return errors.New("this system does not count resources")
	}
	_, err = fmt.Fprintf(l.stdout, "%.3f %d %d %d %.3f\n", took.Seconds(), usage.Maxrss, most, cmd.ProcessState.ExitCode(),
		(cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()).Seconds())
	return err
}

// peakAnon watches a process until done, and returns the most anonymous memory that it had resident, in kB.
func peakAnon(pid int, done <-chan struct{}) int {
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	most := 0
	for {
		select {
		case <-done:
			return most
		case <-tick.C:
			most = max(most, anonOf(pid))
		}
	}
}

// anonOf is the process's RssAnon in kB (Linux 4.5), 0 once it has ended.
func anonOf(pid int) int {
	f, err := os.Open(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if text, ok := strings.CutPrefix(s.Text(), "RssAnon:"); ok {
			n, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(text), " kB"))
			return n
		}
	}
	return 0
}
