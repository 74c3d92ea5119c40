package commands

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/internal/nearest"
	"kdx/symbols"
	"kdx/symbols/demangle"
)

// address reads an argument that is an address: a symbol, sym+off, a per-CPU symbol with its CPU (runqueues:1), a
// hexadecimal number with or without 0x, an expression in parentheses, or a C expression such as init_task.tasks.next.
func (c *Call) address(word string) (vmem.Addr, error) {
	a, _, err := c.addressOrSymbol(word)
	return a, err
}

// addressOrSymbol is address; whole says that the word was a symbol's name and nothing more.
func (c *Call) addressOrSymbol(word string) (a vmem.Addr, whole bool, err error) {
	sym, symErr := c.View.Symbol(word)
	if symErr == nil {
		if a := vmem.Addr(sym.Addr); c.View.IsPerCPU(a) && !sym.IsText() {
			return 0, false, &UsageError{c.Cmd.Name, fmt.Sprintf("%s is per-CPU: name the CPU, as in %s:0", word, word)}
		}
		return vmem.Addr(sym.Addr), true, nil
	}
	if strings.HasPrefix(word, "(") {
		u, err := evaluate(c.View, word, 10)
		if err != nil && strings.ContainsAny(word, ".>[&") { // C, as p takes it
			a, _, err := c.addressOf(word)
			return a, false, err
		}
		return vmem.Addr(u), false, err
	}
	if name, cpu, ok := strings.Cut(word, ":"); ok && !strings.Contains(word, "::") {
		a, err := c.perCPUAddress(name, cpu)
		return a, false, err
	}
	if u, err := strconv.ParseUint(strings.TrimPrefix(word, "0x"), 16, 64); err == nil {
		return vmem.Addr(u), false, nil
	}
	if !errors.Is(symErr, symbols.ErrNotFound) {
		return 0, false, fmt.Errorf("symbol %s: %w", word, symErr)
	}
	if strings.ContainsAny(word, "+-*") {
		if u, err := evaluate(c.View, word, 10); err == nil {
			return vmem.Addr(u), false, nil
		}
	}
	if strings.ContainsAny(word, ".>[&") {
		a, _, err := c.addressOf(word)
		return a, false, err
	}
	return 0, false, &UsageError{c.Cmd.Name, fmt.Sprintf("%s is neither a symbol nor a hexadecimal address%s", word, similarSymbol(c.View, word))}
}

func (c *Call) perCPUAddress(name, cpu string) (vmem.Addr, error) {
	n, err := strconv.Atoi(cpu)
	if err != nil {
		return 0, &UsageError{c.Cmd.Name, fmt.Sprintf("%s:%s: want the number of a CPU behind the colon", name, cpu)}
	}
	var base vmem.Addr
	if sym, err := c.View.Symbol(name); err == nil {
		base = vmem.Addr(sym.Addr)
	} else if base, err = c.address(name); err != nil {
		return 0, err
	}
	off, err := c.View.PerCPUOffset(n)
	return base + vmem.Addr(off), err
}

// similarSymbol is a hint for an error message, or "".
func similarSymbol(v *kernel.View, word string) string {
	if len(word) < 3 {
		return ""
	}
	f := nearest.New(word)
	for s := range v.Symbols().All() {
		f.Add(s.Name)
	}
	if best := f.Best(1); len(best) > 0 {
		return "; did you mean " + best[0] + "?"
	}
	return ""
}

// number reads a decimal count, or a hexadecimal one after 0x.
func (c *Call) number(word string) (uint64, error) {
	n, err := strconv.ParseUint(word, 0, 64)
	if err != nil {
		return 0, &UsageError{c.Cmd.Name, word + " is no count"}
	}
	return n, nil
}

// offset reads an offset in bytes: struct.member, or a number (decimal, or hexadecimal after 0x).
func (c *Call) offset(word string) (uint64, error) {
	if tag, path, ok := strings.Cut(word, "."); ok {
		t, err := typeByTag(c.View, tag)
		if err != nil {
			return 0, err
		}
		off, ok := t.OffsetOf(path)
		if !ok {
			return 0, fmt.Errorf("%s has no member %s", t, path)
		}
		return off, nil
	}
	n, err := strconv.ParseUint(word, 0, 64)
	if err != nil {
		return 0, &UsageError{c.Cmd.Name, word + " is no offset: want struct.member or a number of bytes"}
	}
	return n, nil
}

// typeByTag finds a struct, union or typedef.
func typeByTag(v *kernel.View, tag string) (*symbols.Type, error) {
	for _, k := range []symbols.Kind{symbols.Struct, symbols.Union, symbols.Typedef} {
		t, err := v.Debug().TypeNamed(k, tag)
		if err == nil {
			return t, nil
		}
		if !symbols.Absent(err) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("struct %s: %w", tag, symbols.ErrNotFound)
}

// symbolText is what addr is called: name or name+off; "" if it has no name. Small numbers are no addresses,
// although per-CPU symbols have such values.
func symbolText(v *kernel.View, addr uint64, hex bool) string {
	s, err := v.NameAt(vmem.Addr(addr), false)
	if err != nil {
		return ""
	}
	off := addr - s.Addr
	if off == 0 {
		return demangle.Name(s.Name)
	}
	if hex {
		return fmt.Sprintf("%s+%#x", demangle.Name(s.Name), off)
	}
	return fmt.Sprintf("%s+%d", demangle.Name(s.Name), off)
}
