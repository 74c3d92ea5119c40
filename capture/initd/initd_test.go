package initd

import (
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kdx/capture/config"
	"kdx/capture/plan"
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
