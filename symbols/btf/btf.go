package btf

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"sync"

	"github.com/cilium/ebpf/btf"

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
}

// Finder knows the types of the kernel or of one module. It implements symbols.TypeFinder and is safe for many
// goroutines.
type Finder struct {
	name string
	base *Finder // the kernel's, for a module
	spec *btf.Spec
	raw  *rawTypes
	ptr  uint64

	// One lock for the kernel's finder and its modules': the library's decoder of a module's BTF changes that of the
	// kernel's without locking it.
	mu    *sync.Mutex
	types map[btf.TypeID]*symbols.Type

	byName    typeIndex
	funcs     typeIndex
	constants constantIndex
	oldEnums  bool // no enum says that it is signed: pahole before 1.24 could not
	signChar  bool // char is signed, though BTF does not say so
}

var _ symbols.TypeFinder = (*Finder)(nil)

// Read decodes the kernel's BTF, which lies between __start_BTF and __stop_BTF.
func Read(mem symbols.Memory, start, stop uint64, opt Options) (*Finder, error) {
	if stop <= start {
		return nil, fmt.Errorf("btf: from %#x to %#x there is nothing", start, stop)
	}
	return read(mem, nil, start, stop-start, "btf", opt)
}

// ReadModule decodes a module's BTF (struct module's btf_data and btf_data_size, 5.11), which builds on the kernel's.
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
	data, err := readAll(mem, addr, int(size))
	if err != nil {
		return nil, fmt.Errorf("%s: type information at %#x: %w", name, addr, err)
	}
	f, err := parse(data, base, name, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: type information at %#x: %w", name, addr, err)
	}
	return f, nil
}

// readAll reads in steps, so that a lying size costs no memory.
func readAll(mem symbols.Memory, addr uint64, size int) ([]byte, error) {
	const step = 8 << 20
	var data []byte
	for len(data) < size {
		at := len(data)
		n := min(size-at, step)
		data = append(data, make([]byte, n)...)
		got, err := mem.ReadMemory(data[at:], addr+uint64(at))
		if err != nil {
			return nil, fmt.Errorf("%d of %d bytes are there: %w", at+got, size, err)
		}
		if got < n {
			return nil, fmt.Errorf("%d of %d bytes are there", at+got, size)
		}
	}
	return data, nil
}

// Parse decodes BTF from a file's section. The slice is kept and changed.
func Parse(data []byte, base *Finder, name string, opt Options) (*Finder, error) {
	f, err := parse(data, base, name, opt)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return f, nil
}

func parse(data []byte, base *Finder, name string, opt Options) (f *Finder, err error) {
	defer recovered(&err)
	f = &Finder{name: name, base: base, ptr: opt.PointerSize, mu: new(sync.Mutex)}
	if f.ptr != 4 {
		f.ptr = 8
	}
	first, baseStrings := uint32(1), uint32(0)
	if base != nil {
		f.mu = base.mu
		first = base.raw.first + uint32(len(base.raw.offsets))
		baseStrings = base.raw.stringEnd
	}
	f.raw, err = index(data, first, baseStrings)
	if err != nil {
		return nil, err
	}
	if base == nil {
		f.spec, err = btf.LoadSpecFromReader(bytes.NewReader(data))
	} else {
		f.spec, err = btf.LoadSplitSpecFromReader(bytes.NewReader(data), base.spec)
		f.oldEnums = base.oldEnums
	}
	if err != nil {
		return nil, err
	}
	f.types = make(map[btf.TypeID]*symbols.Type)
	f.oldEnums = f.oldEnums || (base == nil && !f.raw.signedEnums)
	f.signChar = opt.SignedChar && f.raw.plainChars
	return f, nil
}

// recovered makes an error of a panic in the library, which then met data that it did not expect.
func recovered(err *error) {
	if r := recover(); r != nil {
		*err = fmt.Errorf("damaged: %v", r)
	}
}

// Name is "btf" or "btf:MODULE".
func (f *Finder) Name() string { return f.name }

// Len is the number of types, without those of the kernel for a module.
func (f *Finder) Len() int { return len(f.raw.offsets) }

// owner is the finder that a type's number belongs to.
func (f *Finder) owner(id btf.TypeID) *Finder {
	if f.base != nil && uint32(id) < f.raw.first {
		return f.base
	}
	return f
}

var errDeep = errors.New("types nest too deep: the data is damaged")

// byID decodes one type with what it holds by value. f.mu is held.
func (f *Finder) byID(id btf.TypeID) (t btf.Type, err error) {
	defer recovered(&err)
	if !f.shallow(id) {
		return nil, fmt.Errorf("type %d: %w", id, errDeep)
	}
	return f.spec.TypeByID(id)
}

// order is the byte order of raw BTF.
func order(data []byte) (binary.ByteOrder, error) {
	switch {
	case len(data) < headerSize:
		return nil, fmt.Errorf("only %d bytes: too short for a header", len(data))
	case data[0] == 0x9f && data[1] == 0xeb:
		return binary.LittleEndian, nil
	case data[0] == 0xeb && data[1] == 0x9f:
		return binary.BigEndian, nil
	}
	return nil, fmt.Errorf("begins with % x, which is not BTF", data[:4])
}
