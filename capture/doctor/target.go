package doctor

import (
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kdx/capture/config"
	"kdx/capture/estimate"
	"kdx/capture/manifest"
)

// local are the targets on disks of the host.
func (h *host) local() []config.Target {
	var out []config.Target
	for _, t := range h.config().Targets {
		if t.Kind == config.Dir || t.Kind == config.FS || t.Kind == config.Raw {
			out = append(out, t)
		}
	}
	return out
}

// remote are the targets over the network.
func (h *host) remote() []config.Target {
	var out []config.Target
	for _, t := range h.config().Targets {
		if t.Kind == config.SFTP || t.Kind == config.SSH {
			out = append(out, t)
		}
	}
	return out
}

// each makes a check of all targets of a kind: the first that is bad decides.
func each(targets []config.Target, none string, f func(config.Target) outcome) outcome {
	if len(targets) == 0 {
		return skip("%s", none)
	}
	var said []string
	worst := outcome{state: Skipped}
	for _, t := range targets {
		o := f(t)
		if o.state == Bad {
			return outcome{Bad, t.String() + ": " + o.evidence, o.todo}
		}
		if o.state == Unknown || worst.state == Skipped {
			worst = o
		}
		said = append(said, t.String()+": "+o.evidence)
	}
	worst.evidence = strings.Join(said, "; ")
	return worst
}

const noLocal = "no target is on a disk of this host"

// device is the kernel's name of what a target lies on.
func (h *host) device(t config.Target) (name string, why error) {
	if t.Kind != config.Dir {
		if name = estimate.DeviceName(h.opt.Root, t.Device); name == "" {
			return "", fmt.Errorf("no device %s is found", t.Device)
		}
		return name, nil
	}
	m, found := h.mountOf(t.Path)
	if !found {
		return "", fmt.Errorf("what %s is mounted from is not known (/proc/self/mountinfo)", t.Path)
	}
	if !strings.HasPrefix(m.source, "/dev/") {
		return "", fmt.Errorf("%s lies on %s (%s), which is no block device", t.Path, m.point, m.kind)
	}
	if links := h.glob("sys/dev/block/" + m.dev); len(links) == 1 {
		if target, err := os.Readlink(links[0]); err == nil {
			return filepath.Base(target), nil
		}
	}
	if name = estimate.DeviceName(h.opt.Root, m.source); name == "" {
		return "", fmt.Errorf("%s lies on %s, of which /sys knows nothing", t.Path, m.source)
	}
	return name, nil
}

func targetDevice(h *host) outcome {
	return each(h.local(), noLocal, func(t config.Target) outcome {
		name, err := h.device(t)
		if err != nil {
			return bad("%v", err)
		}
		return ok("%s", name)
	})
}

// targetMount is where a target's filesystem is mounted now.
func (h *host) targetMount(t config.Target) (mount, bool) {
	if t.Kind == config.Dir {
		return h.mountOf(t.Path)
	}
	name, err := h.device(t)
	if err != nil {
		return mount{}, false
	}
	dev := h.text("sys/class/block/" + name + "/dev")
	part, found := mount{}, false
	for _, m := range h.mounts {
		if m.dev == dev && dev != "" || strings.HasPrefix(m.source, "/dev/") && estimate.DeviceName(h.opt.Root, m.source) == name {
			if m.root == "/" {
				return m, true
			}
			part, found = m, true // a directory of it, or a subvolume
		}
	}
	return part, found
}

// dirOf is where a target's directory is on the running host, "" if it is not mounted.
func (h *host) dirOf(t config.Target) string {
	if t.Kind == config.Dir {
		return t.Path
	}
	m, found := h.targetMount(t)
	if !found || m.root != "/" && !(t.FS == "btrfs" && m.root == "/"+strings.TrimPrefix(t.Subvol, "/")) {
		return ""
	}
	return filepath.Join(m.point, t.Path)
}

