package initd

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"golang.org/x/sys/unix"
)

// Bounds of the journal, which lies in memory.
const (
	maxLine    = 600
	maxJournal = 512 << 10
	// maxOutput is what one stage may add to it; what comes after is counted.
	maxOutput = 64 << 10
)

// journal is kdx's own log: lines with the time since boot, in a file under /run, on every console and in the kernel's log.
type journal struct {
	mu       sync.Mutex
	file     *os.File
	size     int
	kmsg     *os.File
	level    int // kernel's level of our lines in its log
	consoles []*console
	early    []string // before there was a file
	boot     func() time.Duration
}

// LogPath is where the journal lies until it is saved.
const LogPath = "/run/kdx/kdx.log"

func newJournal() *journal {
	return &journal{boot: sinceBoot}
}

func sinceBoot() time.Duration {
	var ts unix.Timespec
	if unix.ClockGettime(unix.CLOCK_BOOTTIME, &ts) != nil {
		return 0
	}
	return time.Duration(ts.Nano())
}

// open begins the file. What was said before is put into it.
func (j *journal) open(path string) error {
	j.mu.Lock()
	defer j.mu.Unlock()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	j.file = f
	for _, l := range j.early {
		j.store(l)
	}
	j.early = nil
	return nil
}

// openKmsg takes the kernel's log. printed says whether our lines reach the consoles by themselves: then the kernel need not print
// them a second time (level 7 is not printed at the usual log level), else it must (level 5 is).
func (j *journal) openKmsg(path string, printed bool) error {
	f, err := os.OpenFile(path, os.O_WRONLY|unix.O_NOCTTY, 0)
	if err != nil {
		return err
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.kmsg, j.level = f, 5
	if printed {
		j.level = 7
	}
	return nil
}

// say writes a line of PID 1's own.
func (j *journal) say(format string, args ...any) {
	j.line("kdx: " + fmt.Sprintf(format, args...))
}

// line writes a line everywhere.
func (j *journal) line(text string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for l := range strings.Lines(text) {
		l = printable(strings.TrimRight(l, "\r\n"))
		stamped := fmt.Sprintf("[%9.3f] %s", j.boot().Seconds(), l)
		if j.file != nil {
			j.store(stamped)
		} else if len(j.early) < 200 {
			j.early = append(j.early, stamped)
		}
		if j.kmsg != nil {
			// One write is one record. The kernel refuses those above 976 bytes or so.
			fmt.Fprintf(j.kmsg, "<%d>%s\n", j.level, l)
		}
		for _, c := range j.consoles {
			c.put(stamped)
		}
	}
}

func (j *journal) store(l string) {
	if j.size >= maxJournal {
		return
	}
	j.size += len(l) + 1
	if j.size >= maxJournal {
		l = "(the log is full)"
	}
	fmt.Fprintln(j.file, l)
}

// printable keeps control characters of a stage's output off consoles, and lines short.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case r < ' ' || r == 0x7f || r == utf8.RuneError:
			return '?'
		}
		return r
	}, s)
	if len(s) <= maxLine {
		return s
	}
	cut := maxLine
	for cut > 0 && !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut] + "…"
}

// drain waits until consoles have shown what was said, but not long.
func (j *journal) drain() {
	j.mu.Lock()
	consoles := j.consoles
	j.mu.Unlock()
	for _, c := range consoles {
		c.drain(2 * time.Second)
	}
}

// openConsoles opens the consoles that there are by now. It tells those that can't be opened.
func (j *journal) openConsoles(dir string, names []string) (opened []string, failed []error) {
	for _, n := range names {
		c, err := openConsole(filepath.Join(dir, n))
		if err != nil {
			failed = append(failed, err)
			continue
		}
		j.mu.Lock()
		// What was said before this one was open is shown on it, too.
		for _, l := range j.early {
			c.put(l)
		}
		j.consoles = append(j.consoles, c)
		j.mu.Unlock()
		opened = append(opened, n)
	}
	return opened, failed
}
