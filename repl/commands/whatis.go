package commands

import (
	"cmp"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"

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
	var names []typeName
	seen := map[typeName]bool{}
	for kind, name := range c.View.Debug().TypeNames() {
		n := typeName{kind, name}
		if kind != symbols.Struct && kind != symbols.Union && kind != symbols.Typedef || name == "" || seen[n] {
			continue
		}
		seen[n] = true
		names = append(names, n)
	}
	if len(names) == 0 {
		if _, err := c.View.Debug().TypeNamed(symbols.Struct, "list_head"); err != nil {
			return nil, fmt.Errorf("no types to search: %w", err)
		}
	}
	searches := make([]typeSearch, runtime.GOMAXPROCS(0))
	for i := range searches {
		searches[i] = typeSearch{word: c.Flags.Value("m"), lo: lo, hi: hi, types: c.View.Debug(), known: map[*symbols.Type]bool{}}
	}
	for len(names) > 0 {
		some := names[:min(len(names), searchedAtOnce)]
		names = names[len(some):]
		for range some {
			if err := c.View.Step(); err != nil {
				return nil, err
			}
		}
		var wg sync.WaitGroup
		for i := range searches {
			wg.Go(func() { searches[i].search(some[len(some)*i/len(searches) : len(some)*(i+1)/len(searches)]) })
		}
		wg.Wait()
	}
	res := &view.TypeList{}
	for i := range searches {
		res.List = append(res.List, searches[i].found...)
	}
	slices.SortFunc(res.List, func(a, b view.TypeListRow) int {
		return cmp.Or(cmp.Compare(a.Size, b.Size), cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind))
	})
	return res, nil
}

type typeName struct {
	kind symbols.Kind
	name string
}

// searchedAtOnce is how many types are searched between looks at whether the command was cancelled.
const searchedAtOnce = 2000

// typeSearch finds types of a range of sizes whose members' declarations have a word in them. Type by type it remembers the
// answer, as the same ones are members of many. It belongs to one goroutine.
type typeSearch struct {
	word   string // "" for any
	lo, hi uint64 // bytes
	types  *symbols.Chain
	known  map[*symbols.Type]bool
	found  []view.TypeListRow
}

func (s *typeSearch) search(names []typeName) {
	for _, n := range names {
		t, err := s.types.TypeNamed(n.kind, n.name)
		if err != nil || t.Size < s.lo || t.Size > s.hi {
			continue
		}
		if n.kind == symbols.Typedef {
			// A struct without a tag is known by its typedef alone.
			if t = t.Elem(); t.Name != "" || t.Kind != symbols.Struct && t.Kind != symbols.Union {
				continue
			}
		}
		if s.word == "" || s.in(t, 0) {
			s.found = append(s.found, view.TypeListRow{Size: t.Size, Kind: n.kind.String(), Name: n.name})
		}
	}
}

func (s *typeSearch) in(t *symbols.Type, depth int) bool {
	if depth > 16 {
		return false
	}
	ms := t.Members()
	for i := range ms {
		if s.member(ms[i].Type, depth) {
			return true
		}
	}
	return false
}

func (s *typeSearch) member(t *symbols.Type, depth int) bool {
	if found, ok := s.known[t]; ok {
		return found
	}
	s.known[t] = false // ends loops of damaged types
	found := strings.Contains(t.String(), s.word)
	if !found {
		inner := t.Strip()
		for range maxDimensions {
			if inner.Kind != symbols.Array {
				break
			}
			inner = inner.Elem().Strip()
		}
		found = (inner.Kind == symbols.Struct || inner.Kind == symbols.Union) && s.in(inner, depth+1)
	}
	s.known[t] = found
	return found
}

// maxDimensions bounds arrays of arrays, which may hold themselves in damaged types.
const maxDimensions = 16
