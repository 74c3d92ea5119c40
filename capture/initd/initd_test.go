package initd

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kdx/capture/config"
	"kdx/capture/plan"
	"kdx/capture/storage"
	"kdx/internal/treetest"
)

// The test binary is its own stage: PID 1's part runs in the test, stages are this program again.
func TestMain(m *testing.M) {
	if len(os.Args) > 2 && os.Args[1] == stageWord {
		os.Exit(runStage(os.Args[2:], fakes()))
	}
	quitGrace, killGrace, failurePause, actionLimit, feedLeast = 2*time.Second, 2*time.Second, time.Millisecond, 200*time.Millisecond, 10*time.Millisecond
	os.Exit(m.Run())
}

// fakeEnv says how stages behave: "save0=panic save1=done", by name and target. fakeTrace is the file that they write down that they ran in.
const fakeEnv, fakeTrace = "KDX_TEST_FAKES", "KDX_TEST_TRACE"

func fakes() map[string]stageFunc {
	table := map[string]stageFunc{}
	for _, name := range []string{"modules", "clock", "network", "device", "save", "triage", "log", "sync", "hook", "shell"} {
		table[name] = func(ctx context.Context, s *stage) (any, error) { return fake(ctx, name, s) }
	}
	return table
}

func fake(_ context.Context, name string, s *stage) (any, error) {
	id := name
	switch name {
	case "device", "save", "log", "triage":
		id += fmt.Sprint(s.order.Target)
		if s.order.Plain && name == "save" {
			id += "plain"
		}
	case "hook", "shell":
		id += " " + strings.Join(s.args, " ")
	case "modules":
		id += strings.Join(s.order.Skip, "")
	}
	if f, err := os.OpenFile(os.Getenv(fakeTrace), os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err == nil {
		fmt.Fprintln(f, id)
		f.Close()
	}
	how := ""
	for _, w := range strings.Split(os.Getenv(fakeEnv), ";") {
		if k, v, _ := strings.Cut(w, "="); k == id {
			how = v
		}
	}
	return behave(how, s)
}

var sink [][]byte

func behave(how string, s *stage) (any, error) {
	s.At("work")
	switch how {
	case "":
		return map[string]string{"dir": "guest-x", "device": "/dev/x"}, nil
	case "fail":
		return nil, errors.New("no room\nhere")
	case "panic":
		panic("a stage's fault")
	case "hang":
		time.Sleep(time.Hour)
	case "deaf":
		signal.Ignore(syscall.SIGQUIT, syscall.SIGTERM)
		time.Sleep(time.Hour)
	case "eat":
		for {
			b := make([]byte, mib)
			for i := range b {
				b[i] = 1
			}
			sink = append(sink, b)
		}
	case "killed":
		unix.Kill(os.Getpid(), unix.SIGKILL)
		time.Sleep(time.Hour)
	case "noisy":
		for range 20000 {
			fmt.Println("a line of some thirty characters\x1b[2J")
		}
	case "garbage":
		f := os.NewFile(reportFD, "report")
		f.WriteString("{\"at\":\n\x00\xff}\n" + strings.Repeat("x", 2*maxReport) + "\n")
	case "orphans":
		for range 3 {
			attr := &syscall.ProcAttr{Env: os.Environ(), Files: []uintptr{0, 1, 2}, Sys: &syscall.SysProcAttr{Setsid: true}}
			if _, err := syscall.ForkExec("/proc/self/exe", []string{"x", stageWord, "clock"}, attr); err != nil {
				return nil, err
			}
		}
	}
	return nil, nil
}

func self(t *testing.T) []string {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return []string{exe}
}

func newSupervisor(t *testing.T, fakes string) (*supervisor, func() string) {
	t.Helper()
	dir := t.TempDir()
	sys := &System{Self: self(t), Env: []string{fakeEnv + "=" + fakes, fakeTrace + "=" + dir + "/trace"}}
	log := newJournal()
	if err := log.open(dir + "/log"); err != nil {
		t.Fatal(err)
	}
	r := newReaper()
	t.Cleanup(r.close)
	return &supervisor{sys: sys, log: log, reaper: r, cpus: 1}, func() string {
		b, err := os.ReadFile(dir + "/log")
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
}

func TestStages(t *testing.T) {
	for _, tt := range []struct {
		how, ended, why, log string
		memory               uint64
	}{
		{how: "", ended: endDone},
		{how: "fail", ended: endFailed, why: "no room?here"},
		{how: "panic", ended: endCrashed, log: "save: panic: a stage's fault"},
		{how: "hang", ended: endDeadline, log: "save: SIGQUIT: quit"},
		{how: "deaf", ended: endDeadline},
		{how: "eat", ended: endNoMemory, memory: 32 * mib},
		{how: "killed", ended: endKilled, why: "by the kernel, most likely as it was out of memory"},
		{how: "noisy", ended: endDone, log: "more lines are left out"},
		{how: "garbage", ended: endDone},
	} {
		t.Run(tt.how, func(t *testing.T) {
			s, log := newSupervisor(t, "save0="+tt.how)
			s.memory = tt.memory
			if raceDetector && tt.how == "eat" {
				tt.ended, tt.why = endFailed, "status 66"
			}
			limit := 20 * time.Second
			if tt.how == "hang" || tt.how == "deaf" {
				limit = 500 * time.Millisecond
			}
			begin := time.Now()
			st := s.run(t.Context(), task{name: "save", args: []string{encode(order{})}, limit: limit, quit: unix.SIGQUIT})
			if st.Ended != tt.ended || tt.why != "" && st.Why != tt.why {
				t.Errorf("ended %q, why %q; want %q, %q\n%s", st.Ended, st.Why, tt.ended, tt.why, log())
			}
			if took := time.Since(begin); took > 15*time.Second {
				t.Errorf("took %v", took)
			}
			if !strings.Contains(log(), tt.log) {
				t.Errorf("the log lacks %q:\n%.2000s", tt.log, log())
			}
			if n := len(log()); n > 2*maxOutput+8<<10 {
				t.Errorf("the log has %d bytes", n)
			}
			if strings.Contains(log(), "\x1b") {
				t.Error("control characters reach the log")
			}
			if st.Peak == 0 || tt.how == "hang" && (st.Anonymous == 0 || st.At != "work") {
				t.Errorf("not measured: %+v", st)
			}
			if tt.how == "eat" && !raceDetector && st.Anonymous > 64*mib {
				t.Errorf("it took %d MiB", st.Anonymous/mib)
			}
		})
	}
}

func TestNotStarted(t *testing.T) {
	s, _ := newSupervisor(t, "")
	s.sys.Self = []string{"/nonexistent"}
	if st := s.run(t.Context(), task{name: "save", limit: time.Second, quit: unix.SIGQUIT}); st.Ended != endNotBegun {
		t.Errorf("%+v", st)
	}
}

func TestOrphans(t *testing.T) {
	if err := unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0); err != nil {
		t.Fatal(err)
	}
	defer unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
	s, _ := newSupervisor(t, "save0=orphans")
	s.run(t.Context(), task{name: "save", args: []string{encode(order{})}, limit: 10 * time.Second, quit: unix.SIGQUIT})
	for end := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		s.reaper.mu.Lock()
		n := s.reaper.orphans
		s.reaper.mu.Unlock()
		if n == 3 {
			return
		}
		if time.Now().After(end) {
			t.Fatalf("%d orphans were reaped; want 3", n)
		}
	}
}

