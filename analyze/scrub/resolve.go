package scrub

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/module"
	"kdx/analyze/vmem"
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

// absent reports whether err says that the kernel has no such name, as far as anybody knows.
func absent(err error) bool { return errors.Is(err, symbols.ErrNotFound) }
