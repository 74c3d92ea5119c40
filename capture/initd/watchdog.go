package initd

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"
)

// watchdogs feeds those that must be fed, and stops at a time by which everything is over.
//
// The kernel feeds a watchdog that its driver finds running until somebody opens it, so an inactive one is none of our business: opening would start it. Three things
// make one ours: its state is active, or it runs down (timeleft) because handle_boot_enabled is off or open_timeout is over, or it is configured by name.
type watchdogs struct {
	sys  *System
	log  *journal
	mu   sync.Mutex
	open map[string]*watchdog
	told map[string]bool
	stop chan struct{}
	wg   sync.WaitGroup
}

type watchdog struct {
	name     string
	file     *os.File
	identity string
	timeout  time.Duration
	noWayOut bool
	// ours: it was inactive before it was opened.
	ours bool
}

func newWatchdogs(sys *System, log *journal) *watchdogs {
	return &watchdogs{sys: sys, log: log, open: map[string]*watchdog{}, told: map[string]bool{}, stop: make(chan struct{})}
}

// look opens what must be fed and is not yet: drivers come with modules. configured is "" for auto, "off", or a device.
func (w *watchdogs) look(configured string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if configured == "off" {
		return
	}
	names, err := filepath.Glob(w.sys.path("/sys/class/watchdog/watchdog*"))
	if err != nil {
		return
	}
	slices.Sort(names)
	if configured != "" {
		// /dev/watchdog is the first of the class; a driver from before the class has that name only.
		name := filepath.Base(configured)
		if name == "watchdog" && len(names) > 0 {
			name = filepath.Base(names[0])
		}
		if w.open[name] != nil || !exists(w.sys.path("/dev/"+name)) {
			return
		}
		w.take(name)
		return
	}
	for _, n := range names {
		name := filepath.Base(n)
		if w.open[name] != nil {
			continue
		}
		if why := w.runs(name); why != "" {
			w.log.say("%s: %s", name, why)
			w.take(name)
		} else if !w.told[name] {
			w.told[name] = true
			w.log.say("%s (%s) is inactive: it is not started; should it run all the same, the kernel feeds it", name, w.attr(name, "identity"))
		}
	}
}

func (w *watchdogs) attr(name, attr string) string {
	b, err := os.ReadFile(w.sys.path("/sys/class/watchdog/" + name + "/" + attr))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// watchdogLook is how long timeleft is watched.
const watchdogLook = 1500 * time.Millisecond

// runs says why a watchdog must be fed, "" if it need not.
func (w *watchdogs) runs(name string) string {
	if w.attr(name, "state") == "active" {
		return "it is active"
	}
	before, err := strconv.Atoi(w.attr(name, "timeleft"))
	if err != nil || before <= 0 {
		return ""
	}
	param := func(p string) string {
		b, err := os.ReadFile(w.sys.path("/sys/module/watchdog/parameters/" + p))
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	fedByKernel := param("handle_boot_enabled") != "N" && (param("open_timeout") == "" || param("open_timeout") == "0")
	if fedByKernel {
		return ""
	}
	time.Sleep(watchdogLook)
	after, err := strconv.Atoi(w.attr(name, "timeleft"))
	if err != nil || after >= before {
		return ""
	}
	return fmt.Sprintf("it has %d s left, and nobody feeds it", after)
}

// take opens a watchdog, which starts it, and feeds it from now on.
func (w *watchdogs) take(name string) {
	d := &watchdog{name: name, identity: w.attr(name, "identity"), timeout: 15 * time.Second, noWayOut: w.attr(name, "nowayout") == "1", ours: w.attr(name, "state") != "active"}
	f, err := os.OpenFile(w.sys.path("/dev/"+name), os.O_WRONLY, 0)
	if err != nil {
		w.log.say("the watchdog can't be fed: %v", err)
		return
	}
	d.file = f
	if s, err := strconv.Atoi(w.attr(name, "timeout")); err == nil && s > 0 {
		d.timeout = time.Duration(s) * time.Second
	} else if s, err := unix.IoctlGetInt(int(f.Fd()), unix.WDIOC_GETTIMEOUT); err == nil && s > 0 {
		d.timeout = time.Duration(s) * time.Second
	}
	// A pretimeout may be a panic, long before the time is over.
	if pre := w.attr(name, "pretimeout"); pre != "" && pre != "0" {
		if err := unix.IoctlSetPointerInt(int(f.Fd()), unix.WDIOC_SETPRETIMEOUT, 0); err != nil {
			w.log.say("%s: its pretimeout of %s s stays: %v", name, pre, err)
		}
	}
	w.open[name] = d
	w.log.say("%s (%s) is fed: timeout %v, nowayout %v", name, d.identity, d.timeout, d.noWayOut)
	w.wg.Go(func() { w.feed(d) })
}

func (w *watchdogs) feed(d *watchdog) {
	every := min(max(d.timeout/3, feedLeast), 10*time.Second)
	tick := time.NewTicker(every)
	defer tick.Stop()
	failed := false
	for {
		// Any byte but V, which would allow the watchdog to be stopped by a close.
		if _, err := d.file.Write([]byte{0}); err != nil && !failed {
			failed = true
			w.log.say("feeding %s: %v", d.name, err)
		}
		select {
		case <-tick.C:
		case <-w.stop:
			return
		}
	}
}

// end stops feeding. A machine that reboots keeps its watchdog, unfed: if the reboot hangs, it bites. One that is to stay halted is freed of it where that is possible.
func (w *watchdogs) end(stays bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	select {
	case <-w.stop:
		return
	default:
	}
	close(w.stop)
	w.wg.Wait()
	for _, d := range w.open {
		if !stays {
			w.log.say("%s is not fed any more: it ends what hangs in %v", d.name, d.timeout)
			continue
		}
		if d.noWayOut {
			w.log.say("%s can't be stopped (nowayout): it will reset the machine in %v", d.name, d.timeout)
			continue
		}
		_, err := d.file.Write([]byte("V"))
		if cerr := d.file.Close(); err == nil {
			err = cerr
		}
		if err != nil {
			w.log.say("stopping %s: %v: it may reset the machine in %v", d.name, err, d.timeout)
		}
	}
}
