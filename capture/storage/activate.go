package storage

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"kdx/internal/sysfs"
)

// activation brings devices up.
type activation struct {
	h   *host
	opt Options
	// until is when waiting ends, degraded when arrays are started without what is not there.
	until, degraded time.Time
	all             []blk
	read            map[string]*super
	open            func(b blk, flags int) (*os.File, error)
}

// missingError says what is not there yet: it is worth waiting.
type missingError struct{ what string }

func (e *missingError) Error() string { return e.what }

func (a *activation) missing(format string, args ...any) error {
	return &missingError{fmt.Sprintf(format, args...)}
}

const (
	pollEvery  = 100 * time.Millisecond
	retryEvery = time.Second
)

// Activate waits for the disks, makes all that the device stands on, and returns its node in /dev. The kernel modules must have been loaded. What is up
// already is taken as it is, so that a second target on the same disks is no matter. The error says what was waited for, and what there is instead.
func (d *Device) Activate(ctx context.Context, opt Options) (string, error) {
	if err := d.Check(); err != nil {
		return "", fmt.Errorf("what the initrd says of the device can't be used: %w", err)
	}
	begin := time.Now()
	a := &activation{h: newHost(""), opt: opt, until: begin.Add(opt.limit()), degraded: begin.Add(opt.limit() / 2), open: openNode}
	return a.run(ctx, d)
}

