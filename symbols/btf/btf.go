package btf

import (
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"kdx/symbols"
)

// maxBTF is the most that is read as BTF; a distribution's vmlinux has 5 MB.
const maxBTF = 256 << 20

// Options say what kind of machine the BTF is from.
type Options struct {
	PointerSize uint64 // bytes; 0 means 8
	// SignedChar: char is signed where BTF does not say. So it is on x86 in kernels before 6.2, which made it unsigned
	// everywhere; pahole says which since 1.19.
	SignedChar bool
	// Declared finds structs and unions that are only declared here; nil if nobody knows more.
	Declared func(kind symbols.Kind, name string) (*symbols.Type, error)
}

// Finder knows the types of the kernel or of one module. It implements symbols.TypeFinder and is safe for many
// goroutines.
type Finder struct {
	name string
	base *Finder // the kernel's, for a module
	raw  *rawTypes
	ptr  uint64
	opt  Options

	// One lock for the kernel's finder and its modules', which lead to each other.
	mu    *sync.Mutex
	types map[typeID]*symbols.Type

	byName    nameIndex
	funcs     nameIndex
	constants nameIndex

	oldEnums bool // no enum says that it is signed: pahole before 1.24 could not
	signChar bool // char is signed, though BTF does not say so
}

var _ symbols.TypeFinder = (*Finder)(nil)

// Read opens the kernel's BTF, which lies between __start_BTF and __stop_BTF. mem is read for as long as the Finder is used.
func Read(mem symbols.Memory, start, stop uint64, opt Options) (*Finder, error) {
	if stop <= start {
		return nil, fmt.Errorf("btf: from %#x to %#x there is nothing", start, stop)
	}
	return read(mem, nil, start, stop-start, "btf", opt)
}

// ReadModule opens a module's BTF (struct module's btf_data and btf_data_size, 5.11), which builds on the kernel's.
func ReadModule(mem symbols.Memory, base *Finder, addr, size uint64, module string) (*Finder, error) {
	if base == nil || base.base != nil {
		return nil, fmt.Errorf("btf: module %s: its types need the kernel's BTF, which is not there", module)
	}
	if addr == 0 || size == 0 {
		return nil, fmt.Errorf("btf: module %s has no BTF: %w", module, symbols.ErrNotFound)
	}
	return read(mem, base, addr, size, "btf:"+module, Options{PointerSize: base.ptr})
}

func read(mem symbols.Memory, base *Finder, addr, size uint64, name string, opt Options) (*Finder, error) {
	if size > maxBTF {
		return nil, fmt.Errorf("%s: %d bytes at %#x can't be right", name, size, addr)
	}
	f, err := open(mem, addr, size, base, name, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: type information at %#x: %w", name, addr, err)
	}
	return f, nil
}

// Parse opens BTF of a file's section. The slice is kept.
func Parse(data []byte, base *Finder, name string, opt Options) (*Finder, error) {
	f, err := open(bytesMemory(data), 0, uint64(len(data)), base, name, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func open(mem symbols.Memory, addr, size uint64, base *Finder, name string, opt Options) (*Finder, error) {
	f := &Finder{name: name, base: base, ptr: opt.PointerSize, opt: opt, mu: new(sync.Mutex), types: make(map[typeID]*symbols.Type)}
	if f.ptr != 4 {
		f.ptr = 8
	}
	var of *rawTypes
	if base != nil {
		f.mu = base.mu
		f.mu.Lock()
		defer f.mu.Unlock()
		of = base.raw
		f.oldEnums = base.oldEnums
	}
	var err error
	if f.raw, err = newRawTypes(mem, addr, size, of); err != nil {
		return nil, err
	}
	if f.byName, err = f.raw.scan(); err != nil {
		return nil, err
	}
	f.oldEnums = f.oldEnums || (base == nil && !f.raw.signedEnums)
	f.signChar = opt.SignedChar && f.raw.plainChars
	return f, nil
}

// Name is "btf" or "btf:MODULE".
func (f *Finder) Name() string { return f.name }

// Len is the number of types, without those of the kernel for a module.
func (f *Finder) Len() int { return f.raw.count }

// owner is the finder that a type's number belongs to.
func (f *Finder) owner(id typeID) *Finder {
	if f.base != nil && id < f.raw.first {
		return f.base
	}
	return f
}

var errDeep = errors.New("types nest too deep: the data is damaged")

// order is the byte order of BTF.
type order bool

const (
	little order = false
	big    order = true
)

func (o order) u32(b []byte) uint32 {
	if o == little {
		return binary.LittleEndian.Uint32(b)
	}
	return binary.BigEndian.Uint32(b)
}

// orderOf is that of the BTF that begins with data.
func orderOf(data []byte) (order, error) {
	switch {
	case len(data) < headerSize:
		return little, fmt.Errorf("only %d bytes: too short for a header", len(data))
	case data[0] == 0x9f && data[1] == 0xeb:
		return little, nil
	case data[0] == 0xeb && data[1] == 0x9f:
		return big, nil
	}
	return little, fmt.Errorf("begins with % x, which is not BTF", data[:4])
}
