// Package kernel is a dumped kernel as its own types and symbols describe it: reads of its memory, typed Values that are
// followed lazily, Bind for hot walks, and View, in which one command runs.
//
// Kernel is immutable once open, but for bounded caches, and safe for many goroutines; a View belongs to one.
package kernel

import (
	"encoding/binary"
	"fmt"
	"log/slog"
	"sync"

	"kdx/analyze/arch"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
	"kdx/symbols"
)

// Kernel is an opened dump with all that was found to explain it.
type Kernel struct {
	img  *dumpfmt.Image
	arch arch.Arch
	vci  *vmcoreinfo.Info
	syms *symbols.Chain
	all  *symbols.Chain
	end  func()
	mods ModuleFiles
	log  *slog.Logger

	core     func() *Kernel
	percpu   func() ([]uint64, error)
	cpus     func() (cpuSets, error)
	rodata   func() [2]uint64 // of the kernel itself, both 0 if that is not known
	bindings sync.Map         // bindKey → *layout or error
}

// Config is what New needs; analyze.Open fills it.
type Config struct {
	Image       *dumpfmt.Image
	Arch        arch.Arch
	VMCoreInfo  *vmcoreinfo.Info
	Symbols     *symbols.Chain
	Core        *symbols.Chain // nil: the same as Symbols
	Debug       *symbols.Chain // nil: the same as Symbols
	ModuleFiles ModuleFiles    // may be nil
	Close       func()         // ends what goes on behind answers; may be nil
	Log         *slog.Logger
}

// New makes a Kernel.
func New(c Config) *Kernel {
	k := &Kernel{img: c.Image, arch: c.Arch, vci: c.VMCoreInfo, syms: c.Symbols, all: c.Debug, end: c.Close, mods: c.ModuleFiles, log: c.Log}
	if k.all == nil {
		k.all = k.syms
	}
	if k.log == nil {
		k.log = slog.New(slog.DiscardHandler)
	}
	k.core = sync.OnceValue(func() *Kernel {
		if c.Core == nil {
			return k
		}
		c := c
		c.Symbols, c.Core, c.Debug, c.Close = c.Core, nil, nil, nil
		return New(c)
	})
	k.percpu = sync.OnceValues(k.readPerCPUOffsets)
	k.cpus = sync.OnceValues(k.readCPUs)
	k.rodata = sync.OnceValue(k.readRodata)
	return k
}

// Core is the same kernel for questions about itself alone: names that it lacks are not sought in its modules, all of whose
// tables would have to be read for that. It needs no Close.
func (k *Kernel) Core() *Kernel { return k.core() }

// Close waits for what goes on behind the answers that were given: indexes that are being written to the cache. The image
// stays open.
func (k *Kernel) Close() {
	if k.end != nil {
		k.end()
	}
}

// Image is the dump.
func (k *Kernel) Image() *dumpfmt.Image { return k.img }

// Arch is the architecture.
func (k *Kernel) Arch() arch.Arch { return k.arch }

// VMCoreInfo is the dump's VMCOREINFO, never nil.
func (k *Kernel) VMCoreInfo() *vmcoreinfo.Info { return k.vci }

// Symbols is the chain of finders that analysis asks: the dump's own tables and, only where the dump has none, debug
// information. A name that this kernel lacks is answered at once.
func (k *Kernel) Symbols() *symbols.Chain { return k.syms }

// Debug is the chain that answers people: Symbols and all that debug information knows beside, which may have to be found and
// indexed first. Its rows are those that recover most registers.
func (k *Kernel) Debug() *symbols.Chain { return k.all }

// Log is where libraries of analyze report what a person need not see.
func (k *Kernel) Log() *slog.Logger { return k.log }

// ByteOrder of the target.
func (k *Kernel) ByteOrder() binary.ByteOrder { return k.img.Info().ByteOrder }

// WordSize is the size of a long and of a pointer of the target, in bytes.
func (k *Kernel) WordSize() uint64 { return uint64(k.img.Info().WordSize) }

// PageSize of the target in bytes.
func (k *Kernel) PageSize() uint64 { return k.img.Info().PageSize }

// ReadMemory reads kernel-virtual memory. It returns the bytes before the first missing one and a *vmem.ReadError.
func (k *Kernel) ReadMemory(p []byte, addr uint64) (int, error) {
	return vmem.Read(k.img, k.arch.Kernel(), p, addr)
}

// Symbol is the first symbol of that name; if finders don't know it, VMCOREINFO is asked.
func (k *Kernel) Symbol(name string) (symbols.Symbol, error) {
	all, err := k.syms.SymbolsNamed(name)
	if err == nil {
		return all[0], nil
	}
	if addr, ok := k.vci.Symbol(name); ok {
		return symbols.Symbol{Name: name, Addr: addr, Letter: 'D'}, nil
	}
	return symbols.Symbol{}, err
}

// HasSymbol reports whether the kernel has a symbol of that name.
func (k *Kernel) HasSymbol(name string) bool {
	_, err := k.Symbol(name)
	return err == nil
}

// SymbolAt is the symbol that covers addr.
func (k *Kernel) SymbolAt(addr vmem.Addr) (symbols.Symbol, error) {
	return k.syms.SymbolAt(uint64(addr))
}

// Struct finds a struct by tag.
func (k *Kernel) Struct(tag string) (*symbols.Type, error) {
	return k.syms.TypeNamed(symbols.Struct, tag)
}

