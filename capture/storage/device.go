// Package storage finds out what a block device of the running host stands on (disks, partitions, md arrays, device-mapper devices), and brings that up
// again in the capture kernel, where names of devices may differ and no udev, lvm or mdadm runs.
package storage

import (
	"errors"
	"fmt"
	"path"
	"regexp"
	"slices"
	"strings"
)

// Kind is what a device is.
type Kind string

// Kinds of devices.
const (
	Disk      Kind = "disk"
	Partition Kind = "partition" // Below: its disk
	MD        Kind = "md"        // Below: its members
	DM        Kind = "dm"        // Below: what its table names, in the order of {0}, {1}, …
	Multipath Kind = "multipath" // Below: its paths, any one of which will do
	Btrfs     Kind = "btrfs"     // a filesystem on several devices. Below: all of them
)

// Device is a block device and all that it stands on. It is written to JSON on the running host and read in the capture kernel.
type Device struct {
	Kind Kind `json:"kind"`
	// Name is the kernel's name on the running host. It is for people: the device is never looked for by it.
	Name string `json:"name"`
	// Size is in bytes.
	Size uint64 `json:"size"`
	// IDs are what a disk is recognised by, the strongest first.
	IDs []ID `json:"ids,omitempty"`
	// Content is what lies on the device as its superblock says.
	Content *Content `json:"content,omitempty"`
	// Part is set for a partition, Array for md, Table for dm.
	Part  *Part  `json:"part,omitempty"`
	Array *Array `json:"array,omitempty"`
	Map   *Map   `json:"map,omitempty"`
	// Drivers are names of kernel modules, or modaliases where no driver is bound.
	Drivers []string  `json:"drivers,omitempty"`
	Below   []*Device `json:"below,omitempty"`
}

// ID is one way to recognise a disk.
type ID struct {
	// By is wwid, serial or path; a path (where on the bus it is) counts only for disks that have nothing better.
	By    string `json:"by"`
	Value string `json:"value"`
}

// Ways to recognise a disk.
const (
	byWWID   = "wwid"
	bySerial = "serial"
	byPath   = "path"
)

// Content is what a superblock says.
type Content struct {
	// Type is ext2, ext3, ext4, xfs, btrfs, swap, LVM2_member, linux_raid_member or crypto_LUKS.
	Type  string `json:"type"`
	UUID  string `json:"uuid,omitempty"`
	Label string `json:"label,omitempty"`
	// Array is the array that a linux_raid_member belongs to.
	Array string `json:"array,omitempty"`
}

// Part is an entry of a partition table.
type Part struct {
	Number int `json:"number"`
	// Start is in bytes.
	Start uint64 `json:"start"`
	// UUID is the PARTUUID: of GPT, or the disk's signature and the number for an MBR.
	UUID  string `json:"uuid,omitempty"`
	Label string `json:"label,omitempty"`
}

// Array is an md array.
type Array struct {
	UUID string `json:"uuid"`
	// Level as the kernel names it: raid0, raid1, raid4, raid5, raid6, raid10, linear.
	Level string `json:"level"`
	// Metadata is the superblock's version: 0.90, 1.0, 1.1 or 1.2.
	Metadata string `json:"metadata"`
	// Disks is how many members the array has when it is whole.
	Disks  int    `json:"disks"`
	Layout int    `json:"layout"`
	Chunk  uint64 `json:"chunk"` // bytes
}

// Map is a device-mapper device.
type Map struct {
	Name  string   `json:"name"`
	UUID  string   `json:"uuid,omitempty"`
	Table []Target `json:"table"`
}

// Target is a line of a table. Start and Length are in sectors of 512 bytes. In Params {N} stands for the device Below[N].
type Target struct {
	Start  uint64 `json:"start"`
	Length uint64 `json:"length"`
	Type   string `json:"type"`
	Params string `json:"params,omitempty"`
}

const (
	maxDepth   = 24
	maxDevices = 4096
)

// Modules are the kernel modules that the device and all below it need: names, and modaliases (which hold a colon) of devices on the way that no module is
// known to drive. What matches nothing is built in, or not needed. The module of the filesystem on it is not among them.
func (d *Device) Modules() []string {
	var out []string
	seen := map[string]bool{}
	d.walk(func(d *Device) {
		for _, m := range slices.Concat(d.Drivers, d.stackModules()) {
			if !seen[m] {
				seen[m] = true
				out = append(out, m)
			}
		}
	})
	return out
}