// machine is a fake one to run PID 1 on.
type machine struct {
	t       *testing.T
	root    string
	sys     System
	mu      sync.Mutex
	reboots []uint32
}

func newMachine(t *testing.T, fakes string, change func(*plan.Plan)) *machine {
	t.Helper()
	m := &machine{t: t, root: t.TempDir()}
	disk := func(name string) plan.Target {
		d := &storage.Device{Kind: storage.Disk, Name: name, IDs: []storage.ID{{By: "serial", Value: name}}}
		return plan.Target{Target: config.Target{Kind: config.FS, FS: "ext4", Device: "/dev/" + name, Path: "/dumps"}, Configured: "ext4:/dev/" + name + ":/dumps", Device: d}
	}
	c := config.Default()
	c.SaveTimeout, c.HookTimeout = 5*time.Second, time.Second
	p := &plan.Plan{Version: plan.Version, Kdx: "test", Host: "guest", Config: *c, Targets: []plan.Target{disk("a"), disk("b")}}
	if change != nil {
		change(p)
	}
	b, err := p.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	m.write("kdx/plan.json", string(b))
	m.write("proc/vmcore", "x")
	m.write("proc/cmdline", "console=tty0 console=ttyS0,115200 elfcorehdr=1M@2M\n")
	m.write("proc/meminfo", "MemTotal: 100000 kB\nMemFree: 80000 kB\nMemAvailable: 70000 kB\n")
	m.write("proc/sys/kernel/panic", "0\n")
	m.write("proc/sys/kernel/panic_on_warn", "1\n")
	m.write("proc/sysrq-trigger", "")
	m.write("dev/ttyS0", "")
	m.write("dev/kmsg", "")
	m.sys = System{
		Root: m.root, PID1: true, Self: self(t), Env: []string{fakeEnv + "=" + fakes, fakeTrace + "=" + m.root + "/trace"},
		Mount: func(string, string, string, uintptr, string) error { return nil },
		Reboot: func(c uint32) error {
			m.mu.Lock()
			defer m.mu.Unlock()
			m.reboots = append(m.reboots, c)
			return nil
		},
		SetHostname: func(string) error { return nil },
	}
	return m
}

