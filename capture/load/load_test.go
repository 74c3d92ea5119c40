package load

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"kdx/capture/bzimage/bzimagetest"
	"kdx/capture/initrd"
	"kdx/internal/treetest"
)

// machine is a host in a directory, and a kernel that behaves as real ones do: it drops what is loaded before it looks at what is new.
type machine struct {
	testing.TB
	*Host
	mu    sync.Mutex
	calls []string
	// refuse is the error for the next images whose command line has this word; keep leaves what was loaded.
	refuse map[string]syscall.Errno
	keep   bool
	loaded string
	slow   time.Duration
	now    int // calls at the same time
}

const release = "6.12.1-test"

func newMachine(t testing.TB) *machine {
	m := &machine{TB: t, refuse: map[string]syscall.Errno{}}
	m.Host = &Host{Root: t.TempDir(), Calls: m, Kdx: "test", By: "a test", Arch: "amd64", Archive: fakeArchive, Say: t.Logf}
	for name, text := range map[string]string{
		"proc/cmdline":                            "BOOT_IMAGE=/vmlinuz root=/dev/vda1 crashkernel=192M console=ttyS0 quiet\n",
		"proc/iomem":                              "00100000-3fffffff : System RAM\n  33000000-3effffff : Crash kernel\n",
		"proc/self/status":                        "Name:\tx\nCapEff:\t000001ffffffffff\n",
		"proc/cpuinfo":                            "processor\t: 0\nflags\t\t: fpu la57\ninitial apicid\t: 0\n\n",
		"proc/sys/kernel/osrelease":               release + "\n",
		"proc/sys/kernel/random/boot_id":          "boot-1\n",
		"proc/sys/kernel/panic_on_oops":           "0\n",
		"proc/sys/kernel/kexec_load_disabled":     "0\n",
		"proc/sys/kernel/kexec_load_limit_panic":  "-1\n",
		"sys/kernel/kexec_crash_loaded":           "0\n",
		"sys/kernel/kexec_loaded":                 "0\n",
		"sys/kernel/kexec_crash_size":             "201326592\n",
		"sys/kernel/crash_elfcorehdr_size":        "917616\n",
		"sys/kernel/security/lockdown":            "[none] integrity confidentiality\n",
		"sys/devices/system/memory/crash_hotplug": "0\n",
		"sys/devices/system/cpu/crash_hotplug":    "0\n",
		"boot/initrd.kdx":                         "own initrd of " + release,
		"boot/foreign":                            "somebody's initrd",
	} {
		m.put(name, text)
	}
	m.put("boot/vmlinuz", string(bzimagetest.New(bzimagetest.Image{})))
	return m
}

func (m *machine) put(name, text string) {
	m.Helper()
	treetest.Put(m, m.Root, name, text)
}

func (m *machine) get(name string) string {
	b, err := os.ReadFile(filepath.Join(m.Root, name))
	if err != nil {
		return err.Error()
	}
	return strings.TrimSpace(string(b))
}

