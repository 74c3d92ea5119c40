package load

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

func TestLoad(t *testing.T) {
	m := newMachine(t)
	r := m.load(m.job())
	rec := r.Record
	if len(r.Problems) != 0 || r.Hotplug != HotplugKernel || rec.Release != release || rec.Reserved != 192<<20 || rec.Placed < 56<<20 || !rec.Armed || rec.Kdx != "test" || rec.BootID != "boot-1" {
		t.Errorf("%+v %+v", r, rec)
	}
	if m.loaded != "own initrd of 6.12.1-test, console=ttyS0" || m.get("proc/sys/kernel/panic_on_oops") != "1" {
		t.Error(m.loaded)
	}
	if m.get(rec.Initrd.Copy) != "own initrd of 6.12.1-test" {
		t.Error(rec.Initrd)
	}
	s, err := m.ReadStatus([]string{"kernel.panic_on_oops=1"})
	if err != nil || !s.Armed || s.Record == nil || len(s.Changed) != 0 || !s.Sysctls[0].OK || s.Kernel.Hotplug != HotplugKernel {
		t.Errorf("%+v, %v", s, err)
	}
	// Replaced files: told by status, and reload still loads what is loaded.
	if err := os.Rename(filepath.Join(m.Root, "boot/initrd.kdx"), filepath.Join(m.Root, "boot/old")); err != nil {
		t.Fatal(err)
	}
	m.put("boot/initrd.kdx", "own initrd of 6.12.1-test rebuilt")
	if s, err = m.ReadStatus(nil); err != nil || len(s.Changed) != 1 {
		t.Errorf("%+v, %v", s, err)
	}
	r, err = m.Reload(t.Context())
	if err != nil || m.loaded != "own initrd of 6.12.1-test, console=ttyS0" || len(r.Problems) != 1 || r.Record.Initrd.Path != "/boot/initrd.kdx" {
		t.Error(m.loaded, r, err)
	}
	// A new load takes the new file, and the copy of the old one goes.
	old := rec.Initrd.Copy
	r = m.load(m.job())
	if m.loaded != "own initrd of 6.12.1-test rebuilt, console=ttyS0" || r.Record.Initrd.Copy == old {
		t.Error(m.loaded)
	}
	if _, err := os.Stat(filepath.Join(m.Root, old)); err == nil {
		t.Error("the old copy is still there")
	}
	// Unloading puts the sysctl back to what it was before the first load.
	if problems, err := m.Unload(t.Context(), true); err != nil || len(problems) != 0 || m.get("proc/sys/kernel/panic_on_oops") != "0" || m.loaded != "" {
		t.Error(problems, err)
	}
	if _, err := m.Reload(t.Context()); !errors.Is(err, ErrNothingLoaded) {
		t.Error(err)
	}
	entries, err := os.ReadDir(filepath.Join(m.Root, copyDir))
	if err != nil || len(entries) != 0 {
		t.Error(entries, err)
	}
}

