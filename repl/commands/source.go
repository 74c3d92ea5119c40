package commands

import (
	"errors"
	"fmt"
	"strings"

	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

func sourceCommand() *Command {
	return &Command{
		Name: "source", Group: "symbols and types", Summary: "the source text of a function, an address or a line", Needs: NeedsDWARF, Complete: "symbol",
		Usage: []string{"{FUNCTION | FILE:LINE | ADDRESS | (EXPRESSION)} [count]", ""},
		Help: "Shows ten lines, or count, with the line of the place in their middle and marked by `*`: of a function the lines from its first on, of an address inside an inlined " +
			"function that function's. Without arguments it goes on where it ended. FILE may be the end of a path, as long as it stands for one file.\n\n" +
			"The text comes from the source tree that `kdx --src DIR` or `set src DIR` names, else from debuginfod, if that is configured. A line below the text says where it " +
			"was found; that it is the text that was compiled, nobody can tell.",
		Examples: []Example{{"source do_exit", "a function's begin"}, {"source kernel/exit.c:806 20", "twenty lines around line 806"}, {"source", "the lines behind those"}},
		Run:      runSource,
	}
}

const listed = 10 // lines that source shows, as gdb's list

// listing is where source goes on.
type listing struct {
	place symbols.Place
	next  int
}

func runSource(c *Call) (view.Result, error) {
	if len(c.Args) > 2 {
		return nil, &UsageError{c.Cmd.Name, "want one place and at most a count"}
	}
	if len(c.Args) == 0 {
		last := c.State.listing
		if last.next == 0 {
			return nil, &UsageError{c.Cmd.Name, "which function, line or address?"}
		}
		return c.list(&view.Source{File: last.place.File}, last.place, last.next, listed)
	}
	count := uint64(listed)
	if len(c.Args) == 2 {
		var err error
		if count, err = c.number(c.Args[1]); err != nil {
			return nil, err
		}
	}
	const most = 1 << 20
	n := int(min(count, most))
	if file, line, ok := fileLine(c.Args[0]); ok {
		p, err := c.placeOfLine(file, line)
		if err != nil {
			return nil, err
		}
		return c.list(&view.Source{File: p.File, Line: line}, p, line-n/2, n)
	}
	addr, function, err := c.addressOrSymbol(c.Args[0])
	if err != nil {
		return nil, err
	}
	places, err := c.View.Debug().PlacesAt(uint64(addr))
	if err != nil {
		return nil, c.noPlace(addr, err)
	}
	at := places[0]
	if function {
		at = places[len(places)-1]
	}
	s := &view.Source{File: at.File, Line: at.Line, Function: at.Function, Address: &addr}
	if !function {
		s.Inlined, _ = view.InlinedAt(places)
	}
	from := at.Line - n/2
	if function {
		from = at.Line - 1 // the type may stand above the name
	}
	return c.list(s, at, from, n)
}

// placeOfLine is a place in FILE: of its code, or, if it has none, one that only names the file.
func (c *Call) placeOfLine(file string, line int) (symbols.Place, error) {
	found, err := c.lineCode(file, line)
	if err != nil {
		var none *symbols.NoTableError
		if errors.As(err, &none) {
			return symbols.Place{}, err
		}
		return symbols.Place{File: file}, nil // text behind the last line with code, or of another language
	}
	if err := oneFile(file, found); err != nil {
		return symbols.Place{}, err
	}
	places, err := c.View.Debug().PlacesAt(found[0].Addr)
	if err != nil {
		return symbols.Place{}, c.noPlace(vmem.Addr(found[0].Addr), err)
	}
	return places[0], nil
}

// noPlace explains that the source of an address is not known.
func (c *Call) noPlace(addr vmem.Addr, err error) error {
	var none *symbols.NoTableError
	switch {
	case errors.As(err, &none):
		return fmt.Errorf("source of %s: %w", symbolOr(c, addr), none)
	case errors.Is(err, symbols.ErrNotFound):
		return fmt.Errorf("debug information has no line for %s", symbolOr(c, addr))
	}
	return err
}

func symbolOr(c *Call, addr vmem.Addr) string {
	if s := symbolText(c.View, uint64(addr), false); s != "" {
		return s
	}
	return fmt.Sprintf("%#x", uint64(addr))
}

// list adds count lines of p's file from line first on to s, and remembers where it ended.
func (c *Call) list(s *view.Source, p symbols.Place, first, count int) (view.Result, error) {
	t, err := c.sourceText(p)
	if err != nil {
		return nil, err
	}
	first = max(1, first)
	if first > len(t.lines) || s.Line > len(t.lines) {
		return nil, fmt.Errorf("%s has %d lines, not %d: %s", t.from, len(t.lines), max(first, s.Line), map[bool]string{true: "it is of another version of the kernel", false: "the listing is at its end"}[s.Line > len(t.lines)])
	}
	addLines(s, t, first, min(len(t.lines), first+count-1))
	c.State.listing = listing{p, first + len(s.Lines)}
	return s, nil
}

func addLines(s *view.Source, t *sourceText, first, last int) {
	s.From = t.from
	for n := max(1, first); n <= last; n++ {
		s.Lines = append(s.Lines, view.SourceLine{Line: n, Text: t.lines[n-1], Marked: n == s.Line})
	}
}

// endOfFunction is the line on which the function ends that line is in: kernel style closes it in the first column. limit
// bounds the search.
func endOfFunction(t *sourceText, line, limit int) int {
	last := min(len(t.lines), line+limit)
	for n := line; n <= last; n++ {
		if strings.HasPrefix(t.lines[n-1], "}") {
			return n
		}
	}
	return min(len(t.lines), line+listed-1)
}
