package storage

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"kdx/internal/sysfs"
)

// ids are what a disk is recognised by.
func (h *host) ids(b blk) []ID {
	var out []ID
	add := func(by, value string) {
		value = strings.Join(strings.Fields(value), " ")
		if value != "" && !slices.Contains(out, ID{by, value}) {
			out = append(out, ID{by, value})
		}
	}
	dir, device := b.dir, filepath.Join(b.dir, "device")
	switch {
	case strings.HasPrefix(b.name, "nvme"):
		add(byWWID, realNVMe(sysfs.Text(dir, "wwid")))
		if serial := sysfs.Text(device, "serial"); serial != "" {
			add(bySerial, fmt.Sprintf("%s %s ns %s", sysfs.Text(device, "model"), serial, sysfs.Text(dir, "nsid")))
		}
	case strings.HasPrefix(b.name, "mmcblk"):
		add(byWWID, sysfs.Text(device, "cid"))
	case exists(filepath.Join(device, "vendor")) && exists(filepath.Join(device, "model")): // SCSI, and what speaks like it
		add(byWWID, sysfs.Text(device, "wwid"))
		if serial := vpdSerial(filepath.Join(device, "vpd_pg80")); serial != "" {
			add(bySerial, sysfs.Text(device, "vendor")+" "+sysfs.Text(device, "model")+" "+serial)
		}
	default:
		if serial := sysfs.Text(dir, "serial"); serial != "" { // virtio
			add(bySerial, serial)
		}
	}
	add(byPath, h.busPath(b))
	return out
}

// realNVMe drops names that controllers give without having one: all zeros.
func realNVMe(wwid string) string {
	_, value, _ := strings.Cut(wwid, ".")
	if strings.Trim(value, "0-") == "" {
		return ""
	}
	return wwid
}

// vpdSerial reads the page of vital product data that holds the serial number: device type, page 0x80, two bytes of length, text.
func vpdSerial(p string) string {
	data, err := sysfs.Bytes(p)
	if err != nil || len(data) < 4 || data[1] != 0x80 {
		return ""
	}
	s := data[4:min(len(data), 4+int(data[3]))]
	for _, c := range s {
		if c != 0 && (c < ' ' || c > '~') {
			return hex.EncodeToString(s)
		}
	}
	return text(s)
}

// counted are parts of paths in sysfs that hold numbers which the kernel counts up, and that another boot may count otherwise.
var (
	counted = regexp.MustCompile(`^(host|virtio|nvme|nvme-subsys|ata|port-|phy-|end_device-|expander-|target|rport-|mmc|vmbus_)[0-9:.-]*$`)
	scsiLUN = regexp.MustCompile(`^[0-9]+(:[0-9]+:[0-9]+:[0-9]+)$`)
	ataPort = regexp.MustCompile(`^ata[0-9]+$`)
)

// busPath is where on which bus a disk is, without what the kernel counts.
func (h *host) busPath(b blk) string {
	dir := h.hardware(b)
	rest, ok := strings.CutPrefix(dir, sysfs.Dir(h.root)+"/devices/")
	if !ok {
		return ""
	}
	var out []string
	at := sysfs.Dir(h.root) + "/devices"
	for part := range strings.SplitSeq(rest, "/") {
		at = filepath.Join(at, part)
		switch {
		case ataPort.MatchString(part):
			out = append(out, "port"+sysfs.Text(at, "ata_port", part, "port_no"))
		case scsiLUN.MatchString(part):
			out = append(out, scsiLUN.FindStringSubmatch(part)[1])
		case !counted.MatchString(part):
			out = append(out, part)
		}
	}
	if nsid := sysfs.Text(b.dir, "nsid"); nsid != "" {
		out = append(out, "ns"+nsid)
	}
	return strings.Join(out, "/")
}

// hardware is the directory of the device that a disk is made by. Heads of NVMe's own multipathing hang below no hardware: one of their controllers is taken.
func (h *host) hardware(b blk) string {
	dir, err := filepath.EvalSymlinks(filepath.Join(b.dir, "device"))
	if err != nil {
		return ""
	}
	if all := h.controllers(dir); len(all) > 0 {
		return all[0]
	}
	return dir
}

// controllers are those of an NVMe subsystem.
func (h *host) controllers(subsystem string) []string {
	if !strings.Contains(subsystem, "/nvme-subsystem/") {
		return nil
	}
	links, err := filepath.Glob(filepath.Join(subsystem, "nvme[0-9]*"))
	if err != nil {
		return nil
	}
	var out []string
	for _, l := range links {
		st, err := os.Lstat(l)
		if err != nil || st.Mode()&os.ModeSymlink == 0 { // a namespace
			continue
		}
		if dir, err := filepath.EvalSymlinks(l); err == nil {
			out = append(out, dir)
		}
	}
	return out
}

// drivers are the modules that drive a disk: those of each device on the way up.
func (h *host) drivers(b blk) []string {
	dirs := []string{h.hardware(b)}
	if dir, err := filepath.EvalSymlinks(filepath.Join(b.dir, "device")); err == nil {
		if all := h.controllers(dir); len(all) > 0 {
			dirs = all
		}
	}
	var out []string
	for _, dir := range dirs {
		for _, m := range sysfs.Drivers(h.root, dir) {
			if !slices.Contains(out, m) {
				out = append(out, m)
			}
		}
	}
	return out
}

// refuse says why a disk can't be brought up in the capture kernel; "" if it can.
func (h *host) refuse(b blk) string {
	if isDir(filepath.Join(b.dir, "loop")) || strings.HasPrefix(b.name, "loop") {
		return "it is a loop device: a file of another filesystem, which kdx does not set up again. Name the filesystem that the file is on"
	}
	for prefix, what := range map[string]string{
		"zram": "it is memory, which is gone after a crash", "ram": "it is memory, which is gone after a crash",
		"nbd": "it is on the network (nbd), which kdx does not set up again", "rbd": "it is on the network (Ceph), which kdx does not set up again",
		"drbd": "it is a mirror over the network (DRBD), which kdx does not set up again", "bcache": "it is cached by bcache, which kdx does not set up again",
		"dasd": "it is a DASD, which kdx does not set online", "fd": "it is a floppy disk", "sr": "it is an optical disc",
	} {
		rest, ok := strings.CutPrefix(b.name, prefix)
		if ok && (rest == "" || rest[0] >= '0' && rest[0] <= '9') {
			return what
		}
	}
	dir := h.hardware(b)
	if dir == "" {
		return ""
	}
	if strings.Contains(dir, "/session") {
		return "it is on the network (iSCSI), which kdx does not set up again. A target over SFTP goes over the network"
	}
	if t := sysfs.Text(dir, "transport"); t != "" && t != "pcie" && t != "apple" {
		return "it is on a fabric (NVMe over " + t + "), which kdx does not connect to again. A target over SFTP goes over the network"
	}
	return ""
}
