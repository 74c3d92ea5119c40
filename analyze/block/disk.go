// Package block finds disks, what they have done and what they are doing.
package block

import (
	"errors"
	"fmt"
	"iter"

	"kdx/analyze/device"
	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// Device is a disk or a partition of one.
type Device struct {
	Device      vmem.Addr // struct device
	Part        vmem.Addr // struct block_device, before 5.11 hd_struct
	Disk        vmem.Addr // struct gendisk
	Queue       vmem.Addr // struct request_queue
	Name        string
	Major       uint32
	Minor       uint32
	Partition   uint32 // number; 0 for the whole disk
	Sectors     uint64 // of 512 bytes
	Ops         vmem.Addr
	RequestBase bool // it takes requests (blk-mq) and not bare bios
}

// Devices yields the disks and partitions in the order in which they were added. Of one that can't be read in full, what is
// known comes with the error.
func Devices(v *kernel.View) iter.Seq2[Device, error] {
	return func(yield func(Device, error) bool) {
		l, err := layoutOf(v)
		if err != nil {
			yield(Device{}, err)
			return
		}
		for at, err := range device.OfClass(v, "block_class") {
			if err != nil {
				if !yield(Device{}, err) {
					return
				}
				continue
			}
			d, err := l.device(at)
			if err != nil {
				err = fmt.Errorf("block device %s at %#x: %w", d.Name, uint64(at), err)
			}
			if !yield(d, err) {
				return
			}
		}
	}
}

// layout is how this kernel represents a disk's parts: since 5.11 as block_device, before as hd_struct, whose first one is in the
// gendisk.
type layout struct {
	v       *kernel.View
	tag     string
	dev     uint64 // of the struct device in it
	sectors string
	stats   string
	part0   uint64 // hd_struct: of the first in gendisk
}

func layoutOf(v *kernel.View) (*layout, error) {
	if _, err := v.Struct("gendisk"); err != nil {
		return nil, fmt.Errorf("block devices: %w", err)
	}
	l := &layout{v: v, tag: "block_device", sectors: "bd_nr_sectors", stats: "bd_stats"}
	var ok bool
	if l.dev, ok = v.OffsetOf(l.tag, "bd_device"); ok {
		return l, nil
	}
	l.tag, l.sectors, l.stats = "hd_struct", "nr_sects", "dkstats"
	var ok1 bool
	l.dev, ok = v.OffsetOf(l.tag, "__dev")
	l.part0, ok1 = v.OffsetOf("gendisk", "part0")
	if !ok || !ok1 {
		return nil, errors.New("this kernel has neither block_device.bd_device nor hd_struct.__dev: its block devices are not known")
	}
	return l, nil
}

func (l *layout) device(at vmem.Addr) (Device, error) {
	d := Device{Device: at, Part: at - vmem.Addr(l.dev)}
	var errs []error
	var err error
	if d.Name, err = device.Name(l.v, at); err != nil {
		errs = append(errs, err)
	}
	number := func(tag string, at vmem.Addr, path string) uint64 {
		n, err := l.v.ObjectOf(tag, at).Field(path).Uint()
		if err != nil {
			errs = append(errs, fmt.Errorf("%s.%s: %w", tag, path, err))
		}
		return n
	}
	dev := number("device", at, "devt")
	d.Major, d.Minor = uint32(dev>>20), uint32(dev&(1<<20-1))
	d.Sectors = number(l.tag, d.Part, l.sectors)
	if l.tag == "hd_struct" {
		if d.Partition = uint32(number(l.tag, d.Part, "partno")); d.Partition == 0 {
			d.Disk = d.Part - vmem.Addr(l.part0)
		} else if parent := number("device", at, "parent"); parent != 0 {
			d.Disk = vmem.Addr(parent - l.dev - l.part0)
		}
	} else {
		d.Disk = vmem.Addr(number(l.tag, d.Part, "bd_disk"))
		if l.v.HasMember(l.tag, "bd_partno") {
			d.Partition = uint32(number(l.tag, d.Part, "bd_partno"))
		} else { // since 6.10 the lowest byte of the flags
			d.Partition = uint32(number(l.tag, d.Part, "__bd_flags.counter") & 0xff)
		}
	}
	if d.Disk != 0 {
		d.Queue = vmem.Addr(number("gendisk", d.Disk, "queue"))
		d.Ops = vmem.Addr(number("gendisk", d.Disk, "fops"))
	}
	if d.Queue != 0 {
		d.RequestBase = number("request_queue", d.Queue, "mq_ops") != 0
	}
	return d, errors.Join(errs...)
}
