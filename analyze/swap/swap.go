// Package swap reads the kernel's swap devices: sizes, priorities, files, and how many pages are in use.
package swap

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vfs"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Device is a swap device or file.
type Device struct {
	Index    uint64    // in swap_info, as page-table entries hold it
	Addr     vmem.Addr // struct swap_info_struct
	File     vmem.Addr // struct file; 0 if none is open
	Block    *bool     // a block device, not a file; nil if its inode can't be read
	Pages    uint64    // that can be used
	InUse    uint64    // as the kernel counts
	Counted  *uint64   // slots that hold a page, counted one by one; nil if that can't be read
	Priority int16
	Flags    uint64
}

// Flags of swap_info_struct (include/linux/swap.h).
const (
	used    = 1 << 0
	writeOK = 1 << 1
)

// Active reports whether the device is fully on: not about to be swapped off.
func (d *Device) Active() bool { return d.Flags&writeOK != 0 }

type infoStruct struct {
	Flags    uint64    `k:"flags"`
	Prio     int16     `k:"prio"`
	Max      uint32    `k:"max"`
	Map      vmem.Addr `k:"swap_map,optional"` // until 7.0
	Clusters vmem.Addr `k:"cluster_info,optional"`
	Pages    uint32    `k:"pages"`
	InUse    uint64    `k:"inuse_pages"`
	File     vmem.Addr `k:"swap_file"`
}

// maxDevices is more than MAX_SWAPFILES of any configuration: the index has 5 bits.
const maxDevices = 32

// Devices are those that are on. What can't be read of one is a gap, and the others follow.
func Devices(v *kernel.View) ([]Device, error) {
	sym, err := v.Symbol("swap_info") // struct swap_info_struct *[MAX_SWAPFILES]
	if symbols.Absent(err) {
		return nil, nil // a kernel without CONFIG_SWAP
	}
	if err != nil {
		return nil, err
	}
	n, err := v.UintAt("nr_swapfiles", 4)
	if err != nil {
		return nil, err
	}
	if n > maxDevices {
		v.Gap("swap devices", fmt.Errorf("nr_swapfiles is %d: more than %d can't be", n, maxDevices))
		n = maxDevices
	}
	var out []Device
	for i := range n {
		at, err := v.Word(vmem.Addr(sym.Addr + i*v.WordSize()))
		if err != nil {
			v.Gap(fmt.Sprintf("swap device %d", i), err)
			continue
		}
		if at == 0 {
			continue
		}
		d, on, err := read(v, vmem.Addr(at))
		if err != nil {
			v.Gap(fmt.Sprintf("swap device %d", i), err)
			continue
		}
		if on {
			d.Index = i
			out = append(out, d)
		}
	}
	return out, nil
}

func read(v *kernel.View, at vmem.Addr) (d Device, on bool, err error) {
	bind, err := kernel.Bind[infoStruct](v.Kernel, "swap_info_struct")
	if err != nil {
		return d, false, err
	}
	s, err := bind.Read(v, at)
	if err != nil {
		return d, false, err
	}
	if s.Flags&used == 0 || s.File == 0 {
		return d, false, nil
	}
	d = Device{Addr: at, File: s.File, Pages: uint64(s.Pages), InUse: s.InUse, Priority: s.Prio, Flags: s.Flags}
	if m, ok := bind.Type().Path("inuse_pages"); ok && m.Type.Strip().Kind == symbols.Struct {
		// Since 6.13 an atomic_long_t, in which the second highest bit of an atomic_t says that the device is on no list of those with room.
		d.InUse &^= 1 << 30
	}
	if block, err := isBlock(v, s.File); err != nil {
		v.Gap(fmt.Sprintf("swap device at %#x: its file", uint64(at)), err)
	} else {
		d.Block = &block
	}
	n, err := count(v, &s)
	if err != nil {
		v.Gap(fmt.Sprintf("swap device at %#x: slots in use", uint64(at)), err)
		return d, true, nil
	}
	d.Counted = &n
	return d, true, nil
}