func targetDirectory(h *host) outcome {
	return each(h.local(), noLocal, func(t config.Target) outcome {
		if t.Kind == config.Raw {
			return skip("a raw partition")
		}
		dir := h.dirOf(t)
		if dir == "" {
			return skip("not mounted now")
		}
		fi, err := os.Stat(h.path(dir))
		switch {
		case err != nil && t.Kind == config.Dir:
			return bad("%s is not there", dir).do("mkdir -m 700 %s", dir)
		case err != nil:
			return ok("%s will be made", dir)
		case !fi.IsDir():
			return bad("%s is no directory", dir)
		}
		return ok("%s", dir)
	})
}

// drivers of filesystems that kdx-init mounts, by the name that the kernel shows.
var drivers = []string{"ext4", "ext3", "ext2", "xfs", "btrfs"}

func targetFilesystem(h *host) outcome {
	return each(h.local(), noLocal, func(t config.Target) outcome {
		if t.Kind == config.Raw {
			return skip("a raw partition")
		}
		m, found := h.targetMount(t)
		switch {
		case !found && t.Kind == config.FS:
			return skip("not mounted now")
		case !found:
			return unknown("where it is mounted from is not known")
		case !slices.Contains(drivers, m.kind):
			return bad("it is %s, kdx saves to ext4, xfs and btrfs", m.kind)
		case t.Kind == config.FS && t.FS != m.kind && !(t.FS == "ext4" && strings.HasPrefix(m.kind, "ext")):
			return bad("it is mounted as %s, not %s", m.kind, t.FS)
		}
		return ok("%s", m.kind)
	})
}

func targetWritable(h *host) outcome {
	return each(h.local(), noLocal, func(t config.Target) outcome {
		m, found := h.targetMount(t)
		if !found {
			return skip("not mounted now")
		}
		if slices.Contains(m.options, "ro") {
			return bad("%s is mounted read-only", m.point)
		}
		return ok("%s", m.point)
	})
}

// targetRoot: a filesystem that fills up with dumps stops the host if it is the root.
func targetRoot(h *host) outcome {
	return each(h.local(), noLocal, func(t config.Target) outcome {
		m, found := h.targetMount(t)
		if found && m.point == "/" && h.config().Keep == 0 {
			return bad("it lies on the root filesystem, and all dumps are kept (keep = 0)")
		}
		return ok("dumps can't fill the root filesystem")
	})
}

func targetSpace(h *host) outcome {
	return each(h.local(), noLocal, func(t config.Target) outcome {
		need, how := h.dumpSize()
		if need == 0 {
			return unknown("%s", how)
		}
		if t.Kind == config.Raw {
			return h.rawSpace(t, need, how)
		}
		dir := h.dirOf(t)
		if dir == "" {
			return skip("not mounted now")
		}
		for dir != "/" && !h.exists(dir) { // it will be made
			dir = filepath.Dir(dir)
		}
		free, err := h.opt.Free(h.path(dir))
		if err != nil {
			return unknown("what is free on %s can't be read: %v", dir, err)
		}
		if free < need+h.config().KeepFree {
			return bad("%s are free; a dump takes about %s (%s), and %s must stay free", mebi(free), mebi(need), how, mebi(h.config().KeepFree))
		}
		return ok("%s are free, a dump takes about %s (%s)", mebi(free), mebi(need), how)
	})
}

func (h *host) rawSpace(t config.Target, need uint64, how string) outcome {
	name, err := h.device(t)
	if err != nil {
		return skip("no device")
	}
	sectors, there := h.number("sys/class/block/" + name + "/size")
	if !there {
		return unknown("its size is not known")
	}
	if size := uint64(sectors) * 512; size < need {
		return bad("it has %s; a dump takes about %s (%s)", mebi(size), mebi(need), how)
	}
	return ok("%s; a dump takes about %s", mebi(uint64(sectors)*512), mebi(need))
}