func (m *machine) write(name, text string) {
	m.t.Helper()
	treetest.Put(m.t, m.root, name, text)
}

func (m *machine) read(name string) string {
	b, err := os.ReadFile(filepath.Join(m.root, name))
	if err != nil {
		return ""
	}
	return string(b)
}

func (m *machine) run() (trace []string, log string) {
	m.t.Helper()
	Run(m.sys)
	return strings.FieldsFunc(m.read("trace"), func(r rune) bool { return r == '\n' }), m.read(LogPath)
}

const (
	restart  = unix.LINUX_REBOOT_CMD_RESTART
	powerOff = unix.LINUX_REBOOT_CMD_POWER_OFF
	halt     = unix.LINUX_REBOOT_CMD_HALT
)

func TestRun(t *testing.T) {
	withModules := func(p *plan.Plan) {
		p.Modules = []plan.Module{{Name: "work", Path: "/m/work.ko"}, {Name: "b", Path: "/m/b.ko"}}
	}
	for _, tt := range []struct {
		name, fakes string
		change      func(*plan.Plan)
		trace       []string
		reboot      uint32
		log         string
	}{
		{name: "saved", trace: []string{"device0", "save0", "triage0", "log0", "sync"}, reboot: restart, log: "the dump is saved"},
		{name: "disk missing", fakes: "device0=fail", trace: []string{"device0", "device1", "save1", "triage1", "log1", "sync"}, reboot: restart},
		{name: "device hangs", fakes: "device0=panic", trace: []string{"device0", "device1", "save1", "triage1", "log1", "sync"}, reboot: restart},
		{name: "no room", fakes: "save0=fail", trace: []string{"device0", "save0", "device1", "save1", "triage1", "log1", "sync"}, reboot: restart},
		{name: "not understood", fakes: "save0=panic", trace: []string{"device0", "save0", "save0plain", "triage0", "log0", "sync"}, reboot: restart, log: "without understanding the kernel"},
		{name: "killed twice", fakes: "save0=killed;save0plain=panic", trace: []string{"device0", "save0", "save0plain", "device1", "save1", "triage1", "log1", "sync"}, reboot: restart},
		{
			name: "nothing works", fakes: "device0=fail;save1=panic;save1plain=fail", change: func(p *plan.Plan) { p.Config.FailureAction = "poweroff" },
			trace: []string{"device0", "device1", "save1", "save1plain", "sync"}, reboot: powerOff, log: "no target took the dump",
		},
		{name: "triage crashes", fakes: "triage0=panic;log0=panic;sync=panic", trace: []string{"device0", "save0", "triage0", "log0", "sync"}, reboot: restart, log: "the dump is saved"},
		{
			name: "hooks", fakes: "hook /pre a=hang;device0=fail;device1=fail",
			change: func(p *plan.Plan) { p.Config.PreHooks, p.Config.PostHooks = []string{"/pre a"}, []string{"/post"} },
			trace:  []string{"hook /pre a", "device0", "device1", "hook /post 1", "sync"}, reboot: restart, log: "hook /pre has not ended within 1s",
		},
		{
			name: "hooks after", change: func(p *plan.Plan) { p.Config.PostHooks = []string{"/post b"} },
			trace: []string{"device0", "save0", "triage0", "hook /post b 0", "log0", "sync"}, reboot: restart,
		},
		{name: "modules", change: withModules, fakes: "modules=fail", trace: []string{"modules", "device0", "save0", "triage0", "log0", "sync"}, reboot: restart},
		{name: "module kills", change: withModules, fakes: "modules=panic", trace: []string{"modules", "moduleswork", "device0", "save0", "triage0", "log0", "sync"}, reboot: restart},
		{name: "halt", change: func(p *plan.Plan) { p.Config.FinalAction = "halt" }, trace: []string{"device0", "save0", "triage0", "log0", "sync"}, reboot: halt},
		{
			name: "no shell", fakes: "device0=fail;device1=fail", change: func(p *plan.Plan) { p.Config.FailureAction = "shell" },
			trace: []string{"device0", "device1", "sync"}, reboot: restart, log: "none can be started",
		},
		{
			name: "network", fakes: "network=fail",
			change: func(p *plan.Plan) {
				p.Targets[0] = plan.Target{Target: config.Target{Kind: config.SFTP, Host: "h", Path: "/d"}, Configured: "sftp://h/d"}
			},
			trace: []string{"network", "device1", "save1", "triage1", "log1", "sync"}, reboot: restart,
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, tt.fakes, tt.change)
			trace, log := m.run()
			if !slices.Equal(trace, tt.trace) {
				t.Errorf("ran %q; want %q\n%s", trace, tt.trace, log)
			}
			if !slices.Equal(m.reboots, []uint32{tt.reboot}) {
				t.Errorf("reboot(2) with %#x; want %#x", m.reboots, tt.reboot)
			}
			if !strings.Contains(log, tt.log) {
				t.Errorf("the log lacks %q:\n%s", tt.log, log)
			}
			if m.read("proc/sysrq-trigger") != "" {
				t.Error("sysrq, although reboot(2) worked")
			}
			if !strings.Contains(m.read("dev/ttyS0"), "this is kdx-init") || !strings.Contains(m.read("dev/kmsg"), "<7>kdx: ") {
				t.Error("not on the console, or not in the kernel's log")
			}
			if m.read("proc/sys/kernel/panic") != "10" || m.read("proc/sys/kernel/panic_on_warn") != "0\n" {
				t.Error("knobs were not set")
			}
		})
	}
}

