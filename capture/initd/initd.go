// Package initd is the first process of the capture kernel. PID 1 supervises and parses nothing but its plan: whatever reads the crashed kernel, loads drivers, talks to disks or to
// the network is a stage, a process of its own with a deadline and a limit on its memory. However a stage ends, the next one follows, and in the end the machine reboots.
package initd

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"kdx/capture/config"
	"kdx/capture/plan"
)

// Main is the program: PID 1 without arguments that count, a stage with them. It returns the exit code.
func Main(args []string) int {
	if os.Getpid() != 1 && len(args) > 1 && args[0] == stageWord {
		return runStage(args[1:], stages)
	}
	if os.Getpid() != 1 {
		fmt.Fprintln(os.Stderr, "kdx-init is the first process of a capture kernel, and started by it from the initrd that kdx capture initrd build makes. Here it does nothing.")
		return 1
	}
	// PID 1 itself needs little, and shall not take it from the stages.
	debug.SetGCPercent(20)
	debug.SetMemoryLimit(8 * mib)
	Run(Machine())
	return 1 // the kernel panics now, and reboots if kernel.panic is set
}

// initd is a run of PID 1.
type initd struct {
	sys     System
	log     *journal
	dogs    *watchdogs
	reaper  *reaper
	sup     *supervisor
	plan    *plan.Plan
	cmdline string
	tty     string // the console for a person
	// network is the state of the network: not tried, up, or why it is not.
	networkTried bool
	networkUp    bool
	mounted      []string
}

// Run does all that PID 1 does. It returns only if the machine can't be ended, or if sys is not PID 1.
func Run(sys System) {
	in := &initd{sys: sys, log: newJournal()}
	in.reaper = newReaper()
	defer in.reaper.close()
	in.dogs = newWatchdogs(&in.sys, in.log)
	in.sup = &supervisor{sys: &in.sys, log: in.log, reaper: in.reaper, cpus: sys.CPUs}

	action := "reboot"
	saved := false
	in.protect("starting", func() {
		in.first()
		action = in.begin(&saved)
	})
	if action == "shell" && in.sys.PID1 {
		in.protect("the shell", in.shell)
		action = "reboot"
	} else if !saved {
		in.log.drain()
		time.Sleep(failurePause)
	}
	acted := false
	in.protect("ending", func() {
		in.act(action)
		acted = true
	})
	if !acted && in.sys.PID1 {
		in.sysrq()
	}
}

// protect runs a part of PID 1 such that its panic is told, and no more: what follows it must happen.
func (in *initd) protect(what string, f func()) {
	defer func() {
		if p := recover(); p != nil {
			in.log.say("%s: a fault of kdx-init itself: %v", what, p)
			for l := range strings.Lines(string(debug.Stack())) {
				in.log.line(l)
			}
		}
	}()
	f()
}

// first makes it possible to say something: mounts, log, consoles.
func (in *initd) first() {
	mountErr := mountBasics(&in.sys)
	if err := in.log.open(in.sys.path(LogPath)); err != nil {
		in.log.say("the log is not kept: %v", err)
	}
	b, err := os.ReadFile(in.sys.path("/proc/cmdline"))
	if err != nil {
		in.log.say("the command line: %v", err)
	}
	in.cmdline = strings.TrimSpace(string(b))
	in.consoles(nil)
	if mountErr != nil {
		in.log.say("%v", mountErr)
	}
	var uts unix.Utsname
	release := "unknown"
	if unix.Uname(&uts) == nil {
		release = unix.ByteSliceToString(uts.Release[:]) + " " + unix.ByteSliceToString(uts.Machine[:])
	}
	in.log.say("this is kdx-init, on Linux %s", release)
	if m, err := readMeminfo(in.sys.path("/proc/meminfo")); err == nil {
		in.log.say("memory: %v, %d CPUs", m, in.sys.CPUs)
	}
}

