package commands

import (
	"fmt"
	"strings"

	"kdx/analyze/disasm"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

func disCommand() *Command {
	return &Command{
		Name: "dis", Group: "symbols and types", Summary: "disassemble", Needs: NeedsSymbols, Complete: "symbol",
		Usage: []string{"[-rfulxd] [-b SKIP] {ADDRESS | SYMBOL | FILE:LINE | (EXPRESSION)} [count]", "-s {ADDRESS | SYMBOL | FILE:LINE | (EXPRESSION)} [count]"},
		Flags: []Flag{
			{Name: "r", Help: "from the start of the function up to and including the address; with a count, the last of those"},
			{Name: "f", Help: "from the address to the end of the function"},
			{Name: "u", Help: "the address is one of user space, of the current task", Needs: NeedsTypes},
			{Name: "l", Help: "the source file and line above instructions of another line than those before", Needs: NeedsDWARF},
			{Name: "s", Help: "the source text around the address, whose line is marked, and the functions that were inlined there; count lines behind it, or all up to the function's end", Needs: NeedsDWARF},
			{Name: "b", Arg: "SKIP", Help: "bytes to skip behind each ud2 (kernels before 2.6.20 kept data there)"},
			{Name: "x", Help: "offsets in hexadecimal"},
			{Name: "d", Help: "offsets in decimal"},
		},
		Help: "A function without a count shows whole, an address or another symbol one instruction, FILE:LINE all code of the line, wherever it was inlined. The code is what memory holds: kernels patch themselves, so " +
			"what ftrace, alternatives and jump labels made of it shows, and a vmlinux would not. Bytes that are no instruction show as (bad), and the next is tried.\n\n" +
			"FILE:LINE and the flags -l and -s need a vmlinux with debug information. FILE may be the end of a path. Where a line has no code, the next of its file that has is taken. " +
			"For the text of -s see `help source`.",
		Examples: []Example{{"dis schedule", "a function"}, {"dis -r schedule+85", "how it came to this address"}, {"dis ffffffffb22cad30 10", "ten instructions"}},
		Run:      runDis,
	}
}

const maxFunction = 1 << 20 // bytes; the kernel's largest have some 40 KB

func runDis(c *Call) (view.Result, error) {
	if m := c.View.Arch().Machine(); m != "x86_64" {
		return nil, fmt.Errorf("dis knows x86_64 only; this is a %s kernel", m)
	}
	if len(c.Args) == 0 || len(c.Args) > 2 {
		return nil, &UsageError{c.Cmd.Name, "want an address and at most a count"}
	}
	if c.Flags.Has("s") {
		return c.disSource()
	}
	addr, whole, line, err := c.disAddress(c.Args[0])
	if err != nil {
		return nil, err
	}
	d := &disassembly{c: c, read: c.readKernel, symbol: func(a uint64) string { return symbolText(c.View, a, c.hexOffsets()) }}
	if c.Flags.Has("u") {
		if d.read, err = c.readUser(); err != nil {
			return nil, err
		}
		d.symbol = func(uint64) string { return "" }
		whole = false
	}
	if b := c.Flags.Value("b"); b != "" {
		if d.skip, err = c.number(b); err != nil || d.skip > 64 {
			return nil, &UsageError{c.Cmd.Name, "-b wants a number of bytes"}
		}
	}
	count := uint64(0)
	if len(c.Args) == 2 {
		if count, err = c.number(c.Args[1]); err != nil {
			return nil, err
		}
		whole, line = false, nil
	}
	if len(line) > 0 && !c.Flags.Has("r") && !c.Flags.Has("f") {
		return d.line(line)
	}
	l, err := d.run(uint64(addr), whole, count)
	if err != nil {
		return nil, err
	}
	return d.withLines(l), nil
}

func (c *Call) hexOffsets() bool { return c.Flags.Has("x") || c.State.Hex && !c.Flags.Has("d") }

type disassembly struct {
	c      *Call
	read   readAt
	symbol func(uint64) string
	skip   uint64
}

func (d *disassembly) run(addr uint64, whole bool, count uint64) (view.Disassembly, error) {
	reverse, forward := d.c.Flags.Has("r") && !d.c.Flags.Has("u"), d.c.Flags.Has("f")
	if !whole && !reverse && !forward {
		return d.lines(addr, ^uint64(0), max(count, 1))
	}
	if d.c.Flags.Has("u") {
		return nil, &UsageError{d.c.Cmd.Name, "-f needs a function, and user space has no symbols"}
	}
	s, err := d.c.View.SymbolAt(vmem.Addr(addr))
	if err != nil {
		return nil, fmt.Errorf("no function covers %#x", addr)
	}
	end := functionEnd(d.c, s)
	switch {
	case reverse:
		l, err := d.lines(s.Addr, addr+1, ^uint64(0))
		if err == nil && count > 0 && count < uint64(len(l)) {
			l = l[uint64(len(l))-count:]
		}
		return l, err
	}
	// From the start even if the address lies behind it: it may be inside an instruction.
	l, err := d.lines(s.Addr, end, ^uint64(0))
	if err != nil {
		return nil, err
	}
	l = trimPadding(l)
	for len(l) > 1 && uint64(l[0].Addr) < addr {
		l = l[1:]
	}
	if forward && count > 0 && count < uint64(len(l)) {
		l = l[:count]
	}
	return l, nil
}

// functionEnd is where the next symbol of another address begins.
func functionEnd(c *Call, s symbols.Symbol) uint64 {
	size := s.Size
	if size == 0 || size > maxFunction {
		size = maxFunction
	}
	return s.Addr + size
}

// trimPadding takes off the nops behind a function, whose size is known only by where the next begins. The int3 behind
// its last instruction stay: they are its own, against speculation past it.
func trimPadding(l view.Disassembly) view.Disassembly {
	n := len(l)
	for n > 0 && (strings.Contains(l[n-1].Text, "nop") || l[n-1].Text == "xchg   %ax,%ax") {
		n--
	}
	if n == 0 {
		return l
	}
	return l[:n]
}

// lines decodes from start until an instruction begins at or behind end, or count were decoded.
func (d *disassembly) lines(start, end, count uint64) (view.Disassembly, error) {
	out := view.Disassembly{}
	buf := make([]byte, 4096)
	var window []byte // what was read and not decoded
	var missing error
	for at := start; at < end && uint64(len(out)) < count; {
		if err := d.c.View.Step(); err != nil {
			return nil, err
		}
		if len(window) < disasm.MaxLen && missing == nil {
			var n int
			have := copy(buf, window)
			want := min(len(buf), 64+int(min(end-at, uint64(len(buf)))))
			n, missing = d.read(buf[have:want], at+uint64(have))
			window = buf[:have+n]
		}
		if len(window) == 0 {
			if len(out) == 0 {
				return nil, missing
			}
			d.c.View.Gap(fmt.Sprintf("code at %#x", at), missing)
			return out, nil
		}
		in := disasm.Decode(window, at)
		if in.Bad && missing != nil && len(window) < disasm.MaxLen {
			d.c.View.Gap(fmt.Sprintf("code at %#x", at), missing)
			return out, nil
		}
		one := d.instruction(&in)
		one.FtraceNOP = isFtraceNOP(&one, out)
		out = append(out, one)
		n := uint64(len(in.Bytes))
		if in.UD2 {
			n = min(n+d.skip, uint64(len(window)))
		}
		at, window = at+n, window[n:]
	}
	return out, nil
}

// isFtraceNOP reports whether the instruction is what ftrace replaces by a call when it traces the function: a nop of five bytes where the
// function begins, or behind the endbr64 there.
func isFtraceNOP(in *view.Instruction, before view.Disassembly) bool {
	if in.Bytes != "0f1f440000" || in.Symbol == "" {
		return false
	}
	if n := len(before); n > 0 && before[n-1].Text == "endbr64" {
		in = &before[n-1]
	}
	return !strings.Contains(in.Symbol, "+")
}

func (d *disassembly) instruction(in *disasm.Inst) view.Instruction {
	l := view.Instruction{Addr: vmem.Addr(in.Addr), Symbol: d.symbol(in.Addr), Bytes: fmt.Sprintf("%x", in.Bytes),
		Text: in.Annotated(d.symbol), Bad: in.Bad}
	if in.HasRef {
		ref := vmem.Addr(in.Ref)
		l.Target = &ref
	}
	return l
}