// fakeArchive takes initrds that are words.
func fakeArchive(r io.ReaderAt, size int64, whole bool) (*Archive, error) {
	b := make([]byte, min(size, 100))
	n, err := r.ReadAt(b, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	text := string(b[:n])
	if of, ok := strings.CutPrefix(text, "own initrd of "); ok {
		of, _, _ = strings.Cut(of, " ")
		s := sha256.Sum256([]byte(text))
		return &Archive{Own: true, Release: of, SHA256: hex.EncodeToString(s[:]), Unpacked: 12 << 20}, nil
	}
	if strings.HasPrefix(text, "damaged") && whole {
		return nil, errors.New("damaged: its sum is not what its head says")
	}
	return &Archive{}, nil
}

func (m *machine) FileLoad(kernel, initrd *os.File, cmdline string, flags int) error {
	m.mu.Lock()
	m.now++
	if m.now > 1 {
		m.Error("two loads at once")
	}
	m.mu.Unlock()
	defer func() {
		m.mu.Lock()
		m.now--
		m.mu.Unlock()
	}()
	time.Sleep(m.slow)
	m.mu.Lock()
	defer m.mu.Unlock()
	name, crash := "sys/kernel/kexec_loaded", flags&flagOnCrash != 0
	if crash {
		name = "sys/kernel/kexec_crash_loaded"
	}
	set := func(v string) {
		m.put(name, v)
		if crash {
			m.put("sys/devices/system/memory/crash_hotplug", v)
			m.put("sys/devices/system/cpu/crash_hotplug", v)
		}
	}
	if flags&flagUnload != 0 {
		m.calls = append(m.calls, "unload")
		set("0")
		m.loaded = ""
		return nil
	}
	b, err := io.ReadAll(io.NewSectionReader(kernel, 0, 1<<20))
	if err != nil {
		m.Fatal(err)
	}
	what := "no initrd"
	if initrd != nil {
		b, err := io.ReadAll(io.NewSectionReader(initrd, 0, 1<<20))
		if err != nil {
			m.Fatal(err)
		}
		what = string(b)
	}
	call := fmt.Sprintf("%d bytes, %s, %s, %#x", len(b), what, cmdline, flags)
	m.calls = append(m.calls, call)
	if flags&flagDebug != 0 && m.refuse["debug"] != 0 {
		return m.refuse["debug"]
	}
	for word, err := range m.refuse {
		if strings.Contains(cmdline, word) || strings.Contains(what, word) {
			if !m.keep {
				set("0")
				m.loaded = ""
			}
			return err
		}
	}
	set("1")
	m.loaded = what + ", " + cmdline
	return nil
}

func (m *machine) Reboot() error              { m.calls = append(m.calls, "reboot"); return syscall.EINVAL }
func (m *machine) Sync()                      { m.calls = append(m.calls, "sync") }
func (m *machine) LinkDown(name string) error { return nil }

func (m *machine) job(words ...string) Job {
	return Job{Kernel: "/boot/vmlinuz", Initrd: "/boot/initrd.kdx", Cmdline: strings.Join(append([]string{"console=ttyS0"}, words...), " "), Crash: true, Sysctls: []string{"kernel.panic_on_oops=1"}}
}

func (m *machine) load(j Job) *Result {
	m.Helper()
	r, err := m.Load(m.Context(), j)
	if err != nil {
		m.Fatal(err)
	}
	return r
}

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

// TestRefused: what the kernel would refuse, or worse would take, is found before it is asked.
func TestRefused(t *testing.T) {
	put := func(name, text string) func(m *machine, j *Job) {
		return func(m *machine, _ *Job) { m.put(name, text) }
	}
	image := func(i bzimagetest.Image) func(m *machine, j *Job) {
		return put("boot/vmlinuz", string(bzimagetest.New(i)))
	}
	for want, change := range map[string]func(m *machine, j *Job){
		"CAP_SYS_BOOT":                put("proc/self/status", "CapEff:\t0000000000000000\n"),
		"kexec_load_disabled is 1":    put("proc/sys/kernel/kexec_load_disabled", "1"),
		"kexec_load_limit_panic is 0": put("proc/sys/kernel/kexec_load_limit_panic", "0"),
		"has no kexec":                func(m *machine, _ *Job) { os.Remove(filepath.Join(m.Root, "sys/kernel/kexec_crash_loaded")) },
		"crashkernel= is not asked for": func(m *machine, _ *Job) {
			m.put("proc/cmdline", "console=ttyS0")
			m.put("proc/iomem", "00100000-3fffffff : System RAM\n")
			m.put("sys/kernel/kexec_crash_size", "0")
		},
		"crashkernel= is asked for, nothing": func(m *machine, _ *Job) {
			m.put("proc/iomem", "00100000-3fffffff : System RAM\n")
			m.put("sys/kernel/kexec_crash_size", "0")
		},
		"no such file":                             func(_ *machine, j *Job) { j.Kernel = "/boot/nothing" },
		"the initrd: stat":                         func(m *machine, j *Job) { j.Initrd = "/boot/nothing" },
		"no initrd is given":                       func(_ *machine, j *Job) { j.Initrd = "" },
		"not a regular file":                       func(_ *machine, j *Job) { j.Initrd = "/boot" },
		"kdx did not build":                        func(_ *machine, j *Job) { j.Initrd = "/boot/foreign" },
		"holds the modules of 6.1.0-other":         put("boot/initrd.kdx", "own initrd of 6.1.0-other"),
		"its sum is not":                           put("boot/initrd.kdx", "damaged"),
		"neither x86's":                            put("boot/vmlinuz", "text"),
		"not relocatable":                          image(bzimagetest.Image{Fixed: true}),
		"five levels":                              image(bzimagetest.Image{XLoadFlags: 0x1f}),
		"truncated":                                put("boot/vmlinuz", string(bzimagetest.New(bzimagetest.Image{}))[:1600]),
		"has 2017 bytes, and the image takes 2016": func(_ *machine, j *Job) { j.Cmdline = strings.Repeat("x", 2017) },
		"the character '\\n'":                      func(_ *machine, j *Job) { j.Cmdline = "a\nb" },
		"no room is left for the initrd": func(m *machine, _ *Job) {
			if err := os.Truncate(filepath.Join(m.Root, "boot/initrd.kdx"), 150<<20); err != nil {
				t.Fatal(err)
			}
		},
		"no room is left for the kernel": image(bzimagetest.Image{InitSize: 300 << 20}),
		"can't start in 64M": func(m *machine, _ *Job) {
			m.put("proc/iomem", "00100000-3fffffff : System RAM\n  33000000-36ffffff : Crash kernel\n")
		},
		"it bears no signature": put("sys/kernel/security/lockdown", "none [integrity] confidentiality\n"),
	} {
		m := newMachine(t)
		m.put("sys/kernel/kexec_crash_loaded", "1")
		j := m.job()
		change(m, &j)
		_, err := m.Load(t.Context(), j)
		var refused *RefusedError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) || len(m.calls) != 0 {
			t.Errorf("%s: %v, calls %v", want, err, m.calls)
			continue
		}
		if want != "has no kexec" && !strings.Contains(err.Error(), "What was loaded before stays loaded") {
			t.Errorf("%s: %v", want, err)
		}
	}
}

