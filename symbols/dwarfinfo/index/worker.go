package index

import (
	"fmt"

	"kdx/symbols/dwarfinfo"
)

// entry is a definition that was found.
type entry struct {
	name  name
	sig   uint64 // equal for equal definitions of one name
	off   uint64 // of the entry, altBit set for one in the alt file
	aux   uint64 // types: size; functions and variables: address; enumerators: index of the enum's entry
	count uint32 // units that have it
	kind  Kind
	flags flags
}

type flags uint8

const (
	flagLocal    flags = 1 << iota // inside a function
	flagExternal                   // seen by other units
	flagPlaced                     // it has code, or a location or value
	flagUntagged                   // a typedef of a struct or union without a tag, whose size it has
	flagAlt                        // in the alt file
	flagDeclared                   // a declaration
)

const (
	altShift = 63
	// maxEntries bounds what a file can make us hold: kernels have some 200,000.
	maxEntries = 1 << 22
)

// worker scans units. It belongs to one goroutine.
type worker struct {
	secs     *sections
	names    arena
	entries  []entry
	members  []memberRef
	holders  []holder
	slots    []uint32 // index+1 of interned entries
	seed     uint64
	interned int

	current    *table // of the unit that is scanned
	currentKey tableKey
	tables     map[tableKey]*table // of others that it refers to
	held       int                 // bytes of abbreviations that tables hold
	budget     int                 // bytes of abbreviations that may still be compiled
	foreign    map[uint64]*unit

	prefix   []byte // of names in the current scope: "core::option::"
	scopes   []scope
	function int // depth of what is inside the function, 0 outside
	declared map[uint64]string
	buf      [maxInPlace]byte
	v        values
}

type scope struct{ depth, length int }

type tableKey struct {
	space  uint64
	off    uint64
	layout layout
}

// maxHeld bounds the abbreviations, in bytes of .debug_abbrev, that are kept compiled for references between units.
const maxHeld = 2 << 20

// newWorker makes a worker for about size bytes of .debug_info.
func newWorker(secs *sections, seed uint64, budget, size int) *worker {
	expect := min(size/bytesPerEntry+64, 1<<18)
	slots := 1 << 10
	for slots < 2*expect {
		slots *= 2
	}
	return &worker{secs: secs, seed: seed, budget: budget, entries: make([]entry, 0, expect), slots: make([]uint32, slots),
		members: make([]memberRef, 0, expect), tables: make(map[tableKey]*table)}
}

// bytesPerEntry is how much of a kernel's .debug_info there is for each definition, as most of it repeats headers. It only says how
// much room to make at first.
const bytesPerEntry = 800

// open makes a unit ready to be decoded: the one to scan next, or one that it refers to.
func (w *worker) open(du *dwarfinfo.Unit, sp *space, scan bool) (*unit, error) {
	u := &unit{Unit: du, names: &w.names, space: sp, info: sp.d.Info[:min(du.End, uint64(len(sp.d.Info)))], big: sp.d.Order.Uint16([]byte{0, 1}) == 1, offSize: 4}
	if du.Dwarf64 {
		u.offSize = 8
	}
	if err := w.compile(u, scan); err != nil {
		return nil, err
	}
	return u, u.readRoot()
}

// compile finds a unit's abbreviations. Units that are scanned take turns with one table.
func (w *worker) compile(u *unit, scan bool) error {
	key := tableKey{u.space.id, u.AbbrevOffset(), u.layout()}
	if scan && w.current != nil && w.currentKey == key {
		u.tab = w.current
		return nil
	}
	if u.tab = w.tables[key]; u.tab != nil {
		return nil
	}
	if w.budget <= 0 {
		return fmt.Errorf("%s: the unit at %#x of .debug_info: abbreviations of all units together are too long", u.space.d.Name, u.Off)
	}
	t := new(table)
	if scan {
		if w.current == nil {
			w.current = t
		}
		t = w.current
		w.currentKey = key
	}
	n, err := t.read(u.space.d.Abbrev, key.off, key.layout)
	w.budget -= n
	if err != nil && len(t.dense) == 0 && len(t.sparse) == 0 {
		return fmt.Errorf("%s: the unit at %#x of .debug_info: .debug_abbrev at %#x: %w", u.space.d.Name, u.Off, key.off, err)
	}
	u.tab = t
	if scan {
		return nil
	}
	if w.held += n; w.held > maxHeld {
		clear(w.tables)
		clear(w.foreign)
		w.held = n
	}
	w.tables[key] = t
	return nil
}

// Languages whose names have no scopes, DW_LANG_*.
func isC(lang uint64) bool {
	switch lang {
	case 0x01, 0x02, 0x0c, 0x1d, 0x2c, 0x3e, 0x8001:
		return true
	}
	return false
}

// readRoot reads what the unit's other entries depend on.
func (u *unit) readRoot() error {
	code, pos := uleb(u.info, int(u.First))
	if pos < 0 {
		return &damage{u.space.d.Name, u.Off, int(u.First), "the unit is empty"}
	}
	p := u.tab.find(code)
	if p == nil {
		return &damage{u.space.d.Name, u.Off, int(u.First), fmt.Sprintf("abbreviation %d does not exist", code)}
	}
	if p.class != classRoot {
		return nil
	}
	// Bases first, as other attributes may need them.
	var v values
	for range 2 {
		if u.decode(p, pos, &v) < 0 {
			return &damage{u.space.d.Name, u.Off, int(u.First), "its attributes make no sense"}
		}
		u.strOffsets, u.addrBase, u.rngBase = v.get(fStrOffsets), v.get(fAddrBase), v.get(fRngBase)
	}
	u.lang, u.low = v.get(fLang), v.get(fAddr)
	u.scoped = !isC(u.lang)
	return nil
}
