package load

import (
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"kdx/capture/bzimage/bzimagetest"
	"kdx/capture/initrd"
)

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
