//go:build linux && amd64

package main

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"unsafe"

	"golang.org/x/sys/unix"
)

// guestBlock has a request under way for ever, to a network block device whose server never answers, and a device of the device mapper.
func guestBlock([]string) error {
	s := setup{"block"}
	s.try("nbd", askNobody())
	s.try("device mapper", mapLinear("kdx-lab", "/dev/ram1", 4096))
	s.ready()
	return hold()
}

// askNobody reads from a device that is served by a socket that nobody reads.
func askNobody() error {
	const (
		setSock, setBlockSize, doIt, setBlocks = 0xab00, 0xab01, 0xab03, 0xab07
		blockSize, blocks                      = 1024, 1024
		device                                 = "/dev/nbd15"
	)
	p, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
	if err != nil {
		return err
	}
	fd, err := unix.Open(device, unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	for _, call := range [][2]int{{setBlockSize, blockSize}, {setBlocks, blocks}, {setSock, p[0]}} {
		if err := unix.IoctlSetInt(fd, uint(call[0]), call[1]); err != nil {
			return fmt.Errorf("ioctl %#x: %w", call[0], err)
		}
	}
	thread("b-nbd-serve", func() { _ = unix.IoctlSetInt(fd, doIt, 0) })
	thread("b-nbd-read", func() {
		for { // it has no size before it is served
			if n, err := unix.Pread(fd, make([]byte, blockSize), 0); n != 0 || err != nil {
				return
			}
			_ = unix.Nanosleep(&unix.Timespec{Nsec: 50e6}, nil)
		}
	})
	return nil
}

// mapLinear makes a device of the device mapper that is the first sectors of another one, and reads it once.
func mapLinear(name, on string, sectors uint64) error {
	control, err := unix.Open("/dev/mapper/control", unix.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer unix.Close(control)
	var st unix.Stat_t
	if err := unix.Stat(on, &st); err != nil {
		return err
	}
	target := binary.LittleEndian.AppendUint64(nil, 0)         // struct dm_target_spec: where it begins,
	target = binary.LittleEndian.AppendUint64(target, sectors) // how long it is,
	target = append(target, make([]byte, 8)...)
	target = append(target, "linear\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00"...)
	target = append(target, fmt.Sprintf("%d:%d 0\x00", unix.Major(st.Rdev), unix.Minor(st.Rdev))...)
	target = append(target, make([]byte, 8-len(target)%8)...)
	const create, resume, load = 3, 6, 9 // DM_DEV_CREATE, DM_DEV_SUSPEND without its flag, DM_TABLE_LOAD
	for _, call := range []struct {
		number  uintptr
		targets uint32
	}{{create, 0}, {load, 1}, {resume, 0}} {
		const head = 312 // struct dm_ioctl
		b := make([]byte, head, head+len(target))
		binary.LittleEndian.PutUint32(b, 4) // version 4.0.0
		binary.LittleEndian.PutUint32(b[12:], uint32(head+len(target)))
		binary.LittleEndian.PutUint32(b[16:], head)
		binary.LittleEndian.PutUint32(b[20:], call.targets)
		copy(b[48:], name)
		b = append(b, target...)
		request := uintptr(0xc138fd00) | call.number
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(control), request, uintptr(unsafe.Pointer(&b[0]))); errno != 0 {
			return fmt.Errorf("call %d: %w", call.number, errno)
		}
	}
	found := bytes.Contains([]byte(readText("/proc/partitions")), []byte(" dm-0\n"))
	if !found {
		return fmt.Errorf("no device appeared")
	}
	fd, err := unix.Open("/dev/dm-0", unix.O_RDONLY, 0)
	if err != nil {
		return err
	}
	_, err = unix.Pread(fd, make([]byte, 4096), 0)
	return err
}