// dumpSize is about what a dump takes now: the pages that the level leaves, by the kernel's own count, compressed to a half. The kernel may
// free or fill memory until it dies, so twice the level's pages may come.
func (h *host) dumpSize() (bytes uint64, how string) {
	kb := make(map[string]uint64)
	for line := range strings.Lines(h.text("proc/meminfo")) {
		key, rest, _ := strings.Cut(line, ":")
		if f := strings.Fields(rest); len(f) > 0 {
			kb[key], _ = strconv.ParseUint(f[0], 10, 64)
		}
	}
	total := kb["MemTotal"]
	if total == 0 {
		return 0, "/proc/meminfo can't be read"
	}
	level := h.config().Level
	left := int64(total)
	if level&16 != 0 {
		left -= int64(kb["MemFree"])
	}
	if level&(2|4) != 0 {
		left -= int64(kb["Cached"] + kb["Buffers"] + kb["SwapCached"])
	}
	if level&8 != 0 {
		left -= int64(kb["AnonPages"])
	}
	left = max(left, int64(total)/50)
	how = fmt.Sprintf("level %d", level)
	if h.config().Codec != "raw" {
		left /= 2
		how += ", compressed to a half"
	}
	return uint64(left) * 1024, how + ", as memory is used now"
}

// layers goes through what the local targets stand on.
func (h *host) layers(f func(estimate.Layer) (evidence string)) outcome {
	return each(h.local(), noLocal, func(t config.Target) outcome {
		name, err := h.device(t)
		if err != nil {
			return skip("no device")
		}
		var names []string
		for _, l := range estimate.Stack(h.opt.Root, name) {
			if what := f(l); what != "" {
				return bad("%s", what)
			}
			names = append(names, l.Name)
		}
		return ok("%s", strings.Join(names, " on "))
	})
}

func targetCrypt(h *host) outcome {
	return h.layers(func(l estimate.Layer) string {
		if strings.HasPrefix(l.DM, "CRYPT-") {
			kind, _, _ := strings.Cut(strings.TrimPrefix(l.DM, "CRYPT-"), "-")
			return fmt.Sprintf("%s is encrypted (%s), and its passphrase is not there in the capture kernel", l.Name, kind)
		}
		return ""
	})
}

func targetMultipath(h *host) outcome {
	return h.layers(func(l estimate.Layer) string {
		if strings.HasPrefix(l.DM, "mpath-") {
			return l.Name + " is a multipath device"
		}
		return ""
	})
}

func targetRemoteDisk(h *host) outcome {
	return h.layers(func(l estimate.Layer) string {
		switch {
		case strings.Contains(l.Bus, "/session"):
			return l.Name + " is an iSCSI disk"
		case strings.Contains(l.Bus, "nvme-fabrics") || strings.Contains(l.Bus, "nvme-subsystem") && h.fabrics(l.Name):
			return l.Name + " is NVMe over a fabric"
		case hasPrefix(l.Name, "nbd", "rbd", "drbd", "zd"):
			return l.Name + " is a disk over the network, or of a driver that kdx does not set up"
		}
		return ""
	})
}

func (h *host) fabrics(name string) bool {
	for _, f := range h.glob("sys/class/nvme/nvme*/transport") {
		rel := strings.TrimPrefix(f, h.base)
		if v := h.text(rel); v != "pcie" && v != "" && strings.HasPrefix(name, filepath.Base(filepath.Dir(f))+"n") {
			return true
		}
	}
	return false
}

func targetVolatile(h *host) outcome {
	return each(h.local(), noLocal, func(t config.Target) outcome {
		if m, found := h.targetMount(t); found && slices.Contains([]string{"tmpfs", "ramfs", "overlay", "squashfs"}, m.kind) {
			return bad("%s is %s, which is gone after a crash", m.point, m.kind)
		}
		name, err := h.device(t)
		if err == nil {
			for _, l := range estimate.Stack(h.opt.Root, name) {
				if hasPrefix(l.Name, "zram", "ram", "loop") {
					return bad("it lies on %s", l.Name)
				}
			}
		}
		return ok("it outlives a crash")
	})
}

