package storage

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"kdx/internal/sysfs"
)

// mdVersion is how ioctl SET_ARRAY_INFO names a format of superblocks.
type mdVersion struct {
	major, minor int32
	known        bool
}

var mdVersions = map[string]mdVersion{"0.90": {0, 90, true}, "1.0": {1, 0, true}, "1.1": {1, 1, true}, "1.2": {1, 2, true}}

// mdu_array_info_t and mdu_disk_info_t of include/uapi/linux/raid/md_u.h. Where raid_disks is 0 the first says only which superblocks are to be read, and
// where nothing but major and minor is set the second means: what the superblock says.
type (
	mdArrayInfo struct {
		major, minor, patch int32
		_                   [15]int32
	}
	mdDiskInfo struct{ number, major, minor, raidDisk, state int32 }
)

// iow is the number of an ioctl that hands the kernel so many bytes. On PowerPC the direction has three bits, elsewhere two.
func iow(group, n byte, size uintptr) uint {
	write := uint(1) << 30
	if strings.HasPrefix(runtime.GOARCH, "ppc64") {
		write = 1 << 31
	}
	return write | uint(size)<<16 | uint(group)<<8 | uint(n)
}

func ioctlPointer(f *os.File, request uint, p unsafe.Pointer) error {
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, f.Fd(), uintptr(request), uintptr(p)); errno != 0 {
		return errno
	}
	return nil
}

// assembled finds the array if somebody has started it already.
func (a *activation) assembled(array *Array) (blk, bool, error) {
	for _, b := range a.all {
		if !a.h.isMD(b) || b.part != 0 {
			continue
		}
		have, err := a.h.arrayOf(b)
		if err != nil || have.UUID != array.UUID {
			continue
		}
		switch state := sysfs.Text(b.dir, "md/array_state"); state {
		case "clear", "inactive":
			return b, false, fmt.Errorf("%s holds members of %s, but is %s: somebody else began to start it", b.name, array.UUID, state)
		}
		return b, true, nil
	}
	return blk{}, false, nil
}

// member is a device with a superblock of the array.
type member struct {
	blk
	super *super
}

// members finds what has a superblock of the array. Of several paths to the same disk one is taken, and of a disk and its last partition, which may show the
// same superblock at their end, the partition.
func (a *activation) members(d *Device) []member {
	var out []member
	for _, b := range a.all {
		s := a.content(b)
		if s == nil || s.md == nil || s.md.UUID != d.Array.UUID || s.md.Metadata != d.Array.Metadata || a.h.held(b, false) || a.partitioned(b) {
			continue
		}
		same := func(m member) bool { return m.super.UUID == s.UUID }
		if !slices.ContainsFunc(out, same) {
			out = append(out, member{b, s})
		}
	}
	return out
}

// partitioned says whether the kernel has found partitions on a device.
func (a *activation) partitioned(b blk) bool {
	return slices.ContainsFunc(a.all, func(p blk) bool { return p.part > 0 && filepath.Dir(p.dir) == b.dir })
}

// activateMD starts an array when all the members are there that it had when the initrd was built, or with what there is when patience has an end.
func (a *activation) activateMD(d *Device) (blk, error) {
	if b, ok, err := a.assembled(d.Array); ok || err != nil {
		return b, err
	}
	var missing error
	for _, m := range d.Below {
		if m.Kind == Disk || m.Kind == Partition { // these are found by their superblocks, wherever they are now
			continue
		}
		if _, err := a.try(m); err != nil {
			missing = err
		}
	}
	found := a.members(d)
	if len(found) < len(d.Below) {
		if missing == nil {
			missing = a.missing("%s: %d of its %d members (%s)", d, len(d.Below)-len(found), len(d.Below), a.absent(d, found))
		}
		if !a.impatient() || len(found) == 0 {
			return blk{}, missing
		}
		if !slices.ContainsFunc(freshest(found), func(m member) bool { return recorded(d, m) }) {
			return blk{}, fmt.Errorf("%s: of its members only such are there that were not in it when the initrd was built, and may be stale: %s", d, memberNames(found))
		}
		a.opt.logf("%s: started with %d of %d members: %s; not there: %s", d, len(found), len(d.Below), memberNames(found), a.absent(d, found))
	}
	return a.startMD(d, freshest(found))
}

// freshest sorts members so that those with the most events stand first: the kernel takes the array's facts from the first, and leaves out stale ones.
func freshest(found []member) []member {
	slices.SortStableFunc(found, func(x, y member) int {
		switch {
		case x.super.md.events > y.super.md.events:
			return -1
		case x.super.md.events < y.super.md.events:
			return 1
		}
		return 0
	})
	return found
}

