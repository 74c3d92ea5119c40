package storage

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"kdx/internal/sysfs"
)

// Discover finds what a device stands on: /dev/…, UUID=…, LABEL=…, PARTUUID=… or PARTLABEL=… of the machine whose files lie below root ("" and / are this
// one). It fails, and says why, if the capture kernel could not bring the device up again: an encrypted one, for example.
func Discover(root, device string) (*Device, error) {
	h := newHost(root)
	b, err := h.find(device)
	if err != nil {
		return nil, err
	}
	d, err := h.build(b, 0, new(int))
	if err != nil {
		return nil, fmt.Errorf("%s can't be a target: %w", device, err)
	}
	return d, nil
}

func newHost(root string) *host {
	if root == "/" {
		root = ""
	}
	h := &host{root: root}
	h.tables = h.askMapper
	return h
}

// askMapper asks the running kernel. No file holds what another host's would say.
func (h *host) askMapper(major, minor uint32) ([]Target, error) {
	if h.root != "" {
		return nil, errors.New("its device-mapper table can only be read on the host itself")
	}
	m, err := openMapper()
	if err != nil {
		return nil, err
	}
	defer m.Close()
	return m.table(major, minor)
}

// find is the device that a name or tag means.
func (h *host) find(device string) (blk, error) {
	if rest, ok := strings.CutPrefix(device, "/dev/"); ok {
		return h.findPath(rest)
	}
	tag, value, ok := strings.Cut(device, "=")
	value = strings.Trim(value, `"`)
	links, known := map[string]string{"UUID": "by-uuid", "LABEL": "by-label", "PARTUUID": "by-partuuid", "PARTLABEL": "by-partlabel"}[tag]
	if !ok || !known || value == "" {
		return blk{}, fmt.Errorf("%q is no device: /dev/NAME, UUID=…, LABEL=…, PARTUUID=… or PARTLABEL=…", device)
	}
	for _, name := range []string{value, strings.ToLower(value)} {
		if target, err := os.Readlink(h.path("dev/disk", links, udevName(name))); err == nil {
			if b, err := h.device(filepath.Base(target)); err == nil {
				return b, nil
			}
		}
	}
	return h.scan(tag, value)
}

// udevName is how udev writes what can't be in a name: \x20 for a space.
func udevName(s string) string {
	var out strings.Builder
	for _, c := range []byte(s) {
		if c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9' || strings.IndexByte("#+-.:=@_", c) >= 0 || c >= 0x80 {
			out.WriteByte(c)
		} else {
			fmt.Fprintf(&out, `\x%02x`, c)
		}
	}
	return out.String()
}

// findPath follows links of /dev, by hand: in a tree of another machine absolute ones mean that tree.
func (h *host) findPath(rest string) (blk, error) {
	name := path.Join("/dev", rest)
	for range 16 {
		target, err := os.Readlink(h.path(name))
		if err != nil {
			break
		}
		if !path.IsAbs(target) {
			target = path.Join(path.Dir(name), target)
		}
		name = path.Clean(target)
	}
	if st, err := os.Stat(h.path(name)); err == nil {
		if sys, ok := st.Sys().(*syscall.Stat_t); ok && st.Mode()&os.ModeDevice != 0 && st.Mode()&os.ModeCharDevice == 0 {
			return h.deviceByNumber(fmt.Sprintf("%d:%d", unix.Major(uint64(sys.Rdev)), unix.Minor(uint64(sys.Rdev))))
		}
	}
	inDev := strings.TrimPrefix(name, "/dev/")
	b, err := h.device(strings.ReplaceAll(inDev, "/", "!"))
	if err == nil {
		return b, nil
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return b, err
	}
	return h.findMapped(inDev)
}

// findMapped finds mapper/NAME, and VG/LV, whose links only udev or LVM make.
func (h *host) findMapped(inDev string) (blk, error) {
	all, err := h.devices()
	if err != nil {
		return blk{}, err
	}
	mapped := inDev
	if first, second, ok := strings.Cut(inDev, "/"); ok && first == "mapper" {
		mapped = second
	} else if ok {
		double := func(s string) string { return strings.ReplaceAll(s, "-", "--") }
		mapped = double(first) + "-" + double(second)
	}
	for _, b := range all {
		if name := sysfs.Text(b.dir, "dm/name"); name != "" && name == mapped {
			return b, nil
		}
	}
	return blk{}, fmt.Errorf("/dev/%s is no block device here. There are %s", inDev, h.list(all))
}

