package index

import (
	"encoding/binary"
	"fmt"

	"kdx/symbols/dwarfinfo"
)

// values are the wanted attributes of one entry; has says which of them it has.
type values struct {
	has uint32
	alt uint32 // those of them that are references to the alt file
	v   [numFields]uint64
}

func (v *values) get(f field) uint64 {
	if v.has&f.bit() == 0 {
		return 0
	}
	return v.v[f]
}

// is reports whether a flag is set.
func (v *values) is(f field) bool { return v.has&f.bit() != 0 && v.v[f] != 0 }

// unit is what decoding a unit's entries needs.
type unit struct {
	*dwarfinfo.Unit
	names                         *arena
	space                         *space
	info                          []byte // .debug_info up to the end of the unit
	tab                           *table
	big                           bool
	offSize                       int
	lang                          uint64
	low                           uint64
	strOffsets, addrBase, rngBase uint64
	scoped                        bool // its language has scopes that names of types belong to
}

// space is one file: the one that was asked for, or its alt file.
type space struct {
	d   *dwarfinfo.Data
	alt *space
	id  uint64 // 0, or 1 for the alt file
}

// decode reads the wanted attributes of an entry whose attributes begin at pos; the result is behind them, or -1 if the entry
// is damaged.
func (u *unit) decode(p *prog, pos int, v *values) int {
	v.has = 0
	v.alt = 0
	b := u.info
	for _, o := range u.tab.ops[p.from:p.to] {
		n := int(o.n)
		code := o.code
		if code == opIndirect {
			if o, pos = u.indirect(pos); pos < 0 {
				return -1
			}
			n, code = int(o.n), o.code
		}
		if pos > len(b)-n && code != opConst {
			return -1
		}
		var x uint64
		switch code {
		case opSkip:
			pos += n
			continue
		case opFixed:
			x = u.number(pos, n)
			pos += n
		case opULEB:
			if x, pos = uleb(b, pos); pos < 0 {
				return -1
			}
		case opRef:
			x = u.Off + u.number(pos, n)
			pos += n
		case opRefULEB:
			if x, pos = uleb(b, pos); pos < 0 {
				return -1
			}
			x += u.Off
		case opRefAlt:
			x = u.number(pos, n)
			pos += n
			v.alt |= o.dst.bit()
		case opConst:
			x = u.tab.consts[n]
		case opStr:
			x = u.number(pos, n)&nameMask | (secStr+2*u.space.id)<<nameShift
			pos += n
		case opLineStr:
			x = u.number(pos, n)&nameMask | (secLineStr+2*u.space.id)<<nameShift
			pos += n
		case opAltStr:
			x = u.number(pos, n)&nameMask | (secStr+2)<<nameShift
			pos += n
		case opString:
			end := pos
			for end < len(b) && b[end] != 0 {
				end++
			}
			if end == len(b) {
				return -1
			}
			if o.dst == fName {
				x = uint64(u.names.inPlace(b[pos:end]))
			}
			pos = end + 1
		case opStrx:
			x = u.indexed(u.number(pos, n))
			pos += n
		case opStrxULEB:
			if x, pos = uleb(b, pos); pos < 0 {
				return -1
			}
			x = u.indexed(x)
		case opAddrx:
			x = u.address(u.number(pos, n))
			pos += n
		case opAddrxULEB:
			if x, pos = uleb(b, pos); pos < 0 {
				return -1
			}
			x = u.address(x)
		default:
			var length uint64
			switch code {
			case opBlock:
				length = u.number(pos, n)
				pos += n
			case opBlockULEB:
				if length, pos = uleb(b, pos); pos < 0 {
					return -1
				}
			case opBlock16:
				length = 16
			}
			if length > uint64(len(b)-pos) {
				return -1
			}
			end := pos + int(length)
			if o.dst == fAddr {
				var ok bool
				if x, ok = u.location(b[pos:end]); !ok {
					v.has |= fValue.bit()
					pos = end
					continue
				}
			}
			pos = end
		}
		v.v[o.dst] = x
		v.has |= o.dst.bit()
	}
	return pos
}