func TestShell(t *testing.T) {
	m := newMachine(t, "", func(p *plan.Plan) { p.Config.FinalAction = "shell" })
	m.write("bin/busybox", "")
	trace, log := m.run()
	if want := "shell /bin/busybox sh"; len(trace) == 0 || trace[len(trace)-1] != want {
		t.Errorf("ran %q; want %q at the end\n%s", trace, want, log)
	}
	if !slices.Equal(m.reboots, []uint32{restart}) {
		t.Errorf("reboots: %#x", m.reboots)
	}
}

func TestNoVMCore(t *testing.T) {
	for _, tt := range []struct {
		name, want string
		change     func(*machine)
		reboots    int
	}{
		{"absent", "/proc/vmcore does not exist, although the command line has elfcorehdr=", func(m *machine) { os.Remove(m.root + "/proc/vmcore") }, 1},
		{"empty", "/proc/vmcore is empty", func(m *machine) { m.write("proc/vmcore", "") }, 1},
		{"booted", "and the command line has no elfcorehdr=", func(m *machine) { os.Remove(m.root + "/proc/vmcore"); m.write("proc/cmdline", "quiet") }, 1},
		{"host", "the machine goes on", func(m *machine) { os.Remove(m.root + "/proc/vmcore"); m.sys.PID1 = false }, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			m := newMachine(t, "", nil)
			tt.change(m)
			trace, log := m.run()
			if len(trace) != 0 || len(m.reboots) != tt.reboots || !strings.Contains(log, tt.want) {
				t.Errorf("ran %q, reboots %d:\n%s", trace, len(m.reboots), log)
			}
			if m.read("proc/sys/kernel/panic_on_warn") != "1\n" {
				t.Error("something was touched")
			}
		})
	}
}

