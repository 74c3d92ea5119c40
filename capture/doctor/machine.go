package doctor

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"kdx/capture/config"
)

func configReads(h *host) outcome {
	if h.cfgErr != nil {
		return bad("%v", h.cfgErr)
	}
	if n := len(h.cfg.Problems); n > 0 {
		return bad("%v%s", h.cfg.Problems[0], more(n-1))
	}
	if h.cfg.Source == config.Defaults {
		return ok("the defaults, as there is no %s", config.Path)
	}
	return ok("%s", strings.Join(h.cfg.Files, ", "))
}

func configLost(h *host) outcome {
	if h.cfg.Imported == nil {
		return skip("it is kdx's own")
	}
	lost := h.cfg.Imported.Lost()
	if len(lost) == 0 {
		return ok("%s", strings.Join(h.cfg.Files, ", "))
	}
	return bad("%s: %s%s", lost[0].Key, strings.Join(strings.Fields(lost[0].Note), " "), more(len(lost)-1))
}

func configFiles(h *host) outcome {
	if h.cfgErr != nil {
		return skip("the configuration can't be read")
	}
	missing := h.cfg.Missing(h.opt.Root)
	if len(missing) == 0 {
		return ok("all are there")
	}
	return bad("%v%s", missing[0], more(len(missing)-1))
}

// others are the services that would load another capture kernel, or unload this one.
var others = []string{"kdump-tools.service", "kdump.service", "kdump-early.service"}

func otherTools(h *host) outcome {
	var on []string
	for _, u := range others {
		if h.enabled(u) {
			on = append(on, u)
		}
	}
	if len(on) == 0 {
		return ok("none of %s is enabled", strings.Join(others, ", "))
	}
	return bad("%s is enabled", strings.Join(on, ", ")).do("systemctl disable --now %s; kdx reads its configuration (kdx capture config import)", strings.Join(on, " "))
}

func (h *host) systemd() bool {
	return h.exists("run/systemd/system") || h.exists("etc/systemd/system")
}

func unitEnabled(unit string) func(*host) outcome {
	return func(h *host) outcome {
		switch {
		case !h.systemd():
			return skip("systemd does not run here")
		case h.enabled(unit):
			return ok("%s is enabled", unit)
		}
		return bad("%s is not enabled", unit).do("systemctl enable --now %s", unit)
	}
}

// unitNetwork: kdx-capture.service comes after network-online.target, which nothing starts on some hosts. An initrd that must be built anew is
// then loaded as it was.
func unitNetwork(h *host) outcome {
	const online, service = "network-online.target", "kdx-capture.service"
	switch {
	case !h.systemd():
		return skip("systemd does not run here")
	case len(h.remote()) == 0:
		return skip(noRemote)
	case h.enabled(online):
		return ok("%s is started", online)
	}
	for _, dir := range []string{"etc/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"} {
		for _, file := range append(h.glob(dir+"/"+service+".d/*.conf"), h.path(dir+"/"+service)) {
			text, err := os.ReadFile(file)
			if err != nil {
				continue
			}
			for line := range strings.Lines(string(text)) {
				if key, value, is := strings.Cut(line, "="); is && strings.TrimSpace(key) == "Wants" && slices.Contains(strings.Fields(value), online) {
					return ok("%s", file)
				}
			}
		}
	}
	return bad("nothing starts %s for %s", online, service)
}

func unitsMasked(h *host) outcome {
	if !h.systemd() {
		return skip("systemd does not run here")
	}
	for _, u := range []string{"kdx-capture.service", "kdx-collect.service"} {
		if h.masked(u) {
			return bad("%s is masked", u).do("systemctl unmask %s", u)
		}
	}
	return ok("none is")
}

func clock(h *host) outcome {
	if h.opt.Now.Year() < 2024 {
		return bad("it is %s", h.opt.Now.UTC().Format(time.DateTime))
	}
	return ok("%s", h.opt.Now.UTC().Format(time.DateTime))
}

func root(h *host) outcome {
	if !h.opt.admin() {
		return bad("user %d", os.Geteuid())
	}
	return ok("root")
}

func hypervisor(h *host) outcome {
	kind := h.text("sys/hypervisor/type")
	if kind != "xen" {
		return ok("no Xen")
	}
	guest := h.text("sys/hypervisor/guest_type")
	switch {
	case strings.Contains(h.text("proc/xen/capabilities"), "control_d"):
		return bad("this is Xen's dom0").do("kexec on the hypervisor's side (kexec-tools) is the only way: a panic of the hypervisor or of dom0 ends both")
	case guest == "PV":
		return bad("a paravirtual guest of Xen")
	}
	return ok("a guest of Xen with hardware virtualization")
}

func watchdogs(h *host) outcome {
	var active []string
	for _, dir := range h.glob("sys/class/watchdog/watchdog*") {
		rel := strings.TrimPrefix(dir, h.base)
		if h.text(rel+"/state") == "active" {
			active = append(active, h.text(rel+"/identity")+" ("+rel[strings.LastIndex(rel, "/")+1:]+", "+h.text(rel+"/timeout")+" s)")
		}
	}
	switch {
	case len(active) == 0:
		return ok("no watchdog runs")
	case h.config().Watchdog == "off":
		return bad("%s runs, and watchdog = off in the configuration", strings.Join(active, ", "))
	}
	return ok("%s is fed in the capture kernel", strings.Join(active, ", "))
}

func pretimeout(h *host) outcome {
	for _, dir := range h.glob("sys/class/watchdog/watchdog*") {
		rel := strings.TrimPrefix(dir, h.base)
		if v := h.text(rel + "/pretimeout"); v != "" && v != "0" && h.text(rel+"/pretimeout_governor") == "panic" {
			return bad("%s: pretimeout %s s, whose governor is panic", rel[strings.LastIndex(rel, "/")+1:], v)
		}
	}
	return ok("none panics before it bites")
}

func cluster(h *host) outcome {
	for _, u := range []string{"pacemaker.service", "sbd.service", "corosync.service"} {
		if h.enabled(u) {
			return bad("%s is enabled", u)
		}
	}
	return ok("no pacemaker, sbd or corosync")
}

func encrypted(h *host) outcome {
	for _, n := range []string{"sys/class/misc/sev-guest", "sys/class/misc/tdx_guest"} {
		if h.exists(n) {
			return bad("/%s is there", n)
		}
	}
	if v, there := h.param("mem_encrypt"); there && v == "on" {
		return bad("mem_encrypt=on")
	}
	return ok("memory is not encrypted")
}

func more(n int) string {
	if n <= 0 {
		return ""
	}
	return fmt.Sprintf(" (and %d more)", n)
}