// held says whether other devices stand on a device, or on the disk that it is a partition of (which paths of a multipath device are). Of a partition that is
// meant by its own name only the disk counts.
func (h *host) held(b blk, partition bool) bool {
	above, err := h.holders(b)
	if err != nil || len(above) > 0 && !partition {
		return true
	}
	if b.part == 0 {
		return len(above) > 0
	}
	disk, err := h.disk(b)
	return err != nil || h.held(disk, false)
}

// scan reads all superblocks or partition tables. Of devices that stand on one another, and show the same, the uppermost is meant.
func (h *host) scan(tag, value string) (blk, error) {
	all, err := h.devices()
	if err != nil {
		return blk{}, err
	}
	var found []blk
	for _, b := range all {
		if !h.held(b, strings.HasPrefix(tag, "PART")) && h.bears(b, tag, value) {
			found = append(found, b)
		}
	}
	switch len(found) {
	case 1:
		return found[0], nil
	case 0:
		return blk{}, fmt.Errorf("no device has %s=%s. There are %s", tag, value, h.list(all))
	}
	return blk{}, fmt.Errorf("%s=%s is on more than one device: %s", tag, value, h.list(found))
}

func (h *host) bears(b blk, tag, value string) bool {
	if h.refuse(b) != "" {
		return false
	}
	if strings.HasPrefix(tag, "PART") {
		if b.part == 0 {
			return false
		}
		p := h.partition(b)
		return tag == "PARTUUID" && strings.EqualFold(p.UUID, value) || tag == "PARTLABEL" && p.Label == value
	}
	s, err := h.content(b)
	if err != nil || s == nil || s.Array != "" {
		return false
	}
	return tag == "UUID" && strings.EqualFold(s.UUID, value) || tag == "LABEL" && s.Label == value
}

// list names devices for a person.
func (h *host) list(all []blk) string {
	var out []string
	for _, b := range all {
		if b.size > 0 && h.refuse(b) == "" {
			out = append(out, h.describe(b))
		}
	}
	if len(out) == 0 {
		return "no block devices"
	}
	return strings.Join(out, ", ")
}

func (h *host) describe(b blk) string {
	s := fmt.Sprintf("%s (%s", b.name, sizeText(b.size))
	if h.isDisk(b) {
		if ids := h.ids(b); len(ids) > 0 {
			s += ", " + ids[0].By + " " + ids[0].Value
		}
	}
	if name := sysfs.Text(b.dir, "dm/name"); name != "" {
		s += ", " + name
	}
	if c, err := h.content(b); err == nil && c != nil {
		s += ", " + strings.TrimSpace(c.Type+" "+c.UUID)
	}
	return s + ")"
}

func sizeText(n uint64) string {
	for _, u := range []struct {
		name string
		size uint64
	}{{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}} {
		if n >= u.size {
			return fmt.Sprintf("%.4g %s", float64(n)/float64(u.size), u.name)
		}
	}
	return fmt.Sprintf("%d bytes", n)
}

// build describes a device and all that it stands on.
func (h *host) build(b blk, depth int, n *int) (*Device, error) {
	if *n++; depth > maxDepth || *n > maxDevices {
		return nil, fmt.Errorf("it stands on more than %d layers or %d devices", maxDepth, maxDevices)
	}
	if why := h.refuse(b); why != "" {
		return nil, fmt.Errorf("%s: %s", b.name, why)
	}
	d := &Device{Name: b.name, Size: b.size}
	var s *super
	if f, err := h.open(b); err == nil { // one that can't be read (a standby path) is recognised by other things
		s, _ = readContent(f, b.size)
		f.Close()
	}
	if s != nil {
		d.Content = &s.Content
	}
	if err := h.buildKind(d, b, s, depth, n); err != nil {
		return nil, err
	}
	if depth > 0 || s == nil {
		return d, nil
	}
	if s.outside != "" {
		return nil, fmt.Errorf("%s: its %s has its %s on another device, which kdx does not look for", b.name, s.Type, s.outside)
	}
	if s.Type == "btrfs" && s.devices > 1 {
		return h.buildBtrfs(s, n)
	}
	return d, nil
}

func (h *host) buildKind(d *Device, b blk, s *super, depth int, n *int) error {
	switch {
	case b.part > 0:
		return h.buildPartition(d, b, depth, n)
	case h.isMD(b):
		return h.buildMD(d, b, depth, n)
	case h.isDM(b):
		return h.buildDM(d, b, depth, n)
	}
	d.Kind, d.IDs, d.Drivers = Disk, h.ids(b), h.drivers(b)
	if len(d.IDs) == 0 && (s == nil || s.UUID == "") {
		return fmt.Errorf("%s: /sys shows nothing (wwid, serial number, place on a bus) to recognise it by", b.name)
	}
	return nil
}

