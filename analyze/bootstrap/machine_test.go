package bootstrap

import (
	"encoding/binary"
	"fmt"

	"kdx/dumpfmt"
)

// machine is memory by page, in which a test builds a kernel as it lies there: image, banner, uname, page tables.
type machine struct {
	info  dumpfmt.Info
	pages map[uint64][]byte
}

const ramPages = 64 << 20 >> 12

func newMachine() *machine {
	return &machine{pages: map[uint64][]byte{}, info: dumpfmt.Info{Format: "test", PageSize: 4096, ByteOrder: binary.LittleEndian, WordSize: 8,
		Machine: dumpfmt.MachineX86_64, MaxPFN: ramPages, Ranges: []dumpfmt.PhysRange{{Start: 0, End: ramPages << 12}}, DumpLevel: -1}}
}

func (m *machine) Info() *dumpfmt.Info { return &m.info }
func (m *machine) Close() error        { return nil }
func (m *machine) State(pfn uint64) dumpfmt.PageState {
	switch {
	case pfn >= m.info.MaxPFN:
		return dumpfmt.Absent
	case m.pages[pfn] == nil:
		return dumpfmt.Zero
	}
	return dumpfmt.Present
}

func (m *machine) ReadPage(dst []byte, pfn uint64) error {
	if pfn >= m.info.MaxPFN {
		return &dumpfmt.PageError{Addr: dumpfmt.Phys(pfn << 12), PFN: pfn, State: dumpfmt.Absent, Level: -1}
	}
	clear(dst)
	copy(dst, m.pages[pfn])
	return nil
}

func (m *machine) image() *dumpfmt.Image { return dumpfmt.NewImage(m, dumpfmt.Options{}) }

func (m *machine) write(at uint64, b []byte) {
	for i, c := range b {
		a := at + uint64(i)
		if m.pages[a>>12] == nil {
			m.pages[a>>12] = make([]byte, 4096)
		}
		m.pages[a>>12][a&0xfff] = c
	}
}

func (m *machine) word(at, x uint64) { m.write(at, binary.LittleEndian.AppendUint64(nil, x)) }

func (m *machine) cpu(cr3, cr4 uint64) {
	m.info.CPUs = append(m.info.CPUs, dumpfmt.CPU{Index: len(m.info.CPUs), QEMU: &dumpfmt.QEMUCPU{CR3: cr3, CR4: cr4}})
}

// fakeKernel is a kernel image of 8 MiB; its parts lie at fixed distances from its start.
type fakeKernel struct {
	virt, phys uint64
	levels     int
	release    string
}

const (
	imageSize   = 8 << 20
	bannerAt    = 0x300000
	utsAt       = 0x400000
	rootAt      = 0x410000
	level4At    = 0x411000
	level3At    = 0x412000
	level2At    = 0x413000
	fixmapAt    = 0x414000
	startMap    = 0xffffffff80000000
	table       = 0x63
	hugePage    = 0xe3
	lastEntry   = 511 * 8
	beforeLast  = 510 * 8
	directEntry = 273 * 8
)

func (k fakeKernel) physBase() int64 { return int64(k.phys - (k.virt - startMap)) }

func (k fakeKernel) banner() string {
	return "Linux version " + k.release + " (me@here) (gcc 12) #1 SMP today\n"
}

// put builds the kernel.
func (k fakeKernel) put(m *machine) {
	m.write(k.phys+bannerAt, []byte(k.banner()))
	m.write(k.phys+utsAt, []byte("Linux\x00"))
	m.write(k.phys+utsAt+130, append([]byte(k.release), 0))
	root := k.phys + rootAt
	k.top(m, root)
	m.word(root+directEntry, 0x5000|table)
	m.word(k.phys+level3At+beforeLast, k.phys+level2At|table)
	m.word(k.phys+level3At+lastEntry, k.phys+fixmapAt|table)
	for off := uint64(0); off < imageSize; off += 2 << 20 {
		m.word(k.phys+level2At+(k.virt-startMap+off)>>21*8, k.phys+off|hugePage)
	}
}

// top makes the upper levels, at root.
func (k fakeKernel) top(m *machine, root uint64) {
	if k.levels == 5 {
		m.word(root+lastEntry, k.phys+level4At|table)
		m.word(k.phys+level4At+lastEntry, k.phys+level3At|table)
		return
	}
	m.word(root+lastEntry, k.phys+level3At|table)
}

// userHalf makes the top page table that a CPU has in user mode with page-table isolation: of the kernel it maps one
// stretch of its entry code.
func (k fakeKernel) userHalf(m *machine, root uint64) {
	pud, pmd := root+0x10000, root+0x11000
	m.word(root+lastEntry, pud|table)
	m.word(pud+beforeLast, pmd|table)
	m.word(pmd+(k.virt-startMap+4<<20)>>21*8, k.phys+4<<20|hugePage)
}

// vmcoreinfo is what the kernel would say of itself.
func (k fakeKernel) vmcoreinfo() string {
	return fmt.Sprintf("OSRELEASE=%s\nPAGESIZE=4096\nSYMBOL(init_uts_ns)=%x\nSYMBOL(_stext)=%x\nSYMBOL(swapper_pg_dir)=%x\nNUMBER(phys_base)=%d\nNUMBER(pgtable_l5_enabled)=%d\nKERNELOFFSET=%x\n",
		k.release, k.virt+utsAt, k.virt, k.virt+rootAt, k.physBase(), k.levels-4, k.virt-0xffffffff81000000)
}
