package load

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kdx/capture/manifest"
	"kdx/capture/reserve"
)

// Status is whether a host is armed, and with what.
type Status struct {
	// Armed: a capture kernel is loaded and runs at the next panic.
	Armed bool `json:"armed"`
	// Record is what kdx loaded; nil if nothing is loaded, or somebody else loaded it.
	Record *Record `json:"loaded"`
	// Changed are files that are not any more what was loaded.
	Changed  []string        `json:"changed"`
	Kernel   *Kernel         `json:"kernel"`
	Reserved *uint64         `json:"reserved"`
	State    reserve.State   `json:"reservation"`
	Sysctls  []SysctlState   `json:"sysctls"`
	LastDump *Dump           `json:"last_dump"`
	Notes    []string        `json:"notes"`
	Report   *reserve.Report `json:"-"`
}

// SysctlState holds a configured sysctl against what it is.
type SysctlState struct {
	Name string `json:"name"`
	Want string `json:"want"`
	Is   string `json:"is"`
	OK   bool   `json:"ok"`
}

// Dump is the newest dump on a local target.
type Dump struct {
	Directory string    `json:"directory"`
	Time      time.Time `json:"time"`
	Complete  bool      `json:"complete"`
	Release   string    `json:"release"`
}

// ReadStatus looks; it changes nothing and needs no root, though /proc/iomem shows the reservation to root only. sysctls are those
// that are configured, as name=value.
func (h *Host) ReadStatus(sysctls []string) (*Status, error) {
	k, err := h.ReadKernel()
	if err != nil {
		return nil, err
	}
	s := &Status{Armed: k.armed(), Kernel: k, Changed: []string{}, Sysctls: []SysctlState{}, Notes: []string{}}
	if s.Report, err = h.reservation(); err != nil {
		return nil, err
	}
	s.State, s.Reserved = s.Report.State, s.Report.Bytes
	r, err := h.readRecord(k)
	switch {
	case errors.Is(err, fs.ErrNotExist):
	case err != nil:
		s.Note("%v", err)
	default:
		s.Record = r
	}
	switch {
	case k.CrashLoaded == nil:
		s.Note("the kernel has no kexec (or /sys is not mounted)")
	case s.Armed && s.Record == nil:
		s.Note("something else than kdx loaded what is loaded")
	case !s.Armed && s.Record != nil && !s.Record.Armed:
		s.Note("a load failed, and the last good capture kernel (%s) could not be loaded again", s.Record.Title())
		s.Record = nil
	case !s.Armed && s.Record != nil:
		s.Note("kdx had loaded %s; something else has unloaded it", s.Record.Title())
		s.Record = nil
	}
	if s.Armed && k.Hotplug == HotplugReload {
		s.Note("the kernel does not keep the map of memory of what is loaded up to date: after hotplug, kdx capture reload is needed, which kdx's udev rules see to")
	}
	if s.Record != nil {
		s.changed(h)
	}
	for _, w := range sysctls {
		name, want, _ := strings.Cut(w, "=")
		is, err := h.readSysctl(name)
		if err != nil {
			s.Note("sysctl %s: %v", name, err)
		}
		s.Sysctls = append(s.Sysctls, SysctlState{name, want, is, err == nil && is == want})
	}
	return s, nil
}

// Note adds one.
func (s *Status) Note(format string, args ...any) {
	s.Notes = append(s.Notes, fmt.Sprintf(format, args...))
}

// changed looks at sizes and times only: status is asked often.
func (s *Status) changed(h *Host) {
	for _, f := range []File{s.Record.Kernel, s.Record.Initrd} {
		if f.Path == "" {
			continue
		}
		if why := h.differs(f, s.Record.Loaded); why != "" {
			s.Changed = append(s.Changed, f.Path)
			s.Note("%s %s: kdx capture load takes the new one", f.Path, why)
		}
	}
}

// Text writes it for people.
func (s *Status) Text(w io.Writer) error {
	var b strings.Builder
	line := func(name, format string, args ...any) {
		fmt.Fprintf(&b, "%-12s  %s\n", name, fmt.Sprintf(format, args...))
	}
	switch {
	case s.Armed:
		line("armed", "yes: a panic starts the capture kernel")
	default:
		line("armed", "NO: a panic leaves no dump")
	}
	if r := s.Record; r != nil {
		release := ""
		if r.Release != "" {
			release = " (" + r.Release + ")"
		}
		line("kernel", "%s%s", r.Kernel.Path, release)
		if r.Initrd.Path != "" {
			line("initrd", "%s, %s", r.Initrd.Path, mebi(uint64(r.Initrd.Size)))
		}
		line("cmdline", "%s", r.Cmdline)
		line("loaded", "%s by %s, kdx %s", r.Loaded.Format(time.DateTime+"Z"), r.By, r.Kdx)
	}
	size := ""
	if s.Reserved != nil {
		size = reserve.Size(*s.Reserved) + ", "
	}
	line("reservation", "%s%s", size, s.State)
	line("hotplug", "%s", map[Hotplug]string{HotplugKernel: "the kernel follows it", HotplugReload: "needs kdx capture reload", HotplugUnknown: string(HotplugUnknown)}[s.Kernel.Hotplug])
	for _, c := range s.Sysctls {
		is := ""
		if !c.OK {
			is = fmt.Sprintf(", and is %q", c.Is)
		}
		line("sysctl", "%s=%s%s", c.Name, c.Want, is)
	}
	switch d := s.LastDump; {
	case d == nil:
	case d.Complete:
		line("last dump", "%s", d.Directory)
	default:
		line("last dump", "%s, NOT COMPLETE", d.Directory)
	}
	for _, n := range s.Notes {
		line("note", "%s", n)
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// maxDumps bounds how many directories of a target are looked at.
const maxDumps = 10000

// LastDump looks for the newest dump in a directory that is a target.
func (h *Host) LastDump(s *Status, dir string) {
	f, err := os.Open(h.path(dir))
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.Note("dumps: %v", err)
		}
		return
	}
	defer f.Close()
	names, err := f.Readdirnames(maxDumps)
	if err != nil && !errors.Is(err, io.EOF) {
		s.Note("dumps: %v", err)
	}
	for _, n := range names {
		d := filepath.Join(dir, n)
		b, err := h.limited(filepath.Join(d, manifest.Name), manifest.MaxSize)
		if err != nil {
			continue
		}
		m, err := manifest.Parse(b)
		if err != nil {
			continue
		}
		if s.LastDump == nil || m.Begun.After(s.LastDump.Time) {
			s.LastDump = &Dump{d, m.Begun, m.Complete, m.Release}
		}
	}
}
