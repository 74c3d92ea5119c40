package scrub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kdx/analyze/expr"
	"kdx/analyze/kernel"
	"kdx/analyze/module"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/internal/nearest"
	"kdx/symbols"
)

// Bounds of what a configuration can lead to.
const (
	maxString  = 1 << 20 // bytes of what a char pointer points to
	maxLinked  = 1 << 22 // objects of a list
	maxLogged  = 1000    // lines of ERASEINFO for one command
	maxElement = 1 << 24 // elements of an array
)

// config resolves an erase configuration.
func (b *builder) config(sections []Section) error {
	for _, s := range sections {
		mod := s.Module
		if mod == "vmlinux" {
			mod = ""
		} else if loaded, err := b.loaded(mod); err != nil {
			return err
		} else if !loaded {
			if name := b.builtIn(s.Commands, nil); name != "" {
				return fmt.Errorf("erase configuration: line %d: the module %s is not loaded, but the kernel itself has a symbol %s: if it is built in, its section is [vmlinux]",
					s.Line, mod, name)
			}
			b.done = append(b.done, Done{Rule: "[" + mod + "]", Notes: []string{"the module is not loaded: nothing of it is in memory"}})
			continue
		}
		r := &resolver{b: b, module: mod, vars: make(map[string]kernel.Value)}
		for _, c := range s.Commands {
			if err := r.command(c); err != nil {
				return fmt.Errorf("erase configuration: %w", err)
			}
		}
		r.finish()
	}
	return nil
}

// builtIn is the first symbol that commands name and the kernel itself has; "" if there is none. vars are those of loops.
func (b *builder) builtIn(commands []Command, vars []string) string {
	for _, c := range commands {
		name := ""
		if c.Loop != nil {
			name = c.Loop.List.Name
		} else {
			name = c.Erase.Place.Name
		}
		if !slices.Contains(vars, name) {
			all, _ := b.v.Symbols().SymbolsNamed(name)
			if slices.ContainsFunc(all, func(s symbols.Symbol) bool { return s.Module == "" }) {
				return name
			}
		}
		if c.Loop != nil {
			if name := b.builtIn(c.Loop.Body, append(vars, c.Loop.Var)); name != "" {
				return name
			}
		}
	}
	return ""
}

// loaded reports whether the kernel has the module, and sees to it that its debug file is looked for.
func (b *builder) loaded(name string) (bool, error) {
	mods, err := module.Read(b.v)
	if err != nil {
		return false, fmt.Errorf("erase configuration: [%s]: the list of modules: %w", name, err)
	}
	for _, m := range mods {
		if strings.ReplaceAll(m.Name, "-", "_") == strings.ReplaceAll(name, "-", "_") {
			if files := b.v.ModuleFiles(); files != nil && files.Attached(m.Name) == "" {
				// Without a debug file, what the kernel itself knows of the module (symbols, BTF) may still do.
				if _, err := files.Attach(b.v.Context(), m.Name, "", false); errors.Is(err, context.Canceled) {
					return false, err
				}
			}
			return true, nil
		}
	}
	return false, nil
}

// symbol applies a rule "symbol:".
func (b *builder) symbol(r Rule, d *Done) error {
	res := &resolver{b: b, any: true, vars: make(map[string]kernel.Value)}
	e := &Erase{Place: r.Place}
	places, err := res.lookup(e.Place)
	if err != nil {
		return err
	}
	for _, x := range places {
		n, err := res.erase(e, x)
		if err != nil {
			return err
		}
		if n > 0 {
			d.Objects++
			d.Bytes += n
		}
	}
	return nil
}

// resolver finds the places that commands name.
type resolver struct {
	b      *builder
	module string // "" for the kernel
	any    bool   // a rule of kdx's own: symbols of all modules are looked at, and the NUL of strings stays
	vars   map[string]kernel.Value
	counts []*erased
	byCmd  map[*Erase]*erased
}

// erased is what became of a command.
type erased struct {
	text  string
	lines []string
	done  Done
	more  uint64
	bytes uint64 // of those that have no line
}

