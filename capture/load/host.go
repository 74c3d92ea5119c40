// Package load puts kernels in their place with kexec_file_load: the capture kernel, which runs when the host's panics, and the
// next one of a fast reboot. A load that fails takes the image away that was there before, so everything that the kernel looks
// at is looked at first, and the last good capture kernel is loaded again if the kernel refuses all the same.
package load

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"kdx/capture/reserve"
)

// Host is a running host. Root is put before every path that is read or written, "" for this one.
type Host struct {
	Root  string
	Calls Calls
	// Kdx is the version that records bear, By what was called.
	Kdx, By string
	// Say is told what is going on that a person may want to know of, such as waiting; nil for nobody.
	Say func(format string, args ...any)
	// Archive looks into initrds.
	Archive Inspector
	// Arch is Go's name of the architecture.
	Arch string
}

func (h *Host) path(name string) string { return filepath.Join("/", h.Root, name) }

func (h *Host) say(format string, args ...any) {
	if h.Say != nil {
		h.Say(format, args...)
	}
}

// maxSmall bounds what is read of files in /proc and /sys.
const maxSmall = 4 << 20

// read is a small file's text without white space at its ends. The names are tried in their order.
func (h *Host) read(names ...string) (string, error) {
	var err error
	for _, n := range names {
		var f *os.File
		if f, err = os.Open(h.path(n)); err != nil {
			if errors.Is(err, fs.ErrNotExist) {
				continue
			}
			return "", err
		}
		b, rerr := io.ReadAll(io.LimitReader(f, maxSmall))
		f.Close()
		return strings.TrimSpace(string(b)), rerr
	}
	return "", err
}

