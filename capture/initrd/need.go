package initrd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kdx/capture/config"
	"kdx/capture/kmod"
	"kdx/capture/plan"
	"kdx/internal/sysfs"
)

// need is a module, or an alias of some, and what it is needed for.
type need struct {
	name, why string
	optional  bool // what needs it may do without
}

// hardware says whether the name is that of a device, which the kernel may drive itself or not at all.
func (n need) hardware() bool { return strings.Contains(n.name, ":") }

// wanted is what a device or an interface needs.
func wanted(names []string, why string, optional bool) []need {
	var out []need
	for _, n := range names {
		out = append(out, need{n, why, optional})
	}
	return out
}

// console finds the drivers of the consoles that progress is shown on.
func (b *builder) console() []need {
	names := b.config.Consoles
	if names == nil {
		line, err := readLine(b.host.path("/proc/cmdline"))
		if err != nil {
			return nil
		}
		if b.config.Cmdline != "" {
			line = b.config.Cmdline
		}
		for _, w := range strings.Fields(line) {
			if v, ok := strings.CutPrefix(w, "console="); ok {
				names = append(names, v)
			}
		}
	}
	var out []need
	for _, n := range names {
		n, _, _ = strings.Cut(n, ",")
		if n == "" || strings.Contains(n, "/") {
			continue
		}
		out = append(out, wanted(b.drivers("/sys/class/tty/"+n), "console "+n, true)...)
	}
	return out
}

// watchdog finds the drivers of all watchdogs, not only of those that run now: one that is started later would end the capture kernel if
// that could not feed it.
func (b *builder) watchdog() []need {
	if b.config.Watchdog == "off" {
		return nil
	}
	dogs, err := os.ReadDir(b.host.path("/sys/class/watchdog"))
	if err != nil {
		return nil
	}
	var out []need
	for _, d := range dogs {
		out = append(out, wanted(b.drivers("/sys/class/watchdog/"+d.Name()), d.Name(), true)...)
	}
	return out
}

// drivers are the modules that drive a device of a class, and those of the devices that it hangs on, which come first.
func (b *builder) drivers(class string) []string {
	dev, err := filepath.EvalSymlinks(b.host.path(class + "/device"))
	if err != nil {
		return nil
	}
	out := sysfs.Drivers(b.host.root, dev)
	slices.Reverse(out)
	return out
}

// chosen is a module that goes into the initrd.
type chosen struct {
	kmod.Module
	for_ string
}

// choose finds the modules for all needs in load order. Everything that is missing is told at once.
func (b *builder) choose(needs []need) ([]chosen, error) {
	var out []chosen
	at := map[string]int{} // index in out + 1
	var errs []error
	for _, n := range needs {
		if n.hardware() && b.runs() { // what no module drives in this very kernel needs none
			continue
		}
		mods, err := b.modules.Closure(n.name)
		var missing *kmod.MissingError
		switch {
		case err == nil:
		case errors.As(err, &missing) && (n.hardware() && missing.Of == "" || b.runsBuiltin(missing.Name)):
			continue
		case n.optional:
			b.note("%s goes without module %s: %v", n.why, n.name, err)
			continue
		default:
			errs = append(errs, fmt.Errorf("%s needs a driver: %w", n.why, err))
			continue
		}
		for _, m := range mods {
			m.Optional = m.Optional || n.optional
			if i := at[m.Name]; i > 0 {
				out[i-1].Optional = out[i-1].Optional && m.Optional
				continue
			}
			out = append(out, chosen{m, n.why})
			at[m.Name] = len(out)
		}
	}
	return out, errors.Join(errs...)
}

// runs says whether the capture kernel is the one that runs.
func (b *builder) runs() bool {
	running, err := readLine(b.host.path("/proc/sys/kernel/osrelease"))
	return err == nil && running == b.release
}

// runsBuiltin says whether the running kernel, if it is the capture kernel, has something built in that no list of such modules tells of.
func (b *builder) runsBuiltin(name string) bool {
	if !b.runs() {
		return false
	}
	dir := b.host.path("/sys/module/" + kmod.Canonical(name))
	if _, err := os.Stat(dir); err == nil {
		_, err := os.Stat(filepath.Join(dir, "initstate")) // only those that were loaded have it
		return errors.Is(err, fs.ErrNotExist)
	}
	if b.modules.BuiltinKnown {
		return false
	}
	text, err := readSmall(b.host.path("/proc/filesystems"), 1<<16)
	if err != nil {
		return false
	}
	return slices.Contains(strings.Fields(string(text)), name)
}

