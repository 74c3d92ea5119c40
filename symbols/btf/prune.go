package btf

import (
	"cmp"
	"encoding/binary"
	"fmt"
	"slices"

	"kdx/symbols"
)

// Wanted are the types that Prune keeps.
type Wanted struct {
	Types     []Name   // structs, unions, enums, typedefs
	Variables []string // their types
	Constants []string // of enums, which are kept whole
}

// Name of a type.
type Name struct {
	Kind symbols.Kind
	Name string
}

// Prune makes BTF that says the same of the wanted types, and of what they are made of; names that this BTF lacks are passed over. Structs and
// unions that pointers lead to are declared only, unless they are wanted, too.
func (f *Finder) Prune(want Wanted) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.base != nil {
		return nil, fmt.Errorf("%s: types of a module can't be taken out by themselves", f.name)
	}
	p := &pruner{f: f, r: f.raw, known: make(map[kept]typeID), strings: []byte{0}, at: map[string]uint32{"": 0}}
	if err := p.collect(want); err != nil {
		return nil, err
	}
	if err := p.close(); err != nil {
		return nil, err
	}
	return p.write()
}

// kept is a type that is kept: as it is, or as what a pointer leads to.
type kept struct {
	id     typeID
	behind bool
}

type pruner struct {
	f     *Finder
	r     *rawTypes
	all   []kept // in the order in which they were met
	known map[kept]typeID

	types   []byte
	strings []byte
	at      map[string]uint32 // offsets of strings
}

// keep takes a type in.
func (p *pruner) keep(id typeID, behind bool) {
	k := kept{id, behind}
	if _, ok := p.known[k]; ok || id == 0 {
		return
	}
	p.known[k] = 0
	p.all = append(p.all, k)
}

func (p *pruner) collect(want Wanted) error {
	lookup := func(name string, kinds ...uint32) error {
		id, ok, err := p.f.lookup(name, kinds...)
		if ok {
			p.keep(id, false)
		}
		return err
	}
	for _, n := range want.Types {
		kinds, ok := recordKinds[n.Kind]
		if !ok {
			return fmt.Errorf("%s %s is no named type", n.Kind, n.Name)
		}
		if err := lookup(n.Name, kinds...); err != nil {
			return err
		}
	}
	for _, name := range want.Variables {
		if err := lookup(name, kindVar); err != nil {
			return err
		}
	}
	for _, name := range want.Constants {
		id, ok, err := p.f.enumOf(name)
		if err != nil {
			return err
		}
		if ok {
			p.keep(id, false)
		}
	}
	// That some enum says that it is signed tells how the others are to be understood.
	for _, id := range p.r.enums {
		x, _, err := p.r.record(id)
		if err != nil {
			return err
		}
		if x.flag {
			p.keep(id, false)
			break
		}
	}
	return nil
}

// close takes in what types are made of, and gives all their new numbers.
func (p *pruner) close() error {
	for i := 0; i < len(p.all); i++ {
		k := p.all[i]
		x, ok, err := p.r.record(k.id)
		if err != nil || !ok {
			return fmt.Errorf("there is no type %d: %w", k.id, cmp.Or(err, errChanged))
		}
		if p.declared(x, k.behind) {
			continue
		}
		kind, tag := x.kind, x.name
		for _, c := range p.children(x, k.behind) {
			p.keep(c.id, c.behind)
		}
		if kind != kindStruct && kind != kindUnion || tag == 0 {
			continue
		}
		// Where several have one name, the first is what the name means.
		name, err := p.r.str(tag)
		if err != nil {
			return err
		}
		first, _, err := p.f.lookup(name, kind)
		if err != nil {
			return err
		}
		p.keep(first, false)
	}
	slices.SortFunc(p.all, func(a, b kept) int {
		if a.id != b.id {
			return cmp.Compare(a.id, b.id)
		}
		if a.behind {
			return 1
		}
		return -1
	})
	for i, k := range p.all {
		p.known[k] = typeID(i + 1)
	}
	return nil
}

// declared reports whether of a record only that there is such a type is kept.
func (p *pruner) declared(x record, behind bool) bool {
	return behind && (x.kind == kindStruct || x.kind == kindUnion) && x.name != 0
}