// OffsetOf is the byte offset of struct tag's member at path ("a.b"); ok is false if there is no such struct or member.
func (k *Kernel) OffsetOf(tag, path string) (off uint64, ok bool) {
	t, err := k.Struct(tag)
	if err != nil {
		return 0, false
	}
	return t.OffsetOf(path)
}

// HasMember reports whether struct tag has a member at path.
func (k *Kernel) HasMember(tag, path string) bool {
	_, ok := k.OffsetOf(tag, path)
	return ok
}

// Word reads one word of the target's size at addr.
func (k *Kernel) Word(addr vmem.Addr) (uint64, error) {
	var b [8]byte
	p := b[:k.WordSize()]
	if _, err := k.ReadMemory(p, uint64(addr)); err != nil {
		return 0, err
	}
	return k.decodeUint(p), nil
}

func (k *Kernel) decodeUint(p []byte) uint64 {
	bo := k.ByteOrder()
	switch len(p) {
	case 1:
		return uint64(p[0])
	case 2:
		return uint64(bo.Uint16(p))
	case 4:
		return uint64(bo.Uint32(p))
	case 8:
		return bo.Uint64(p)
	}
	return 0
}

// maxCPUs bounds what a dump may claim; CONFIG_NR_CPUS of x86-64 ends at 8192.
const maxCPUs = 65536

// PerCPUOffset is what is added to a per-CPU symbol's address to reach cpu's copy.
func (k *Kernel) PerCPUOffset(cpu int) (uint64, error) {
	offs, err := k.percpu()
	if err != nil {
		return 0, fmt.Errorf("per-CPU offset of CPU %d: %w", cpu, err)
	}
	if cpu < 0 || cpu >= len(offs) {
		return 0, fmt.Errorf("there is no CPU %d", cpu)
	}
	return offs[cpu], nil
}

func (k *Kernel) readPerCPUOffsets() ([]uint64, error) {
	sets, err := k.cpus()
	if err != nil {
		return nil, err
	}
	n := 1
	if len(sets.Possible) > 0 {
		n = sets.Possible[len(sets.Possible)-1] + 1
	}
	sym, err := k.Symbol("__per_cpu_offset")
	if symbols.Absent(err) {
		return make([]uint64, n), nil // a kernel without SMP has one area, at the symbols themselves
	}
	if err != nil {
		return nil, err
	}
	ws := k.WordSize()
	buf := make([]byte, uint64(n)*ws)
	if _, err := k.ReadMemory(buf, sym.Addr); err != nil {
		return nil, fmt.Errorf("__per_cpu_offset: %w", err)
	}
	offs := make([]uint64, n)
	for i := range offs {
		offs[i] = k.decodeUint(buf[uint64(i)*ws : uint64(i+1)*ws])
	}
	return offs, nil
}

type cpuSets struct{ Possible, Present, Online []int }

// PossibleCPUs are the numbers of the CPUs that have per-CPU areas.
func (k *Kernel) PossibleCPUs() ([]int, error) {
	s, err := k.cpus()
	return s.Possible, err
}

// PresentCPUs are the CPUs that the machine has.
func (k *Kernel) PresentCPUs() ([]int, error) {
	s, err := k.cpus()
	return s.Present, err
}

// OnlineCPUs are the CPUs whose online bit is set. The CPUs that a panic stopped have cleared theirs.
func (k *Kernel) OnlineCPUs() ([]int, error) {
	s, err := k.cpus()
	return s.Online, err
}

func (k *Kernel) readCPUs() (cpuSets, error) {
	nr := uint64(maxCPUs)
	if sym, err := k.Symbol("nr_cpu_ids"); err == nil {
		var b [4]byte
		if _, err := k.ReadMemory(b[:], sym.Addr); err == nil {
			if n := uint64(k.ByteOrder().Uint32(b[:])); n > 0 && n <= maxCPUs {
				nr = n
			}
		}
	}
	if nr == maxCPUs {
		nr = 64 // nr_cpu_ids is a constant in kernels built for a fixed number of CPUs: one word of mask is certain
	}
	var s cpuSets
	var err error
	if s.Possible, err = k.cpuMask("__cpu_possible_mask", nr); err != nil {
		return s, err
	}
	if s.Present, err = k.cpuMask("__cpu_present_mask", nr); err != nil {
		s.Present = s.Possible
	}
	if s.Online, err = k.cpuMask("__cpu_online_mask", nr); err != nil {
		s.Online = s.Present
	}
	return s, nil
}

func (k *Kernel) cpuMask(symbol string, nr uint64) ([]int, error) {
	sym, err := k.Symbol(symbol)
	if symbols.Absent(err) {
		return []int{0}, nil // no SMP
	}
	if err != nil {
		return nil, err
	}
	ws := k.WordSize()
	words := (nr + ws*8 - 1) / (ws * 8)
	buf := make([]byte, words*ws)
	if _, err := k.ReadMemory(buf, sym.Addr); err != nil {
		return nil, fmt.Errorf("%s: %w", symbol, err)
	}
	var cpus []int
	for w := range words {
		word := k.decodeUint(buf[w*ws : (w+1)*ws])
		for b := range ws * 8 {
			if word>>b&1 != 0 && w*ws*8+b < nr {
				cpus = append(cpus, int(w*ws*8+b))
			}
		}
	}
	return cpus, nil
}
