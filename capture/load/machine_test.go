package load

import (
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

func (m *machine) Reboot() error { m.calls = append(m.calls, "reboot"); return syscall.EINVAL }

func (m *machine) Sync() { m.calls = append(m.calls, "sync") }

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