// consoles opens those of the command line, or the configured ones on top.
func (in *initd) consoles(configured []string) {
	var names []string
	have := map[string]bool{}
	in.log.mu.Lock()
	for _, c := range in.log.consoles {
		have[c.name] = true
	}
	in.log.mu.Unlock()
	for _, n := range consoleNames(in.cmdline, configured) {
		if !have[n] {
			names = append(names, n)
		}
	}
	opened, failed := in.log.openConsoles(in.sys.path("/dev"), names)
	if in.log.kmsg == nil {
		if err := in.log.openKmsg(in.sys.path("/dev/kmsg"), len(opened) > 0); err != nil {
			in.log.say("the kernel's log can't be written: %v", err)
		}
	}
	for _, err := range failed {
		in.log.say("a console that can't be opened: %v", err)
	}
	if len(opened) > 0 {
		in.tty = "/dev/" + opened[len(opened)-1] // the last word is the kernel's own /dev/console
	}
}

// begin does the work and returns the action that ends it.
func (in *initd) begin(saved *bool) string {
	size, err := checkVMCore(&in.sys, strings.Contains(" "+in.cmdline, " elfcorehdr="))
	if err != nil {
		in.log.say("%v", err)
		return in.withoutCore(err)
	}
	in.log.say("the crashed kernel's memory: %d MiB in /proc/vmcore", size/mib)
	changed, err := setKnobs(&in.sys)
	if len(changed) > 0 {
		in.log.say("set: %s", strings.Join(changed, ", "))
	}
	if err != nil {
		in.log.say("settings that stay: %v", err)
	}
	stop := in.lastResort(time.Hour)
	in.plan, err = plan.Read(in.sys.path(plan.Path))
	stop()
	if err != nil {
		in.log.say("%v", err)
		in.log.say("without a plan there is no target: nothing can be saved. On the host, kdx capture initrd build makes this initrd anew, and kdx capture initrd verify says whether it is whole")
		return "reboot"
	}
	c := &in.plan.Config
	in.sup.memory = c.Memory
	budget := in.budget()
	defer in.lastResort(budget)()
	in.log.say("plan of kdx %s for %s: %d targets, %d modules; all is over in %v at the latest", in.plan.Kdx, in.plan.Host, len(in.plan.Targets), len(in.plan.Modules), budget.Round(time.Minute))
	if len(c.Consoles) > 0 {
		in.consoles(c.Consoles)
	}
	if in.plan.Host != "" {
		if err := in.sys.SetHostname(in.plan.Host); err != nil {
			in.log.say("the host's name: %v", err)
		}
	}
	in.work(saved)
	if *saved {
		in.log.say("the dump is saved")
		return c.FinalAction
	}
	in.log.say("no target took the dump")
	return c.FailureAction
}

// withoutCore is the action of a kernel that has no crash to save. The plan's may be a shell, for which a person waits.
func (in *initd) withoutCore(error) string {
	p, err := plan.Read(in.sys.path(plan.Path))
	if err != nil {
		return "reboot"
	}
	return p.Config.FailureAction
}

// lastResort restarts the machine after a time, whatever PID 1 is doing then. The watchdogs are not fed from then on, either.
func (in *initd) lastResort(after time.Duration) (stop func()) {
	if !in.sys.PID1 {
		return func() {}
	}
	t := time.AfterFunc(after, func() {
		in.log.say("%v are over, and kdx-init has not come to its end", after)
		in.sysrq()
		in.dogs.end(false)
	})
	return func() { t.Stop() }
}

// budget is the longest time that everything can take: the sum of all deadlines.
func (in *initd) budget() time.Duration {
	c := &in.plan.Config
	grace := quitGrace + killGrace + time.Second
	each := modulesLimit + grace
	total := time.Duration(moduleRuns)*each + clockLimit + grace + c.NetworkTimeout + mountLimit + grace + syncLimit + grace
	for range in.plan.Targets {
		total += c.DeviceTimeout + mountLimit + grace + 2*(c.SaveTimeout+saveGrace+grace) + logLimit + grace
	}
	total += time.Duration(len(c.PreHooks)+len(c.PostHooks))*(c.HookTimeout+grace) + c.TriageTimeout + saveGrace + grace
	return total + 5*time.Minute
}

