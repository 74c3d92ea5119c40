package doctor

import (
	"strconv"
	"strings"
)

// hotplugRules are kdx's, wherever they are installed.
var hotplugRules = []string{"etc/udev/rules.d/98-kdx-capture.rules", "run/udev/rules.d/98-kdx-capture.rules", "usr/lib/udev/rules.d/98-kdx-capture.rules", "usr/local/lib/udev/rules.d/98-kdx-capture.rules", "lib/udev/rules.d/98-kdx-capture.rules"}

func hotplugFollowed(h *host) outcome {
	if !h.crashLoaded() {
		return skip("nothing is loaded, and until then the kernel does not say")
	}
	if len(h.glob("sys/devices/system/memory/memory[0-9]*")) == 0 {
		return skip("this kernel has no memory hotplug")
	}
	if v := h.text("sys/devices/system/memory/crash_hotplug"); v == "1" {
		return ok("the kernel updates the loaded capture kernel itself")
	}
	for _, r := range hotplugRules {
		if h.exists(r) {
			return ok("udev reloads it: /%s", r)
		}
	}
	return bad("the kernel does not follow (crash_hotplug), and no udev rule does")
}

// elfcorehdrRoom: kernels that update the map of memory themselves have room for so many ranges.
func elfcorehdrRoom(h *host) outcome {
	size, there := h.number("sys/kernel/kexec/crash_elfcorehdr_size", "sys/kernel/crash_elfcorehdr_size")
	if !there {
		return skip("this kernel has no crash_elfcorehdr_size (before 6.6)")
	}
	ranges := 0
	for line := range strings.Lines(h.text("proc/iomem")) {
		if strings.HasSuffix(strings.TrimSpace(line), " : System RAM") {
			ranges++
		}
	}
	cpus := 0
	if possible := h.text("sys/devices/system/cpu/possible"); possible != "" {
		_, last, _ := strings.Cut(possible, "-")
		if last == "" {
			last = possible
		}
		if n, err := strconv.Atoi(last); err == nil {
			cpus = n + 1
		}
	}
	const header = 56 // bytes of an entry of an ELF file
	if need := int64(ranges+cpus+2) * header; need > size {
		return bad("%d ranges of memory and %d CPUs take %d bytes, the kernel has %d", ranges, cpus, need, size)
	}
	return ok("%d ranges of memory and %d CPUs, room for %d", ranges, cpus, size/header)
}