func (r *resolver) finish() {
	for _, c := range r.counts {
		r.b.done = append(r.b.done, c.done)
		r.b.log = append(r.b.log, c.lines...)
		if c.more > 0 {
			r.b.log = append(r.b.log, fmt.Sprintf("%s: %d more, %d bytes", c.text, c.more, c.bytes))
		}
	}
}

func (r *resolver) command(c Command) error {
	if err := r.b.v.Context().Err(); err != nil {
		return err
	}
	if c.Loop != nil {
		if err := r.loop(c.Loop); err != nil {
			return fmt.Errorf("line %d: %w", c.Line, err)
		}
		return nil
	}
	places, err := r.lookup(c.Erase.Place)
	if err != nil {
		return fmt.Errorf("line %d: %w", c.Line, err)
	}
	k := r.byCmd[c.Erase]
	if k == nil {
		k = &erased{text: "erase " + c.Erase.Place.String()}
		k.done.Rule = k.text
		r.counts = append(r.counts, k)
		if r.byCmd == nil {
			r.byCmd = make(map[*Erase]*erased)
		}
		r.byCmd[c.Erase] = k
	}
	for _, x := range places {
		n, err := r.erase(c.Erase, x)
		if err != nil {
			return fmt.Errorf("line %d: erase %s: %w", c.Line, c.Erase.Place, err)
		}
		k.note(n, c.Erase.Nullify)
	}
	return nil
}

// note counts n bytes and writes makedumpfile's line for them.
func (k *erased) note(n uint64, nullify bool) {
	if n == 0 {
		return
	}
	k.done.Objects++
	k.done.Bytes += n
	switch {
	case len(k.lines) == maxLogged:
		k.more++
		k.bytes += n
	case nullify:
		k.lines = append(k.lines, k.text+" nullify")
	default:
		k.lines = append(k.lines, fmt.Sprintf("%s size %d", k.text, n))
	}
}

// lookup finds the objects that a place names: none if a pointer on the way is NULL, several if the variable is per-CPU.
func (r *resolver) lookup(p Place) ([]kernel.Value, error) {
	var out []kernel.Value
	if x, ok := r.vars[p.Name]; ok {
		out = append(out, x)
	} else {
		var err error
		if out, err = r.variable(p.Name); err != nil {
			return nil, err
		}
	}
	for _, m := range p.Members {
		next := out[:0]
		for _, x := range out {
			y, null, err := member(x, m)
			if err != nil && !r.any {
				err = fmt.Errorf("%s: %w", p, err)
			}
			if err != nil {
				return nil, err
			}
			if !null {
				next = append(next, y)
			}
		}
		out = next
	}
	return out, nil
}

// member is x.m or x->m; null says that x is a pointer that points nowhere.
func member(x kernel.Value, m string) (y kernel.Value, null bool, err error) {
	t := x.Type().Strip()
	if t.Kind == symbols.Pointer {
		p, err := x.Pointer()
		if err != nil {
			return y, false, err
		}
		if p == 0 {
			return y, true, nil
		}
		x = x.Deref()
		if t = t.Elem().Strip(); x.Err() != nil {
			return y, false, x.Err()
		}
	}
	switch {
	case t.Kind == symbols.Array:
		return y, false, fmt.Errorf("%s before .%s is an array: erase members of its elements in a loop (for x in ARRAY)", t, m)
	case t.Incomplete:
		return y, false, fmt.Errorf("%s is declared, but this kernel's types do not define it", t)
	case t.Kind == symbols.Void && t.Name != "void":
		return y, false, errors.New("the variable's type is not known: it takes the kernel's debug information (vmlinux)")
	case !t.Composite():
		return y, false, fmt.Errorf("%s before .%s is no struct or union", t, m)
	}
	if _, ok := t.Member(m); !ok {
		return y, false, fmt.Errorf("%s has no member %s%s", t, m, expr.SimilarMember(t, m))
	}
	y = x.Field(m)
	return y, false, y.Err()
}

// unknownType stands for the type of a symbol of which only the address is known.
var unknownType = &symbols.Type{Kind: symbols.Void, Name: "<variable of unknown type>"}