// TestRollback: a load that fails takes away what was loaded, which comes back.
func TestRollback(t *testing.T) {
	m := newMachine(t)
	m.load(m.job())
	m.put("boot/initrd.kdx", "own initrd of 6.12.1-test new")
	m.refuse["new"] = syscall.ENOMEM
	_, err := m.Load(t.Context(), m.job())
	var no *LoadError
	if !errors.As(err, &no) || no.After != AfterRestored || m.loaded != "own initrd of 6.12.1-test, console=ttyS0" || !strings.Contains(err.Error(), "ENOMEM") || !strings.Contains(err.Error(), "armed as before") {
		t.Fatal(err, m.loaded)
	}
	if s, err := m.ReadStatus(nil); err != nil || !s.Armed || s.Record == nil || !s.Record.Armed {
		t.Errorf("%+v, %v", s, err)
	}
	// Refused without dropping what is loaded.
	m.keep = true
	if _, err = m.Load(t.Context(), m.job()); !errors.As(err, &no) || no.After != AfterKept || !strings.Contains(err.Error(), "stays loaded") {
		t.Error(err)
	}
	m.keep = false
	// The old one can't come back: that must be loud, and a later failure tries again.
	m.refuse["own"] = syscall.EADDRNOTAVAIL
	if _, err = m.Load(t.Context(), m.job("new")); !errors.As(err, &no) || no.After != AfterLost || !strings.Contains(err.Error(), "NOT ARMED") {
		t.Error(err)
	}
	if s, err := m.ReadStatus(nil); err != nil || s.Armed || s.Record != nil || len(s.Notes) == 0 {
		t.Errorf("%+v, %v", s, err)
	}
	delete(m.refuse, "own")
	if _, err = m.Load(t.Context(), m.job()); !errors.As(err, &no) || no.After != AfterRestored || m.loaded == "" {
		t.Error(err)
	}
	// The same image again, and the kernel does not want it any more.
	m.refuse["own"] = syscall.ENOMEM
	delete(m.refuse, "new")
	m.put("boot/initrd.kdx", "own initrd of 6.12.1-test")
	if _, err = m.Load(t.Context(), m.job()); !errors.As(err, &no) || no.After != AfterLost || !strings.Contains(err.Error(), "the very image") {
		t.Error(err)
	}
	// Somebody else's image was loaded.
	other := newMachine(t)
	other.put("sys/kernel/kexec_crash_loaded", "1")
	other.refuse["own"] = syscall.ENOMEM
	if _, err = other.Load(t.Context(), other.job()); !errors.As(err, &no) || no.After != AfterLost || !strings.Contains(err.Error(), "kdx did not load it") {
		t.Error(err)
	}
	// A record of an earlier boot is none.
	m = newMachine(t)
	m.load(m.job())
	m.put("proc/sys/kernel/random/boot_id", "boot-2")
	m.put("sys/kernel/kexec_crash_loaded", "0")
	m.refuse["own"] = syscall.ENOMEM
	if _, err = m.Load(t.Context(), m.job("x")); !errors.As(err, &no) || no.After != AfterNone {
		t.Error(err)
	}
}

func TestDebug(t *testing.T) {
	m := newMachine(t)
	m.refuse["debug"] = syscall.EINVAL
	j := m.job()
	j.Debug = true
	r := m.load(j)
	if len(m.calls) != 2 || len(r.Problems) != 1 || !strings.Contains(r.Problems[0].What, "6.8") {
		t.Error(m.calls, r.Problems)
	}
}

// TestReboot: a kernel for a reboot needs no reservation and leaves no record.
func TestReboot(t *testing.T) {
	m := newMachine(t)
	m.put("proc/iomem", "00100000-3fffffff : System RAM\n")
	m.put("proc/cmdline", "quiet")
	if err := m.Exec(t.Context(), ExecOptions{NoLinksDown: true}); !errors.Is(err, ErrNoImage) {
		t.Error(err)
	}
	r := m.load(Job{Kernel: "/boot/vmlinuz", Initrd: "/boot/foreign", Cmdline: "root=/dev/vda1", Foreign: true})
	if r.Record != nil || m.loaded != "somebody's initrd, root=/dev/vda1" || m.get("sys/kernel/kexec_loaded") != "1" {
		t.Error(r, m.loaded)
	}
	m.calls = nil
	if err := m.Exec(t.Context(), ExecOptions{NoLinksDown: true}); !errors.Is(err, syscall.EINVAL) || strings.Join(m.calls, " ") != "sync reboot" {
		t.Error(err, m.calls)
	}
	m.load(Job{Kernel: "/boot/vmlinuz", Foreign: true})
	if m.loaded != "no initrd, " || !strings.HasSuffix(m.calls[2], "0x4") {
		t.Error(m.loaded, m.calls)
	}
	m.put("proc/sys/kernel/kexec_load_disabled", "1")
	if _, err := m.Unload(t.Context(), false); err == nil || !strings.Contains(err.Error(), "not unloaded: kernel.kexec_load_disabled") {
		t.Error(err)
	}
	m.put("proc/sys/kernel/kexec_load_disabled", "0")
	if _, err := m.Unload(t.Context(), false); err != nil || m.get("sys/kernel/kexec_loaded") != "0" {
		t.Error(err)
	}
}
