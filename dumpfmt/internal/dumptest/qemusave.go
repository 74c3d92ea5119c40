package dumptest

import (
	"bytes"
	"cmp"
	"compress/gzip"
	"encoding/binary"
	"slices"

	"github.com/klauspost/compress/zlib"
	"github.com/klauspost/compress/zstd"

	"kdx/dumpfmt"
)

// Contiguous is the image as a machine has it whose memory has no gaps: what is absent or excluded becomes a page of zeros.
func (im *Image) Contiguous() *Image {
	out := *im
	out.Pages = make(map[uint64]Page, im.MaxPFN)
	for pfn := range im.MaxPFN {
		p := im.Pages[pfn]
		if p.Data == nil {
			p = Page{State: dumpfmt.Zero}
		}
		out.Pages[pfn] = p
	}
	return &out
}

// QEMUSave says how to write an Image as QEMU's migration stream. Pages that the image lacks are not sent.
type QEMUSave struct {
	Machine    string // "" leaves out the configuration
	Block      string // name of the block of memory; "" is pc.ram
	Nodes      bool   // memory in two blocks
	Size       uint64 // of memory in bytes; 0 is up to the image's last page
	Mapped     bool   // capability mapped-ram
	Twice      bool   // some pages are sent with other bytes at first
	Compressed bool   // pages by zlib, where that helps
	Early      bool   // a device's section stands before memory
	NoEnd      bool
	CPUs       []X86
}

type stream struct{ b []byte }

func (s *stream) u8(v byte)    { s.b = append(s.b, v) }
func (s *stream) u16(v uint16) { s.b = binary.BigEndian.AppendUint16(s.b, v) }
func (s *stream) u32(v uint32) { s.b = binary.BigEndian.AppendUint32(s.b, v) }
func (s *stream) u64(v uint64) { s.b = binary.BigEndian.AppendUint64(s.b, v) }
func (s *stream) name(n string) {
	s.u8(byte(len(n)))
	s.b = append(s.b, n...)
}

func (s *stream) section(mark byte, id uint32, name string, instance, version uint32) {
	s.u8(mark)
	s.u32(id)
	if mark == 1 || mark == 4 {
		s.name(name)
		s.u32(instance)
		s.u32(version)
	}
}

func (s *stream) footer(id uint32) {
	s.u8(0x7e)
	s.u32(id)
}

type saveBlock struct {
	name        string
	first, size uint64 // page, bytes
	pages       uint64 // offset of the first, with mapped-ram
	bitmap      uint64
}

// Build writes the stream. base is where it stands in its file.
func (q QEMUSave) Build(im *Image, base int) []byte {
	s := &stream{b: make([]byte, base)}
	s.u32(0x5145564d)
	s.u32(3)
	if q.Machine != "" {
		s.u8(7)
		s.u32(uint32(len(q.Machine)))
		s.b = append(s.b, q.Machine...)
		if q.Mapped {
			s.u8(5)
			s.name("configuration/capabilities")
			s.u32(1)
			s.u32(2)
			s.name("x-colo")
			s.name("mapped-ram")
		}
		s.u8(5)
		s.name("configuration/uuid")
		s.u32(1)
		s.b = append(s.b, make([]byte, 16)...)
	}
	if q.Early {
		s.section(4, 9, "virtio-mem-early", 0, 1)
		s.b = append(s.b, "some bytes, \x7e\x00\x00\x00\x09\x99 too"...)
		s.footer(9)
	}
	size := cmp.Or(q.Size, im.MaxPFN*4096)
	name := cmp.Or(q.Block, "pc.ram")
	blocks := []*saveBlock{{name: name, size: size}}
	if q.Nodes {
		half := size / 2 / 4096 * 4096
		blocks = []*saveBlock{{name: "ram-node1", first: half / 4096, size: size - half}, {name: "/objects/ram-node0", size: half}}
	}
	blocks = append(blocks, &saveBlock{name: "0000:00:02.0/vga.vram", size: 16 << 20}, &saveBlock{name: "pc.bios", size: 256 << 10})
	total := uint64(0)
	for _, b := range blocks {
		total += b.size
	}
	s.section(1, 2, "ram", 0, 4)
	s.u64(total | 4)
	for _, b := range blocks {
		s.name(b.name)
		s.u64(b.size)
		if q.Mapped {
			s.mapped(b)
		}
	}
	s.u64(0x10)
	s.footer(2)
	q.memory(s, im, blocks)
	if q.NoEnd {
		return s.b[base:]
	}
	s.section(4, 5, "timer", 0, 2)
	s.b = append(s.b, make([]byte, 24)...)
	s.footer(5)
	for i, c := range q.CPUs {
		s.section(4, uint32(20+2*i), "cpu_common", uint32(i), 1)
		s.u64(0)
		s.footer(uint32(20 + 2*i))
		s.section(4, uint32(21+2*i), "cpu", uint32(i), 12)
		s.cpu(c)
		s.footer(uint32(21 + 2*i))
	}
	s.u8(0)
	return s.b[base:]
}