// variable is the variable of that name, each CPU's if it is per-CPU.
func (r *resolver) variable(name string) ([]kernel.Value, error) {
	v := r.b.v
	sym, err := r.symbol(name)
	if err != nil {
		return nil, err
	}
	t, err := v.Debug().VariableType(name)
	if err != nil && !absent(err) {
		return nil, fmt.Errorf("the type of %s: %w", name, err)
	}
	if err != nil {
		t = unknownType
		if sym.Size > 0 {
			t = symbols.ArrayOf(&symbols.Type{Kind: symbols.Int, Name: "char", Size: 1}, int64(sym.Size))
		}
	}
	addr := vmem.Addr(sym.Addr)
	if !v.IsPerCPU(addr) {
		return []kernel.Value{v.Object(t, addr)}, nil
	}
	cpus, err := v.PossibleCPUs()
	if err != nil {
		return nil, fmt.Errorf("%s is per-CPU: %w", name, err)
	}
	var out []kernel.Value
	for _, cpu := range cpus {
		off, err := v.PerCPUOffset(cpu)
		if err != nil {
			return nil, fmt.Errorf("%s of CPU %d: %w", name, cpu, err)
		}
		out = append(out, v.Object(t, addr+vmem.Addr(off)))
	}
	return out, nil
}

// symbol finds a symbol of the section's module, or of the kernel. A name that several variables have is no answer.
func (r *resolver) symbol(name string) (symbols.Symbol, error) {
	v := r.b.v
	all, err := v.Debug().SymbolsNamed(name)
	if err != nil && !absent(err) {
		return symbols.Symbol{}, err
	}
	if err != nil { // VMCOREINFO may still name it
		if s, err := v.Symbol(name); err == nil {
			return s, nil
		}
	}
	var in, kern []symbols.Symbol
	for _, s := range all {
		switch {
		case s.Module == "" || r.any:
			kern = append(kern, s)
		case strings.ReplaceAll(s.Module, "-", "_") == strings.ReplaceAll(r.module, "-", "_"):
			in = append(in, s)
		}
	}
	if len(in) == 0 {
		in = kern
	}
	switch {
	case len(in) == 1:
		return in[0], nil
	case len(in) > 1:
		places := make([]string, 0, 4)
		for _, s := range in[:min(len(in), 4)] {
			places = append(places, fmt.Sprintf("%#x", s.Addr))
		}
		return symbols.Symbol{}, fmt.Errorf("%d symbols are called %s (%s): kdx can't know which is meant", len(in), name, strings.Join(places, ", "))
	}
	where := "the kernel has no symbol " + name
	if r.module != "" {
		where = fmt.Sprintf("neither the module %s nor the kernel has a symbol %s", r.module, name)
	}
	near := nearest.New(name)
	for s := range v.Symbols().All() {
		if s.Module == "" || s.Module == r.module {
			near.Add(s.Name)
		}
	}
	if best := near.Best(3); len(best) > 0 {
		where += "; did you mean " + strings.Join(best, " or ") + "?"
	}
	return symbols.Symbol{}, errors.New(where)
}

// erase marks what e says of the object x, and returns how many bytes; 0 if a pointer leads nowhere.
func (r *resolver) erase(e *Erase, x kernel.Value) (uint64, error) {
	if _, _, ok := x.BitField(); ok {
		return 0, errors.New("it is a bit-field: erase the struct that holds it")
	}
	addr, ok := x.Addr()
	if !ok {
		return 0, errors.New("it lies nowhere in memory")
	}
	t := x.Type().Strip()
	space := r.b.v.Arch().Kernel()
	if e.Nullify {
		if !isPointer(t) {
			return 0, fmt.Errorf("only pointers can be nullified; it is %s", t)
		}
		return t.Size, r.b.marks.virt(space, uint64(addr), t.Size, 0)
	}
	given, err := r.size(e)
	if err != nil {
		return 0, err
	}
	if given != nil && *given == 0 {
		return 0, nil // makedumpfile, too, takes a size variable of 0 for nothing to erase
	}
	var size uint64
	if t.Kind == symbols.Pointer {
		p, err := x.Pointer()
		if err != nil || p == 0 {
			return 0, err
		}
		addr = p
		if given == nil {
			if size, err = r.pointed(t.Elem().Strip(), p); err != nil || size == 0 {
				return 0, err
			}
		}
	} else {
		size = t.Size
	}
	if given != nil {
		size = *given
	}
	if size == 0 {
		return 0, fmt.Errorf("the size of %s is not known: give one (size N)", t)
	}
	if r.any {
		size = r.b.keepNUL(uint64(addr), size, isText(t))
	}
	return size, r.b.marks.virt(space, uint64(addr), size, Fill)
}

