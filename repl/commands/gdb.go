package commands

import (
	"fmt"
	"strings"

	"kdx/analyze/view"
)

func gdbCommand() *Command {
	return &Command{
		Name: "gdb", Aliases: []string{"g"}, Group: "symbols and types", Summary: "what people type to gdb: print, ptype, x, info line, …", Needs: NeedsTypes, Raw: true, Quotes: true, Complete: "variable",
		Usage: []string{"p[/FORMAT] EXPRESSION", "ptype | whatis TYPE | EXPRESSION", "x/[COUNT][FORMAT][SIZE] ADDRESS", "info line | symbol | address | scope | locals | args | frame …",
			"list | disassemble | bt | frame | up | down …", "EXPRESSION"},
		Help: prose(`There is no gdb inside kdx. This command knows gdb's words for what kdx's own commands do, and hands the rest over: p, print, inspect and output
to p; ptype and whatis to whatis; x to rd, with the format i to dis, with s to rd -a; info line, info symbol and info address to sym; info locals, info args and
info frame to locals, args and frame; list to source; disassemble to dis; bt, backtrace and where to bt; frame, up and down. Anything else is an expression.

Expressions are p's: C with gdb's object@count, $N and /FORMAT, and no function calls or assignments.`),
		Examples: []Example{{"gdb p *init_task.nsproxy", "as p"}, {"gdb x/8gx &init_task", "as rd -64 ADDRESS 8"}, {"gdb x/5i schedule", "as dis schedule 5"}, {"gdb ptype struct list_head", "as whatis"}},
		Run:      runGDB,
	}
}

// gdbWords are gdb's commands whose words another command takes as they are.
var gdbWords = map[string]string{
	"p": "p", "print": "p", "inspect": "p", "output": "p", "call": "p", "ptype": "whatis", "whatis": "whatis", "bt": "bt", "backtrace": "bt", "where": "bt",
	"list": "source", "l": "source", "disassemble": "dis", "disas": "dis", "frame": "frame", "f": "frame", "up": "up", "down": "down",
}

// gdbInfo are the same of info.
var gdbInfo = map[string]string{"line": "sym", "symbol": "sym", "address": "sym", "locals": "locals", "args": "args", "frame": "frame", "registers": "bt", "threads": "ps"}

func runGDB(c *Call) (view.Result, error) {
	if len(c.Args) == 0 {
		return nil, &UsageError{"gdb", "give a command of gdb's, or an expression"}
	}
	word, format, _ := strings.Cut(c.Args[0], "/")
	rest := c.Args[1:]
	switch {
	case word == "x":
		return c.gdbExamine(format, rest)
	case word == "info" || word == "i":
		if len(rest) == 0 || gdbInfo[rest[0]] == "" {
			return nil, &UsageError{"gdb", "of info, kdx knows line, symbol, address, locals, args, frame, registers and threads"}
		}
		return c.hand(gdbInfo[rest[0]], rest[1:])
	case word == "set", word == "define", word == "source", word == "python", word == "break", word == "printf", word == "echo", word == "show":
		return nil, fmt.Errorf("kdx has no %s of gdb's (help gdb lists what there is)", word)
	case gdbWords[word] == "p", gdbWords[word] == "whatis", gdbWords[word] == "dis", gdbWords[word] != "" && format == "":
		if format != "" && gdbWords[word] == "p" {
			rest = append([]string{"/" + format}, rest...)
		}
		return c.hand(gdbWords[word], gdbFlags(word, rest))
	}
	return c.hand("p", c.Args)
}

// gdbFlags drops /o, /r, … of ptype and disassemble, whose meaning kdx's output has anyway, and turns gdb's "bt full".
func gdbFlags(word string, rest []string) []string {
	var out []string
	for _, w := range rest {
		switch {
		case gdbWords[word] != "p" && strings.HasPrefix(w, "/"):
		case gdbWords[word] == "bt" && w == "full":
			out = append(out, "-v")
		default:
			out = append(out, w)
		}
	}
	return out
}

// hand runs another command with these words.
func (c *Call) hand(name string, words []string) (view.Result, error) {
	cmd := c.State.Command(name)
	if cmd == nil {
		return nil, fmt.Errorf("there is no command %s", name)
	}
	inner, err := c.inner(cmd, words)
	if err != nil {
		return nil, err
	}
	return cmd.Run(inner)
}

// gdbExamine is x/NFU ADDRESS: a count, a format and the size of a unit.
func (c *Call) gdbExamine(format string, rest []string) (view.Result, error) {
	if len(rest) == 0 {
		return nil, &UsageError{"gdb", "x wants an address"}
	}
	digits := len(format) - len(strings.TrimLeft(format, "0123456789"))
	count, letters := format[:digits], format[digits:]
	if count == "" {
		count = "1"
	}
	address := strings.Join(rest, " ")
	if strings.ContainsAny(address, " +-*&>") && !strings.HasPrefix(address, "(") {
		address = "(" + address + ")"
	}
	size, base := "-64", ""
	for _, l := range letters {
		switch l {
		case 'i':
			return c.hand("dis", []string{address, count})
		case 's':
			return c.hand("rd", []string{"-a", address})
		case 'b':
			size = "-8"
		case 'h':
			size = "-16"
		case 'w':
			size = "-32"
		case 'g':
			size = "-64"
		case 'd':
			base = "-d"
		case 'u':
			base = "-D"
		case 'a':
			base = "-s"
		case 'x', 'z':
		default:
			return nil, &UsageError{"gdb", fmt.Sprintf("x/%s: the formats are x d u a s i, the sizes b h w g", format)}
		}
	}
	words := []string{size, address, count}
	if base != "" {
		words = append([]string{base}, words...)
	}
	return c.hand("rd", words)
}