// moduleFiles puts modules and their firmware into the initrd and lists them for the plan.
func (b *builder) moduleFiles(mods []chosen) error {
	options := b.modprobeOptions()
	for _, m := range mods {
		if r := m.Release(); r != "" && r != b.release {
			return fmt.Errorf("module %s in %s was built for kernel %s, the capture kernel is %s", m.Name, m.Path, r, b.release)
		}
		data, _, err := b.host.take("module", m.Path)
		if err != nil {
			return err
		}
		at := "/kdx/modules/" + filepath.Base(m.Path)
		if packed := packModule(data); packed != nil {
			at, data = at+".zst", packed
		}
		if err := b.files.add(at, 0o644, data); err != nil {
			return err
		}
		b.plan.Modules = append(b.plan.Modules, plan.Module{Name: m.Name, Path: at, Params: options[m.Name], Optional: m.Optional})
		b.result.Modules = append(b.result.Modules, ChosenModule{m.Name, m.Path, int64(len(data)), m.Size, m.Optional, m.for_})
		if err := b.firmware(m); err != nil {
			return err
		}
	}
	return nil
}

// firmware brings in what there is of a module's firmware. It names all that any device of its kind takes; the host has what it needs.
func (b *builder) firmware(m chosen) error {
	dirs := []string{"/lib/firmware/updates/" + b.release, "/lib/firmware/updates", "/lib/firmware/" + b.release, "/lib/firmware"}
	found := 0
	for _, name := range m.Firmware {
		if !filepath.IsLocal(name) {
			continue
		}
		for _, at := range b.firmwareFiles(dirs, name) {
			data, _, err := b.host.take("firmware", b.host.path(at))
			if err != nil {
				return fmt.Errorf("firmware of module %s: %w", m.Name, err)
			}
			if err := b.files.add(at, 0o644, data); err != nil {
				return err
			}
			found++
		}
	}
	if len(m.Firmware) > 0 && found == 0 {
		b.note("module %s names firmware (%s, …) of which the host has none; its device may work without", m.Name, m.Firmware[0])
	}
	return nil
}

// firmwareFiles finds a name, which may be a pattern (6.2), where the kernel looks for it: the first directory that has it, packed or not.
func (b *builder) firmwareFiles(dirs []string, name string) []string {
	for _, d := range dirs {
		var out []string
		for _, end := range []string{"", ".zst", ".xz"} {
			if !strings.ContainsAny(name, "*?[") {
				at := filepath.Join(d, name+end)
				if st, err := os.Stat(b.host.path(at)); err == nil && st.Mode().IsRegular() {
					return []string{at}
				}
				continue
			}
			base := b.host.path(d)
			found, err := filepath.Glob(filepath.Join(base, name+end))
			if err != nil {
				continue
			}
			for _, f := range found {
				if rel, err := filepath.Rel(base, f); err == nil {
					if st, err := os.Stat(f); err == nil && st.Mode().IsRegular() {
						out = append(out, filepath.Join(d, rel))
					}
				}
			}
		}
		if len(out) > 0 {
			slices.Sort(out)
			return slices.Compact(out)
		}
	}
	return nil
}

// modprobeOptions are the parameters that the host gives to modules (modprobe.d), by module. A directory's file hides one of the same name
// in a later directory.
func (b *builder) modprobeOptions() map[string]string {
	out := map[string]string{}
	seen := map[string]bool{}
	var files []string
	for _, dir := range []string{"/etc/modprobe.d", "/run/modprobe.d", "/usr/local/lib/modprobe.d", "/usr/lib/modprobe.d", "/lib/modprobe.d"} {
		entries, err := os.ReadDir(b.host.path(dir))
		if err != nil {
			continue
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name(), ".conf") && !seen[e.Name()] {
				seen[e.Name()] = true
				files = append(files, filepath.Join(dir, e.Name()))
			}
		}
	}
	slices.SortFunc(files, func(x, y string) int { return strings.Compare(filepath.Base(x), filepath.Base(y)) })
	for _, f := range files {
		text, err := readSmall(b.host.path(f), 1<<20)
		if err != nil {
			continue
		}
		joined := strings.ReplaceAll(string(text), "\\\n", " ")
		for line := range strings.Lines(joined) {
			w := strings.Fields(line)
			if len(w) > 2 && w[0] == "options" {
				name := kmod.Canonical(w[1])
				out[name] = strings.TrimSpace(out[name] + " " + strings.Join(w[2:], " "))
			}
		}
	}
	return out
}

// remote says whether a target is on another host.
func remote(t config.Target) bool { return t.Kind == config.SFTP || t.Kind == config.SSH }