func (h *host) buildPartition(d *Device, b blk, depth int, n *int) error {
	disk, err := h.disk(b)
	if err != nil {
		return fmt.Errorf("disk of partition %s: %w", b.name, err)
	}
	below, err := h.build(disk, depth+1, n)
	if err != nil {
		return err
	}
	p := h.partition(b)
	d.Kind, d.Part, d.Below = Partition, &p, []*Device{below}
	return nil
}

func (h *host) buildBelow(d *Device, b blk, depth int, n *int) ([]string, error) {
	below, err := h.below(b)
	if err != nil {
		return nil, err
	}
	var numbers []string
	for _, m := range below {
		x, err := h.build(m, depth+1, n)
		if err != nil {
			return nil, fmt.Errorf("%s stands on %w", b.name, err)
		}
		d.Below = append(d.Below, x)
		numbers = append(numbers, m.dev())
	}
	return numbers, nil
}

func (h *host) buildMD(d *Device, b blk, depth int, n *int) error {
	d.Kind = MD
	version := sysfs.Text(b.dir, "md/metadata_version")
	if _, ok := mdVersions[version]; !ok {
		return fmt.Errorf("%s: its superblocks are of version %q, which only mdadm in user space can start (firmware RAID), not the kernel", b.name, version)
	}
	if _, err := h.buildBelow(d, b, depth, n); err != nil {
		return err
	}
	array, err := h.arrayOf(b)
	if err != nil {
		return err
	}
	d.Array = array
	if mdModules[array.Level] == nil {
		return fmt.Errorf("%s: md level %q, which kdx does not start", b.name, sysfs.Text(b.dir, "md/level"))
	}
	return nil
}

// arrayOf reads what an array is from the superblock of a member.
func (h *host) arrayOf(b blk) (*Array, error) {
	below, err := h.below(b)
	if err != nil {
		return nil, err
	}
	last := fmt.Errorf("%s: none of its members (%s) shows a superblock", b.name, strings.Join(names(below), ", "))
	for _, m := range below {
		s, err := h.content(m)
		if err != nil {
			last = fmt.Errorf("members of %s: %w", b.name, err)
		} else if s != nil && s.md != nil {
			return &s.md.Array, nil
		}
	}
	return nil, last
}

func names(all []blk) []string {
	var out []string
	for _, b := range all {
		out = append(out, b.name)
	}
	return out
}

func (h *host) buildDM(d *Device, b blk, depth int, n *int) error {
	table, err := h.tables(b.major, b.minor)
	if err != nil {
		return fmt.Errorf("%s (%s): %w", b.name, sysfs.Text(b.dir, "dm/name"), err)
	}
	multipath := len(table) == 1 && table[0].Type == "multipath"
	if !multipath { // refuse before looking further down
		for _, t := range table {
			if why, ok := refusals[t.Type]; ok {
				return fmt.Errorf("%s (%s): %s", b.name, sysfs.Text(b.dir, "dm/name"), why)
			}
		}
	}
	numbers, err := h.buildBelow(d, b, depth, n)
	if err != nil {
		return err
	}
	if multipath {
		d.Kind = Multipath
		return d.checkKind()
	}
	d.Kind, d.Map = DM, &Map{Name: sysfs.Text(b.dir, "dm/name"), UUID: sysfs.Text(b.dir, "dm/uuid")}
	if d.Map.Table, err = abstract(table, numbers); err == nil {
		err = d.checkKind()
	}
	if err != nil {
		return fmt.Errorf("%s (%s): %w", b.name, d.Map.Name, err)
	}
	return nil
}

// buildBtrfs finds the other devices of a filesystem.
func (h *host) buildBtrfs(s *super, n *int) (*Device, error) {
	d := &Device{Kind: Btrfs, Content: &s.Content}
	all, err := h.devices()
	if err != nil {
		return nil, err
	}
	var found []string
	for _, b := range all {
		if h.held(b, false) {
			continue
		}
		c, err := h.content(b)
		if err != nil || c == nil || c.Type != "btrfs" || c.UUID != s.UUID {
			continue
		}
		x, err := h.build(b, 1, n)
		if err != nil {
			return nil, err
		}
		d.Size += b.size
		d.Below = append(d.Below, x)
		found = append(found, b.name)
	}
	if uint64(len(found)) != s.devices {
		return nil, fmt.Errorf("its btrfs is spread over %d devices, of which there are %d: %s", s.devices, len(found), strings.Join(slices.Sorted(slices.Values(found)), ", "))
	}
	return d, nil
}