func (s *stream) mapped(b *saveBlock) {
	b.bitmap = uint64(len(s.b)) + 28
	b.pages = (b.bitmap + b.size/4096/8 + 8 + 4095) / 4096 * 4096
	s.u32(1)
	s.u64(4096)
	s.u64(b.bitmap)
	s.u64(b.pages)
	s.b = append(s.b, make([]byte, b.pages+b.size-uint64(len(s.b)))...)
}

func (q QEMUSave) memory(s *stream, im *Image, blocks []*saveBlock) {
	if q.Mapped {
		for pfn, p := range im.Pages {
			if p.Data != nil {
				b := blocks[slices.IndexFunc(blocks, func(b *saveBlock) bool { return pfn >= b.first && pfn < b.first+b.size/4096 })]
				copy(s.b[b.pages+(pfn-b.first)*4096:], p.Data)
				s.b[b.bitmap+(pfn-b.first)/8] |= 1 << ((pfn - b.first) % 8)
			}
		}
		s.section(3, 2, "", 0, 0)
		s.u64(0x10)
		s.footer(2)
		return
	}
	last := ""
	send := func(pfn uint64, data []byte) {
		b := blocks[slices.IndexFunc(blocks, func(b *saveBlock) bool { return pfn >= b.first && pfn < b.first+b.size/4096 })]
		flags := uint64(0)
		if b.name == last {
			flags = 0x20
		}
		packed := q.pack(data)
		switch {
		case data == nil:
			flags |= 2
		case packed != nil:
			flags |= 0x100
		default:
			flags |= 8
		}
		s.u64((pfn-b.first)*4096 | flags)
		if b.name != last {
			s.name(b.name)
			last = b.name
		}
		switch {
		case data == nil:
			s.u8(0)
		case packed != nil:
			s.u32(uint32(len(packed)))
			s.b = append(s.b, packed...)
		default:
			s.b = append(s.b, data...)
		}
	}
	part := func(mark byte, f func(i int) bool, change byte) {
		s.section(mark, 2, "", 0, 0)
		for i, pfn := range im.PFNs() {
			if !f(i) {
				continue
			}
			data := im.Pages[pfn].Data
			if change != 0 && data != nil {
				data = bytes.Clone(data)
				data[7] ^= change
			}
			send(pfn, data)
		}
		s.u64(0x10)
		s.footer(2)
	}
	if q.Twice {
		part(2, func(i int) bool { return i%3 != 2 }, 0x55)
		part(2, func(i int) bool { return i%2 == 0 }, 0x66)
	}
	half := len(im.Pages) / 2
	part(2, func(i int) bool { return i < half }, 0)
	part(3, func(i int) bool { return i >= half }, 0)
}

func (q QEMUSave) pack(data []byte) []byte {
	if !q.Compressed || data == nil {
		return nil
	}
	var b bytes.Buffer
	w := zlib.NewWriter(&b)
	w.Write(data)
	w.Close()
	if b.Len() >= len(data) {
		return nil
	}
	return b.Bytes()
}

// cpu is a CPU's section up to what changes with its versions.
func (s *stream) cpu(c X86) {
	g := c.GPR
	for _, v := range []uint64{g[0], g[1], g[2], g[3], g[5], g[4], g[6], g[7], g[8], g[9], g[10], g[11], g[12], g[13], g[14], g[15], c.RIP, c.Flags} {
		s.u64(v)
	}
	s.u32(0x4000b0)
	for range 4 {
		s.u16(0)
	}
	s.b = append(s.b, make([]byte, 80)...)
	for _, seg := range [][2]uint64{{uint64(c.ESel), 0}, {uint64(c.CS), 0}, {uint64(c.SS), 0}, {uint64(c.DS), 0}, {0, c.FS}, {0, c.GS}, {0, 0}, {0x40, 0}, {0, 0}, {0, c.IDT}} {
		s.u32(uint32(seg[0]))
		s.u64(seg[1])
		s.u64(0)
	}
	s.u32(0x10)
	s.u64(0)
	s.u64(0)
	for _, v := range []uint64{c.CR0, 0, c.CR3, c.CR4} {
		s.u64(v)
	}
	s.b = append(s.b, make([]byte, 8*8+8+256+5*8+8+900)...)
}

// Libvirt wraps a stream as libvirt's save image of that form: 0 as it is, 1 gzip, 5 zstd, 6 sparse, which is as it is.
func Libvirt(form uint32, xml string, build func(base int) []byte) []byte {
	le := binary.LittleEndian
	b := append([]byte("LibvirtQemudSave"), 2, 0, 0, 0)
	b = le.AppendUint32(b, uint32(len(xml)))
	b = le.AppendUint32(b, 1)
	b = le.AppendUint32(b, form)
	b = append(b, make([]byte, 60)...)
	b = append(b, xml...)
	base := 0
	if form == 6 {
		base = len(b)
	}
	payload := build(base)
	var out bytes.Buffer
	switch form {
	case 1:
		w := gzip.NewWriter(&out)
		w.Write(payload)
		w.Close()
		payload = out.Bytes()
	case 5:
		w, err := zstd.NewWriter(&out)
		if err != nil {
			panic(err)
		}
		w.Write(payload)
		w.Close()
		payload = out.Bytes()
	}
	return append(b, payload...)
}