func recorded(d *Device, m member) bool {
	return slices.ContainsFunc(d.Below, func(b *Device) bool { return b.Content == nil || b.Content.UUID == m.super.UUID })
}

func (a *activation) absent(d *Device, found []member) string {
	var out []string
	for _, b := range d.Below {
		if b.Content == nil || !slices.ContainsFunc(found, func(m member) bool { return m.super.UUID == b.Content.UUID }) {
			out = append(out, b.String())
		}
	}
	return strings.Join(out, ", ")
}

func memberNames(found []member) string {
	var out []string
	for _, m := range found {
		out = append(out, m.name)
	}
	return strings.Join(out, ", ")
}

// startMD makes an array of these members.
func (a *activation) startMD(d *Device, found []member) (b blk, err error) {
	name, err := a.newArray()
	if err != nil {
		return b, fmt.Errorf("%s: %w", d, err)
	}
	b, err = a.h.device(name)
	if err != nil {
		return b, fmt.Errorf("%s: %w", d, err)
	}
	f, err := a.open(b, os.O_RDWR)
	if err != nil {
		return b, fmt.Errorf("%s: %w", d, err)
	}
	defer f.Close()
	v := mdVersions[d.Array.Metadata]
	info := mdArrayInfo{major: v.major, minor: v.minor}
	if err := ioctlPointer(f, iow(9, 0x23, unsafe.Sizeof(info)), unsafe.Pointer(&info)); err != nil {
		return b, fmt.Errorf("%s: superblocks of version %s: %w", d, d.Array.Metadata, err)
	}
	defer func() {
		if err != nil {
			ioctlPointer(f, 0x932, nil) // STOP_ARRAY
		}
	}()
	added := 0
	for _, m := range found {
		disk := mdDiskInfo{major: int32(m.major), minor: int32(m.minor)}
		if err := ioctlPointer(f, iow(9, 0x21, unsafe.Sizeof(disk)), unsafe.Pointer(&disk)); err != nil {
			a.opt.logf("%s: member %s: %v", d, m.name, err)
			continue
		}
		added++
	}
	if added == 0 {
		return b, fmt.Errorf("%s: the kernel takes none of its members (%s); its log says why", d, memberNames(found))
	}
	if err := ioctlPointer(f, iow(9, 0x30, 12), nil); err != nil {
		if m := found[0].super.md; m.dirty && m.Disks > added && strings.Contains("raid4 raid5 raid6", m.Level) {
			return b, fmt.Errorf("%s: %w: it lacks a member, and was being written to when the machine died. Blocks of it may be damaged, so the kernel does not start it; "+
				"md_mod.start_dirty_degraded=1 on the capture kernel's command line would", d, err)
		}
		return b, fmt.Errorf("%s: starting it with %s: %w; is the module %s loaded? The kernel's log says more", d, memberNames(found), err, mdModules[d.Array.Level])
	}
	// A resync would compete with the dump for the disks, and is gone on with after the reboot.
	if err := os.WriteFile(filepath.Join(b.dir, "md/sync_action"), []byte("frozen"), 0); err != nil && d.Array.Level != "raid0" && d.Array.Level != "linear" {
		a.opt.logf("%s: a resync may slow the dump down: %v", d, err)
	}
	a.opt.logf("%s: started as %s of %s", d, b.name, memberNames(found))
	if again, err := a.open(b, os.O_RDONLY); err == nil { // the kernel looks for partitions when the array is opened
		again.Close()
	}
	return b, nil
}

// newArray makes an empty array of the first free number, counted down as the kernel and mdadm do.
func (a *activation) newArray() (string, error) {
	for n := 127; n >= 0; n-- {
		name := fmt.Sprintf("md%d", n)
		if exists(a.h.path("sys/class/block", name)) {
			continue
		}
		err := os.WriteFile(a.h.path("sys/module/md_mod/parameters/new_array"), []byte(name), 0)
		if err != nil {
			// Before 4.13 the parameter took only names that begin with md_; opening a node of a free number makes that array.
			err = errors.Join(err, a.openFree(name, uint32(n)))
		}
		if exists(a.h.path("sys/class/block", name)) {
			return name, nil
		}
		return "", fmt.Errorf("the kernel makes no array: %w; is the module md-mod loaded?", err)
	}
	return "", errors.New("there are 128 arrays already")
}

func (a *activation) openFree(name string, minor uint32) error {
	f, err := a.open(blk{name: name, major: 9, minor: minor}, os.O_RDWR)
	if err != nil {
		return err
	}
	return f.Close()
}