// indirect is the step for an attribute whose form stands before its value. It keeps nothing of the value.
func (u *unit) indirect(pos int) (op, int) {
	for range maxIndirect {
		form, next := uleb(u.info, pos)
		if next < 0 {
			return op{}, -1
		}
		o, ok := stepOf(dwarfinfo.Form(form), u.layout())
		if !ok {
			return op{}, -1
		}
		pos = next
		switch o.code {
		case opIndirect:
			continue
		case opConst:
			if dwarfinfo.Form(form) == dwarfinfo.FormImplicitConst {
				if _, pos = sleb(u.info, pos); pos < 0 {
					return op{}, -1
				}
			}
			return op{code: opSkip}, pos
		}
		return o, pos
	}
	return op{}, -1
}

// maxIndirect bounds forms that name each other.
const maxIndirect = 4

func (u *unit) layout() layout { return layout{u.Version, u.AddrSize, u.offSize} }

// number is the number of n bytes at pos, which lie in the unit.
func (u *unit) number(pos, n int) uint64 {
	b := u.info[pos:]
	if u.big {
		return bigNumber(b[:n])
	}
	switch n {
	case 1:
		return uint64(b[0])
	case 2:
		return uint64(binary.LittleEndian.Uint16(b))
	case 3:
		return uint64(b[0]) | uint64(b[1])<<8 | uint64(b[2])<<16
	case 4:
		return uint64(binary.LittleEndian.Uint32(b))
	case 8:
		return binary.LittleEndian.Uint64(b)
	}
	return 0
}

func bigNumber(b []byte) (v uint64) {
	for _, c := range b {
		v = v<<8 | uint64(c)
	}
	return v
}

// sectionNumber is the n bytes at off of a section; ok is false where it ends before.
func (u *unit) sectionNumber(section []byte, off uint64, n int) (v uint64, ok bool) {
	if off > uint64(len(section)) || uint64(n) > uint64(len(section))-off {
		return 0, false
	}
	b := section[off : off+uint64(n)]
	if u.big {
		return bigNumber(b), true
	}
	for i, c := range b {
		v |= uint64(c) << (8 * i)
	}
	return v, true
}

// indexed is the name that .debug_str_offsets has at index i; 0 if there is none.
func (u *unit) indexed(i uint64) uint64 {
	d := u.space.d
	if i > uint64(len(d.StrOffsets)) {
		return 0
	}
	off, ok := u.sectionNumber(d.StrOffsets, u.strOffsets+i*uint64(u.offSize), u.offSize)
	if !ok {
		return 0
	}
	return off&nameMask | (secStr+2*u.space.id)<<nameShift
}

// address is the address that .debug_addr has at index i; 0 if there is none.
func (u *unit) address(i uint64) uint64 {
	d := u.space.d
	if i > uint64(len(d.Addr)) {
		return 0
	}
	a, _ := u.sectionNumber(d.Addr, u.addrBase+i*uint64(u.AddrSize), u.AddrSize)
	return a
}

// Operations of a location that is an address, DW_OP_*.
const (
	opLocAddr         = 0x03
	opLocAddrx        = 0xa1
	opLocGNUAddrIndex = 0xfb
)

// location is the address that an expression consists of.
func (u *unit) location(b []byte) (addr uint64, ok bool) {
	if len(b) == 0 {
		return 0, false
	}
	switch b[0] {
	case opLocAddr:
		if len(b) != 1+u.AddrSize {
			return 0, false
		}
		return u.sectionNumber(b, 1, u.AddrSize)
	case opLocAddrx, opLocGNUAddrIndex:
		i, next := uleb(b, 1)
		if next != len(b) {
			return 0, false
		}
		return u.address(i), true
	}
	return 0, false
}

// damage says where a unit could not be read on.
type damage struct {
	file string
	unit uint64
	at   int
	what string
}

func (e *damage) Error() string {
	return fmt.Sprintf("%s: the unit at %#x of .debug_info: the entry at %#x: %s", e.file, e.unit, e.at, e.what)
}

func (u *unit) damaged(at int, what string) error { return &damage{u.space.d.Name, u.Off, at, what} }