// isBlock reports whether a file is a block device's.
func isBlock(v *kernel.View, file vmem.Addr) (bool, error) {
	inode, err := v.ObjectOf("file", file).Field("f_inode").Pointer()
	if err != nil {
		return false, err
	}
	mode, err := v.ObjectOf("inode", inode).Field("i_mode").Uint()
	const format, block = 0o170000, 0o060000
	return mode&format == block, err
}

// count goes through the slots.
func count(v *kernel.View, s *infoStruct) (uint64, error) {
	if s.Map != 0 {
		return countMap(v, s)
	}
	return countClusters(v, s)
}

// countMap counts in swap_map: a byte for each slot, 0 if it is free.
func countMap(v *kernel.View, s *infoStruct) (uint64, error) {
	const bad = 0x3f // SWAP_MAP_BAD: the header, and blocks that don't work
	buf := make([]byte, 64<<10)
	n := uint64(0)
	for done := uint64(0); done < uint64(s.Max); {
		p := buf[:min(uint64(len(buf)), uint64(s.Max)-done)]
		if err := v.Read(p, s.Map+vmem.Addr(done)); err != nil {
			return 0, err
		}
		for _, c := range p {
			if c != 0 && c != bad {
				n++
			}
		}
		done += uint64(len(p))
	}
	return n, nil
}

// countClusters adds what each cluster counts (7.1, where swap tables took swap_map's place): bad slots are among it.
func countClusters(v *kernel.View, s *infoStruct) (uint64, error) {
	bind, err := kernel.Bind[struct {
		Count uint16 `k:"count"`
	}](v.Kernel, "swap_cluster_info")
	if err != nil {
		return 0, err
	}
	t, err := v.Struct("swap_table")
	if err != nil {
		return 0, err
	}
	slots := t.Size / v.WordSize()
	if s.Clusters == 0 || slots == 0 {
		return 0, errors.New("it has neither swap_map nor clusters")
	}
	n := uint64(0)
	for i := range (uint64(s.Max) + slots - 1) / slots {
		c, err := bind.Read(v, s.Clusters+vmem.Addr(i*bind.Size()))
		if err != nil {
			return 0, err
		}
		n += uint64(min(c.Count, uint16(slots)))
	}
	badSlots := (uint64(s.Max)+slots-1)/slots*slots - uint64(s.Pages)
	if n < badSlots {
		return 0, fmt.Errorf("its clusters count %d slots, fewer than the %d that are bad", n, badSlots)
	}
	return n - badSlots, nil
}

// Names tells swap devices by their index; each is looked up once.
type Names struct {
	v     *kernel.View
	known map[uint64]string
}

// NewNames makes an empty table of names.
func NewNames(v *kernel.View) *Names { return &Names{v: v, known: make(map[uint64]string)} }

// Of is the path of a swap device, "" if it can't be found.
func (n *Names) Of(index uint64) string {
	if name, ok := n.known[index]; ok {
		return name
	}
	name, err := path(n.v, index)
	n.v.Gap(fmt.Sprintf("name of swap device %d", index), err)
	n.known[index] = name
	return name
}

func path(v *kernel.View, index uint64) (string, error) {
	sym, err := v.Symbol("swap_info")
	if err != nil {
		return "", err
	}
	if index >= maxDevices {
		return "", errors.New("no kernel has so many")
	}
	p, err := v.Word(vmem.Addr(sym.Addr + index*v.WordSize()))
	if err != nil {
		return "", err
	}
	if p == 0 {
		return "", errors.New("there is none")
	}
	f, err := v.ObjectOf("swap_info_struct", vmem.Addr(p)).Field("swap_file").Pointer()
	if err != nil {
		return "", err
	}
	if f == 0 {
		return "", errors.New("it is off")
	}
	return vfs.FilePath(v, f)
}
