package doctor

import (
	"strconv"
	"strings"
)

func panicOops(h *host) outcome {
	v, there := h.sysctl("kernel.panic_on_oops")
	if !there {
		return unknown("/proc/sys/kernel/panic_on_oops can't be read")
	}
	if v == "0" {
		return bad("kernel.panic_on_oops = 0")
	}
	return ok("kernel.panic_on_oops = %s", v)
}

func panicReboot(h *host) outcome {
	v, there := h.sysctl("kernel.panic")
	if !there {
		return unknown("/proc/sys/kernel/panic can't be read")
	}
	if v == "0" {
		return bad("kernel.panic = 0")
	}
	return ok("kernel.panic = %s", v)
}

func panicSysctls(h *host) outcome {
	var off []string
	for _, s := range h.config().Sysctls {
		name, want, _ := strings.Cut(s, "=")
		if got, there := h.sysctl(name); !there {
			off = append(off, name+" is not known to this kernel")
		} else if strings.Join(strings.Fields(got), " ") != strings.Join(strings.Fields(want), " ") {
			off = append(off, name+" is "+got+", wanted "+want)
		}
	}
	if len(off) > 0 {
		return bad("%s", strings.Join(off, "; "))
	}
	return ok("%d as configured", len(h.config().Sysctls))
}

func panicHangs(h *host) outcome {
	names := []string{"kernel.softlockup_panic", "kernel.hardlockup_panic", "kernel.hung_task_panic", "kernel.unknown_nmi_panic", "kernel.panic_on_rcu_stall"}
	var on []string
	known := false
	for _, n := range names {
		v, there := h.sysctl(n)
		known = known || there
		if there && v != "0" {
			on = append(on, n)
		}
	}
	switch {
	case !known:
		return unknown("none of %s can be read", strings.Join(names, ", "))
	case len(on) == 0:
		return bad("%s are 0", strings.Join(names, ", "))
	}
	return ok("%s", strings.Join(on, ", "))
}

func panicWarn(h *host) outcome {
	if v, there := h.sysctl("kernel.panic_on_warn"); there && v != "0" {
		return bad("kernel.panic_on_warn = %s", v)
	}
	return ok("kernel.panic_on_warn is off")
}

func panicNotifiers(h *host) outcome {
	v := h.text("sys/module/kernel/parameters/crash_kexec_post_notifiers")
	if p, there := h.param("crash_kexec_post_notifiers"); there && v == "" {
		v = "Y"
		if p == "0" || p == "n" || p == "N" {
			v = "N"
		}
	}
	if v == "Y" {
		return bad("crash_kexec_post_notifiers is on")
	}
	return ok("crash_kexec_post_notifiers is off")
}

func sysrqMask(h *host) outcome {
	v, there := h.sysctl("kernel.sysrq")
	n, err := strconv.ParseUint(v, 10, 32)
	if !there || err != nil {
		return unknown("/proc/sys/kernel/sysrq can't be read")
	}
	if n != 1 && n&8 == 0 {
		return bad("kernel.sysrq = %d, without 8", n)
	}
	return ok("kernel.sysrq = %d", n)
}