func TestBrokenPlan(t *testing.T) {
	for name, text := range map[string]string{"empty": "", "cut": `{"version":1,"targets":[{`, "other": `{"version":99}`, "zeros": strings.Repeat("\x00", 100), "deep": strings.Repeat("[", 1<<20)} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "", nil)
			m.write("kdx/plan.json", text)
			trace, log := m.run()
			if len(trace) != 0 || !slices.Equal(m.reboots, []uint32{restart}) || !strings.Contains(log, "without a plan there is no target") {
				t.Errorf("ran %q, reboots %v:\n%s", trace, m.reboots, log)
			}
		})
	}
}

// TestEnd: reboot(2) that fails or hangs is followed by sysrq.
func TestEnd(t *testing.T) {
	for name, reboot := range map[string]func(uint32) error{
		"fails": func(uint32) error { return unix.EPERM },
		"hangs": func(uint32) error { time.Sleep(time.Hour); return nil },
		"panic": nil,
	} {
		t.Run(name, func(t *testing.T) {
			m := newMachine(t, "", nil)
			m.sys.Reboot = reboot
			if name == "panic" {
				m.sys.Reboot = func(uint32) error { return nil }
				m.sys.SetHostname = func(string) error { panic("a fault") }
			}
			_, log := m.run()
			if name == "panic" {
				if !strings.Contains(log, "a fault of kdx-init itself: a fault") {
					t.Error(log)
				}
				return
			}
			if m.read("proc/sysrq-trigger") != "b" {
				t.Errorf("no sysrq:\n%s", log)
			}
		})
	}
}

func TestLastResort(t *testing.T) {
	m := newMachine(t, "", nil)
	in := &initd{sys: m.sys, log: newJournal()}
	in.dogs = newWatchdogs(&in.sys, in.log)
	in.lastResort(time.Millisecond)
	for end := time.Now().Add(5 * time.Second); m.read("proc/sysrq-trigger") != "b"; time.Sleep(5 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the machine goes on for ever")
		}
	}
}

func TestConsoles(t *testing.T) {
	for _, tt := range []struct {
		cmdline    string
		configured []string
		want       string
	}{
		{"console=tty0 quiet console=ttyS0,115200n8", nil, "tty0 ttyS0"},
		{"console=ttyS0 console=ttyS0,9600", nil, "ttyS0"},
		{"console=null console=ttynull console=uart8250,io,0x3f8 console=../x", nil, "console"},
		{"", nil, "console"},
		{"console=tty0", []string{"ttyS1,115200"}, "ttyS1"},
	} {
		if got := strings.Join(consoleNames(tt.cmdline, tt.configured), " "); got != tt.want {
			t.Errorf("%q, %q: %q; want %q", tt.cmdline, tt.configured, got, tt.want)
		}
	}
}