// run tries again whenever there are other devices than before; now and then in any case, since disks become readable later than they appear.
func (a *activation) run(ctx context.Context, d *Device) (string, error) {
	said, before := "", ""
	var tried time.Time
	opt := a.opt
	for {
		if err := a.look(); err != nil {
			return "", err
		}
		now := fmt.Sprint(a.all)
		if now == before && time.Since(tried) < retryEvery && !time.Now().After(a.until) {
			if err := sleep(ctx, pollEvery); err != nil {
				return "", fmt.Errorf("waiting for %s: %w. There are %s", said, err, a.h.list(a.all))
			}
			continue
		}
		before, tried = now, time.Now()
		p, err := a.once(d)
		var missing *missingError
		if err == nil || !errors.As(err, &missing) {
			return p, err
		}
		if err.Error() != said {
			said = err.Error()
			a.opt.logf("waiting for %s", said)
		}
		if time.Now().After(a.until) {
			return "", fmt.Errorf("waited %v for %w. There are %s", opt.limit(), err, a.h.list(a.all))
		}
		if err := sleep(ctx, pollEvery); err != nil {
			return "", fmt.Errorf("waiting for %s: %w. There are %s", said, err, a.h.list(a.all))
		}
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

func (a *activation) impatient() bool { return time.Now().After(a.degraded) }

// once tries with what there is now.
func (a *activation) once(d *Device) (string, error) {
	if d.Kind == Btrfs {
		return a.activateBtrfs(d)
	}
	b, err := a.try(d)
	if err != nil {
		return "", err
	}
	f, err := a.open(b, os.O_RDONLY)
	if err != nil {
		return "", err
	}
	return f.Name(), f.Close()
}

// look takes in what devices there are, but for those that are no matter: drives without a medium, loop devices.
func (a *activation) look() error {
	all, err := a.h.devices()
	a.all = slices.DeleteFunc(all, func(b blk) bool { return a.h.isDisk(b) && b.size == 0 || a.h.refuse(b) != "" })
	a.read = map[string]*super{}
	return err
}

// content is what is on a device, read once a round. One that can't be read shows nothing.
func (a *activation) content(b blk) *super {
	s, ok := a.read[b.name]
	if ok {
		return s
	}
	if f, err := a.open(b, os.O_RDONLY); err == nil {
		s, _ = readContent(f, b.size)
		f.Close()
	}
	a.read[b.name] = s
	return s
}

// try brings up a device, or says what is missing.
func (a *activation) try(d *Device) (blk, error) {
	var b blk
	var err error
	switch d.Kind {
	case Disk:
		return a.findDisk(d)
	case Partition:
		return a.findPartition(d)
	case Multipath:
		return a.findPath(d)
	case MD:
		b, err = a.activateMD(d)
	case DM:
		b, err = a.activateDM(d)
	default:
		err = fmt.Errorf("%q is no kind of device", d.Kind)
	}
	if err != nil {
		return b, err
	}
	return b, a.look() // what was made may have partitions, or be a member of something
}

// findDisk finds a disk by the best that is known of it. A place on a bus counts only if nothing better is known, and then what is on the disk must fit.
func (a *activation) findDisk(d *Device) (blk, error) {
	strong := slices.ContainsFunc(d.IDs, func(id ID) bool { return id.By != byPath })
	for _, id := range d.IDs {
		if strong && id.By == byPath {
			continue
		}
		for _, b := range a.disks() {
			if slices.Contains(a.h.ids(b), id) && (strong || b.size == d.Size && a.sameContent(d, b)) && a.sameMember(d, b) {
				return b, nil
			}
		}
	}
	b, ok := a.byContent(d, a.disks())
	if !ok {
		return b, a.missing("%s, %s", d, sizeText(d.Size))
	}
	return b, nil
}

func (a *activation) disks() []blk {
	var out []blk
	for _, b := range a.all {
		if a.h.isDisk(b) && b.size > 0 {
			out = append(out, b)
		}
	}
	return out
}

// sameContent says whether what was on a device is still there; nothing is sure of a device on which nothing was recognised.
func (a *activation) sameContent(d *Device, b blk) bool {
	if d.Content == nil {
		return true
	}
	s := a.content(b)
	return s != nil && s.Type == d.Content.Type && s.UUID == d.Content.UUID
}

// sameMember is sameContent for what a table stands on: writing through an old table to a new volume group would destroy data.
func (a *activation) sameMember(d *Device, b blk) bool {
	return d.Content == nil || d.Content.Type != "LVM2_member" || a.sameContent(d, b)
}

// byContent finds what bears the superblock that was on the device, if just one does.
func (a *activation) byContent(d *Device, among []blk) (blk, bool) {
	if d.Content == nil || d.Content.UUID == "" {
		return blk{}, false
	}
	var found []blk
	for _, b := range among {
		if b.size == d.Size && a.sameContent(d, b) {
			found = append(found, b)
		}
	}
	if len(found) != 1 {
		return blk{}, false
	}
	a.opt.logf("%s: taken to be %s by what is on it", d, a.h.describe(found[0]))
	return found[0], true
}

// findPartition finds a partition on its disk, by its UUID or where it begins; if the disk is not known again, one with that UUID, place and size on any.
func (a *activation) findPartition(d *Device) (blk, error) {
	disk, err := a.try(d.Below[0])
	if err == nil {
		for _, b := range a.all {
			if b.part > 0 && filepath.Dir(b.dir) == disk.dir && a.samePart(d, b) && a.sameMember(d, b) {
				return b, nil
			}
		}
	}
	var found []blk
	for _, b := range a.all {
		if d.Part.UUID != "" && b.part > 0 && b.size == d.Size && b.start == d.Part.Start && a.samePart(d, b) && a.sameMember(d, b) {
			found = append(found, b)
		}
	}
	if len(found) == 1 {
		return found[0], nil
	}
	if err != nil {
		return blk{}, err
	}
	return blk{}, a.missing("%s on %s", d, disk.name)
}

func (a *activation) samePart(d *Device, b blk) bool {
	p := a.h.partition(b)
	if d.Part.UUID != "" {
		return strings.EqualFold(p.UUID, d.Part.UUID)
	}
	return p.Number == d.Part.Number && p.Start == d.Part.Start && b.size == d.Size
}

// findPath takes the first path that can be read: a standby path of a storage array refuses.
func (a *activation) findPath(d *Device) (blk, error) {
	last := a.missing("%s", d)
	for _, m := range d.Below {
		for _, b := range a.disks() {
			if !slices.ContainsFunc(m.IDs, func(id ID) bool { return id.By != byPath && slices.Contains(a.h.ids(b), id) }) {
				continue
			}
			if err := a.readable(b); err != nil {
				last = a.missing("a path to %s that can be read (%s: %v)", d, b.name, err)
				continue
			}
			a.opt.logf("%s: by the path %s", d, b.name)
			return b, nil
		}
	}
	return blk{}, last
}

func (a *activation) readable(b blk) error {
	f, err := a.open(b, os.O_RDONLY)
	if err != nil {
		return err
	}
	defer f.Close()
	_, err = f.ReadAt(make([]byte, 4096), 0)
	return err
}

// activateDM makes a device with the recorded table, in which the members have the numbers of today.
func (a *activation) activateDM(d *Device) (blk, error) {
	for _, b := range a.all {
		if a.h.isDM(b) && (sysfs.Text(b.dir, "dm/name") == d.Map.Name || d.Map.UUID != "" && sysfs.Text(b.dir, "dm/uuid") == d.Map.UUID) {
			return b, nil
		}
	}
	numbers, err := a.numbers(d)
	if err != nil {
		return blk{}, err
	}
	m, err := openMapper()
	if err != nil {
		return blk{}, err
	}
	defer m.Close()
	table := concrete(d.Map.Table, numbers)
	major, minor, err := m.create(d.Map.Name, d.Map.UUID, table)
	if err != nil {
		return blk{}, err
	}
	if table[0].Type == "raid" {
		m.message(d.Map.Name, "frozen") // no resync now; targets without one (raid0) refuse, which is fine
	}
	a.opt.logf("%s: made as dm-%d", d, minor)
	return a.h.deviceByNumber(fmt.Sprintf("%d:%d", major, minor))
}

// numbers brings the members up. Of a dm-raid array some may stay away in the end, which the kernel knows as "-".
func (a *activation) numbers(d *Device) ([]string, error) {
	var out []string
	for _, m := range d.Below {
		b, err := a.try(m)
		var missing *missingError
		switch {
		case err == nil:
			out = append(out, b.dev())
		case errors.As(err, &missing) && a.impatient() && d.Map.Table[0].Type == "raid":
			a.opt.logf("%s: made without %s", d, m)
			out = append(out, "-")
		default:
			return nil, err
		}
	}
	return out, nil
}

// activateBtrfs brings all devices up and tells the filesystem of each.
func (a *activation) activateBtrfs(d *Device) (string, error) {
	first := ""
	for _, m := range d.Below {
		b, err := a.try(m)
		if err != nil {
			return "", err
		}
		f, err := a.open(b, os.O_RDONLY)
		if err != nil {
			return "", err
		}
		p := f.Name()
		f.Close()
		if err := scanBtrfs(a.h.path("dev/btrfs-control"), p); err != nil {
			return "", fmt.Errorf("telling btrfs of %s: %w; is the module btrfs loaded?", p, err)
		}
		if first == "" {
			first = p
		}
	}
	return first, nil
}

// scanBtrfs is BTRFS_IOC_SCAN_DEV with a struct btrfs_ioctl_vol_args: a descriptor, unused here, and a path.
func scanBtrfs(control, device string) error {
	f, err := os.OpenFile(control, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	var args struct {
		_    int64
		name [4088]byte
	}
	copy(args.name[:4087], device)
	return ioctlPointer(f, iow(0x94, 4, unsafe.Sizeof(args)), unsafe.Pointer(&args))
}

// openNode opens a device by its node in /dev, which it makes if nobody has, or if it is another device's.
func openNode(b blk, flags int) (*os.File, error) {
	p := newHost("").node(b)
	want := unix.Mkdev(b.major, b.minor)
	if !isNode(p, want) {
		if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
			return nil, err
		}
		if st, err := os.Lstat(p); err == nil && st.Mode().Type() != os.ModeDevice {
			return nil, fmt.Errorf("%s is no block device (%v)", p, st.Mode())
		}
		if err := os.Remove(p); err != nil && !errors.Is(err, os.ErrNotExist) {
			return nil, err
		}
		if err := unix.Mknod(p, unix.S_IFBLK|0o600, int(want)); err != nil {
			return nil, fmt.Errorf("making %s: %w", p, err)
		}
	}
	return os.OpenFile(p, flags, 0)
}

func isNode(p string, dev uint64) bool {
	st, err := os.Stat(p)
	if err != nil {
		return false
	}
	sys, ok := st.Sys().(*syscall.Stat_t)
	return ok && sys.Mode&unix.S_IFMT == unix.S_IFBLK && uint64(sys.Rdev) == dev
}
