package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"slices"

	"kdx/analyze/vmem"
)

// DeviceNumbers is dev: the numbers that drivers have taken.
type DeviceNumbers struct {
	Char  []CharDevice  `json:"chrdevs"`
	Block []BlockDevice `json:"blkdevs"`
}

// CharDevice is a range of character device numbers. CDev and Operations are null if no device of it is there.
type CharDevice struct {
	Major      uint32     `json:"major"`
	Minor      uint32     `json:"first_minor"`
	Count      uint32     `json:"minors"`
	Name       string     `json:"name"`
	CDev       *vmem.Addr `json:"cdev"`
	Operations *string    `json:"operations"`
}

// BlockDevice is a block device number. GenDisk is the last disk that was added under it, null if there is none.
type BlockDevice struct {
	Major      uint32     `json:"major"`
	Name       string     `json:"name"`
	GenDisk    *vmem.Addr `json:"gendisk"`
	Operations *string    `json:"operations"`
}

// Text writes crash's tables.
func (d *DeviceNumbers) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	row := func(major uint32, name string, at *vmem.Addr, ops *string) {
		if at == nil {
			fmt.Fprintf(bw, "%4d      %-15s     (none)\n", major, Printable(name))
			return
		}
		fmt.Fprintf(bw, "%4d      %-14s %016x  %s\n", major, Printable(name), uint64(*at), nameOrDash(ops))
	}
	fmt.Fprintln(bw, "CHRDEV    NAME                 CDEV        OPERATIONS")
	for _, c := range d.Char {
		row(c.Major, c.Name, c.CDev, c.Operations)
	}
	fmt.Fprintln(bw, "\nBLKDEV    NAME                GENDISK      OPERATIONS")
	for _, b := range d.Block {
		row(b.Major, b.Name, b.GenDisk, b.Operations)
	}
	return bw.Flush()
}

// Resources is dev -i.
type Resources struct {
	Ports  []Resource `json:"io_ports"`
	Memory []Resource `json:"io_memory"`
}

// Resource is a range that someone claimed; those inside another follow it and are one deeper.
type Resource struct {
	Addr  vmem.Addr `json:"resource"`
	Start vmem.Addr `json:"start"`
	End   vmem.Addr `json:"end"` // the last
	Name  *string   `json:"name"`
	Depth int       `json:"depth"`
}

// Text writes crash's tables.
func (r *Resources) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	table := func(head string, digits int, rows []Resource) {
		fmt.Fprintln(bw, head)
		for _, x := range rows {
			fmt.Fprintf(bw, "%016x  %0*x-%0*x  %s\n", uint64(x.Addr), digits, uint64(x.Start), digits, uint64(x.End), nameOrDash(x.Name))
		}
	}
	table("    RESOURCE        RANGE    NAME", 4, r.Ports)
	fmt.Fprintln(bw)
	table("    RESOURCE            RANGE        NAME", 8, r.Memory)
	return bw.Flush()
}

// PCIBuses is dev -p. Its JSON is an array of PCIBus.
type PCIBuses []PCIBus

// PCIBus is a bus with its devices; Depth is 0 for a root bus.
type PCIBus struct {
	Addr    vmem.Addr   `json:"bus"`
	Name    string      `json:"name"`
	Depth   int         `json:"depth"`
	Devices []PCIDevice `json:"devices"`
}

// PCIDevice is a device on a bus.
type PCIDevice struct {
	Addr    vmem.Addr  `json:"device"`
	Name    string     `json:"name"`
	Class   vmem.Addr  `json:"class"` // base class, subclass, programming interface
	Vendor  vmem.Addr  `json:"vendor_id"`
	Device  vmem.Addr  `json:"device_id"`
	Type    string     `json:"type"`
	Express bool       `json:"pci_express"`
	Driver  string     `json:"driver,omitempty"`
	Bridge  *vmem.Addr `json:"bus_below,omitempty"`
}

// Text writes crash's tables: a bus below another one names that, and begins with the bridge that leads to it.
func (l PCIBuses) Text(w io.Writer, _ Options) error {
	type above struct {
		bus    vmem.Addr
		bridge PCIDevice
	}
	leads := make(map[vmem.Addr]above)
	for _, b := range l {
		for _, d := range b.Devices {
			if d.Bridge != nil {
				leads[*d.Bridge] = above{b.Addr, d}
			}
		}
	}
	return blocks(w, l, func(bw *bufio.Writer, b PCIBus) {
		devices := b.Devices
		if up, ok := leads[b.Addr]; b.Depth == 0 {
			fmt.Fprintf(bw, "    ROOT BUS     BUSNAME\n%016x %s\n", uint64(b.Addr), Printable(b.Name))
		} else {
			parent := "-"
			if ok {
				parent = fmt.Sprintf("%016x", uint64(up.bus))
				devices = slices.Concat([]PCIDevice{up.bridge}, devices)
			}
			fmt.Fprintf(bw, "      PCI BUS         PARENT BUS    BUSNAME\n  %016x %-16s %s\n", uint64(b.Addr), parent, Printable(b.Name))
		}
		if len(devices) > 0 {
			fmt.Fprintln(bw, "      PCI DEV      DO:BU:SL.FN  CLASS   PCI_ID      TYPE")
		}
		for _, d := range devices {
			kind := d.Type
			if kind == "" {
				kind = "-"
			}
			if d.Bridge != nil {
				kind += " [BRIDGE]"
			}
			fmt.Fprintf(bw, "  %016x %s  %04x  %04x:%04x  %s\n", uint64(d.Addr), Printable(d.Name), uint64(d.Class)>>8, uint64(d.Vendor), uint64(d.Device), kind)
		}
	})
}