// walk visits what is below before what is above.
func (d *Device) walk(f func(*Device)) {
	for _, b := range d.Below {
		b.walk(f)
	}
	f(d)
}

var mdModules = map[string][]string{
	"raid0": {"raid0"}, "raid1": {"raid1"}, "raid4": {"raid456"}, "raid5": {"raid456"}, "raid6": {"raid456"}, "raid10": {"raid10"}, "linear": {"linear"},
}

var dmModules = map[string][]string{
	"linear": nil, "striped": nil, "error": nil, "zero": {"dm-zero"},
	"mirror": {"dm-log", "dm-mirror"}, "raid": {"dm-raid"},
	"thin": {"dm-thin-pool"}, "thin-pool": {"dm-thin-pool"},
}

// stackModules are the modules of md and device-mapper.
func (d *Device) stackModules() []string {
	switch d.Kind {
	case MD:
		return append([]string{"md-mod"}, mdModules[d.Array.Level]...)
	case DM:
		out := []string{"dm-mod"}
		for _, t := range d.Map.Table {
			out = append(out, dmModules[t.Type]...)
			if t.Type == "raid" {
				out = append(out, raidModule(t.Params)...)
			}
		}
		return out
	case Btrfs:
		return []string{"btrfs"}
	}
	return nil
}

// raidModule is the module of the level in a dm-raid table, such as "raid5_ls 3 …".
func raidModule(params string) []string {
	level, _, _ := strings.Cut(params, " ")
	level, _, _ = strings.Cut(level, "_")
	return mdModules[level]
}

// String says what the device is, for a person.
func (d *Device) String() string {
	s := string(d.Kind)
	switch {
	case d.Kind == Disk && len(d.IDs) > 0:
		s += " " + d.IDs[0].By + " " + d.IDs[0].Value
	case d.Kind == Partition && d.Part != nil && d.Part.UUID != "":
		s += " PARTUUID=" + d.Part.UUID
	case d.Kind == MD && d.Array != nil:
		s = "md array " + d.Array.UUID
	case d.Kind == DM && d.Map != nil:
		s = "dm device " + d.Map.Name
	}
	if c := d.Content; c != nil && c.UUID != "" {
		s += fmt.Sprintf(" (%s %s)", c.Type, c.UUID)
	}
	if d.Name != "" {
		s += ", once " + d.Name
	}
	return s
}

var placeholder = regexp.MustCompile(`\{([0-9]{1,4})\}`)

// Check says what is wrong with a device that was read from JSON.
func (d *Device) Check() error {
	n := 0
	return d.check(0, &n)
}

func (d *Device) check(depth int, n *int) error {
	if *n++; depth > maxDepth || *n > maxDevices {
		return fmt.Errorf("a device that stands on more than %d layers or %d devices", maxDepth, maxDevices)
	}
	if d == nil {
		return errors.New("a device is missing")
	}
	if d.Name != "" && (d.Name != path.Base(d.Name) || d.Name == "." || d.Name == "..") {
		return fmt.Errorf("%q is no name of a device", d.Name)
	}
	if err := d.checkKind(); err != nil {
		return fmt.Errorf("%s %s: %w", d.Kind, d.Name, err)
	}
	for _, b := range d.Below {
		if err := b.check(depth+1, n); err != nil {
			return err
		}
	}
	return nil
}

func (d *Device) checkKind() error {
	below := len(d.Below)
	switch d.Kind {
	case Disk:
		if len(d.IDs) == 0 && (d.Content == nil || d.Content.UUID == "") {
			return errors.New("nothing to recognise it by")
		}
		if below != 0 {
			return errors.New("a disk stands on nothing")
		}
		return nil
	case Partition:
		if d.Part == nil || d.Part.Number < 1 || below != 1 || d.Below[0] == nil || d.Below[0].Kind == Partition {
			return errors.New("its number or its disk is missing")
		}
		return nil
	case MD:
		if d.Array == nil || d.Array.UUID == "" || mdModules[d.Array.Level] == nil || mdVersions[d.Array.Metadata] == (mdVersion{}) || d.Array.Disks < 1 || below == 0 {
			return errors.New("array, level, metadata or members are missing, or unknown")
		}
		return nil
	case DM:
		if d.Map == nil || d.Map.Name == "" || len(d.Map.Table) == 0 {
			return errors.New("its name or table is missing")
		}
		return d.Map.check(below)
	case Multipath, Btrfs:
		if below == 0 {
			return errors.New("it stands on nothing")
		}
		return nil
	}
	return fmt.Errorf("%q is no kind of device", d.Kind)
}
