package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kdx/internal/sysfs"
)

// host is a machine as its files show it: /sys, /proc and /dev below a root, which is / for the one that kdx runs on.
type host struct {
	root string
	// tables asks device-mapper for a table.
	tables func(major, minor uint32) ([]Target, error)
}

func (h *host) path(elem ...string) string {
	return filepath.Join(append([]string{"/", h.root}, elem...)...)
}

// blk is a block device as the kernel shows it.
type blk struct {
	name         string
	dir          string // in sysfs, without links
	major, minor uint32
	size         uint64 // bytes
	part         int    // 0 for what is no partition
	start        uint64 // bytes
}

func (b blk) dev() string { return fmt.Sprintf("%d:%d", b.major, b.minor) }

// devices lists all block devices, in the order of their names.
func (h *host) devices() ([]blk, error) {
	dir := h.path("sys/class/block")
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, fmt.Errorf("looking for block devices: %w", err)
	}
	var out []blk
	for _, e := range entries {
		b, err := h.device(e.Name())
		if err == nil { // else it has just gone away
			out = append(out, b)
		}
	}
	return out, nil
}

// device is the block device of this name.
func (h *host) device(name string) (blk, error) {
	if name == "" || name != filepath.Base(name) || name[0] == '.' {
		return blk{}, fmt.Errorf("%q is no name of a block device", name)
	}
	dir, err := filepath.EvalSymlinks(h.path("sys/class/block", name))
	if err != nil {
		return blk{}, err
	}
	b := blk{name: name, dir: dir}
	if _, err := fmt.Sscanf(sysfs.Text(dir, "dev"), "%d:%d", &b.major, &b.minor); err != nil {
		return b, fmt.Errorf("%s/dev: %q is no device number", dir, sysfs.Text(dir, "dev"))
	}
	b.size = number(sysfs.Text(dir, "size")) * 512
	b.part = int(number(sysfs.Text(dir, "partition")))
	b.start = number(sysfs.Text(dir, "start")) * 512
	return b, nil
}

// deviceByNumber is the block device of this number, as "8:1".
func (h *host) deviceByNumber(dev string) (blk, error) {
	dir, err := filepath.EvalSymlinks(h.path("sys/dev/block", dev))
	if err != nil {
		return blk{}, err
	}
	return h.device(filepath.Base(dir))
}

// disk is the disk (or array, …) that a partition is on.
func (h *host) disk(b blk) (blk, error) { return h.device(filepath.Base(filepath.Dir(b.dir))) }

// below are the devices that a device stands on, holders those that stand on it.
func (h *host) below(b blk) ([]blk, error) { return h.linked(b, "slaves") }

func (h *host) holders(b blk) ([]blk, error) { return h.linked(b, "holders") }

func (h *host) linked(b blk, what string) ([]blk, error) {
	entries, err := os.ReadDir(filepath.Join(b.dir, what))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var out []blk
	for _, e := range entries {
		d, err := h.device(e.Name())
		if err != nil {
			return nil, fmt.Errorf("%s of %s: %w", what, b.name, err)
		}
		out = append(out, d)
	}
	return out, nil
}

// node is the file of a device in /dev. In a directory of a sysfs name an exclamation mark stands for a slash.
func (h *host) node(b blk) string { return h.path("dev", strings.ReplaceAll(b.name, "!", "/")) }

// open opens a device for reading.
func (h *host) open(b blk) (*os.File, error) { return os.Open(h.node(b)) }

// content reads what is on a device; nil if nothing is recognised.
func (h *host) content(b blk) (*super, error) {
	f, err := h.open(b)
	if err != nil {
		return nil, fmt.Errorf("what is on %s: %w", b.name, err)
	}
	defer f.Close()
	s, err := readContent(f, b.size)
	if err != nil {
		return nil, fmt.Errorf("what is on %s: %w", b.name, err)
	}
	return s, nil
}

// partition is what the table of its disk says of a partition. Only number and start are known where the table is not read, or says otherwise.
func (h *host) partition(b blk) Part {
	p := Part{Number: b.part, Start: b.start}
	disk, err := h.disk(b)
	if err != nil {
		return p
	}
	f, err := h.open(disk)
	if err != nil {
		return p
	}
	defer f.Close()
	parts, err := readPartitions(f, disk.size)
	if err != nil {
		return p
	}
	i := slices.IndexFunc(parts, func(q Part) bool { return q.Number == p.Number && q.Start == p.Start })
	if i < 0 {
		return p
	}
	return parts[i]
}

func (h *host) isMD(b blk) bool { return isDir(filepath.Join(b.dir, "md")) }
func (h *host) isDM(b blk) bool { return isDir(filepath.Join(b.dir, "dm")) }

// isDisk says whether a device is one of hardware, or of a hypervisor.
func (h *host) isDisk(b blk) bool {
	return b.part == 0 && !h.isMD(b) && !h.isDM(b) && exists(filepath.Join(b.dir, "device"))
}

// number is 0 for what is no number.
func number(s string) uint64 {
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil {
		return 0
	}
	return n
}

func isDir(p string) bool {
	st, err := os.Stat(p)
	return err == nil && st.IsDir()
}

func exists(p string) bool {
	_, err := os.Stat(p)
	return err == nil
}