// Disks is dev -d. Its JSON is an array of Disk.
type Disks struct {
	Rows []Disk
	Busy bool // -D: only those with something in flight
}

// Disk is a disk or a partition. What could not be read is null.
type Disk struct {
	Major     *uint32    `json:"major"`
	Minor     *uint32    `json:"minor"`
	GenDisk   vmem.Addr  `json:"gendisk"`
	Name      *string    `json:"name"`
	Queue     *vmem.Addr `json:"request_queue"`
	Partition *uint32    `json:"partition"` // 0 for the disk
	Size      *uint64    `json:"size_bytes"`
	Reads     *uint64    `json:"reads_in_flight"`
	Writes    *uint64    `json:"writes_in_flight"`
	Requests  *bool      `json:"requests"` // it takes requests (blk-mq); false: bare bios
	Stats     *DiskStats `json:"statistics"`
	Hidden    bool       `json:"-"` // no row of its own in text: a partition, and what is idle by nature
}

// DiskStats are those of /proc/diskstats: reads, writes, discards, flushes.
type DiskStats struct {
	IOs     [4]uint64 `json:"ios"`
	Merges  [4]uint64 `json:"merges"`
	Sectors [4]uint64 `json:"sectors"` // of 512 bytes
	Ns      [4]uint64 `json:"time_ns"`
}

// Text writes crash's table.
func (l *Disks) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	fmt.Fprintln(bw, "MAJOR GENDISK            NAME       REQUEST_QUEUE      TOTAL  READ WRITE")
	for i := range l.Rows {
		d := &l.Rows[i]
		if d.Hidden {
			continue
		}
		var total *uint64
		if d.Reads != nil && d.Writes != nil {
			n := *d.Reads + *d.Writes
			total = &n
		}
		major, name, queue := "-", "-", "-"
		if d.Major != nil {
			major = fmt.Sprint(*d.Major)
		}
		if d.Name != nil {
			name = Printable(*d.Name)
		}
		if d.Queue != nil {
			queue = fmt.Sprintf("%016x", uint64(*d.Queue))
		}
		fmt.Fprintf(bw, "%5s %016x   %-10s %-16s   %5s %5s %5s\n", major, uint64(d.GenDisk), name, queue, orDash(total), orDash(d.Reads), orDash(d.Writes))
	}
	return bw.Flush()
}

// MarshalJSON writes the rows.
func (l *Disks) MarshalJSON() ([]byte, error) { return marshalRows(l.Rows) }

// DeviceDumps is dev -V. Its JSON is an array of DeviceDump.
type DeviceDumps []DeviceDump

// DeviceDump is what a driver left in the capture kernel.
type DeviceDump struct {
	Index  int       `json:"index"`
	Offset vmem.Addr `json:"offset"` // of its data in the dump file
	Size   int64     `json:"size"`   // bytes
	Name   string    `json:"name"`
}

// Text writes a line a dump.
func (l DeviceDumps) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	if len(l) == 0 {
		fmt.Fprintln(bw, "no driver has left a dump of its device in this dump")
		return bw.Flush()
	}
	fmt.Fprintln(bw, "INDEX  OFFSET          SIZE           NAME")
	for _, d := range l {
		fmt.Fprintf(bw, "%3d    %-15s %-14d %s\n", d.Index, fmt.Sprintf("%#x", uint64(d.Offset)), d.Size, Printable(d.Name))
	}
	return bw.Flush()
}

// DeviceData is dev -v: the data of one device dump.
type DeviceData struct {
	DeviceDump
	Data io.Reader
}

// Text writes sixteen bytes a line, with their place in the data.
func (d *DeviceData) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	var b [16]byte
	for at := 0; ; at += len(b) {
		n, err := io.ReadFull(d.Data, b[:])
		if n > 0 {
			text := append([]byte(nil), b[:n]...)
			for i, c := range text {
				if c < ' ' || c > '~' {
					text[i] = '.'
				}
			}
			fmt.Fprintf(bw, "%8x:  % -48x %s\n", at, b[:n], text)
		}
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			return bw.Flush()
		}
		if err != nil {
			bw.Flush() // what was found before is worth having
			return err
		}
	}
}

// StreamJSON writes the dump's description and its bytes in hexadecimal.
func (d *DeviceData) StreamJSON(w io.Writer) error {
	head, err := json.Marshal(d.DeviceDump)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, `%s,"data":"`, head[:len(head)-1]); err != nil {
		return err
	}
	buf := make([]byte, 32<<10)
	for {
		n, err := d.Data.Read(buf)
		if _, err := fmt.Fprintf(w, "%x", buf[:n]); err != nil {
			return err
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
	}
	_, err = io.WriteString(w, `"}`)
	return err
}
