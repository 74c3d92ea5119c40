package load

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestSysctls(t *testing.T) {
	m := newMachine(t)
	m.put("proc/sys/net/ipv4/conf/eth0.1/rp_filter", "1\t2\n")
	for name, want := range map[string]string{"kernel.panic_on_oops": "0", "kernel/panic_on_oops": "0", "net.ipv4.conf.eth0/1.rp_filter": "1 2"} {
		if got, err := m.readSysctl(name); err != nil || got != want {
			t.Errorf("%s: %q, %v", name, got, err)
		}
	}
	for _, name := range []string{"", "../../etc/passwd", "/etc/passwd", "kernel.nosuch"} {
		if _, err := m.readSysctl(name); err == nil {
			t.Errorf("%q was read", name)
		}
	}
	j := m.job()
	j.Sysctls = []string{"kernel.nosuch=1", "kernel.panic_on_oops=1"}
	r := m.load(j)
	if len(r.Problems) != 1 || !strings.Contains(r.Problems[0].What, "kernel.nosuch=1") || len(r.Record.Sysctls) != 1 {
		t.Errorf("%+v", r)
	}
	m.put("proc/sys/kernel/panic_on_oops", "2") // somebody's own
	if _, err := m.Unload(t.Context(), true); err != nil || m.get("proc/sys/kernel/panic_on_oops") != "2" {
		t.Error(err)
	}
}

func TestNewPaths(t *testing.T) {
	m := newMachine(t)
	for _, n := range []string{"kexec_crash_loaded", "kexec_loaded", "kexec_crash_size", "crash_elfcorehdr_size"} {
		os.Remove(filepath.Join(m.Root, "sys/kernel", n))
	}
	m.put("sys/kernel/kexec/crash_loaded", "1")
	m.put("sys/kernel/kexec/loaded", "0")
	m.put("sys/kernel/kexec/crash_elfcorehdr_size", "4096")
	k, err := m.ReadKernel()
	if err != nil || k.CrashLoaded == nil || !*k.CrashLoaded || *k.Loaded || k.Elfcorehdr != 4096 || !k.FiveLevel || k.BootAPIC != 0 || k.Lockdown != "none" {
		t.Errorf("%+v, %v", k, err)
	}
}

func TestStatusText(t *testing.T) {
	m := newMachine(t)
	m.put("var/crash/box-2026-11-20T20-15-03Z-01234567/manifest.json", `{"version":1,"kdx":"x","complete":true,"host":"box","begun":"2026-11-20T20:15:03Z","release":"6.12.1"}`)
	m.put("var/crash/other/manifest.json", `{`)
	text := func() string {
		s, err := m.ReadStatus([]string{"kernel.panic_on_oops=1"})
		if err != nil {
			t.Fatal(err)
		}
		m.LastDump(s, "/var/crash")
		var b strings.Builder
		if err := s.Text(&b); err != nil {
			t.Fatal(err)
		}
		return b.String()
	}
	for _, want := range []string{"armed         NO", "192M, reserved as asked", "kernel.panic_on_oops=1, and is \"0\"", "last dump     /var/crash/box-2026", "not known until"} {
		if got := text(); !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	m.load(m.job())
	for _, want := range []string{"armed         yes", "/boot/vmlinuz (6.12.1-test)", "the kernel follows it", "by a test, kdx test"} {
		if got := text(); !strings.Contains(got, want) {
			t.Errorf("%s is not in\n%s", want, got)
		}
	}
	m.put("run/kdx/loaded.json", "{")
	if got := text(); !strings.Contains(got, "loaded.json is damaged") || !strings.Contains(got, "something else than kdx") {
		t.Error(got)
	}
}
