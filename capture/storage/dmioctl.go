package storage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"kdx/internal/sysfs"
)

// mapper is device-mapper's control node. Its requests are a struct dm_ioctl (include/uapi/linux/dm-ioctl.h) with what belongs to it behind it.
type mapper struct{ f *os.File }

const (
	dmHeader      = int(unsafe.Sizeof(unix.DmIoctl{}))
	dmSpec        = int(unsafe.Sizeof(unix.DmTargetSpec{}))
	dmStatusTable = 1 << 4 // DM_STATUS_TABLE_FLAG
	dmBufferFull  = 1 << 8 // DM_BUFFER_FULL_FLAG
	maxTableBytes = 4 << 20
)

const controlNode = "/dev/mapper/control"

// openMapper opens the control node of the running kernel, and makes it if nobody has.
func openMapper() (*mapper, error) {
	f, err := os.OpenFile(controlNode, os.O_RDWR, 0)
	if errors.Is(err, os.ErrNotExist) {
		if err := makeControl(); err != nil {
			return nil, fmt.Errorf("device-mapper: %w; is the module dm-mod loaded?", err)
		}
		f, err = os.OpenFile(controlNode, os.O_RDWR, 0)
	}
	if err != nil {
		return nil, fmt.Errorf("device-mapper: %w; is the module dm-mod loaded?", err)
	}
	return &mapper{f}, nil
}

func makeControl() error {
	var major, minor uint32
	number := sysfs.Text("/sys/class/misc/device-mapper/dev")
	if _, err := fmt.Sscanf(number, "%d:%d", &major, &minor); err != nil {
		return fmt.Errorf("%s is missing, and so is its number in /sys/class/misc/device-mapper/dev", controlNode)
	}
	if err := os.MkdirAll(filepath.Dir(controlNode), 0o755); err != nil {
		return err
	}
	return unix.Mknod(controlNode, unix.S_IFCHR|0o600, int(unix.Mkdev(major, minor)))
}

func (m *mapper) Close() error { return m.f.Close() }

// call sends a request with so much room for the answer, which it returns.
func (m *mapper) call(request uint, h *unix.DmIoctl, payload []byte, room int) ([]byte, error) {
	buf := make([]byte, dmHeader+max(room, len(payload)))
	h.Version = [3]uint32{4, 0, 0}
	h.Data_size, h.Data_start = uint32(len(buf)), uint32(dmHeader)
	copy(buf, unsafe.Slice((*byte)(unsafe.Pointer(h)), dmHeader))
	copy(buf[dmHeader:], payload)
	_, _, errno := unix.Syscall(unix.SYS_IOCTL, m.f.Fd(), uintptr(request), uintptr(unsafe.Pointer(&buf[0])))
	copy(unsafe.Slice((*byte)(unsafe.Pointer(h)), dmHeader), buf)
	if errno != 0 {
		return nil, errno
	}
	start := int(h.Data_start)
	if start < dmHeader || start > len(buf) {
		return nil, nil
	}
	return buf[start:], nil
}

// table asks for the table of a device.
func (m *mapper) table(major, minor uint32) ([]Target, error) {
	for room := 16 << 10; room <= maxTableBytes; room *= 4 {
		h := unix.DmIoctl{Dev: kernelDev(major, minor), Flags: dmStatusTable}
		data, err := m.call(unix.DM_TABLE_STATUS, &h, nil, room)
		if err != nil {
			return nil, fmt.Errorf("table of dm device %d:%d: %w", major, minor, err)
		}
		if h.Flags&dmBufferFull == 0 {
			return decodeTable(data, int(h.Target_count))
		}
	}
	return nil, fmt.Errorf("table of dm device %d:%d is larger than %d bytes", major, minor, maxTableBytes)
}

// kernelDev is a device number as device-mapper's requests hold it (huge_encode_dev).
func kernelDev(major, minor uint32) uint64 {
	return uint64(minor&0xff | major<<8 | minor&^0xff<<12)
}

func fromKernelDev(d uint64) (major, minor uint32) {
	return uint32(d>>8) & 0xfff, uint32(d)&0xff | uint32(d>>12)&0xfff00
}

// decodeTable reads what DM_TABLE_STATUS answers: each target's next is an offset from the beginning of all.
func decodeTable(data []byte, count int) ([]Target, error) {
	var out []Target
	for at := 0; len(out) < count; {
		if at < 0 || at+dmSpec > len(data) {
			return nil, errors.New("a dm table that ends too early")
		}
		spec := data[at : at+dmSpec]
		params, _, ok := bytes.Cut(data[at+dmSpec:], []byte{0})
		if !ok {
			return nil, errors.New("a dm table whose text has no end")
		}
		out = append(out, Target{
			Start: binary.NativeEndian.Uint64(spec), Length: binary.NativeEndian.Uint64(spec[8:]),
			Type: text(spec[24:40]), Params: strings.TrimSpace(string(params)),
		})
		next := int(binary.NativeEndian.Uint32(spec[20:]))
		if next <= at && len(out) < count {
			return nil, errors.New("a dm table that goes in circles")
		}
		at = next
	}
	return out, nil
}

// encodeTable is the other way: for DM_TABLE_LOAD next is an offset from the target itself.
func encodeTable(table []Target) []byte {
	var out []byte
	for _, t := range table {
		size := (dmSpec + len(t.Params) + 1 + 7) &^ 7
		p := make([]byte, size)
		binary.NativeEndian.PutUint64(p, t.Start)
		binary.NativeEndian.PutUint64(p[8:], t.Length)
		binary.NativeEndian.PutUint32(p[20:], uint32(size))
		copy(p[24:39], t.Type)
		copy(p[dmSpec:], t.Params)
		out = append(out, p...)
	}
	return out
}

// create makes a device with a table and starts it; what was half made is taken away again.
func (m *mapper) create(name, uuid string, table []Target) (major, minor uint32, err error) {
	h := named(name)
	copy(h.Uuid[:128], uuid)
	if _, err := m.call(unix.DM_DEV_CREATE, &h, nil, 0); err != nil {
		return 0, 0, fmt.Errorf("making dm device %s: %w", name, err)
	}
	dev := h.Dev
	defer func() {
		if err != nil {
			h := named(name)
			m.call(unix.DM_DEV_REMOVE, &h, nil, 0)
		}
	}()
	h = named(name)
	h.Target_count = uint32(len(table))
	if _, err := m.call(unix.DM_TABLE_LOAD, &h, encodeTable(table), 0); err != nil {
		return 0, 0, fmt.Errorf("table of dm device %s (%s): %w; the kernel's log says more", name, tableText(table), err)
	}
	h = named(name)
	if _, err := m.call(unix.DM_DEV_SUSPEND, &h, nil, 0); err != nil { // without the flag for suspending it resumes
		return 0, 0, fmt.Errorf("starting dm device %s (%s): %w; the kernel's log says more", name, tableText(table), err)
	}
	major, minor = fromKernelDev(dev)
	return major, minor, nil
}

// message sends a text to the target at the beginning of a device.
func (m *mapper) message(name, message string) error {
	h := named(name)
	payload := append(make([]byte, 8), message...)
	_, err := m.call(unix.DM_TARGET_MSG, &h, append(payload, 0), 0)
	return err
}

func named(name string) unix.DmIoctl {
	var h unix.DmIoctl
	copy(h.Name[:127], name)
	return h
}

func tableText(table []Target) string {
	var lines []string
	for _, t := range table {
		lines = append(lines, fmt.Sprintf("%d %d %s %s", t.Start, t.Length, t.Type, t.Params))
	}
	return strings.Join(lines, "; ")
}
