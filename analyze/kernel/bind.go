package kernel

import (
	"fmt"
	"reflect"
	"strings"

	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Binding reads a kernel struct into a Go struct, member by member, through one window of memory. Fields say which
// member they hold by a tag:
//
//	type vma struct {
//		Start vmem.Addr `k:"vm_start"`
//		State uint32    `k:"__state|state"`          // the first that this kernel has
//		Base  uint64    `k:"mm.mmap_base,optional"`  // zero where the kernel has none; ask Has
//		Comm  string    `k:"comm"`                   // char array, up to its NUL
//		List  vmem.Addr `k:"&children"`              // the member's address
//	}
//
// A Go field may be wider than the member (signed members are sign-extended), never narrower than 1 byte; arrays of
// integers bind to Go arrays of the same element size.
type Binding[T any] struct{ l *layout }

type layout struct {
	typ    *symbols.Type
	lo, hi uint64 // the window: bytes from the struct's start
	fields []boundField
	has    map[string]bool
}

type boundField struct {
	index  int
	name   string
	off    uint64 // bytes from the struct's start
	size   uint64
	signed bool
	bit    uint32
	bits   uint32
	kind   reflect.Kind
	isAddr bool // the address, not the value
	elem   uint64
}

type bindKey struct {
	t   reflect.Type
	tag string
}

// Bind compiles T for struct tag of this kernel; it does so once and remembers. The error names the member that the
// kernel does not have.
func Bind[T any](k *Kernel, tag string) (Binding[T], error) {
	rt := reflect.TypeFor[T]()
	key := bindKey{rt, tag}
	if l, ok := k.bindings.Load(key); ok {
		return Binding[T]{l.(*layout)}, nil
	}
	l, err := k.compile(rt, tag)
	if err != nil {
		return Binding[T]{}, err
	}
	k.bindings.Store(key, l)
	return Binding[T]{l}, nil
}

func (k *Kernel) compile(rt reflect.Type, tag string) (*layout, error) {
	t, err := k.Struct(tag)
	if err != nil {
		return nil, err
	}
	l := &layout{typ: t, lo: ^uint64(0), has: make(map[string]bool)}
	for i := range rt.NumField() {
		sf := rt.Field(i)
		spec, ok := sf.Tag.Lookup("k")
		if !ok {
			continue
		}
		if !sf.IsExported() {
			return nil, fmt.Errorf("struct %s: the Go field %s is not exported, so nothing can be read into it", tag, sf.Name)
		}
		names, optional := strings.CutSuffix(spec, ",optional")
		names, isAddr := strings.CutPrefix(names, "&")
		m, found := firstMember(t, names)
		if !found {
			if optional {
				continue
			}
			return nil, fmt.Errorf("struct %s of this kernel has no member %s", tag, strings.ReplaceAll(names, "|", " or "))
		}
		f, err := bindField(sf, i, m, isAddr)
		if err != nil {
			return nil, fmt.Errorf("struct %s, member %s: %w", tag, names, err)
		}
		l.has[sf.Name] = true
		l.fields = append(l.fields, f)
		if isAddr {
			continue
		}
		l.lo, l.hi = min(l.lo, f.off), max(l.hi, f.off+f.size)
	}
	l.lo = min(l.lo, l.hi)
	return l, nil
}

// maxString bounds a character array: the kernel's longest are paths of 4096 bytes, a damaged type may claim any size.
const maxString = 1 << 16

func firstMember(t *symbols.Type, names string) (symbols.Member, bool) {
	for name := range strings.SplitSeq(names, "|") {
		if m, ok := t.Path(name); ok {
			return m, true
		}
	}
	return symbols.Member{}, false
}

func bindField(sf reflect.StructField, i int, m symbols.Member, isAddr bool) (boundField, error) {
	st := m.Type.Strip()
	f := boundField{index: i, name: m.Name, off: m.Offset(), size: sizeOf(st), signed: st.Signed, kind: sf.Type.Kind(), isAddr: isAddr}
	if isAddr {
		if f.kind != reflect.Uint64 || m.BitSize != 0 {
			return f, fmt.Errorf("an address of %s does not bind to Go's %s", m.Type, sf.Type)
		}
		return f, nil
	}
	if m.BitSize > 64 {
		return f, fmt.Errorf("a bit-field of %d bits", m.BitSize)
	}
	if m.BitSize != 0 {
		f.bit, f.bits = uint32(m.BitOffset%8), m.BitSize
		f.size = uint64(f.bit+f.bits+7) / 8
	}
	switch f.kind {
	case reflect.String:
		if st.Kind != symbols.Array {
			return f, fmt.Errorf("%s is no character array", m.Type)
		}
		f.size = min(f.size, maxString)
	case reflect.Array:
		f.elem = uint64(sf.Type.Elem().Size())
		if k := sf.Type.Elem().Kind(); k < reflect.Bool || k > reflect.Uint64 || k == reflect.Int || k == reflect.Uint {
			return f, fmt.Errorf("can't bind to Go's %s", sf.Type)
		}
		if st.Kind != symbols.Array || sizeOf(st.Elem()) != f.elem {
			return f, fmt.Errorf("%s does not bind to Go's %s: its elements differ in size", m.Type, sf.Type)
		}
		f.signed = st.Elem().Strip().Signed
		if want := uint64(sf.Type.Len()) * f.elem; want < f.size {
			f.size = want
		}
	case reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64, reflect.Bool:
		// A struct that wraps one word (atomic_t, memdesc_flags_t, kuid_t) binds as that word.
		if f.bits == 0 && f.size != 1 && f.size != 2 && f.size != 4 && f.size != 8 {
			return f, fmt.Errorf("%s has %d bytes", m.Type, f.size)
		}
		if st.Kind == symbols.Struct {
			f.signed = wrapsSigned(st)
		}
	default:
		return f, fmt.Errorf("can't bind to Go's %s", sf.Type)
	}
	return f, nil
}

func wrapsSigned(t *symbols.Type) bool {
	for range 4 {
		ms := t.Members()
		if len(ms) != 1 {
			return false
		}
		t = ms[0].Type.Strip()
		if t.Kind != symbols.Struct {
			return t.Signed
		}
	}
	return false
}

// Has reports whether the kernel has the member behind the named Go field.
func (b Binding[T]) Has(field string) bool { return b.l.has[field] }

// Type is the bound struct.
func (b Binding[T]) Type() *symbols.Type { return b.l.typ }

// Size of the bound struct in bytes.
func (b Binding[T]) Size() uint64 { return b.l.typ.Size }

// ReadStruct reads the struct tag at addr: what Bind and Read do, for a struct that is read in one place.
func ReadStruct[T any](v *View, tag string, addr vmem.Addr) (T, error) {
	b, err := Bind[T](v.Kernel, tag)
	if err != nil {
		var none T
		return none, err
	}
	return b.Read(v, addr)
}

// Read reads the struct at addr.
func (b Binding[T]) Read(v *View, addr vmem.Addr) (T, error) {
	var out T
	err := b.ReadInto(v, addr, &out)
	return out, err
}

// ReadInto is Read into memory of the caller. Fields are only set if all could be read.
func (b Binding[T]) ReadInto(v *View, addr vmem.Addr, out *T) error {
	var small [1024]byte
	var p []byte
	if n := b.l.hi - b.l.lo; n <= uint64(len(small)) {
		p = small[:n]
		if err := v.Read(p, addr+vmem.Addr(b.l.lo)); err != nil {
			return fmt.Errorf("struct %s at %#x: %w", b.l.typ.Name, uint64(addr), err)
		}
	} else {
		// A wide window (task_struct) is read page-wise only where fields are.
		return b.readSparse(v, addr, out)
	}
	b.set(v, addr, out, func(f *boundField) []byte { return p[f.off-b.l.lo : f.off-b.l.lo+f.size] })
	return nil
}

func (b Binding[T]) readSparse(v *View, addr vmem.Addr, out *T) error {
	var buf [512]byte
	whole := *out // fields are set only if all can be
	rv := reflect.ValueOf(&whole).Elem()
	for i := range b.l.fields {
		f := &b.l.fields[i]
		if f.isAddr {
			v.setField(rv, f, addr, nil)
			continue
		}
		p := buf[:min(f.size, uint64(len(buf)))]
		if f.size > uint64(len(buf)) {
			p = make([]byte, f.size)
		}
		if err := v.Read(p, addr+vmem.Addr(f.off)); err != nil {
			return fmt.Errorf("struct %s at %#x, member %s: %w", b.l.typ.Name, uint64(addr), f.name, err)
		}
		v.setField(rv, f, addr, p)
	}
	*out = whole
	return nil
}

func (b Binding[T]) set(v *View, addr vmem.Addr, out *T, window func(*boundField) []byte) {
	rv := reflect.ValueOf(out).Elem()
	for i := range b.l.fields {
		f := &b.l.fields[i]
		var p []byte
		if !f.isAddr {
			p = window(f)
		}
		v.setField(rv, f, addr, p)
	}
}

func (v *View) setField(rv reflect.Value, f *boundField, addr vmem.Addr, p []byte) {
	fv := rv.Field(f.index)
	if f.isAddr {
		fv.SetUint(uint64(addr) + f.off)
		return
	}
	switch f.kind {
	case reflect.String:
		fv.SetString(cstring(p))
		return
	case reflect.Array:
		n := int(f.size / f.elem)
		for i := range n {
			v.setScalar(fv.Index(i), v.decodeUint(p[uint64(i)*f.elem:uint64(i+1)*f.elem]), uint32(f.elem*8), f.signed)
		}
		return
	}
	if f.bits != 0 {
		v.setScalar(fv, ExtractBits(p, f.bit, f.bits, v.bigEndian()), f.bits, f.signed)
		return
	}
	v.setScalar(fv, v.decodeUint(p), uint32(f.size*8), f.signed)
}

func (v *View) setScalar(fv reflect.Value, u uint64, bits uint32, signed bool) {
	if signed && bits < 64 && u>>(bits-1)&1 != 0 {
		u |= ^uint64(0) << bits
	}
	switch {
	case fv.Kind() == reflect.Bool:
		fv.SetBool(u != 0)
	case fv.CanInt():
		fv.SetInt(int64(u))
	default:
		fv.SetUint(u)
	}
}

func cstring(p []byte) string {
	for i, c := range p {
		if c == 0 {
			return string(p[:i])
		}
	}
	return string(p)
}
