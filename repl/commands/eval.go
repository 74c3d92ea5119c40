package commands

import (
	"strconv"
	"strings"

	"kdx/analyze/view"
	"kdx/analyze/vmem"
)

func evalCommand() *Command {
	return &Command{
		Name: "eval", Group: "session", Summary: "compute with whole numbers, shown in four bases", Needs: NeedsNothing,
		Usage: []string{"[-b] [-l] EXPRESSION"},
		Flags: []Flag{
			{Name: "b", Help: "and the numbers of the bits that are set"},
			{Name: "l", Help: "64 bits; what kdx always computes with, taken for scripts that say so"},
		},
		Help: "Operators are + - & | ^ * / % << >> ( ) and unary - and ~, with C's precedence. Numbers are decimal; hexadecimal after 0x or where they have a letter " +
			"a-f; k, m, g and t behind them multiply by powers of 1024. A symbol stands for its address.",
		Examples: []Example{{"eval 128m", "how many bytes that is"}, {"eval -b fffffc0002000", "which bits are set"}, {"eval jiffies & ~0xfff", "the page of a symbol"}},
		Raw:      true,
		Run:      runEval,
	}
}

func runEval(c *Call) (view.Result, error) {
	bits := false
	args := c.Args
	for len(args) > 0 && (args[0] == "-b" || args[0] == "-l" || args[0] == "-lb" || args[0] == "-bl") {
		bits = bits || strings.Contains(args[0], "b")
		args = args[1:]
	}
	if len(args) == 0 {
		return nil, &UsageError{c.Cmd.Name, "want an expression"}
	}
	u, err := evaluate(c.View, strings.Join(args, " "), 10)
	if err != nil {
		return nil, err
	}
	return &view.Number{Value: u, ShowBits: bits}, nil
}

func asciiCommand() *Command {
	return &Command{
		Name: "ascii", Group: "session", Summary: "show numbers as characters, or the table of characters", Needs: NeedsNothing,
		Usage:    []string{"[HEXADECIMAL]…"},
		Help:     "Bytes are taken as they would lie in the machine's memory.",
		Examples: []Example{{"ascii 62696c2f7273752f", "/usr/lib"}, {"ascii", "the table"}},
		Run:      runASCII,
	}
}

func runASCII(c *Call) (view.Result, error) {
	if len(c.Args) == 0 {
		return view.ASCIITable{}, nil
	}
	var out view.ASCII
	for _, a := range c.Args {
		u, err := strconv.ParseUint(strings.TrimPrefix(a, "0x"), 16, 64)
		if err != nil {
			return nil, &UsageError{c.Cmd.Name, a + " is no hexadecimal number"}
		}
		b := make([]byte, 8)
		c.View.ByteOrder().PutUint64(b, u)
		out = append(out, view.ASCIIWord{Value: vmem.Addr(u), Bytes: b})
	}
	return out, nil
}

func ptobCommand() *Command {
	return &Command{
		Name: "ptob", Group: "memory", Summary: "page frame numbers to addresses", Needs: NeedsNothing,
		Usage:    []string{"PFN…"},
		Help:     "PFN is decimal, hexadecimal after 0x or if it has a digit from a to f, or an (expression).",
		Examples: []Example{{"ptob 512a", "the physical address of page 0x512a"}, {"ptob (0x512a+1)", "of the next page"}},
		Run: func(c *Call) (view.Result, error) {
			return c.convert(decimalOrHex, func(u uint64) uint64 { return u * c.View.PageSize() })
		},
	}
}

func btopCommand() *Command {
	return &Command{
		Name: "btop", Group: "memory", Summary: "addresses to page frame numbers", Needs: NeedsNothing,
		Usage:    []string{"ADDRESS…"},
		Help:     "ADDRESS is hexadecimal, or an (expression).",
		Examples: []Example{{"btop 512a000", "the page of a physical address"}, {"btop 512afff", "any byte of it will do"}},
		Run: func(c *Call) (view.Result, error) {
			hex := func(s string) (uint64, error) { return strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64) }
			return c.convert(hex, func(u uint64) uint64 { return u / c.View.PageSize() })
		},
	}
}

// decimalOrHex reads a number as crash reads those that are no addresses: decimal, but hexadecimal after 0x or if it has such digits.
func decimalOrHex(s string) (uint64, error) {
	if n, err := strconv.ParseUint(s, 10, 64); err == nil {
		return n, nil
	}
	return strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
}

// convert makes other numbers of the arguments, which parse reads.
func (c *Call) convert(parse func(string) (uint64, error), f func(uint64) uint64) (view.Result, error) {
	if len(c.Args) == 0 {
		return nil, &UsageError{c.Cmd.Name, "want a number"}
	}
	var out view.Conversions
	for _, a := range c.Args {
		u, err := parse(a)
		if err != nil && strings.ContainsAny(a, "(+-*<>&|^") {
			u, err = evaluate(c.View, a, 10)
		}
		if err != nil {
			return nil, &UsageError{c.Cmd.Name, a + " is no number that it takes"}
		}
		out = append(out, view.Conversion{From: vmem.Addr(u), To: vmem.Addr(f(u))})
	}
	return out, nil
}