func isPointer(t *symbols.Type) bool {
	for t.Kind == symbols.Array {
		t = t.Elem().Strip()
	}
	return t.Kind == symbols.Pointer
}

// pointed is the size of what a pointer to t at p points to: of a string up to its NUL.
func (r *resolver) pointed(t *symbols.Type, p vmem.Addr) (uint64, error) {
	switch {
	case t.Kind == symbols.Void || t.Kind == symbols.Func || t.Incomplete:
		return 0, fmt.Errorf("what a pointer to %s points to has no known size: give one (size N) or nullify the pointer", t)
	case t.Kind != symbols.Int || t.Name != "char":
		return t.Size, nil
	}
	buf := make([]byte, 256)
	for n := uint64(0); n < maxString; {
		got, err := r.b.v.ReadMemory(buf, uint64(p)+n)
		for _, c := range buf[:got] {
			if c == 0 {
				return n, nil
			}
			n++
		}
		if err != nil {
			return 0, fmt.Errorf("the string's end: %w", err)
		}
	}
	return 0, fmt.Errorf("the string has no end within %d KiB: give a size", maxString>>10)
}

// size is the size that e gives, nil if none.
func (r *resolver) size(e *Erase) (*uint64, error) {
	if e.SizeOf == nil {
		return e.Size, nil
	}
	places, err := r.lookup(*e.SizeOf)
	if err != nil {
		return nil, fmt.Errorf("size: %w", err)
	}
	zero := uint64(0)
	if len(places) == 0 {
		return &zero, nil
	}
	if len(places) > 1 {
		return nil, fmt.Errorf("size %s is per-CPU", e.SizeOf)
	}
	x := places[0]
	if k := x.Type().Strip().Kind; k != symbols.Int && k != symbols.Enum {
		return nil, fmt.Errorf("size %s is no integer but %s", e.SizeOf, x.Type())
	}
	n, err := x.Int()
	if err != nil {
		return nil, fmt.Errorf("size %s: %w", e.SizeOf, err)
	}
	if limit := r.b.v.Image().Info().MaxPFN * r.b.v.PageSize(); n < 0 || uint64(n) > limit {
		return nil, fmt.Errorf("size %s is %d, more than the machine's memory", e.SizeOf, n)
	}
	size := uint64(n)
	return &size, nil
}

// loop runs the commands of l for each element of its list.
func (r *resolver) loop(l *Loop) error {
	if _, taken := r.vars[l.Var]; taken {
		return fmt.Errorf("the loop's variable %s is that of an outer loop already", l.Var)
	}
	defer delete(r.vars, l.Var)
	each := func(x kernel.Value) error {
		r.vars[l.Var] = x
		for _, c := range l.Body {
			if err := r.command(c); err != nil {
				return err
			}
		}
		return nil
	}
	list := l.List
	// "HEAD.next within …" is the usual way to say HEAD, also where a list_head has a head's name.
	if n := len(list.Members); l.Struct != "" && n > 0 && (list.Members[n-1] == "next" || list.Members[n-1] == "prev") {
		list.Members = list.Members[:n-1]
	}
	places, err := r.lookup(list)
	if err != nil {
		return err
	}
	for _, x := range places {
		t := x.Type().Strip()
		switch {
		case l.Struct != "":
			err = r.ring(l, x, each)
		case t.Kind == symbols.Array:
			err = r.array(l, x, each)
		case t.Kind == symbols.Struct && t.Name == "list_head":
			err = errors.New("a list_head needs: within STRUCT:MEMBER")
		default:
			err = r.chain(l, x, each)
		}
		if err != nil {
			return fmt.Errorf("for %s in %s: %w", l.Var, l.List, err)
		}
	}
	return nil
}