// TestExplained: each number of kexec_file_load, by what lies behind it on this host.
func TestExplained(t *testing.T) {
	for _, c := range []struct {
		errno syscall.Errno
		want  string
	}{
		{syscall.EPERM, "a security module"},
		{syscall.EBUSY, "without kdx's lock"},
		{syscall.ENOSYS, "CONFIG_KEXEC_FILE"},
		{syscall.EINVAL, "none is known"},
		{syscall.EADDRNOTAVAIL, "do not fit into the reservation of 192 MiB"},
		{syscall.ENOEXEC, "damaged, truncated"},
		{syscall.EBADF, "could not be read by the kernel"},
		{syscall.EKEYREJECTED, "not valid: it bears no signature"},
		{syscall.ENOKEY, "no key that the kernel trusts"},
		{syscall.EBADMSG, "malformed"},
		{syscall.ELIBBAD, "no well-formed EFI program"},
		{syscall.ENOPKG, "algorithm"},
		{syscall.ENODATA, "not signed"},
		{syscall.EACCES, "IMA"},
		{syscall.ETXTBSY, "open for writing"},
		{syscall.EIO, "could not be read whole"},
		{syscall.ENOMEM, "no memory"},
		{syscall.EINTR, "signal"},
		{syscall.EOPNOTSUPP, "can't load this kind"},
		{syscall.ENOTTY, "dmesg"},
	} {
		m := newMachine(t)
		m.refuse["bad"] = c.errno
		_, err := m.Load(t.Context(), m.job("bad"))
		var no *LoadError
		if !errors.As(err, &no) || !errors.Is(err, c.errno) || !strings.Contains(err.Error(), c.want) || no.After != AfterNone {
			t.Errorf("%v: %v", c.errno, err)
		}
	}
	// The four causes of EPERM, and what a Kernel says of them.
	m := newMachine(t)
	checked := &checked{}
	for want, k := range map[string]Kernel{
		"CAP_SYS_BOOT":        {LimitPanic: -1},
		"kexec_load_disabled": {MaySysBoot: true, Disabled: true, LimitPanic: -1},
		"is used up":          {MaySysBoot: true},
		"lockdown=integrity":  {MaySysBoot: true, LimitPanic: -1, Lockdown: "integrity"},
	} {
		if c := m.explain(syscall.EPERM, &k, checked, Job{Crash: true}); !strings.Contains(c.String(), want) || c.Name != "EPERM" {
			t.Errorf("%s: %v", want, c)
		}
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

// TestNotReadAgain: what is loaded and has not changed since is known by its times; what has changed is read.
func TestNotReadAgain(t *testing.T) {
	m := newMachine(t)
	r := m.load(m.job())
	if r.Record.Kernel.Print != "" || r.Record.Initrd.Print != "" {
		t.Error("files that were written just now have times that are not sure")
	}
	time.Sleep(1100 * time.Millisecond)
	read := 0
	m.Archive = func(r io.ReaderAt, size int64, whole bool) (*Archive, error) {
		if whole {
			read++
		}
		return fakeArchive(r, size, whole)
	}
	sum := m.load(m.job()).Record.Initrd
	m.load(m.job())
	if _, err := m.Reload(t.Context()); err != nil || read != 1 {
		t.Error(read, err)
	}
	if again := m.load(m.job()).Record.Initrd; again != sum || read != 1 {
		t.Error(again, sum, read)
	}
	// The same size, and even the same time of writing.
	fi, err := os.Stat(filepath.Join(m.Root, "boot/initrd.kdx"))
	if err != nil {
		t.Fatal(err)
	}
	m.put("boot/initrd.kdx", "damaged initrd of "+release[:len("own initrd of "+release)-len("damaged initrd of ")])
	if err := os.Chtimes(filepath.Join(m.Root, "boot/initrd.kdx"), fi.ModTime(), fi.ModTime()); err != nil {
		t.Fatal(err)
	}
	if _, err := m.Load(t.Context(), m.job()); err == nil || !strings.Contains(err.Error(), "damaged") {
		t.Error(err)
	}
}

// TestKernelByCRC: the initrd knows the sum of the kernel that it was built for.
func TestKernelByCRC(t *testing.T) {
	m := newMachine(t)
	image, err := os.ReadFile(filepath.Join(m.Root, "boot/vmlinuz"))
	if err != nil {
		t.Fatal(err)
	}
	crc := initrd.NewCRC()
	crc.Write(image)
	said := strings.Repeat("5", 64)
	m.Archive = func(r io.ReaderAt, size int64, whole bool) (*Archive, error) {
		a, err := fakeArchive(r, size, whole)
		a.KernelSHA256, a.KernelCRC = said, hex.EncodeToString(crc.Sum(nil))
		return a, err
	}
	if r := m.load(m.job()); r.Record.Kernel.SHA256 != said {
		t.Errorf("it was summed up: %s", r.Record.Kernel.SHA256)
	}
	image[len(image)-1] ^= 1
	m.put("boot/vmlinuz", string(image))
	if _, err := m.Load(t.Context(), m.job()); err == nil || !strings.Contains(err.Error(), "its contents have changed") {
		t.Error(err)
	}
}

func TestForced(t *testing.T) {
	m := newMachine(t)
	m.put("proc/iomem", "00100000-3fffffff : System RAM\n  33000000-36ffffff : Crash kernel\n")
	j := m.job()
	j.Force = true
	r := m.load(j)
	if len(r.Problems) == 0 || r.Problems[0].Fatal || !strings.Contains(r.Problems[0].What, "can't start in 64M") {
		t.Errorf("%+v", r.Problems)
	}
	if _, err := m.Check(t.Context(), m.job()); err == nil || len(m.calls) != 1 {
		t.Error(err, m.calls)
	}
}

// TestTight: the image fits and is loaded, and what comes of it is said before.
func TestTight(t *testing.T) {
	m := newMachine(t)
	for end, want := range map[string]string{
		"37ffffff": "too small as kdx reckons: it has 80M",
		"383fffff": "may be too small: it has 84M",
		"387fffff": "",
	} {
		m.put("proc/iomem", "00100000-3fffffff : System RAM\n  33000000-"+end+" : Crash kernel\n")
		r := m.load(m.job())
		if want == "" && len(r.Problems) == 0 {
			continue
		}
		if len(r.Problems) != 1 || r.Problems[0].Fatal || want == "" || !strings.Contains(r.Problems[0].What, want) {
			t.Errorf("%s: %+v; want %q", end, r.Problems, want)
		}
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

func TestTwoLoads(t *testing.T) {
	m := newMachine(t)
	m.slow = 100 * time.Millisecond
	var wait sync.WaitGroup
	for range 3 {
		wait.Go(func() {
			h := *m.Host
			if _, err := h.Load(t.Context(), m.job()); err != nil {
				t.Error(err)
			}
		})
	}
	wait.Wait()
	if len(m.calls) != 3 {
		t.Error(m.calls)
	}
	// One that does not end: the second says who it is.
	defer func(d time.Duration) { lockWait = d }(lockWait)
	lockWait = 50 * time.Millisecond
	unlock, err := m.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.Load(t.Context(), m.job())
	var busy *BusyError
	if !errors.As(err, &busy) || !strings.Contains(err.Error(), fmt.Sprint(os.Getpid())) || !strings.Contains(err.Error(), "a test") {
		t.Error(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := m.Load(ctx, m.job()); !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
	unlock()
	if _, err := m.Load(t.Context(), m.job()); err != nil {
		t.Error(err)
	}
}

func TestHotplug(t *testing.T) {
	m := newMachine(t)
	event := func() HotplugResult {
		t.Helper()
		what, _, err := m.OnHotplug(t.Context(), time.Millisecond)
		if err != nil {
			t.Fatal(err)
		}
		return what
	}
	if what := event(); what != NotLoaded {
		t.Error(what)
	}
	m.put("sys/kernel/kexec_crash_loaded", "1")
	if what := event(); what != NotOurs {
		t.Error(what)
	}
	m.load(m.job())
	if what := event(); what != ByKernel {
		t.Error(what)
	}
	// A kernel that does not keep the map up to date: ten events while the first one waits are one load.
	for _, n := range []string{"memory", "cpu"} {
		if err := os.RemoveAll(filepath.Join(m.Root, "sys/devices/system", n)); err != nil {
			t.Fatal(err)
		}
	}
	m.calls = nil
	done := make(chan HotplugResult, 11)
	for range 11 {
		go func() {
			h := *m.Host
			what, _, err := h.OnHotplug(t.Context(), 300*time.Millisecond)
			if err != nil {
				t.Error(err)
			}
			done <- what
		}()
	}
	loads := 0
	for range 11 {
		switch what := <-done; what {
		case Reloaded:
			loads++
		case AnotherWaits:
		case ByKernel: // the fake kernel makes the files anew
		default:
			t.Error(what)
		}
	}
	if loads != 1 || len(m.calls) != 1 {
		t.Error(loads, m.calls)
	}
	m.put("sys/kernel/kexec_crash_loaded", "0") // somebody else unloads
	for _, n := range []string{"memory", "cpu"} {
		os.RemoveAll(filepath.Join(m.Root, "sys/devices/system", n))
	}
	if what := event(); what != NotLoaded {
		t.Error(what)
	}
}

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
