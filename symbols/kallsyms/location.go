package kallsyms

import "encoding/binary"

// Location holds the virtual addresses of the table's parts; 0 stands for unknown or absent.
type Location struct {
	Names      uint64 // kallsyms_names
	NumSyms    uint64 // kallsyms_num_syms
	TokenTable uint64 // kallsyms_token_table
	TokenIndex uint64 // kallsyms_token_index

	// Addresses come as 32-bit Offsets (to RelativeBase up to 7.0, to themselves since 7.1), or as words.
	Offsets      uint64 // kallsyms_offsets
	RelativeBase uint64 // kallsyms_relative_base
	Addresses    uint64 // kallsyms_addresses

	// Markers (kallsyms_markers) is optional: with it, Read finds its way again behind a missing page of names.
	Markers uint64
}

// Options say what kind of machine the table is from.
type Options struct {
	Order    binary.ByteOrder // nil means little-endian
	WordSize int              // bytes, 4 or 8; 0 means 8
	Stext    uint64           // address of _stext, which decides the layout; 0 if unknown
}

func (o Options) order() binary.ByteOrder {
	if o.Order == nil {
		return binary.LittleEndian
	}
	return o.Order
}

func (o Options) wordSize() int {
	if o.WordSize == 4 {
		return 4
	}
	return 8
}

func (o Options) word(b []byte) uint64 {
	if o.wordSize() == 4 {
		return uint64(o.order().Uint32(b))
	}
	return o.order().Uint64(b)
}

// mask cuts an address down to the machine's width.
func (o Options) mask(a uint64) uint64 {
	if o.wordSize() == 4 {
		return a & 0xffffffff
	}
	return a
}