// work is what happens between the plan and the final action.
func (in *initd) work(saved *bool) {
	ctx := context.Background()
	c := &in.plan.Config
	in.dogs.look(c.Watchdog)
	in.sup.ahead("save", nil)
	in.modules(ctx)
	in.dogs.look(c.Watchdog)
	in.clock(ctx)
	if len(c.PreHooks)+len(c.PostHooks) > 0 && len(in.plan.Links) > 0 {
		in.network(ctx)
	}
	in.hooks(ctx, c.PreHooks)
	took, o := in.save(ctx)
	*saved = took
	in.sup.ahead("sync", nil)
	status := "1"
	if took {
		status = "0"
		in.sup.run(ctx, task{name: "triage", order: &o, limit: c.TriageTimeout + saveGrace, quit: unix.SIGQUIT})
	}
	in.hooks(ctx, c.PostHooks, status)
	in.keepLog(ctx, o, took)
	in.sup.dismiss("save", "triage", "log") // whose turn did not come; one may hold what is to be unmounted
	in.unmount(ctx)
}

// moduleRuns bounds how often the stage is started again behind a module that killed it.
const moduleRuns = 4

// modules loads the plan's modules. One that takes the stage with it is left out next time.
func (in *initd) modules(ctx context.Context) {
	if len(in.plan.Modules) == 0 {
		return
	}
	var skip []string
	for range moduleRuns {
		st := in.sup.run(ctx, task{name: "modules", order: &order{Skip: skip}, limit: modulesLimit, quit: unix.SIGQUIT})
		if st.Ended == endDone || st.Ended == endFailed || st.Ended == endNotBegun || st.At == "" || slices.Contains(skip, st.At) {
			return
		}
		skip = append(skip, st.At)
	}
}

// clockYear: no dump is older than this program. A clock that stands before it has lost its battery, or there is none.
const clockYear = 2020

func (in *initd) clock(ctx context.Context) {
	if time.Now().UTC().Year() >= clockYear {
		return
	}
	in.log.say("the clock stands at %v", time.Now().UTC().Format(time.RFC3339))
	st := in.sup.run(ctx, task{name: "clock", limit: clockLimit, quit: unix.SIGQUIT})
	if st.ok() {
		in.log.say("the clock was set by the time of the crash: %v", time.Now().UTC().Format(time.RFC3339))
		return
	}
	in.log.say("times in names count from the start of this kernel")
}

// network brings the network up, once.
func (in *initd) network(ctx context.Context) bool {
	if in.networkTried {
		return in.networkUp
	}
	in.networkTried = true
	st := in.sup.run(ctx, task{name: "network", limit: in.plan.Config.NetworkTimeout + mountLimit, quit: unix.SIGQUIT})
	in.networkUp = st.ok()
	return in.networkUp
}

// hooks runs commands one after another; arguments are added to each. Their failure changes nothing.
func (in *initd) hooks(ctx context.Context, commands []string, arguments ...string) {
	for _, command := range commands {
		words := append(strings.Fields(command), arguments...)
		if len(words) == 0 {
			continue
		}
		in.sup.run(ctx, task{name: "hook", label: "hook " + words[0], args: words, limit: in.plan.Config.HookTimeout, quit: unix.SIGTERM, unlimited: true})
	}
}

