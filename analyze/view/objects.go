package view

import (
	"bytes"
	"fmt"
	"io"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Objects are objects of one type, whole or some of their members.
type Objects struct {
	Type    *symbols.Type
	Members []string // paths; empty for all
	Follow  bool     // show what the pointers among the members point to
	Raw     bool     // the bytes instead of the members
	Style   Style
	List    []Object
}

// Object is one of Objects.
type Object struct {
	CPU   int  // -1 if it is no CPU's copy
	First bool // of those that follow each other in memory
	Addr  vmem.Addr
	Value kernel.Value
}

// Text is crash's: "struct list_head {…}", or "  member = value," for single members.
func (o *Objects) Text(w io.Writer, _ Options) error {
	st := o.Style
	for i := range o.List {
		obj := &o.List[i]
		if i > 0 && !obj.First && !o.Raw {
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
		if obj.CPU >= 0 && obj.First {
			if _, err := fmt.Fprintf(w, "[%d]: %x\n", obj.CPU, uint64(obj.Addr)); err != nil {
				return err
			}
		}
		if err := o.one(w, obj, st); err != nil {
			return err
		}
	}
	return nil
}

func (o *Objects) one(w io.Writer, obj *Object, st Style) error {
	if err := obj.Value.Err(); err != nil {
		return err
	}
	switch {
	case o.Raw:
		return o.raw(w, obj)
	case len(o.Members) > 0:
		for _, path := range o.Members {
			if err := o.member(w, obj.Value.Field(path), path, st, "  "); err != nil {
				return err
			}
		}
		return nil
	case o.Follow && o.Type.Composite():
		return o.followed(w, obj, st)
	}
	if _, err := io.WriteString(w, title(o.Type)+" "); err != nil {
		return err
	}
	if err := writeValue(w, obj.Value, st, "", false); err != nil {
		return err
	}
	_, err := io.WriteString(w, "\n")
	return err
}

// lastOf reports whether the member at path is the last of the braces that it stands in: those of the struct, or of a nameless one within.
func lastOf(t *symbols.Type, path string) bool { return lastWithin(t, path, 0) }

func lastWithin(t *symbols.Type, path string, depth int) bool {
	name := path
	if i := strings.LastIndexByte(path, '.'); i >= 0 {
		m, ok := t.Path(path[:i])
		if !ok {
			return false
		}
		t, name = m.Type, path[i+1:]
	}
	list := t.Strip().Members()
	for i, m := range list {
		switch {
		case m.Name == name:
			return i == len(list)-1
		case depth < 16 && m.Name == "" && m.Type.Composite() && lastWithin(m.Type, name, depth+1): // damaged types can hold themselves
			return true
		}
	}
	return false
}

// member writes "  path = value,", without the comma behind the last of its struct.
func (o *Objects) member(w io.Writer, x kernel.Value, path string, st Style, indent string) error {
	if o.Follow && x.Err() == nil && x.Type().Strip().Kind == symbols.Pointer {
		return follow(w, x, path, st, indent)
	}
	if _, err := io.WriteString(w, indent+path+" = "); err != nil {
		return err
	}
	if err := writeNamedValue(w, x, st, indent, false, o.Type.String()+", member "+path); err != nil {
		return err
	}
	end := ",\n"
	if lastOf(o.Type, path) {
		end = "\n"
	}
	_, err := io.WriteString(w, end)
	return err
}

// followed is a whole object whose pointers are followed.
func (o *Objects) followed(w io.Writer, obj *Object, st Style) error {
	if _, err := io.WriteString(w, title(o.Type)+" {\n"); err != nil {
		return err
	}
	for _, m := range o.Type.Strip().Members() {
		if m.Name == "" {
			if err := o.anonymous(w, obj, &m, st); err != nil {
				return err
			}
			continue
		}
		if err := o.member(w, obj.Value.Field(m.Name), m.Name, st, "  "); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "}\n")
	return err
}

func (o *Objects) anonymous(w io.Writer, obj *Object, m *symbols.Member, st Style) error {
	x := kernel.Value{}
	if addr, ok := obj.Value.Addr(); ok {
		x = obj.Value.View().Object(m.Type, addr+vmem.Addr(m.Offset()))
	} else if raw, err := obj.Value.Bytes(); err == nil && m.Offset() <= uint64(len(raw)) {
		x = obj.Value.View().NewValue(m.Type, raw[m.Offset():])
	}
	if _, err := io.WriteString(w, "  "); err != nil {
		return err
	}
	if err := writeValue(w, x, st, "  ", false); err != nil {
		return err
	}
	_, err := io.WriteString(w, ",\n")
	return err
}

// follow writes a pointer with its type and, below, what it points to.
func follow(w io.Writer, x kernel.Value, path string, st Style, indent string) error {
	var b strings.Builder
	b.WriteString(indent + x.Type().Declare(path) + " = ")
	p, err := x.Pointer()
	if err != nil {
		x.View().Gap(x.Type().String()+" "+path, err)
		b.WriteString(missing(err) + "\n")
		_, err := io.WriteString(w, b.String())
		return err
	}
	v := x.View()
	elem := x.Type().Strip().Elem()
	sym := ""
	note := ""
	if st.Pointee != nil && v.Arch().IsKernel(uint64(p)) {
		if x, ok := st.Pointee(uint64(p)); ok {
			note = " " + x.Text()
		}
	}
	fmt.Fprintf(&b, "%#x%s\n%s-> ", uint64(p), note, indent)
	if s, err := v.SymbolAt(p); err == nil && vmem.Addr(s.Addr) == p && v.Arch().IsKernel(uint64(p)) {
		sym = "<" + s.Name + ">"
	}
	target := v.Object(elem, p)
	s := elem.Strip()
	switch {
	case p == 0:
		b.WriteString("NULL\n")
	case !v.Arch().IsKernel(uint64(p)):
		b.WriteString("(no address of the kernel)\n")
	case s.Kind == symbols.Void || s.Kind == symbols.Func || s.Incomplete:
		if sym == "" {
			sym = "(" + elem.String() + ")"
		}
		b.WriteString(sym + "\n")
	default:
		if sym != "" {
			b.WriteString(sym + " ")
		}
		if isChar(elem) {
			text, err := v.CString(p, maxElements)
			quoteC(&b, []byte(text), len(text) == maxElements)
			if err != nil {
				v.Gap(path, err)
				b.WriteString(" " + missing(err))
			}
		} else if err := writeValue(&b, target, st, indent+"   ", false); err != nil {
			return err
		}
		b.WriteString("\n")
	}
	_, err = io.WriteString(w, b.String())
	return err
}

// raw writes the bytes as rd does: words of eight bytes, or four where the size asks for it.
func (o *Objects) raw(w io.Writer, obj *Object) error {
	if len(o.Members) == 0 {
		return rawBytes(w, obj.Value, obj.Addr)
	}
	for _, path := range o.Members {
		x := obj.Value.Field(path)
		if err := x.Err(); err != nil {
			return err
		}
		m, _ := o.Type.Path(path)
		if err := rawBytes(w, x, obj.Addr+vmem.Addr(m.Offset())); err != nil {
			return err
		}
	}
	return nil
}

func rawBytes(w io.Writer, x kernel.Value, at vmem.Addr) error {
	size := x.Type().Size
	var src *source
	var err error
	if _, _, isField := x.BitField(); isField {
		x = x.View().Object(x.Type(), at)
	}
	if src, err = newSource(x); err != nil {
		return err
	}
	word := uint64(8)
	for size%word != 0 {
		word /= 2
	}
	for off := uint64(0); off < size; off += 16 {
		n := min(16, size-off)
		q, err := src.bytes(off, n)
		if err != nil {
			src.gap("", off, err)
		}
		var hex, ascii bytes.Buffer
		for i := uint64(0); i < n; i += word {
			if i+word > uint64(len(q)) {
				fmt.Fprintf(&hex, "%s ", strings.Repeat("?", int(word*2)))
				continue
			}
			fmt.Fprintf(&hex, "%0*x ", int(word*2), decode(q[i:i+word], src.v))
		}
		for _, c := range q {
			if c < ' ' || c > '~' {
				c = '.'
			}
			ascii.WriteByte(c)
		}
		columns := int(16/word*(word*2+1)) + 2
		line := fmt.Sprintf("%x:  %-*s%s", uint64(at)+off, columns, hex.String(), ascii.String())
		if _, err := io.WriteString(w, line+"\n"); err != nil {
			return err
		}
		if err := src.v.Step(); err != nil {
			return err
		}
	}
	return nil
}

// StreamJSON: {"type", "objects": [{"address", "cpu", "value", "pointees"}]}. cpu only stands at per-CPU objects; value is the
// object, or with members given an object by their paths; pointees, by address, is there if Style asks for it.
func (o *Objects) StreamJSON(w io.Writer) error {
	if _, err := fmt.Fprintf(w, `{"type":%s,"objects":[`, jsonString(o.Type.String())); err != nil {
		return err
	}
	for i := range o.List {
		obj := &o.List[i]
		sep := ""
		if i > 0 {
			sep = ","
		}
		cpu := ""
		if obj.CPU >= 0 {
			cpu = fmt.Sprintf(`"cpu":%d,`, obj.CPU)
		}
		if _, err := fmt.Fprintf(w, `%s{"address":"%#x",%s"value":`, sep, uint64(obj.Addr), cpu); err != nil {
			return err
		}
		st, found := o.Style.collecting()
		if err := o.valueJSON(w, obj, st); err != nil {
			return err
		}
		if err := found.member(w); err != nil {
			return err
		}
		if _, err := io.WriteString(w, "}"); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "]}")
	return err
}

func (o *Objects) valueJSON(w io.Writer, obj *Object, st Style) error {
	if len(o.Members) == 0 {
		return writeJSONValue(w, obj.Value, st, "")
	}
	sep := "{"
	for _, path := range o.Members {
		if _, err := io.WriteString(w, sep+jsonString(path)+":"); err != nil {
			return err
		}
		sep = ","
		if err := writeJSONValue(w, obj.Value.Field(path), st, o.Type.String()+", member "+path); err != nil {
			return err
		}
	}
	_, err := io.WriteString(w, "}")
	return err
}
