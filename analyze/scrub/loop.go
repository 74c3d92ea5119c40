package scrub

import (
	"errors"
	"fmt"

	"kdx/analyze/expr"
	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

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
