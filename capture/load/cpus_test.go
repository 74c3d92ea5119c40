package load

import (
	"testing"

	"kdx/capture/config"
)

func TestCPUs(t *testing.T) {
	m := newMachine(t)
	h := m.Host
	set := func(cpus int) *config.Config {
		c := config.Default()
		c.CPUs = cpus
		return c
	}
	iomem := func(end string) string {
		return "00100000-3fffffff : System RAM\n  33000000-" + end + " : Crash kernel\n"
	}
	for _, test := range []struct {
		name          string
		cpus          int
		iomem, online string
		arch          string
		xen           bool
		want          int
	}{
		{"configured", 7, iomem("3effffff"), "0-63", "amd64", false, 7},
		{"all", 0, iomem("3effffff"), "0-63", "amd64", false, 0},
		{"roomy", config.AutoCPUs, iomem("3effffff"), "0-63", "amd64", false, 2},
		{"some are off", config.AutoCPUs, iomem("3effffff"), "0,3-4", "amd64", false, 2},
		{"one CPU", config.AutoCPUs, iomem("3effffff"), "0", "amd64", false, 1},
		{"not said", config.AutoCPUs, iomem("3effffff"), "?", "amd64", false, 1},
		{"no room", config.AutoCPUs, iomem("38ffffff"), "0-63", "amd64", false, 1},
		{"nothing reserved", config.AutoCPUs, "00100000-3fffffff : System RAM\n", "0-63", "amd64", false, 1},
		{"Xen", config.AutoCPUs, iomem("3effffff"), "0-63", "amd64", true, 1},
		{"arm64", config.AutoCPUs, iomem("3effffff"), "0-63", "arm64", false, 1},
	} {
		m.put("proc/iomem", test.iomem)
		m.put("sys/devices/system/cpu/online", test.online+"\n")
		h.Arch = test.arch
		k := &Kernel{BootAPIC: 0, Xen: test.xen}
		if got := h.CPUs(set(test.cpus), k, "/boot/vmlinuz", "/boot/initrd.kdx"); got != test.want {
			t.Errorf("%s: %d; want %d", test.name, got, test.want)
		}
	}
}
