package commands

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kdx/analyze/expr"
	"kdx/analyze/view"
	"kdx/symbols"
)

func whatisCommand() *Command {
	return &Command{
		Name:    "whatis",
		Group:   "symbols and types",
		Summary: "show what a type, a symbol or an expression is",
		Usage:   []string{"[-o] TYPE | SYMBOL | EXPRESSION", "[-r SIZE | -r LOW-HIGH] [-m TYPE]"},
		Flags: []Flag{
			{Name: "o", Help: "with offsets of the members"},
			{Name: "r", Arg: "SIZE", Help: "list structs and unions of this size in bytes, or of a range: 100-200"},
			{Name: "m", Arg: "TYPE", Help: "list structs and unions that hold this type or point to it"},
			{Name: "x", Help: "numbers in hexadecimal"},
			{Name: "d", Help: "numbers in decimal"},
		},
		Help: prose(`For a type, its definition and size: a tag with or without struct, union or enum, a typedef, a base type, or any C type
such as struct page *. For a variable or function its declaration, for an enumerator its enum and value, for any other
expression its type.

-r and -m search all types that the kernel's type data name. -m also looks into members that are structs themselves, and
TYPE may be a part of a type's name. Both together list what meets both.`),
		Examples: []Example{
			{"whatis -o list_head", "a definition with offsets"},
			{"whatis jiffies", "the declaration of a variable"},
			{"whatis init_task.sched_class->task_tick", "the type of an expression"},
			{"whatis -r 256-512 -m task_struct", "structs of 256 to 512 bytes that hold or point to a task_struct"},
		},
		Needs:    NeedsTypes,
		Complete: "type",
		Quotes:   true,
		Run:      runWhatis,
	}
}

func runWhatis(c *Call) (view.Result, error) {
	if c.Flags.Has("r") || c.Flags.Has("m") {
		if len(c.Args) > 0 {
			return nil, &UsageError{c.Cmd.Name, "-r and -m search and take no further argument"}
		}
		return c.searchTypes()
	}
	text := strings.Join(c.Args, " ")
	if text == "" {
		return nil, &UsageError{c.Cmd.Name, "name a type, a symbol or an expression"}
	}
	if decl, ok, err := c.declarationOf(text); ok || err != nil {
		return decl, err
	}
	if len(c.Args) <= 2 {
		name, kind := c.Args[len(c.Args)-1], symbols.Void
		ok := len(c.Args) == 1
		if !ok {
			kind, ok = map[string]symbols.Kind{"struct": symbols.Struct, "union": symbols.Union, "enum": symbols.Enum}[c.Args[0]]
		}
		base, _, _ := strings.Cut(name, ".")
		if ok && c.isType(base) {
			t, members, err := c.typeAndMembers(name, kind)
			if err != nil {
				return nil, err
			}
			return &view.Definition{Type: t, Members: members, Offsets: c.Flags.Has("o"), Hex: c.hex()}, nil
		}
	}
	t, isType, err := expr.TypeOf(c.View, text, expr.Options{CPU: -1, History: c.State.Values})
	if err != nil {
		return nil, err
	}
	if isType && t.Composite() {
		return &view.Definition{Type: t, Offsets: c.Flags.Has("o"), Hex: c.hex()}, nil
	}
	return &view.Declaration{Decl: t.String(), Type: t, IsType: isType}, nil
}

func (c *Call) isType(name string) bool {
	for _, k := range []symbols.Kind{symbols.Struct, symbols.Union, symbols.Typedef, symbols.Enum} {
		if _, err := c.View.Debug().TypeNamed(k, name); err == nil {
			return true
		}
	}
	return false
}

// declarationOf answers a symbol's or enumerator's bare name.
func (c *Call) declarationOf(name string) (view.Result, bool, error) {
	syms := c.View.Debug()
	s, err := c.View.Symbol(name)
	if err != nil {
		if !errors.Is(err, symbols.ErrNotFound) {
			return nil, false, err
		}
		n, t, err := syms.Enumerator(name)
		if err != nil || c.isType(name) {
			return nil, false, nil
		}
		return &view.Declaration{Decl: fmt.Sprintf("%s = %d", t, n), Name: name, Type: t, Value: &n}, true, nil
	}
	if c.isType(name) && !c.Flags.Has("o") {
		// crash shows the type where both exist; p shows the variable.
		return nil, false, nil
	}
	find := syms.VariableType
	if s.IsText() {
		find = syms.FunctionType
	}
	t, err := find(name)
	switch {
	case errors.Is(err, symbols.ErrNotFound) && s.IsText():
		return nil, false, fmt.Errorf("%s is a function; its prototype is not in the kernel's type data", name)
	case errors.Is(err, symbols.ErrNotFound):
		return nil, false, fmt.Errorf("%s is a variable at %#x; its type is not in the kernel's type data", name, s.Addr)
	case err != nil:
		return nil, false, err
	}
	if c.Flags.Has("o") && t.Composite() {
		return &view.Definition{Type: t.Strip(), Offsets: true, Hex: c.hex()}, true, nil
	}
	return &view.Declaration{Decl: t.Declare(name) + ";", Name: name, Type: t}, true, nil
}

func (c *Call) searchTypes() (view.Result, error) {
	lo, hi := uint64(0), ^uint64(0)
	if r := c.Flags.Value("r"); r != "" {
		a, b, isRange := strings.Cut(r, "-")
		if !isRange {
			b = a
		}
		var err1, err2 error
		lo, err1 = strconv.ParseUint(a, 0, 64)
		hi, err2 = strconv.ParseUint(b, 0, 64)
		if err1 != nil || err2 != nil || lo > hi {
			return nil, &UsageError{c.Cmd.Name, fmt.Sprintf("-r %s: give a size in bytes, or a range such as 100-200", r)}
		}
	}
	word := strings.TrimRight(c.Flags.Value("m"), " *")
	for _, tag := range []string{"struct ", "union ", "enum "} {
		word = strings.TrimPrefix(word, tag)
	}
	found, err := c.View.Debug().SearchTypes(symbols.TypeSearch{Lo: lo, Hi: hi, Word: word}, c.View.Step)
	if err != nil {
		return nil, fmt.Errorf("no types to search: %w", err)
	}
	for _, err := range c.View.Debug().MissingTypes() {
		c.View.Gap("types", err)
	}
	res := &view.TypeList{}
	for _, t := range found {
		res.List = append(res.List, view.TypeListRow{Size: t.Size, Kind: t.Kind.String(), Name: t.Name})
	}
	return res, nil
}
