package doctor

import (
	"errors"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"kdx/capture/load"
	"kdx/capture/trial"
)

// armed is what kdx says of what it loaded.
type armed struct {
	*load.Status
	err error
}

func readArmed(h *host) armed {
	s, err := (&load.Host{Root: h.opt.Root, Arch: h.opt.Arch}).ReadStatus(nil)
	if err != nil {
		return armed{Status: &load.Status{Kernel: &load.Kernel{}}, err: err}
	}
	return armed{s, nil}
}

// crashLoaded says whether a capture kernel is loaded.
func (h *host) crashLoaded() bool { return h.armed.Armed }

const notLoaded = "nothing is loaded"

func loadedNow(h *host) outcome {
	switch {
	case h.armed.err != nil:
		return unknown("%v", h.armed.err)
	case h.crashLoaded() && h.armed.Record != nil:
		return ok("%s", h.armed.Record.Title())
	case h.crashLoaded():
		return ok("one is loaded")
	case len(h.armed.Notes) > 0:
		return bad("none is loaded: %s", strings.Join(h.armed.Notes, "; "))
	}
	return bad("none is loaded")
}

func loadedBy(h *host) outcome {
	switch {
	case !h.crashLoaded():
		return skip(notLoaded)
	case h.armed.Record == nil:
		return bad("what is loaded, something else has loaded")
	}
	return ok("kdx %s, %s", h.armed.Record.Kdx, h.armed.Record.By)
}

func loadedFresh(h *host) outcome {
	switch {
	case h.armed.Record == nil:
		return skip("nothing of kdx's is loaded")
	case len(h.armed.Changed) > 0:
		return bad("%s changed since", strings.Join(h.armed.Changed, ", ")).do("kdx capture load")
	}
	return ok("kernel and initrd are as they were at %s", h.armed.Record.Loaded.Format(time.DateTime))
}

func loadedConfig(h *host) outcome {
	if h.armed.Record == nil {
		return skip("nothing of kdx's is loaded")
	}
	for _, f := range h.cfg.Files {
		if fi, err := os.Stat(f); err == nil && fi.ModTime().After(h.armed.Record.Loaded) {
			return bad("%s was written after that, at %s", f, fi.ModTime().UTC().Format(time.DateTime))
		}
	}
	return ok("not since %s", h.armed.Record.Loaded.Format(time.DateTime))
}

// captureCmdline is the command line that the capture kernel has or will have.
func (h *host) captureCmdline() (line, from string) {
	if h.armed.Record != nil {
		return h.armed.Record.Cmdline, "as loaded"
	}
	c := h.config()
	k := h.armed.Kernel
	cpus := (&load.Host{Root: h.opt.Root, Arch: h.opt.Arch}).CPUs(c, k, h.image.path, c.Initrd)
	return load.Derive(load.Source{Running: k.Cmdline, Base: c.Cmdline, Remove: c.CmdlineRemove, Append: c.CmdlineAppend, CPUs: cpus, Consoles: c.Consoles, BootAPIC: k.BootAPIC, Xen: k.Xen}).Text, "as it will be"
}

func cmdlineConsole(h *host) outcome {
	line, from := h.captureCmdline()
	if _, there := paramOf(strings.Fields(line), "console"); !there && h.opt.Arch == "amd64" {
		return bad("no console= (%s): only a screen, if there is one, shows what it does", from)
	}
	return ok("%s", from)
}

// hazards are words that make a capture kernel fail or starve, and that may get into its command line by the configuration or by another tool's load.
var hazards = []struct{ name, why string }{
	{"crashkernel", "reserves memory out of the reservation"},
	{"mem", "hides the crashed kernel's memory"},
	{"log_buf_len", "takes a buffer of the size that is meant for the host"},
	{"hugepages", "takes pages of the reservation"},
	{"panic_on_warn", "a warning ends the capture"},
	{"panic_on_oops", "an oops ends the capture"},
	{"slub_debug", "takes memory"},
	{"kasan", "takes an eighth of memory"},
	{"systemd.unit", "is for a capture that runs a whole system"},
	{"nr_hugepages", "takes pages of the reservation"},
}

func cmdlineHazards(h *host) outcome {
	line, from := h.captureCmdline()
	words := strings.Fields(line)
	var found []string
	for _, x := range hazards {
		if _, there := paramOf(words, x.name); there {
			found = append(found, x.name+" "+x.why)
		}
	}
	if slices.Contains(words, "console=hvc0") && h.text("sys/hypervisor/type") == "xen" {
		found = append(found, "console=hvc0 is Xen's, and waited for")
	}
	if len(found) > 0 {
		return bad("%s (%s)", strings.Join(found, "; "), from)
	}
	return ok("none (%s)", from)
}

func cmdlineLength(h *host) outcome {
	if h.image.err != nil {
		return skip("no image")
	}
	line, from := h.captureCmdline()
	if most := h.image.header.MaxCmdline(true); most > 0 && len(line) > most {
		return bad("%d bytes (%s), the kernel takes %d", len(line), from, most)
	}
	return ok("%d bytes (%s)", len(line), from)
}

func cmdlineCPUs(h *host) outcome {
	line, from := h.captureCmdline()
	v, there := paramOf(strings.Fields(line), "nr_cpus")
	n, err := strconv.Atoi(v)
	if !there || err != nil {
		return bad("no nr_cpus= (%s): it starts all", from)
	}
	if n > 4 {
		return bad("nr_cpus=%d (%s)", n, from)
	}
	return ok("nr_cpus=%d (%s)", n, from)
}

// hotplugStale: memory that came or went has blocks in /sys that are newer than what is loaded.
func hotplugStale(h *host) outcome {
	if h.armed.Record == nil {
		return skip("nothing of kdx's is loaded")
	}
	if h.armed.Kernel.Hotplug == load.HotplugKernel {
		return ok("the kernel follows it")
	}
	was, now := h.armed.Record.RAM, h.reserve.RAM
	switch {
	case was == 0 || now == 0:
		return unknown("how much memory there is or was is not known")
	case was != now:
		return bad("%s now, %s when it was loaded", mebi(now), mebi(was))
	}
	return ok("%s, as when it was loaded", mebi(now))
}

// tested looks for the outcome of kdx capture test.
func tested(h *host) outcome {
	t, err := trial.Read(h.opt.Root)
	switch {
	case errors.Is(err, trial.ErrNone):
		return bad("it was not")
	case err != nil:
		return unknown("%v", err)
	case t.Outcome == "":
		return bad("a test was begun at %s, and its outcome has not been looked for", t.Begun.Format(time.DateTime)).do("kdx capture test --result")
	case !t.Arrived:
		return bad("the test of %s failed: %s", t.Begun.Format(time.DateTime), t.Outcome)
	case t.Release != h.release:
		return bad("tested at %s with %s, now %s runs", t.Begun.Format(time.DateTime), t.Release, h.release)
	}
	return ok("%s: %s", t.Begun.Format(time.DateTime), t.Outcome)
}
