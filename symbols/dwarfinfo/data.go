package dwarfinfo

import (
	"cmp"
	"debug/dwarf"
	"encoding/binary"
	"fmt"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"kdx/internal/mapfile"
	"kdx/symbols/objfile"
)

// Data is the DWARF of one file. It is immutable but for caches, and safe for many goroutines.
type Data struct {
	Name  string // of the file, for messages
	Order binary.ByteOrder
	// The sections, nil where the file has none.
	Info, Abbrev, Str, LineStr, StrOffsets, Addr, Line, Ranges, RngLists, Loc, LocLists, Aranges []byte
	// Alt is the file that dwz moved common entries and strings to (.gnu_debugaltlink); nil without.
	Alt *Data
	// File is where the sections come from; nil for Data that was made of bytes.
	File *objfile.File

	units                []*Unit
	signatures           map[uint64]uint64 // type signature → offset of the type's entry
	abbrevs              sync.Map          // offset in Abbrev → *abbrevTable
	tableBytes           atomic.Uint64     // of abbreviations that tables were made of
	rootBytes            atomic.Uint64     // of those that were read to find those of roots
	allSpans, otherSpans func() []span
	aranges              func() []arange
}

// ErrNoDWARF is the cause when a file has no debug information.
type ErrNoDWARF struct{ Path string }

func (e *ErrNoDWARF) Error() string {
	return e.Path + " has no debug information (no section .debug_info): it was stripped, or built without CONFIG_DEBUG_INFO"
}

// Open reads the unit headers of f's DWARF; nothing else is read before it is asked for. alt may be nil.
func Open(f *objfile.File, alt *Data) (*Data, error) {
	d := &Data{Name: f.Path, Order: f.Order(), Alt: alt, File: f}
	if !f.Has(".debug_info") {
		return nil, &ErrNoDWARF{f.Path}
	}
	for name, into := range map[string]*[]byte{".debug_info": &d.Info, ".debug_abbrev": &d.Abbrev, ".debug_str": &d.Str,
		".debug_line_str": &d.LineStr, ".debug_str_offsets": &d.StrOffsets, ".debug_addr": &d.Addr, ".debug_line": &d.Line,
		".debug_ranges": &d.Ranges, ".debug_rnglists": &d.RngLists, ".debug_loc": &d.Loc, ".debug_loclists": &d.LocLists, ".debug_aranges": &d.Aranges} {
		b, err := f.Section(name)
		if err != nil {
			return nil, err
		}
		*into = b
	}
	return d, d.Init()
}

// Init reads the unit headers; Open calls it, and who fills in the sections himself. A header that makes no sense ends the
// units, with an error if there are none before it.
func (d *Data) Init() error {
	d.allSpans = sync.OnceValue(func() []span { return d.readSpans(true) })
	d.otherSpans = sync.OnceValue(func() []span { return d.readSpans(false) })
	d.aranges = sync.OnceValue(d.readAranges)
	d.units, d.signatures = nil, make(map[uint64]uint64)
	return mapfile.Guard(d.Name, d.readUnits)
}

// Units in the order of the file.
func (d *Data) Units() []*Unit { return d.units }

// UnitOf is the unit that holds the entry at off; nil if there is none.
func (d *Data) UnitOf(off uint64) *Unit {
	i := sort.Search(len(d.units), func(i int) bool { return d.units[i].End > off })
	if i == len(d.units) || off < d.units[i].First {
		return nil
	}
	return d.units[i]
}

// Unit is a header of .debug_info, with what its root entry says. Offsets are in .debug_info.
type Unit struct {
	Data     *Data
	Off      uint64 // of the header
	First    uint64 // of the root entry
	End      uint64 // behind the last entry
	Version  int
	AddrSize int
	Dwarf64  bool
	Type     uint8 // DW_UT_*; DW_UT_compile before version 5

	abbrev uint64 // offset of its abbreviations
	root   func() *root
}

// The kinds of units, DW_UT_*.
const (
	UnitCompile      = 1
	UnitType         = 2
	UnitPartial      = 3
	UnitSkeleton     = 4
	UnitSplitCompile = 5
	UnitSplitType    = 6
)

// root is what a unit's root entry says.
type root struct {
	name, compDir                                      string
	lang                                               uint64
	low                                                uint64
	hasLow                                             bool
	line                                               uint64
	hasLine                                            bool
	strOffsets, addrBase, rngBase, locBase, rangesBase uint64
	ranges                                             [][2]uint64
	err                                                error
}

// maxUnits bounds the units of a file: distribution kernels have some 3,000.
const maxUnits = 1 << 20

func (d *Data) readUnits() error {
	for at := uint64(0); at < uint64(len(d.Info)); {
		u, err := d.unitHeader(at)
		if err != nil {
			if len(d.units) == 0 {
				return fmt.Errorf("%s: .debug_info: %w", d.Name, err)
			}
			return nil
		}
		d.units = append(d.units, u)
		if at = u.End; len(d.units) > maxUnits {
			return fmt.Errorf("%s: more than %d units in .debug_info can't be right", d.Name, maxUnits)
		}
	}
	return nil
}