// TestNoConsole: where no device shows our lines, the kernel prints them.
func TestNoConsole(t *testing.T) {
	m := newMachine(t, "", nil)
	os.Remove(m.root + "/dev/ttyS0")
	_, log := m.run()
	if !strings.Contains(m.read("dev/kmsg"), "<5>kdx: ") || !strings.Contains(log, "a console that can't be opened") {
		t.Error(log)
	}
}

func TestAllow(t *testing.T) {
	for _, tt := range []struct {
		available  uint64
		err        error
		configured uint64
	}{{available: 20 * mib}, {available: 35 * mib}, {available: 70 * mib}, {available: 2000 * mib}, {available: 1}, {err: errors.New("x")}, {available: 70 * mib, configured: 20 * mib}} {
		a := allow(meminfo{available: tt.available}, tt.err, tt.configured)
		if a.hard < least || a.soft < least/2 || a.soft >= a.hard || a.soft > roomy {
			t.Errorf("%+v: %+v", tt, a)
		}
		if tt.available > 16*mib && (a.hard > tt.available-4*mib || tt.configured > 0 && a.hard > tt.configured) {
			t.Errorf("%+v: %+v", tt, a)
		}
	}
}

func TestMeminfo(t *testing.T) {
	dir := t.TempDir()
	for text, ok := range map[string]bool{
		"MemTotal:  10 kB\nMemFree: 5 kB\nMemAvailable: 6 kB\n": true, "": false, "MemTotal: x kB\n": false, "MemTotal: 10 kB\n": false,
	} {
		path := filepath.Join(dir, "meminfo")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if m, err := readMeminfo(path); (err == nil) != ok || ok && m != (meminfo{10 << 10, 5 << 10, 6 << 10}) {
			t.Errorf("%q: %+v, %v", text, m, err)
		}
	}
}

func TestWatchdog(t *testing.T) {
	m := newMachine(t, "", nil)
	dog := func(name, state, left, nowayout string) {
		d := "sys/class/watchdog/" + name + "/"
		m.write(d+"state", state+"\n")
		m.write(d+"identity", "a dog\n")
		m.write(d+"timeout", "30\n")
		m.write(d+"nowayout", nowayout+"\n")
		if left != "" {
			m.write(d+"timeleft", left+"\n")
		}
		m.write("dev/"+name, "")
	}
	dog("watchdog0", "inactive", "", "0")
	dog("watchdog1", "active", "", "0")
	dog("watchdog2", "active", "", "1")
	dog("watchdog3", "inactive", "10", "0") // the kernel feeds it
	log := newJournal()
	if err := log.open(m.root + "/log"); err != nil {
		t.Fatal(err)
	}
	w := newWatchdogs(&m.sys, log)
	w.look("")
	w.look("")
	w.end(true)
	for name, want := range map[string]string{"watchdog0": "", "watchdog1": "\x00V", "watchdog2": "\x00", "watchdog3": ""} {
		if got := m.read("dev/" + name); got != want {
			t.Errorf("%s got %q; want %q\n%s", name, got, want, m.read("log"))
		}
	}
	if !strings.Contains(m.read("log"), "watchdog2 can't be stopped (nowayout)") {
		t.Error(m.read("log"))
	}
	// Nobody feeds one that the kernel was told not to feed.
	m.write("sys/module/watchdog/parameters/handle_boot_enabled", "N\n")
	w = newWatchdogs(&m.sys, log)
	go func() { time.Sleep(watchdogLook / 2); m.write("sys/class/watchdog/watchdog3/timeleft", "8\n") }()
	w.look("")
	w.end(false)
	if got := m.read("dev/watchdog3"); got != "\x00" {
		t.Errorf("watchdog3 got %q\n%s", got, m.read("log"))
	}
	// One that is configured is started; off is off.
	w = newWatchdogs(&m.sys, log)
	w.look("off")
	w.look("/dev/watchdog")
	w.end(false)
	if got := m.read("dev/watchdog0"); got != "\x00" {
		t.Errorf("watchdog0 got %q\n%s", got, m.read("log"))
	}
}

