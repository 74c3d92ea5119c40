package load

import (
	"os"
	"strconv"
	"strings"

	"kdx/capture/bzimage"
	"kdx/capture/config"
	"kdx/capture/estimate"
)

// CPUs is how many the capture kernel of this image and initrd shall start; 0 is all. If the configuration leaves it to kdx, as many as have room
// in the reservation. That is for x86: elsewhere, and in a guest of Xen, one that was stopped by a crash may not start again.
func (h *Host) CPUs(c *config.Config, k *Kernel, image, initrd string) int {
	if c.CPUs != config.AutoCPUs {
		return c.CPUs
	}
	if h.Arch != "amd64" && h.Arch != "386" || k.Xen || k.BootAPIC < 0 {
		return 1
	}
	r, err := h.reservation()
	if err != nil {
		return 1
	}
	reserved := uint64(0)
	for _, g := range r.Regions {
		reserved += g.Bytes()
	}
	in := estimate.Input{Arch: h.Arch, RAM: r.RAM, RAMLow: r.RAM, InitSize: estimate.UsualInitSize, Memory: c.Memory, Elfcorehdr: k.Elfcorehdr}
	if header, err := bzimage.ReadFile(h.path(image)); err == nil && header.InitSize > 0 {
		in.InitSize = header.InitSize
	}
	for _, t := range c.Targets {
		in.Network = in.Network || t.Kind == config.SFTP || t.Kind == config.SSH
	}
	in.InitrdPacked, in.InitrdUnpacked = estimate.UsualInitrd(in.Network)
	if st, err := os.Stat(h.path(initrd)); err == nil {
		// It is not unpacked for this: what is packed is some three times as large.
		in.InitrdPacked, in.InitrdUnpacked = max(in.InitrdPacked, uint64(st.Size())), max(in.InitrdUnpacked, 3*uint64(st.Size()))
	}
	return estimate.CPUs(in, reserved, h.onlineCPUs())
}

// onlineCPUs counts the ranges of "0-3,8", in which the kernel says which CPUs run; 1 if it does not.
func (h *Host) onlineCPUs() int {
	text, err := h.read("sys/devices/system/cpu/online")
	if err != nil {
		return 1
	}
	n := 0
	for r := range strings.SplitSeq(strings.TrimSpace(text), ",") {
		first, last, ok := strings.Cut(r, "-")
		if !ok {
			last = first
		}
		from, err := strconv.ParseUint(first, 10, 16)
		to, err2 := strconv.ParseUint(last, 10, 16)
		if err != nil || err2 != nil || to < from {
			return 1
		}
		n += int(to-from) + 1
	}
	return n
}