func (d *Data) unitHeader(at uint64) (*Unit, error) {
	b := d.buf(d.Info, at, uint64(len(d.Info)), 0)
	u := &Unit{Data: d, Off: at, Type: UnitCompile, AddrSize: 8}
	length := uint64(b.u32())
	if length == 0xffffffff {
		u.Dwarf64, length = true, b.u64()
	}
	b.dwarf64 = u.Dwarf64
	start := b.off
	u.End = start + length
	if b.err != nil || length < 4 || u.End < start || u.End > uint64(len(d.Info)) {
		return nil, fmt.Errorf("the unit at %#x claims %#x bytes, and the section ends at %#x", at, length, len(d.Info))
	}
	u.Version = int(b.u16())
	var signature, typeAt uint64
	switch {
	case u.Version >= 2 && u.Version <= 4:
		u.abbrev = b.offset()
		u.AddrSize = int(b.u8())
	case u.Version == 5:
		u.Type = b.u8()
		u.AddrSize = int(b.u8())
		u.abbrev = b.offset()
		switch u.Type {
		case UnitSkeleton, UnitSplitCompile:
			b.u64()
		case UnitType, UnitSplitType:
			signature, typeAt = b.u64(), b.offset()
		}
	default:
		return nil, fmt.Errorf("the unit at %#x is of DWARF version %d; kdx reads 2 to 5", at, u.Version)
	}
	u.First = b.off
	if b.err != nil || u.First > u.End || u.AddrSize != 4 && u.AddrSize != 8 {
		return nil, fmt.Errorf("the unit at %#x has a damaged header", at)
	}
	if typeAt != 0 {
		d.signatures[signature] = u.Off + typeAt
	}
	u.root = sync.OnceValue(u.readRoot)
	return u, nil
}

// Name is the unit's primary source file as compiled: "kernel/sched/core.c".
func (u *Unit) Name() string { return u.root().name }

// CompDir is the directory that relative names of files refer to.
func (u *Unit) CompDir() string { return u.root().compDir }

// Language is DW_AT_language, 0 if unknown.
func (u *Unit) Language() uint64 { return u.root().lang }

// LowPC is the base address of the unit's ranges and lists, 0 if it says none.
func (u *Unit) LowPC() uint64 { return u.root().low }

// LineOffset is where the unit's line program lies in .debug_line.
func (u *Unit) LineOffset() (uint64, bool) { return u.root().line, u.root().hasLine }

// PCs are the ranges [lo, hi) of the unit's code, as linked. err says why they can't be read.
func (u *Unit) PCs() (pcs [][2]uint64, err error) { return u.root().ranges, u.root().err }

func (u *Unit) readRoot() *root {
	r := new(root)
	r.err = mapfile.Guard(u.Data.Name, func() error { return u.fillRoot(r) })
	return r
}

func (u *Unit) fillRoot(r *root) error {
	rd := u.Data.Reader()
	e, err := rd.rootOf(u)
	if err != nil {
		return err
	}
	// Bases come first, as forms of the other attributes refer to them.
	for attr, into := range map[dwarf.Attr]*uint64{dwarf.AttrStrOffsetsBase: &r.strOffsets, dwarf.AttrAddrBase: &r.addrBase,
		dwarf.AttrRnglistsBase: &r.rngBase, dwarf.AttrLoclistsBase: &r.locBase, attrGNURangesBase: &r.rangesBase} {
		*into, _ = e.Uint(attr)
	}
	if _, ok := e.Uint(dwarf.AttrAddrBase); !ok {
		r.addrBase, _ = e.Uint(attrGNUAddrBase)
	}
	r.lang, _ = e.Uint(dwarf.AttrLanguage)
	r.line, r.hasLine = e.Uint(dwarf.AttrStmtList)
	r.name = e.str(dwarf.AttrName, r)
	r.compDir = e.str(dwarf.AttrCompDir, r)
	if f := e.Field(dwarf.AttrLowpc); f != nil {
		r.low, r.hasLow = e.addr(f, r)
	}
	r.ranges, err = e.ranges(r)
	return err
}

// span is a range of addresses that a unit's code takes.
type span struct {
	lo, hi uint64
	unit   *Unit
}

// readSpans reads the ranges of all units, or only of those that .debug_aranges does not mention.
func (d *Data) readSpans(all bool) []span {
	mentioned := make(map[uint64]bool)
	if !all {
		for _, a := range d.aranges() {
			mentioned[a.unit] = true
		}
	}
	var out []span
	for _, u := range d.units {
		if mentioned[u.Off] {
			continue
		}
		pcs, _ := u.PCs()
		for _, p := range pcs {
			out = append(out, span{p[0], p[1], u})
		}
	}
	slices.SortStableFunc(out, func(a, b span) int { return cmp.Compare(a.lo, b.lo) })
	return out
}

// UnitAt is the unit whose code holds pc, an address as linked; nil if there is none.
func (d *Data) UnitAt(pc uint64) *Unit {
	u, denied := d.unitByAranges(pc)
	if u != nil {
		return u
	}
	s := d.otherSpans()
	if denied { // so the table is not to be believed
		s = d.allSpans()
	}
	i := sort.Search(len(s), func(i int) bool { return s[i].lo > pc })
	// Ranges of different units don't overlap but in damaged or discarded code; a few steps back suffice.
	for i--; i >= 0; i-- {
		if pc < s[i].hi {
			return s[i].unit
		}
		if pc-s[i].lo > 16<<20 {
			return nil
		}
	}
	return nil
}
