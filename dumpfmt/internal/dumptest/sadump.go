package dumptest

import (
	"encoding/binary"

	"kdx/dumpfmt"
)

// SADUMP says how to write an Image as firmware's dump. Zero pages are written as zeros.
type SADUMP struct {
	Version int
	Media   bool // a backup
	Disks   int  // of a set; 0 is a single partition
	CPUs    []X86
}

// Build writes the dump: one file, or one a disk.
func (d SADUMP) Build(im *Image) [][]byte {
	le := binary.LittleEndian
	bs := im.PageSize
	bitmap := func(states ...dumpfmt.PageState) []byte {
		b := make([]byte, (int(im.MaxPFN+7)/8+bs-1)/bs*bs)
		for pfn, p := range im.Pages {
			for _, st := range states {
				if p.State == st {
					b[pfn/8] |= 0x80 >> (pfn % 8)
				}
			}
		}
		return b
	}
	ram, dumpable := bitmap(dumpfmt.Present, dumpfmt.Zero, dumpfmt.Excluded), bitmap(dumpfmt.Present, dumpfmt.Zero)
	var data []byte
	for _, pfn := range im.PFNs() {
		p := im.Pages[pfn]
		if p.State == dumpfmt.Excluded {
			continue
		}
		if p.Data == nil {
			p.Data = make([]byte, bs)
		}
		data = append(data, p.Data...)
	}
	sub := d.cpus()
	sub = append(sub, make([]byte, (bs-len(sub)%bs)%bs)...)

	head := make([]byte, 120, bs)
	copy(head, "sadump\x00\x00")
	le.PutUint32(head[8:], uint32(d.Version))
	copy(head[16:], efiTime)
	for i, v := range []int{bs, 0, len(sub) / bs, len(ram) / bs, len(dumpable) / bs, int(im.MaxPFN), len(im.Pages), 0, 0, 0, len(d.CPUs)} {
		le.PutUint32(head[40+4*i:], uint32(v))
	}
	if d.Version >= 1 {
		le.PutUint32(head[60:], 0)
		le.PutUint64(head[88:], im.MaxPFN)
	}
	dump := append(head[:bs], sub...)
	dump = append(append(dump, ram...), dumpable...)

	switch {
	case d.Media:
		media := make([]byte, bs)
		copy(media, "the system's id.the disk set's..")
		media[48] = 1
		return [][]byte{append(append(append(media, d.part(bs, 0, 0)...), dump...), data...)}
	case d.Disks == 0:
		return [][]byte{append(append(d.part(bs, 0, 0), dump...), data...)}
	}
	set := make([]byte, bs)
	le.PutUint32(set, 1)
	le.PutUint32(set[4:], uint32(d.Disks))
	for i := range d.Disks - 1 {
		copy(set[16+32*i:], volume(i+2))
	}
	var out [][]byte
	share := (len(data)/bs/d.Disks + 1) * bs
	for i := range d.Disks {
		mine := data[min(len(data), i*share):min(len(data), (i+1)*share)]
		front := 0
		if i == 0 {
			front = len(set) + len(dump)
		}
		b := d.part(bs, i+1, bs+front+len(mine))
		if i == 0 {
			b = append(append(b, set...), dump...)
		}
		out = append(out, append(append(b, mine...), make([]byte, 3*bs)...)) // what is not used of the device
	}
	return out
}

var efiTime = []byte{0xe7, 0x07, 11, 14, 22, 13, 20, 0, 0, 0, 0, 0, 0xff, 0x07, 0, 0} // 2023-11-14 22:13:20, no zone

func volume(disk int) []byte { return append([]byte("this is volume "), byte('0'+disk)) }

func (d SADUMP) part(bs, disk, used int) []byte {
	le := binary.LittleEndian
	b := make([]byte, bs)
	copy(b, "sadump\x00\x00")
	copy(b[88:], "the system's id.the disk set's..")
	copy(b[120:], volume(disk))
	copy(b[136:], efiTime)
	le.PutUint32(b[152:], uint32(disk))
	le.PutUint64(b[160:], uint64(used))
	fill := uint32(4711)
	for at := 168; at < bs; at += 4 {
		le.PutUint32(b[at:], fill)
		fill = (fill + 7) * 11
	}
	return b
}

// cpus is the dump's sub header.
func (d SADUMP) cpus() []byte {
	le := binary.LittleEndian
	const size = 1024
	b := le.AppendUint32(nil, uint32(len(d.CPUs)*size))
	b = append(b, make([]byte, len(d.CPUs)*16)...)
	for _, c := range d.CPUs {
		var s []byte
		skip := func(n int) { s = append(s, make([]byte, n)...) }
		u32 := func(v ...uint32) {
			for _, v := range v {
				s = le.AppendUint32(s, v)
			}
		}
		u64 := func(v ...uint64) {
			for _, v := range v {
				s = le.AppendUint64(s, v)
			}
		}
		skip(58 * 8)
		u32(0, 0, uint32(c.IDT>>32)) // upper halves: GDT, LDT, IDT
		skip(3*4 + 8 + 10*8)
		u32(uint32(c.CR4))
		skip(18 * 4)
		u32(0, 0)                   // GDT: lower half, limit
		u32(uint32(c.IDT), 0xfff)   // IDT
		u32(0, 0, 0)                // LDT, information
		skip(6*8 + 8 + 4 + 5*4 + 8) // … EPT, SMBASE, revision
		skip(4 + 6*4)
		g := c.GPR
		u64(g[15], g[14], g[13], g[12], g[11], g[10], g[9], g[8], g[0], g[1], g[2], g[3], g[5], g[4], g[6], g[7])
		skip(8 + 4)
		u32(c.ESel, c.CS, c.SS, c.DS, 0, 0)
		u32(0, 0x40)
		u64(0, 0, c.RIP, 0xd01, c.Flags, c.CR3, c.CR0)
		b = append(b, s...)
	}
	return b
}