// save goes through the targets until one has taken the dump. The order says where the dump lies, or, if no target took it, where something could be written.
func (in *initd) save(ctx context.Context) (bool, order) {
	left := order{Target: -1}
	for i := range in.plan.Targets {
		o, ok := in.prepare(ctx, i)
		if !ok {
			continue
		}
		for _, plain := range []bool{false, true} {
			o.Plain = plain
			in.sup.mu.Lock()
			o.Stages = slices.Clone(in.sup.stages)
			in.sup.mu.Unlock()
			st := in.sup.run(ctx, task{name: "save", order: &o, limit: in.plan.Config.SaveTimeout + saveGrace, quit: unix.SIGQUIT, written: func(dir string) { in.written(o, dir) }})
			var r saved
			if st.result != nil && json.Unmarshal(st.result, &r) == nil {
				o.Dir = r.Dir
			}
			if st.ok() {
				return true, o
			}
			in.sup.dismiss("triage") // it looks at what is no dump
			left = o
			if !st.died() {
				break // it says why, and would again: no room, no connection, time over
			}
			if !plain {
				in.log.say("%s is tried again without understanding the kernel: all pages but zeros are saved then", in.plan.Targets[i].Configured)
			}
		}
	}
	return false, left
}

// written starts what can be done with a dump while it is still being proven, from the one goroutine that hears the stage. A disk serves several readers;
// what goes over the network is left alone.
func (in *initd) written(o order, dir string) {
	if o.Device == "" || o.Mount == "" {
		return
	}
	o.Dir, o.Unproven, o.Stages = dir, true, nil
	in.sup.ahead("triage", &o)
	in.sup.ahead("log", nil)
}

// prepare makes a target ready to be written to.
func (in *initd) prepare(ctx context.Context, i int) (order, bool) {
	t := &in.plan.Targets[i]
	in.log.say("target %d of %d: %s", i+1, len(in.plan.Targets), t.Configured)
	o := order{Target: i}
	switch t.Kind {
	case config.FS, config.Raw:
		o.Mount = in.sys.path(filepath.Join("/run/kdx/target", fmt.Sprint(i)))
		st := in.sup.run(ctx, task{name: "device", order: &o, limit: in.plan.Config.DeviceTimeout + mountLimit, quit: unix.SIGQUIT})
		if !st.ok() {
			return o, false
		}
		var d device
		if err := json.Unmarshal(st.result, &d); err != nil {
			in.log.say("the stage did not say which device it found: %v", err)
			return o, false
		}
		o.Device = d.Device
		if t.Kind == config.Raw {
			o.Mount = ""
		} else {
			in.mounted = append(in.mounted, o.Mount)
		}
		return o, true
	default:
		return o, in.network(ctx)
	}
}

// keepLog puts the log beside the dump, or where a dump was begun.
func (in *initd) keepLog(ctx context.Context, o order, took bool) {
	if o.Target < 0 || o.Dir == "" {
		return
	}
	if took {
		in.log.say("the log is saved in %s", o.Dir)
	}
	in.sup.mu.Lock()
	o.Stages = slices.Clone(in.sup.stages)
	in.sup.mu.Unlock()
	in.sup.run(ctx, task{name: "log", order: &o, limit: logLimit, quit: unix.SIGQUIT})
}

// unmount lets go of what is mounted and syncs: in a stage, as both may hang.
func (in *initd) unmount(ctx context.Context) {
	in.sup.run(ctx, task{name: "sync", order: &order{Mounts: in.mounted}, limit: syncLimit, quit: unix.SIGQUIT})
}

// shells, in the order in which they are looked for in the initrd.
var shells = [][]string{{"/bin/sh"}, {"/usr/bin/sh"}, {"/bin/bash"}, {"/usr/bin/bash"}, {"/bin/busybox", "sh"}, {"/usr/bin/busybox", "sh"}}

// shell waits for a person. The watchdogs are fed meanwhile.
func (in *initd) shell() {
	for _, argv := range shells {
		if fi, err := os.Stat(in.sys.path(argv[0])); err != nil || fi.IsDir() {
			continue
		}
		in.log.say("a shell, as configured; the machine reboots when it ends. The log is %s", LogPath)
		in.log.drain()
		st := in.sup.run(context.Background(), task{name: "shell", args: argv, limit: 1<<63 - 1, quit: syscall.SIGHUP, console: in.tty, unlimited: true})
		if st.Ended != endNotBegun {
			return
		}
	}
	in.log.say("a shell is configured, but none can be started (this initrd has none, or no console): the machine reboots")
	time.Sleep(failurePause)
}
