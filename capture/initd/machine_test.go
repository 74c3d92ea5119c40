package initd

import (
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"kdx/capture/config"
	"kdx/capture/plan"
	"kdx/capture/storage"
	"kdx/internal/treetest"
)

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
		Root: m.root, PID1: true, CPUs: 1, Self: self(t), Env: []string{fakeEnv + "=" + fakes, fakeTrace + "=" + m.root + "/trace"},
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
