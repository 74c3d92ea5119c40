// Package bpf reads the programs and maps of BPF that a kernel holds, and writes programs as text.
package bpf

import (
	"fmt"
	"iter"
	"strings"
	"time"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// Program is a loaded program.
type Program struct {
	Addr, Aux vmem.Addr // struct bpf_prog and its bpf_prog_aux
	ID        uint32
	Type      string // "SOCKET_FILTER"
	Tag       string
	Name      string
	GPL       bool
	UID       *uint32 // who loaded it; nil where that is not known
	Maps      []uint32
	Insns     uint32 // of the verified program, 8 bytes each
	Jited     uint32 // bytes of machine code, of all its functions
	Pages     uint16
	Loaded    time.Duration // after boot
	Code      []Code        // machine code of each of its functions, the main one first
}

// Code is the machine code of a function.
type Code struct {
	Addr vmem.Addr
	Size uint64 // bytes
}

// Map is a map.
type Map struct {
	Addr       vmem.Addr
	ID         uint32
	Type       string // "LRU_HASH"
	Name       string
	Flags      uint32
	KeySize    uint32 // bytes
	ValueSize  uint32 // bytes
	MaxEntries uint32
	Memory     uint64 // bytes: what the kernel counts for it, by the sizes of its elements where it does not say
}

type prog struct {
	Pages uint16    `k:"pages"`
	Jited bool      `k:"jited"`
	GPL   bool      `k:"gpl_compatible"`
	Type  uint32    `k:"type"`
	Len   uint32    `k:"len"`
	Size  uint32    `k:"jited_len"`
	Tag   [8]uint8  `k:"tag"`
	Aux   vmem.Addr `k:"aux"`
	Func  vmem.Addr `k:"bpf_func"`
	Insns vmem.Addr `k:"&insnsi"`
}

type progAux struct {
	MapCount  uint32    `k:"used_map_cnt"`
	ID        uint32    `k:"id"`
	FuncCount uint32    `k:"func_cnt"`
	Funcs     vmem.Addr `k:"func"`
	Maps      vmem.Addr `k:"used_maps"`
	User      vmem.Addr `k:"user"`
	Load      uint64    `k:"load_time"`
	Name      string    `k:"name"`
}

// Bounds of what a damaged program may claim: the verifier's own are 64 maps, 256 functions and a million instructions.
const (
	maxMaps  = 4096
	maxFuncs = 4096
	maxInsns = 1 << 20
)

// entries yields the pointers of an IDR, each once.
func entries(v *kernel.View, idr string) iter.Seq2[vmem.Addr, error] {
	return func(yield func(vmem.Addr, error) bool) {
		s, err := v.Symbol(idr)
		if err != nil {
			yield(0, fmt.Errorf("%s: %w", idr, err))
			return
		}
		seen := make(map[uint64]bool)
		for e, err := range walk.IDR(v, vmem.Addr(s.Addr)) {
			if err == nil && seen[e.Value] {
				err = fmt.Errorf("entry %#x: %w", e.Value, walk.ErrLoop)
			}
			seen[e.Value] = true
			if err != nil {
				e.Value, err = 0, fmt.Errorf("%s: %w", idr, err)
			}
			if !yield(vmem.Addr(e.Value), err) {
				return
			}
		}
	}
}

// Programs yields the programs by rising ID. An error comes with what is known of the program, or with nil if it is about the
// table.
func Programs(v *kernel.View) iter.Seq2[*Program, error] {
	return func(yield func(*Program, error) bool) {
		names := typeNames(v, "BPF_PROG_TYPE_")
		for at, err := range entries(v, "prog_idr") {
			var p *Program
			if err == nil {
				p, err = readProgram(v, at, names)
			}
			if !yield(p, err) {
				return
			}
		}
	}
}

// typeNames are the enumerators of an enum that begin alike, without that.
func typeNames(v *kernel.View, prefix string) map[uint32]string {
	out := make(map[uint32]string)
	_, t, err := v.Symbols().Enumerator(prefix + "UNSPEC")
	if err != nil {
		return out
	}
	for _, e := range t.Strip().Enumerators() {
		if _, twice := out[uint32(e.Value)]; !twice {
			out[uint32(e.Value)] = strings.TrimPrefix(e.Name, prefix)
		}
	}
	return out
}

func typeName(names map[uint32]string, n uint32) string {
	if s, ok := names[n]; ok {
		return s
	}
	return fmt.Sprint(n)
}

func readProgram(v *kernel.View, at vmem.Addr, names map[uint32]string) (*Program, error) {
	p := &Program{Addr: at}
	progs, err := kernel.Bind[prog](v.Kernel, "bpf_prog")
	if err != nil {
		return p, err
	}
	s, err := progs.Read(v, at)
	if err != nil {
		return p, err
	}
	p.Aux, p.GPL, p.Insns, p.Pages, p.Tag, p.Type = s.Aux, s.GPL, s.Len, s.Pages, fmt.Sprintf("%x", s.Tag), typeName(names, s.Type)
	if s.Jited {
		p.Jited = s.Size
		p.Code = []Code{{s.Func, uint64(s.Size)}}
	}
	aux, err := kernel.ReadStruct[progAux](v, "bpf_prog_aux", s.Aux)
	if err != nil {
		return p, err
	}
	p.ID, p.Name, p.Loaded = aux.ID, aux.Name, time.Duration(aux.Load)
	if aux.User != 0 {
		uid, err := v.ObjectOf("user_struct", aux.User).Field("uid.val").Uint()
		if err != nil {
			return p, err
		}
		n := uint32(uid)
		p.UID = &n
	}
	if err := p.functions(v, progs, &aux); err != nil {
		return p, err
	}
	if aux.MapCount > maxMaps {
		return p, fmt.Errorf("it claims %d maps: damaged", aux.MapCount)
	}
	for i := range aux.MapCount {
		m, err := v.Word(aux.Maps + vmem.Addr(uint64(i)*v.WordSize()))
		if err != nil {
			return p, err
		}
		id, err := v.ObjectOf("bpf_map", vmem.Addr(m)).Field("id").Uint()
		if err != nil {
			return p, err
		}
		p.Maps = append(p.Maps, uint32(id))
	}
	return p, nil
}

// functions takes the code of a program that was compiled function by function: the main one is then the first of them.
func (p *Program) functions(v *kernel.View, progs kernel.Binding[prog], aux *progAux) error {
	if len(p.Code) == 0 || aux.FuncCount == 0 || aux.Funcs == 0 {
		return nil
	}
	if aux.FuncCount > maxFuncs {
		return fmt.Errorf("it claims %d functions: damaged", aux.FuncCount)
	}
	var code []Code
	for i := range aux.FuncCount {
		at, err := v.Word(aux.Funcs + vmem.Addr(uint64(i)*v.WordSize()))
		if err != nil {
			return err
		}
		f, err := progs.Read(v, vmem.Addr(at))
		if err != nil {
			return err
		}
		code = append(code, Code{f.Func, uint64(f.Size)})
	}
	p.Code, p.Jited = code, 0
	for _, c := range code {
		p.Jited += uint32(c.Size)
	}
	return nil
}

type bpfMap struct {
	Type    uint32 `k:"map_type"`
	Key     uint32 `k:"key_size"`
	Value   uint32 `k:"value_size"`
	Entries uint32 `k:"max_entries"`
	Flags   uint32 `k:"map_flags"`
	ID      uint32 `k:"id"`
	Name    string `k:"name"`
	Pages   uint32 `k:"memory.pages,optional"` // until 5.11
}

// Maps yields the maps by rising ID, as Programs does programs.
func Maps(v *kernel.View) iter.Seq2[*Map, error] {
	return func(yield func(*Map, error) bool) {
		names := typeNames(v, "BPF_MAP_TYPE_")
		for at, err := range entries(v, "map_idr") {
			var m *Map
			if err == nil {
				m, err = readMap(v, at, names)
			}
			if !yield(m, err) {
				return
			}
		}
	}
}

func readMap(v *kernel.View, at vmem.Addr, names map[uint32]string) (*Map, error) {
	m := &Map{Addr: at}
	bind, err := kernel.Bind[bpfMap](v.Kernel, "bpf_map")
	if err != nil {
		return m, err
	}
	s, err := bind.Read(v, at)
	if err != nil {
		return m, err
	}
	m.ID, m.Type, m.Name, m.Flags, m.KeySize, m.ValueSize, m.MaxEntries = s.ID, typeName(names, s.Type), s.Name, s.Flags, s.Key, s.Value, s.Entries
	if bind.Has("Pages") {
		m.Memory = uint64(s.Pages) * v.PageSize()
		return m, nil
	}
	m.Memory, err = footprint(v, m)
	return m, err
}

// footprint is what kernels from 5.11 tell user space: the elements, rounded up to pages (until 6.4 for all types).
func footprint(v *kernel.View, m *Map) (uint64, error) {
	page := v.PageSize()
	if m.Type == "RINGBUF" {
		t, err := v.Struct("bpf_ringbuf_map")
		if err != nil {
			return 0, err
		}
		rb := v.Object(t, m.Addr).Field("rb")
		pages, err := rb.Field("nr_pages").Uint()
		if err != nil {
			return 0, err
		}
		data := uint64(m.MaxEntries) / page // mapped twice, one behind the other
		return t.Size + pages*page + (pages+data)*v.WordSize(), nil
	}
	value := uint64(m.ValueSize)
	if strings.Contains(m.Type, "PERCPU") {
		cpus, err := v.PossibleCPUs()
		if err != nil {
			return 0, err
		}
		value = (value + 7) &^ 7 * uint64(len(cpus))
	}
	size := (uint64(m.KeySize) + value + 7) &^ 7
	return (uint64(m.MaxEntries)*size + page - 1) / page * page, nil
}

// Text is the verified program, instruction by instruction.
func Text(v *kernel.View, p *Program) ([]Insn, error) {
	s, err := kernel.ReadStruct[prog](v, "bpf_prog", p.Addr)
	if err != nil {
		return nil, err
	}
	if s.Len > maxInsns {
		return nil, fmt.Errorf("it claims %d instructions: damaged", s.Len)
	}
	code := make([]byte, uint64(s.Len)*insnSize)
	n, err := v.ReadMemory(code, uint64(s.Insns))
	names := namer{v: v, maps: make(map[uint64]uint32)}
	for m, err := range Maps(v) {
		if err == nil {
			names.maps[uint64(m.Addr)] = m.ID
		}
	}
	if base, err := v.Symbol("__bpf_call_base"); err == nil {
		names.base = base.Addr
	}
	return Decode(code[:n/insnSize*insnSize], v.ByteOrder(), names.name), err
}

// namer knows what the constants of a verified program stand for.
type namer struct {
	v    *kernel.View
	maps map[uint64]uint32 // ID by address
	base uint64            // calls are relative to this function
}

func (n *namer) name(what Operand, value uint64) string {
	switch what {
	case MapAddress:
		if id, ok := n.maps[value]; ok {
			return fmt.Sprintf("map[id:%d]", id)
		}
	case Helper:
		if n.base == 0 {
			return ""
		}
		if s, err := n.v.SymbolAt(vmem.Addr(n.base + uint64(int64(int32(value))))); err == nil && s.Addr == n.base+uint64(int64(int32(value))) {
			return s.Name
		}
	}
	return ""
}
