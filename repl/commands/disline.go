package commands

import (
	"fmt"

	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// disAddress is what dis takes: an address or symbol, or FILE:LINE, whose code is line.
func (c *Call) disAddress(word string) (addr vmem.Addr, whole bool, line []symbols.LineCode, err error) {
	file, n, ok := fileLine(word)
	if !ok {
		addr, whole, err = c.addressOrSymbol(word)
		if s, symErr := c.View.Symbol(word); whole && symErr == nil {
			whole = s.IsText()
		}
		return addr, whole, nil, err
	}
	if c.Flags.Has("u") {
		return 0, false, nil, &UsageError{c.Cmd.Name, "user space has no source lines"}
	}
	if line, err = c.lineCode(file, n); err != nil {
		return 0, false, nil, err
	}
	if err := oneFile(file, line); err != nil {
		return 0, false, nil, err
	}
	return vmem.Addr(line[0].Addr), false, line, nil
}

// line shows all code of a source line.
func (d *disassembly) line(code []symbols.LineCode) (view.Result, error) {
	out := view.Disassembly{}
	for _, l := range code {
		part, err := d.lines(l.Addr, l.End, ^uint64(0))
		if err != nil {
			d.c.View.Gap(fmt.Sprintf("code at %#x", l.Addr), err)
			continue
		}
		out = append(out, part...)
	}
	return d.withLines(out), nil
}

// withLines adds source lines, if they were asked for.
func (d *disassembly) withLines(l view.Disassembly) view.Disassembly {
	if !d.c.Flags.Has("l") || d.c.Flags.Has("u") {
		return l
	}
	places := d.c.places()
	for i := range l {
		found := places.at(uint64(l[i].Addr))
		if len(found) == 0 {
			continue
		}
		p := view.NewPlace(&found[0])
		l[i].Source, l[i].Inlined = &p, found[0].Inlined
	}
	return l
}

// disSource is dis -s: text of the function whose code an address is, as crash shows it.
func (c *Call) disSource() (view.Result, error) {
	addr, _, line, err := c.disAddress(c.Args[0])
	if err != nil {
		return nil, err
	}
	places, err := c.View.Debug().PlacesAt(uint64(addr))
	if err != nil {
		return nil, c.noPlace(addr, err)
	}
	inlined, _ := view.InlinedAt(places)
	at := places[len(places)-1]
	if len(line) > 0 { // a line of an inlined function is meant, wherever that went
		inlined, at = nil, places[0]
	}
	s := &view.Source{Address: &addr, Function: at.Function, File: at.File, Line: at.Line, Inlined: inlined, Header: true}
	t, err := c.sourceText(at)
	if err != nil {
		if c.View.Context().Err() != nil {
			return nil, err
		}
		c.View.Gap("source text", err)
		return s, nil
	}
	if s.Line > len(t.lines) {
		c.View.Gap("source text", fmt.Errorf("%s has only %d lines: it is of another version of the kernel", t.from, len(t.lines)))
		return s, nil
	}
	const before, limit = 5, 2000
	last := endOfFunction(t, max(1, s.Line), limit)
	if len(c.Args) == 2 {
		n, err := c.number(c.Args[1])
		if err != nil {
			return nil, err
		}
		last = s.Line + int(min(n, uint64(len(t.lines)-s.Line)))
	}
	addLines(s, t, s.Line-before, last)
	c.State.listing = listing{at, last + 1}
	return s, nil
}