// children are the types that a record refers to.
func (p *pruner) children(x record, behind bool) []kept {
	u32 := p.r.order.u32
	switch x.kind {
	case kindPointer:
		return []kept{{x.of(), true}}
	case kindTypedef, kindVolatile, kindConst, kindRestrict, kindTypeTag:
		return []kept{{x.of(), behind}}
	case kindVar, kindFunc, kindDeclTag:
		return []kept{{x.of(), false}}
	case kindArray:
		return []kept{{typeID(u32(x.body)), false}, {typeID(u32(x.body[4:])), false}}
	case kindStruct, kindUnion:
		out := make([]kept, 0, x.n)
		for i := range x.n {
			out = append(out, kept{typeID(u32(x.body[12*i+4:])), false})
		}
		return out
	case kindFuncProto:
		out := []kept{{x.of(), true}}
		for i := range x.n {
			out = append(out, kept{typeID(u32(x.body[8*i+4:])), true})
		}
		return out
	}
	return nil
}

// write makes BTF of what is kept.
func (p *pruner) write() ([]byte, error) {
	for _, k := range p.all {
		x, ok, err := p.r.record(k.id)
		if err != nil || !ok {
			return nil, cmp.Or(err, errChanged)
		}
		x.body = slices.Clone(x.body)
		if err := p.record(x, k.behind); err != nil {
			return nil, err
		}
	}
	head := p.put(nil, 0x01eb9f) // version 1, no flags
	if p.r.order == big {
		head = []byte{0xeb, 0x9f, 1, 0}
	}
	for _, n := range []int{headerSize, 0, len(p.types), len(p.types), len(p.strings)} {
		head = p.put(head, uint32(n))
	}
	return slices.Concat(head, p.types, p.strings), nil
}

func (p *pruner) put(b []byte, v uint32) []byte {
	if p.r.order == big {
		return binary.BigEndian.AppendUint32(b, v)
	}
	return binary.LittleEndian.AppendUint32(b, v)
}

// str is the new offset of a string.
func (p *pruner) str(off uint32) (uint32, error) {
	s, err := p.r.str(off)
	if err != nil {
		return 0, err
	}
	at, ok := p.at[s]
	if !ok {
		at = uint32(len(p.strings))
		p.at[s] = at
		p.strings = append(append(p.strings, s...), 0)
	}
	return at, nil
}

// record writes one.
func (p *pruner) record(x record, behind bool) error {
	name, err := p.str(x.name)
	if err != nil {
		return err
	}
	if p.declared(x, behind) {
		info := uint32(kindForward << 24)
		if x.kind == kindUnion {
			info |= 1 << 31
		}
		p.types = p.put(p.put(p.put(p.types, name), info), 0)
		return nil
	}
	info := x.kind<<24 | uint32(x.n)
	if x.flag {
		info |= 1 << 31
	}
	size := x.size
	words := x.body // of which some are strings, some types
	stringAt, typeAt, step := -1, -1, 4
	children := p.children(x, behind)
	switch x.kind {
	case kindStruct, kindUnion:
		stringAt, typeAt, step = 0, 4, 12
	case kindFuncProto:
		stringAt, typeAt, step = 0, 4, 8
		size, children = uint32(p.known[children[0]]), children[1:]
	case kindEnum:
		stringAt, step = 0, 8
	case kindEnum64:
		stringAt, step = 0, 12
	case kindArray:
		typeAt, step, words = 0, 4, x.body[:8]
	case kindPointer, kindTypedef, kindVolatile, kindConst, kindRestrict, kindTypeTag, kindVar, kindFunc, kindDeclTag:
		size = uint32(p.known[children[0]])
	}
	p.types = p.put(p.put(p.put(p.types, name), info), size)
	for i := 0; i+step <= len(words); i += step {
		for at := 0; at < step; at += 4 {
			v := p.r.order.u32(words[i+at:])
			switch at {
			case stringAt:
				if v, err = p.str(v); err != nil {
					return err
				}
			case typeAt:
				v = uint32(p.known[children[i/step]])
			}
			p.types = p.put(p.types, v)
		}
	}
	p.types = append(p.types, x.body[len(words):]...)
	return nil
}
