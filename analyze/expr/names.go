package expr

import (
	"errors"
	"fmt"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/internal/nearest"
	"kdx/symbols"
)

// Class is what a word names.
type Class uint8

const (
	None Class = iota
	Struct
	Union
	Typedef
	Enum
	Enumerator
	Variable
	Function
)

var classNames = [...]string{"nothing", "struct", "union", "typedef", "enum", "enumerator", "variable", "function"}

func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return fmt.Sprintf("Class(%d)", uint8(c))
}

// Classify says what the name at the start of word is: "task_struct.pid,comm" is the Struct task_struct,
// "init_task.comm" a Variable. Where a name is several things at once, a struct or union goes before a variable
// (kmem_cache), and a variable before all others: p still shows the variable.
func Classify(v *kernel.View, word string) (Class, string) {
	name := word
	for i := range len(word) {
		if c := word[i]; !isIdentByte(c) && (c < '0' || c > '9') {
			name = word[:i]
			break
		}
	}
	if name == "" || name[0] >= '0' && name[0] <= '9' {
		return None, ""
	}
	syms := v.Debug()
	has := func(k symbols.Kind) bool { _, err := syms.TypeNamed(k, name); return err == nil }
	switch {
	case has(symbols.Struct):
		return Struct, name
	case has(symbols.Union):
		return Union, name
	}
	if s, err := v.Symbol(name); err == nil {
		if s.IsText() {
			return Function, name
		}
		return Variable, name
	}
	switch {
	case has(symbols.Typedef):
		return Typedef, name
	case has(symbols.Enum):
		return Enum, name
	}
	if _, _, err := syms.Enumerator(name); err == nil {
		return Enumerator, name
	}
	return None, name
}

// noDebug are the types of symbols of which only the address is known. They have no size, so that reading them can't
// pass for a value.
var (
	noDebugData = &symbols.Type{Kind: symbols.Void, Name: "<variable of unknown type>"}
	noDebugText = symbols.NewType(&symbols.Type{Kind: symbols.Func, Variadic: true}, func(p *symbols.Parts) {
		p.Elem = &symbols.Type{Kind: symbols.Void, Name: "<function of unknown type>"}
	})
)

// ident is the value of a name: a variable, a function or an enumerator.
func (e *evaluator) ident(t token) (kernel.Value, error) {
	if e.opt.Local != nil {
		if x, ok := e.opt.Local(t.text); ok {
			return x, nil
		}
	}
	s, err := e.v.Symbol(t.text)
	if err == nil {
		return e.symbol(t, s)
	}
	if !errors.Is(err, symbols.ErrNotFound) {
		return kernel.Value{}, e.fail(t.pos, err)
	}
	if n, typ, err := e.v.Debug().Enumerator(t.text); err == nil {
		return e.make(typ, uint64(n)), nil
	}
	switch t.text {
	case "true":
		return e.make(e.base.bool_, 1), nil
	case "false":
		return e.make(e.base.bool_, 0), nil
	case "NULL":
		return e.make(symbols.PointerTo(symbols.VoidType, e.v.WordSize()), 0), nil
	}
	if c, _ := Classify(e.v, t.text); c == Struct || c == Union || c == Enum || c == Typedef {
		return kernel.Value{}, e.errorf(t.pos, "%s is a %s, no variable", t.text, c)
	}
	if strings.Trim(t.text, "0123456789abcdefABCDEF") == "" {
		return kernel.Value{}, e.errorf(t.pos, "there is no symbol %s; a hexadecimal number needs 0x in expressions: 0x%s", t.text, t.text)
	}
	return kernel.Value{}, e.errorf(t.pos, "there is no symbol %s%s", t.text, e.similarSymbol(t.text))
}

// isLocal reports whether the name is that of a variable that goes before all else: "file" of a frame, not struct file.
func (e *evaluator) isLocal(name string) bool {
	if e.opt.Local == nil {
		return false
	}
	_, ok := e.opt.Local(name)
	return ok
}

func (e *evaluator) symbol(t token, s symbols.Symbol) (kernel.Value, error) {
	if s.IsText() {
		typ, err := e.v.Debug().FunctionType(t.text)
		if err != nil {
			typ = noDebugText
		}
		return e.v.Object(typ, vmem.Addr(s.Addr)), nil
	}
	typ, err := e.v.Debug().VariableType(t.text)
	if errors.Is(err, symbols.ErrNotFound) {
		typ, err = noDebugData, nil
	}
	if err != nil {
		return kernel.Value{}, e.fail(t.pos, err)
	}
	addr := vmem.Addr(s.Addr)
	if e.typesOnly || e.rawPerCPU || !e.v.IsPerCPU(addr) {
		return e.v.Object(typ, addr), nil
	}
	if e.opt.CPU < 0 {
		return kernel.Value{}, e.errorf(t.pos, "%s is per-CPU: say which, as in %s:0 (%s:a for all)", t.text, t.text, t.text)
	}
	off, err := e.v.PerCPUOffset(e.opt.CPU)
	if err != nil {
		return kernel.Value{}, e.fail(t.pos, err)
	}
	return e.v.Object(typ, addr+vmem.Addr(off)), nil
}

// SimilarType is ", did you mean …?" with type names near name, or "". kinds limits it; none means all.
func SimilarType(v *kernel.View, name string, kinds ...symbols.Kind) string {
	f := nearest.New(name)
	for k, n := range v.Debug().TypeNames() {
		if len(kinds) == 0 || k == kinds[0] {
			f.Add(n)
		}
	}
	return didYouMean(f.Best(3))
}

func (e *evaluator) similarSymbol(name string) string {
	f := nearest.New(name)
	for s := range e.v.Debug().All() {
		f.Add(s.Name)
	}
	return didYouMean(f.Best(3))
}

func didYouMean(names []string) string {
	switch len(names) {
	case 0:
		return ""
	case 1:
		return "; did you mean " + names[0] + "?"
	}
	return "; did you mean " + strings.Join(names[:len(names)-1], ", ") + " or " + names[len(names)-1] + "?"
}

// SimilarMember is "; did you mean …?" with members of t near name, or "".
func SimilarMember(t *symbols.Type, name string) string {
	f := nearest.New(name)
	addMembers(f, t.Strip(), 0)
	return didYouMean(f.Best(3))
}

func addMembers(f *nearest.Finder, t *symbols.Type, depth int) {
	if depth > 8 {
		return
	}
	for _, m := range t.Members() {
		if m.Name != "" {
			f.Add(m.Name)
		} else if m.Type.Composite() {
			addMembers(f, m.Type.Strip(), depth+1)
		}
	}
}

func (e *evaluator) noMember(pos int, t *symbols.Type, path string) error {
	s := t.Strip()
	switch {
	case s.Incomplete:
		return e.errorf(pos, "%s is declared, but this kernel's types do not define it", s)
	case !t.Composite():
		return e.errorf(pos, "%s is no struct or union", t)
	}
	return e.errorf(pos, "%s has no member %s%s", t, path, SimilarMember(t, path))
}