func (r *resolver) array(l *Loop, x kernel.Value, each func(kernel.Value) error) error {
	t := x.Type().Strip()
	if l.Via != "" {
		return errors.New("it is an array, which has no via")
	}
	if t.Len < 0 || t.Len > maxElement {
		return fmt.Errorf("the length of %s is not known", t)
	}
	for i := range t.Len {
		if err := each(x.Index(i)); err != nil {
			return fmt.Errorf("element %d: %w", i, err)
		}
	}
	return nil
}

// ring walks a list_head; x is the head, or a pointer to it.
func (r *resolver) ring(l *Loop, x kernel.Value, each func(kernel.Value) error) error {
	v := r.b.v
	t, err := v.Debug().TypeNamed(symbols.Struct, l.Struct)
	if err != nil {
		return fmt.Errorf("%w%s", err, expr.SimilarType(v, l.Struct, symbols.Struct))
	}
	m, ok := t.Path(l.Member)
	if !ok {
		return fmt.Errorf("%s has no member %s%s", t, l.Member, expr.SimilarMember(t, l.Member))
	}
	if s := m.Type.Strip(); s.Kind != symbols.Struct || s.Name != "list_head" {
		return fmt.Errorf("%s.%s is no list_head but %s", t, l.Member, m.Type)
	}
	if x.Type().Strip().Kind == symbols.Pointer {
		if p, err := x.Pointer(); err != nil || p == 0 {
			return err
		}
		x = x.Deref()
	}
	if s := x.Type(); x.Err() == nil && s.Strip().Name != "list_head" {
		return fmt.Errorf("it is no list_head but %s", s)
	}
	head, ok := x.Addr()
	if !ok {
		return errors.Join(errors.New("the list's head lies nowhere in memory"), x.Err())
	}
	n := 0
	for at, err := range walk.List(v, head, m.Offset()) {
		if err != nil {
			return err
		}
		if n++; n > maxLinked {
			return fmt.Errorf("the list has more than %d entries", maxLinked)
		}
		if err := each(v.Object(t, at)); err != nil {
			return fmt.Errorf("%s at %#x: %w", t, uint64(at), err)
		}
	}
	return nil
}

// chain walks structs that lead to each other by a member; x is the first, or a pointer to it.
func (r *resolver) chain(l *Loop, x kernel.Value, each func(kernel.Value) error) error {
	via := l.Via
	if via == "" {
		via = "next" // makedumpfile's default
	}
	if x.Type().Strip().Kind == symbols.Pointer {
		if p, err := x.Pointer(); err != nil || p == 0 {
			return err
		}
		x = x.Deref()
	}
	seen := make(map[vmem.Addr]bool)
	for {
		at, ok := x.Addr()
		if !ok {
			return errors.Join(errors.New("an entry lies nowhere in memory"), x.Err())
		}
		if seen[at] {
			return nil // round
		}
		if seen[at] = true; len(seen) > maxLinked {
			return fmt.Errorf("the list has more than %d entries", maxLinked)
		}
		if err := each(x); err != nil {
			return fmt.Errorf("%s at %#x: %w", x.Type(), uint64(at), err)
		}
		next, _, err := member(x, via)
		if err != nil {
			return err
		}
		if k := next.Type().Strip(); k.Kind != symbols.Pointer || k.Elem().Strip() != x.Type().Strip() && k.Elem().Strip().Name != x.Type().Strip().Name {
			return fmt.Errorf("%s.%s does not point to the next %s but is %s", x.Type(), via, x.Type(), next.Type())
		}
		p, err := next.Pointer()
		if err != nil {
			return err
		}
		if p == 0 {
			return nil
		}
		x = next.Deref()
	}
}

// absent reports whether err says that the kernel has no such name, as far as anybody knows.
func absent(err error) bool { return errors.Is(err, symbols.ErrNotFound) }
