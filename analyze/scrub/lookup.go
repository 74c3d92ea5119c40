package scrub

import (
	"errors"
	"fmt"
	"strings"

	"kdx/analyze/expr"
	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/internal/nearest"
	"kdx/symbols"
)

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