// limited is a file of at most limit bytes.
func (h *Host) limited(name string, limit int64) ([]byte, error) {
	f, err := os.Open(h.path(name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = errors.New("it is too long")
	}
	return b, err
}

// number reads a file that holds one decimal number.
func (h *Host) number(names ...string) (int64, bool) {
	s, err := h.read(names...)
	if err != nil {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

// Hotplug says whether the kernel itself keeps the map of memory in a loaded capture kernel up to date.
type Hotplug string

// States of hotplug. The kernel's files read 0 as long as nothing is loaded, whatever it can do.
const (
	HotplugKernel  Hotplug = "kernel" // it does
	HotplugReload  Hotplug = "reload" // it doesn't: the image must be loaded again when memory or CPUs come and go
	HotplugUnknown Hotplug = "not known until an image is loaded"
)

// Kernel is what the running kernel says that loading depends on.
type Kernel struct {
	Release string `json:"release"`
	BootID  string `json:"boot_id"`
	// CrashLoaded and Loaded: an image is loaded for a panic, for a reboot. nil if the kernel does not say (no kexec).
	CrashLoaded *bool `json:"crash_loaded"`
	Loaded      *bool `json:"loaded"`
	// Disabled is kernel.kexec_load_disabled. LimitPanic and LimitReboot are how many loads are left, -1 for any number.
	Disabled    bool  `json:"load_disabled"`
	LimitPanic  int64 `json:"load_limit_panic"`
	LimitReboot int64 `json:"load_limit_reboot"`
	// Lockdown is none, integrity or confidentiality; "" if the kernel does not say.
	Lockdown string `json:"lockdown"`
	// MaySysBoot: this process has the capability CAP_SYS_BOOT.
	MaySysBoot bool `json:"may_load"`
	// FiveLevel: page tables have five levels.
	FiveLevel bool `json:"five_level"`
	// Elfcorehdr is the size of the map of memory that goes along with a capture kernel.
	Elfcorehdr uint64  `json:"elfcorehdr"`
	Hotplug    Hotplug `json:"hotplug"`
	Xen        bool    `json:"xen"`
	BootAPIC   int     `json:"boot_apic"`
	Cmdline    string  `json:"cmdline"`
}

var (
	apicLine = regexp.MustCompile(`(?m)^initial apicid\s*:\s*(\d+)`)
	la57     = regexp.MustCompile(`(?m)^flags\s*:.*\bla57\b`)
)

// ReadKernel reads what the running kernel says. Only its command line must be there.
func (h *Host) ReadKernel() (*Kernel, error) {
	k := &Kernel{LimitPanic: -1, LimitReboot: -1, BootAPIC: -1}
	var err error
	if k.Cmdline, err = h.read("proc/cmdline"); err != nil {
		return nil, err
	}
	k.Release, _ = h.read("proc/sys/kernel/osrelease")
	k.BootID, _ = h.read("proc/sys/kernel/random/boot_id")
	k.CrashLoaded = h.flag("sys/kernel/kexec/crash_loaded", "sys/kernel/kexec_crash_loaded")
	k.Loaded = h.flag("sys/kernel/kexec/loaded", "sys/kernel/kexec_loaded")
	n, ok := h.number("proc/sys/kernel/kexec_load_disabled")
	k.Disabled = ok && n != 0
	if n, ok = h.number("proc/sys/kernel/kexec_load_limit_panic"); ok {
		k.LimitPanic = n
	}
	if n, ok = h.number("proc/sys/kernel/kexec_load_limit_reboot"); ok {
		k.LimitReboot = n
	}
	if s, err := h.read("sys/kernel/security/lockdown"); err == nil {
		_, s, _ = strings.Cut(s, "[")
		k.Lockdown, _, _ = strings.Cut(s, "]")
	}
	k.MaySysBoot = h.maySysBoot()
	k.readCPU(h)
	k.Elfcorehdr = h.elfcorehdr()
	k.Hotplug = h.hotplug(k.CrashLoaded)
	if s, err := h.read("sys/hypervisor/type"); err == nil {
		k.Xen = s == "xen"
	}
	return k, nil
}

func (h *Host) flag(names ...string) *bool {
	n, ok := h.number(names...)
	if !ok {
		return nil
	}
	set := n != 0
	return &set
}

// maySysBoot looks for bit 22, CAP_SYS_BOOT, of the effective capabilities.
func (h *Host) maySysBoot() bool {
	s, err := h.read("proc/self/status")
	if err != nil {
		return true // the kernel will tell
	}
	const sysBoot = 22
	sc := bufio.NewScanner(strings.NewReader(s))
	for sc.Scan() {
		if v, ok := strings.CutPrefix(sc.Text(), "CapEff:"); ok {
			caps, err := strconv.ParseUint(strings.TrimSpace(v), 16, 64)
			return err != nil || caps&(1<<sysBoot) != 0
		}
	}
	return true
}

// readCPU looks at the first CPU in /proc/cpuinfo, which is the boot CPU; the file has MBs on large machines.
func (k *Kernel) readCPU(h *Host) {
	f, err := os.Open(h.path("proc/cpuinfo"))
	if err != nil {
		return
	}
	defer f.Close()
	b := make([]byte, 16<<10)
	n, _ := io.ReadFull(f, b)
	b, _, _ = bytes.Cut(b[:n], []byte("\n\n"))
	if m := apicLine.FindSubmatch(b); m != nil {
		if n, err := strconv.Atoi(string(m[1])); err == nil {
			k.BootAPIC = n
		}
	}
	k.FiveLevel = la57.Match(b)
}

// elfcorehdr is what the kernel says, or what one that does not (before 6.6) needs: a header of 56 bytes for each CPU and each
// range of memory.
func (h *Host) elfcorehdr() uint64 {
	if n, ok := h.number("sys/kernel/kexec/crash_elfcorehdr_size", "sys/kernel/crash_elfcorehdr_size"); ok && n > 0 && n < 1<<30 {
		return uint64(n)
	}
	entries := 64 + 4
	if s, err := h.read("proc/iomem"); err == nil {
		entries += strings.Count(s, "System RAM")
	}
	if s, err := h.read("sys/devices/system/cpu/possible"); err == nil {
		_, last, _ := strings.Cut(s[strings.LastIndexByte(s, ',')+1:], "-")
		if n, err := strconv.Atoi(last); err == nil && n > 0 && n < 1<<20 {
			entries += n + 1
		}
	}
	return uint64(64 + 56*entries)
}

func (h *Host) hotplug(loaded *bool) Hotplug {
	names := []string{"sys/devices/system/memory/crash_hotplug", "sys/devices/system/cpu/crash_hotplug"}
	there, by := 0, 0
	for _, n := range names {
		if v, ok := h.number(n); ok {
			there++
			if v == 1 {
				by++
			}
		}
	}
	switch {
	case there == 0:
		return HotplugReload
	case by == there:
		return HotplugKernel
	case loaded == nil || !*loaded:
		return HotplugUnknown
	}
	return HotplugReload
}

// reservation is where a capture kernel may lie. The image goes into the highest region; a low one is for devices.
func (h *Host) reservation() (*reserve.Report, error) {
	r, err := reserve.ReadHost(h.Root)
	if err != nil {
		return nil, err
	}
	return r.Compare(h.Arch), nil
}

// now has no fractions, which nobody wants to read.
func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
