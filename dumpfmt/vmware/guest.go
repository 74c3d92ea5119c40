package vmware

import (
	"encoding/binary"
	"fmt"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/x86cpu"
)

// guestLayout is what differs between versions of .guest files, in bytes.
type guestLayout struct {
	memory  int // where memory is described
	narrow  bool
	gap     int // between that and the CPUs
	cpuGap  int // inside a CPU's state
	hasArch bool
}

// guestLayouts by version: ESXi 6.7 and before, 6.8, 7.0, 8.0, 8.0u2, 9.0.
var guestLayouts = map[uint32]guestLayout{
	1: {memory: 8 + 13, narrow: true, cpuGap: 45},
	3: {memory: 8 + 14, cpuGap: 45},
	4: {memory: 8 + 14, cpuGap: 42},
	5: {memory: 8 + 14, cpuGap: 42},
	6: {memory: 8 + 15, cpuGap: 42},
	7: {memory: 8 + 8, gap: 11, cpuGap: 42, hasArch: true},
}

const (
	guestMemory    = 8 + 8 + 4 + 4 + 2*16
	guestMemoryOld = 8 + 4 + 4 + 4 + 2*8
	guestControl   = 4 + 3*8 + 10*8 + 8 // CR0 CR2 CR3 CR4, others, base of the interrupt table
	guestRegs      = 27 * 8             // in the order of NT_PRSTATUS
	guestCPUTail   = 17 + 4096
	maxHoles       = 2
	maxPages       = 1 << 32 // 16 TiB
	archX86        = 1
)

// guest is the header of a .guest file.
type guest struct {
	layout  guestLayout
	version uint32
	nCPUs   uint32
	pages   uint64 // of memory
	holes   [][2]uint64
	arch    uint32
	cpusAt  int64
}

func (g *guest) cpuSize() int64 {
	return int64(guestControl + g.layout.cpuGap + guestRegs + guestCPUTail)
}

// ProbeGuest reports whether a file that begins with head is a .guest file. It has no signature, but the sizes in it must
// agree.
func ProbeGuest(head []byte) bool {
	_, ok := parseGuest(head)
	return ok
}

func parseGuest(head []byte) (guest, bool) {
	le := binary.LittleEndian
	var g guest
	if len(head) < 256 {
		return g, false
	}
	g.version, g.nCPUs = le.Uint32(head), le.Uint32(head[4:])
	layout, ok := guestLayouts[g.version]
	if !ok || g.nCPUs == 0 || g.nCPUs > maxCPUs {
		return g, false
	}
	g.layout = layout
	b := head[layout.memory:]
	last := le.Uint64(b)
	size, hole := guestMemory, 8
	word := le.Uint64
	nHoles := le.Uint32(b[20:])
	g.pages = le.Uint64(b[8:])
	if layout.narrow {
		size, hole = guestMemoryOld, 4
		word = func(b []byte) uint64 { return uint64(le.Uint32(b)) }
		nHoles = le.Uint32(b[16:])
		g.pages = uint64(le.Uint32(b[8:]))
	}
	if nHoles > maxHoles {
		return g, false
	}
	all := g.pages
	end := uint64(0)
	for i := range int(nHoles) {
		h := b[size-(maxHoles-i)*2*hole:]
		at, n := word(h), word(h[hole:])
		if at < end || n > maxPages || at > maxPages {
			return g, false
		}
		end = at + n
		g.holes = append(g.holes, [2]uint64{at, end})
		all += n
	}
	if g.pages == 0 || g.pages > maxPages || all > maxPages || last+1 != all<<pageShift {
		return g, false
	}
	g.arch = archX86
	if layout.hasArch {
		g.arch = le.Uint32(b[size:])
	}
	g.cpusAt = int64(layout.memory + size + layout.gap)
	if layout.narrow {
		g.cpusAt += int64(8*nHoles) + 4
	}
	return g, true
}

// OpenGuest opens a .guest file with the memory in the second file or the .vmem beside it. It takes over the files only if
// it succeeds.
func OpenGuest(files []*dumpfmt.File) (dumpfmt.Source, error) {
	f := files[0]
	info := newInfo(f)
	s := state{file: f, info: info}
	var head [512]byte
	n, _ := f.ReadFull(head[:], 0)
	g, ok := parseGuest(head[:n])
	if !ok {
		return nil, s.fail(0, nil, "not a debug.guest file of ESXi")
	}
	if g.arch != archX86 {
		return nil, s.fail(0, nil, "this debug.guest file is of a machine that isn't x86 (architecture %d)", g.arch)
	}
	info.HeaderVersion = int(g.version)
	if want := g.cpusAt + int64(g.nCPUs)*g.cpuSize(); f.Size < want {
		info.Truncated, info.Incomplete = true, true
		info.Warn("%s has %d bytes; %d CPUs take %d", f.Name, f.Size, g.nCPUs, want)
	}
	var states []x86cpu.State
	for i := range int64(g.nCPUs) {
		cpu, err := g.cpu(f, g.cpusAt+i*g.cpuSize())
		if err != nil {
			info.Warn("registers of CPU %d: %v", i, err)
			break
		}
		states = append(states, cpu)
	}
	x86cpu.Add(info, states)
	s.regions = g.regions()
	return s.source(files)
}

// regions are what the holes leave of memory.
func (g *guest) regions() []region {
	var out []region
	ppn, page := uint64(0), uint64(0)
	add := func(n uint64) {
		out = append(out, region{uint32(ppn), uint32(page), uint32(n)})
		page += n
	}
	for _, h := range g.holes {
		add(min(h[0]-ppn, g.pages-page))
		ppn = h[1]
	}
	add(g.pages - page)
	return out
}

// cpu reads a CPU's state.
func (g *guest) cpu(f *dumpfmt.File, off int64) (x86cpu.State, error) {
	le := binary.LittleEndian
	var s x86cpu.State
	b := make([]byte, guestControl+g.layout.cpuGap+guestRegs)
	if _, err := f.ReadFull(b, off); err != nil {
		return s, fmt.Errorf("reading %s at byte %#x: %w", f.Name, off, err)
	}
	s.CR = [5]uint64{0: uint64(le.Uint32(b)), 2: le.Uint64(b[4:]), 3: le.Uint64(b[12:]), 4: le.Uint64(b[20:])}
	s.IDT.Base = le.Uint64(b[guestControl-8:])
	b = b[guestControl+g.layout.cpuGap:]
	var cs, ss, ds, es, fs, gs, orig uint64
	for i, r := range []*uint64{&s.R15, &s.R14, &s.R13, &s.R12, &s.RBP, &s.RBX, &s.R11, &s.R10, &s.R9, &s.R8, &s.RAX, &s.RCX, &s.RDX, &s.RSI, &s.RDI,
		&orig, &s.RIP, &cs, &s.RFLAGS, &s.RSP, &ss, &s.FS.Base, &s.GS.Base, &ds, &es, &fs, &gs} {
		*r = le.Uint64(b[8*i:])
	}
	s.CS.Selector, s.SS.Selector, s.DS.Selector, s.ES.Selector, s.FS.Selector, s.GS.Selector = uint32(cs), uint32(ss), uint32(ds), uint32(es), uint32(fs), uint32(gs)
	return s, nil
}