func TestMountData(t *testing.T) {
	for _, tt := range []struct{ options, subvol, want string }{
		{"rw,relatime,x-systemd.automount,noexec", "", ""},
		{"rw,noatime,inode64,logbufs=8", "", "inode64,logbufs=8"},
		{"rw,subvolid=256,subvol=/@,compress=zstd:1", "@crash", "compress=zstd:1,subvol=@crash"},
		{"rw,subvol=/@", "", "subvol=/@"},
	} {
		p := &plan.Target{Target: config.Target{Subvol: tt.subvol}, MountOptions: tt.options}
		if got := mountData(p); got != tt.want {
			t.Errorf("%q, %q: %q; want %q", tt.options, tt.subvol, got, tt.want)
		}
	}
}

func TestKernelLog(t *testing.T) {
	records := []string{"6,1,1500000,-;hello\n SUBSYSTEM=x\n", "14,2,1600000,-;kdx: ours\n", "garbage", "4,3", "4;y", "4,4,2000001,-;bye"}
	i := 0
	out, err := kernelLines(readerFunc(func(p []byte) (int, error) {
		if i == 1 {
			i++
			return 0, unix.EPIPE
		}
		if i++; i > len(records) {
			return 0, nil
		}
		return copy(p, records[i-1]), nil
	}), 1000)
	if want := "[    1.500000] hello\n[    2.000001] bye\n"; err != nil || string(out) != want {
		t.Errorf("%q, %v; want %q", out, err, want)
	}
}

// TestJournal: lines are bounded, and so is the file.
func TestJournal(t *testing.T) {
	path := t.TempDir() + "/a/log"
	j := newJournal()
	j.say("early\nand more")
	if err := j.open(path); err != nil {
		t.Fatal(err)
	}
	for range 2000 {
		j.say("%s", strings.Repeat("ä", 1000))
	}
	b, err := os.ReadFile(path)
	if err != nil || len(b) > maxJournal+2*maxLine || !strings.Contains(string(b[:100]), "kdx: early") {
		t.Errorf("%d bytes, %v: %.100s", len(b), err, b)
	}
}

func TestOrder(t *testing.T) {
	o := order{Target: 1, Mount: "/m", Plain: true, Stages: []Stage{{Name: "a", Took: 5}}}
	var back order
	if err := json.Unmarshal([]byte(encode(o)), &back); err != nil || back.Target != 1 || !back.Plain || len(back.Stages) != 1 || back.Stages[0].Took != 5 {
		t.Errorf("%+v, %v", back, err)
	}
	runtime.KeepAlive(sink)
}

func FuzzReport(f *testing.F) {
	f.Add([]byte("{\"at\":\"x\"}\n{\"error\":\"y\",\"result\":{\"dir\":1}}\n"))
	f.Add([]byte("{\"at\":1}\nnonsense\x00\n"))
	f.Fuzz(func(t *testing.T, text []byte) {
		var r reports
		r.read(strings.NewReader(string(text)))
		st := Stage{At: r.get().At, result: r.get().Result, Ended: endFailed}
		if _, err := json.Marshal(st); err != nil {
			t.Error(err)
		}
		if s := printable(st.String()); strings.ContainsAny(s, "\n\x1b") {
			t.Errorf("%q", s)
		}
	})
}

func FuzzKernelLog(f *testing.F) {
	f.Add("6,1,1500000,-;hello\n SUBSYSTEM=x\n", 100)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = min(max(limit, 1), 1<<16)
		i := 0
		out, err := kernelLines(readerFunc(func(p []byte) (int, error) {
			if i++; i > 20 {
				return 0, nil
			}
			return copy(p, text), nil
		}), limit)
		if err != nil || len(out) > 2*limit+len(text)*2+64 {
			t.Errorf("%d bytes, %v", len(out), err)
		}
	})
}
