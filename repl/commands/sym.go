package commands

import (
	"fmt"
	"iter"
	"slices"
	"strings"

	"kdx/analyze/module"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

func symCommand() *Command {
	return &Command{
		Name: "sym", Group: "symbols and types", Summary: "translate between symbols and addresses", Needs: NeedsSymbols, Complete: "symbol",
		Usage: []string{"[-p] [-n] {SYMBOL | ADDRESS | FILE:LINE}…", "-l | -M | -m MODULE | -q TEXT"},
		Flags: []Flag{
			{Name: "l", Help: "all symbols"},
			{Name: "M", Help: "all symbols of modules", Needs: NeedsTypes},
			{Name: "m", Arg: "MODULE", Help: "all symbols of one module", Needs: NeedsTypes},
			{Name: "p", Help: "and the symbol before"},
			{Name: "n", Help: "and the symbol behind"},
			{Name: "q", Arg: "TEXT", Help: "all symbols whose name has TEXT in it"},
		},
		Help: "A line is `ADDRESS (TYPE) NAME[+OFFSET] [MODULE] [FILE: LINE]`; types are those of nm(1): t and T code, d and D data, b and B zeroed data, r and R " +
			"read-only data, lower case for local symbols. A name that several symbols have shows all of them. Symbols of per-CPU variables have offsets for addresses " +
			"(up to 6.14).\n\n" +
			"The source line of code shows where a vmlinux with debug information is open, and where functions were inlined, that of each, the innermost first. FILE:LINE, which needs " +
			"debug information, shows where the code of that line begins; FILE may be the end of a path. Where a line has no code, the next of its file that has is taken.",
		Examples: []Example{{"sym jiffies", "where it lies"}, {"sym ffffffffb22cad35", "which function that is"}, {"sym -q pipe_", "all that have pipe_ in their names"}},
		Run:      runSym,
	}
}

func runSym(c *Call) (view.Result, error) {
	all := c.View.Symbols().All()
	if c.Flags.Has("l") || c.Flags.Has("q") || c.Flags.Has("M") || c.Flags.Has("m") {
		for _, err := range c.View.Symbols().Missing() {
			c.View.Gap("", err)
		}
		if err := c.anySymbols(); err != nil {
			return nil, err
		}
	}
	switch {
	case c.Flags.Has("l"):
		return c.symbolLines(all, func(symbols.Symbol) bool { return true }), nil
	case c.Flags.Has("q"):
		q := c.Flags.Value("q")
		return c.symbolLines(all, func(s symbols.Symbol) bool { return strings.Contains(s.Name, q) }), nil
	case c.Flags.Has("M"), c.Flags.Has("m"):
		return moduleSymbols(c)
	case len(c.Args) == 0:
		return nil, &UsageError{c.Cmd.Name, "want a symbol or an address"}
	}
	var out []view.SymbolLine
	for _, a := range c.Args {
		found, err := c.symbolsOf(a)
		if err != nil {
			return nil, err
		}
		out = append(out, found...)
	}
	return view.SymbolLines(slices.Values(out)), nil
}

// anySymbols is the error of a kernel whose symbols nobody knows: a list of none would look like an answer.
func (c *Call) anySymbols() error {
	for range c.View.Symbols().All() {
		return nil
	}
	_, err := c.View.Symbols().SymbolsNamed("_stext")
	return err
}

// symbolLines ends early once the command is cancelled; its session says so.
func (c *Call) symbolLines(all iter.Seq[symbols.Symbol], want func(symbols.Symbol) bool) view.SymbolLines {
	ctx := c.View.Context()
	return func(yield func(view.SymbolLine) bool) {
		for s := range all {
			if ctx.Err() != nil || want(s) && !yield(symbolLine(s, s.Addr)) {
				return
			}
		}
	}
}

func symbolLine(s symbols.Symbol, addr uint64) view.SymbolLine {
	l := view.SymbolLine{Addr: vmem.Addr(addr), Name: s.Name, Offset: addr - s.Addr, Type: string(rune(s.Letter)), Module: s.Module}
	if s.Size > 0 {
		l.Size = &s.Size
	}
	return l
}

// symbolsOf finds what one argument names, with its neighbours if they were asked for.
func (c *Call) symbolsOf(arg string) ([]view.SymbolLine, error) {
	if file, line, ok := fileLine(arg); ok {
		return c.symbolsOfLine(file, line)
	}
	found, err := c.View.Symbols().SymbolsNamed(arg)
	if err == nil {
		var out []view.SymbolLine
		for _, s := range found {
			out = append(out, c.withNeighbours(s, s.Addr)...)
		}
		return out, nil
	}
	addr, err := c.address(arg)
	if err != nil {
		return nil, err
	}
	s, err := c.View.SymbolAt(addr)
	if err != nil {
		return nil, fmt.Errorf("no symbol covers %#x", uint64(addr))
	}
	return c.withNeighbours(s, uint64(addr)), nil
}

func (c *Call) withNeighbours(s symbols.Symbol, addr uint64) []view.SymbolLine {
	out := []view.SymbolLine{c.placed(symbolLine(s, addr))}
	before, behind := c.Flags.Has("p"), c.Flags.Has("n")
	if !before && !behind {
		return out
	}
	var prev, next *symbols.Symbol
	for x := range c.View.Symbols().All() {
		switch {
		case x.Addr < s.Addr && (prev == nil || x.Addr >= prev.Addr):
			prev = &x
		case x.Addr > s.Addr && (next == nil || x.Addr < next.Addr):
			next = &x
		}
	}
	if before && prev != nil {
		out = append([]view.SymbolLine{symbolLine(*prev, prev.Addr)}, out...)
	}
	if behind && next != nil {
		out = append(out, symbolLine(*next, next.Addr))
	}
	return out
}

// symbolsOfLine lists where the code of FILE:LINE begins.
func (c *Call) symbolsOfLine(file string, line int) ([]view.SymbolLine, error) {
	found, err := c.lineCode(file, line)
	if err != nil {
		return nil, err
	}
	var out []view.SymbolLine
	for _, l := range found {
		s, err := c.View.SymbolAt(vmem.Addr(l.Addr))
		if err != nil { // code that was thrown away once the kernel had started
			s = symbols.Symbol{Name: fmt.Sprintf("%#x", l.Addr), Addr: l.Addr, Letter: '?'}
		}
		out = append(out, c.placed(symbolLine(s, l.Addr)))
	}
	return out, nil
}

// placed adds the source line of code, where debug information is at hand.
func (c *Call) placed(l view.SymbolLine) view.SymbolLine {
	if !isCode(l.Type) || !c.View.Debug().SourcesReady() {
		return l
	}
	if c.lines == nil {
		c.lines = c.places()
		c.lines.quiet = true
	}
	l.AddPlaces(c.lines.at(uint64(l.Addr)))
	return l
}

func isCode(letter string) bool { return strings.Contains("tTwW?", letter) }

func moduleSymbols(c *Call) (view.Result, error) {
	mods, err := module.Read(c.View)
	if err != nil {
		return nil, err
	}
	name := c.Flags.Value("m")
	if name != "" {
		mods = slices.DeleteFunc(mods, func(m *module.Module) bool { return m.Name != name })
		if len(mods) == 0 {
			return nil, fmt.Errorf("no module %s is loaded (mod lists those that are)", name)
		}
	}
	bySymbol := make(map[string][]symbols.Symbol)
	for s := range c.View.Symbols().All() {
		if s.Module != "" && (name == "" || s.Module == name) {
			bySymbol[s.Module] = append(bySymbol[s.Module], s)
		}
	}
	var out []view.SymbolLine
	for _, m := range mods {
		out = append(out, oneModule(m, bySymbol[m.Name])...)
	}
	return view.SymbolLines(slices.Values(out)), nil
}

// oneModule lists a module's memory region by region, each with its symbols.
func oneModule(m *module.Module, syms []symbols.Symbol) []view.SymbolLine {
	var out []view.SymbolLine
	for _, r := range m.Mem {
		mark := "MODULE " + strings.ToUpper(strings.Replace(r.Kind, "init_", "init ", 1))
		if r.Kind == "core" { // one region, before 6.4
			mark = "MODULE"
		}
		out = append(out, view.SymbolLine{Addr: r.Base, Module: m.Name, Mark: mark + " START"})
		for _, s := range syms {
			if vmem.Addr(s.Addr) >= r.Base && s.Addr-uint64(r.Base) < r.Size {
				l := symbolLine(s, s.Addr)
				l.Below = true
				out = append(out, l)
			}
		}
		out = append(out, view.SymbolLine{Addr: r.Base + vmem.Addr(max(r.Size, 1)-1), Module: m.Name, Mark: mark + " END"})
	}
	return out
}