func targetRemovable(h *host) outcome {
	return h.layers(func(l estimate.Layer) string {
		if l.Removable || strings.Contains(l.Bus, "/usb") {
			return l.Name + " is removable, or on USB"
		}
		return ""
	})
}

func hasPrefix(name string, prefixes ...string) bool {
	return slices.ContainsFunc(prefixes, func(p string) bool { return strings.HasPrefix(name, p) })
}

// targetStack asks the code that writes the plan for the capture kernel.
func targetStack(h *host) outcome {
	return each(h.local(), noLocal, func(t config.Target) outcome {
		device := t.Device
		if t.Kind == config.Dir {
			m, found := h.mountOf(t.Path)
			if !found || !strings.HasPrefix(m.source, "/dev/") {
				return skip("no device")
			}
			device = m.source
		}
		d, err := h.opt.Storage(h.opt.Root, device)
		if err != nil {
			return bad("%v", err)
		}
		return ok("%s", d)
	})
}

// targetRaw: a raw partition that holds something else loses it.
func targetRaw(h *host) outcome {
	var raw []config.Target
	for _, t := range h.config().Targets {
		if t.Kind == config.Raw {
			raw = append(raw, t)
		}
	}
	return each(raw, "no target is a raw partition", func(t config.Target) outcome {
		name, err := h.device(t)
		if err != nil {
			return skip("no device")
		}
		dev := h.text("sys/class/block/" + name + "/dev")
		for _, m := range h.mounts {
			if m.dev == dev {
				return bad("%s is mounted at %s, and would be overwritten", name, m.point)
			}
		}
		if held := h.glob("sys/class/block/" + name + "/holders/*"); len(held) > 0 {
			return bad("%s belongs to %s, and would be overwritten", name, filepath.Base(held[0]))
		}
		if strings.Contains(h.text("proc/swaps"), "/dev/"+name+" ") {
			return bad("%s is swap space, and would be overwritten", name)
		}
		d, err := h.opt.Storage(h.opt.Root, t.Device)
		if err != nil {
			return skip("%v", err)
		}
		if d.Content != nil {
			return bad("%s holds %s %s, which would be overwritten", name, d.Content.Type, d.Content.UUID)
		}
		return ok("%s holds nothing else", name)
	})
}

func targetSecond(h *host) outcome {
	if n := len(h.config().Targets); n < 2 {
		return bad("there is one target")
	}
	return ok("%d targets", len(h.config().Targets))
}

// dumps lists the directories of dumps on mounted local targets, newest last.
func (h *host) dumps() []string {
	var out []string
	for _, t := range h.local() {
		dir := h.dirOf(t)
		if t.Kind == config.Raw || dir == "" {
			continue
		}
		out = append(out, h.glob(strings.TrimPrefix(dir, "/")+"/*-*T*Z-*")...)
	}
	return out
}

func dumpsWhole(h *host) outcome {
	if len(h.dumps()) == 0 {
		return skip("there are no dumps on mounted targets")
	}
	var partial []string
	for _, d := range h.dumps() {
		if !whole(d) {
			partial = append(partial, filepath.Base(d))
		}
	}
	if len(partial) > 0 {
		return bad("%d of %d are not whole: %s", len(partial), len(h.dumps()), strings.Join(partial, ", ")).do("read kdx.log in it: it says what stopped the save")
	}
	return ok("%d, all whole", len(h.dumps()))
}

// whole says whether the manifest of a dump says so, and nothing unfinished lies beside it.
func whole(dir string) bool {
	f, err := os.Open(filepath.Join(dir, manifest.Name))
	if err != nil {
		return false
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, manifest.MaxSize+1))
	if err != nil {
		return false
	}
	m, err := manifest.Parse(b)
	left, _ := filepath.Glob(filepath.Join(dir, "*.incomplete"))
	return err == nil && m.Complete && len(left) == 0
}
