package commands

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"kdx/analyze/view"
	"kdx/internal/atomicfile"
)

func rdCommand() *Command {
	return &Command{
		Name: "rd", Group: "symbols and types", Summary: "show memory", Needs: NeedsNothing, Complete: "symbol",
		Usage: []string{"[-p|-u|-f] [-8|-16|-32|-64] [-d|-D|-s|-S|-a] [-xNR] [-o OFFSET] [-e END] [-r FILE] ADDRESS [count]"},
		Flags: []Flag{
			{Name: "p", Help: "ADDRESS is physical"},
			{Name: "u", Help: "ADDRESS is one of user space, of the current task", Needs: NeedsTypes},
			{Name: "f", Help: "ADDRESS is an offset in the dump's file: what its headers and packed pages are made of"},
			{Name: "m", Help: "refused: ADDRESS would be one of Xen's machine, which no dump that kdx opens is addressed by"},
			{Name: "8", Help: "values of 8 bits"},
			{Name: "16", Help: "values of 16 bits"},
			{Name: "32", Help: "values of 32 bits"},
			{Name: "64", Help: "values of 64 bits"},
			{Name: "d", Help: "signed decimal"},
			{Name: "D", Help: "unsigned decimal"},
			{Name: "s", Help: "symbols where values are addresses of them", Needs: NeedsSymbols},
			{Name: "S", Help: "as -s, and [cache] where they are addresses of slab objects; twice: [address:cache]", Needs: NeedsTypes},
			{Name: "a", Help: "text, up to the first byte that is not printable"},
			{Name: "x", Help: "without the column of text"},
			{Name: "N", Help: "in network byte order; for -16 and -32"},
			{Name: "R", Help: "the values up to and including ADDRESS"},
			{Name: "o", Arg: "OFFSET", Help: "begin so many bytes behind ADDRESS"},
			{Name: "e", Arg: "END", Help: "show memory up to this address"},
			{Name: "r", Arg: "FILE", Help: "write the raw bytes to FILE; count is then in bytes"},
		},
		Help: "ADDRESS is a symbol, sym+off, a per-CPU symbol with its CPU (runqueues:1), a hexadecimal number or an (expression). " +
			"Addresses below the kernel's are taken as the current task's. The default is one word of the machine.\n\n" +
			"Where memory is missing from the dump, what lies before it is shown, and the command fails.",
		Examples: []Example{{"rd jiffies", "one word"}, {"rd -a linux_banner", "text"}, {"rd -S ffff8984dee0c8c0 64", "64 words, with symbols and slab caches"}},
		Run:      runRD,
	}
}

func runRD(c *Call) (view.Result, error) {
	if len(c.Args) == 0 || len(c.Args) > 2 {
		return nil, &UsageError{c.Cmd.Name, "want an address and at most a count"}
	}
	addr, err := c.address(c.Args[0])
	if err != nil {
		return nil, err
	}
	d := &view.Dump{View: c.View, Start: uint64(addr), Unit: c.View.WordSize(), Decimal: c.Flags.Has("d"), Unsigned: c.Flags.Has("D"),
		NoText: c.Flags.Has("x"), Count: 1}
	for _, f := range []string{"8", "16", "32", "64"} {
		if c.Flags.Has(f) {
			bits, _ := strconv.Atoi(f)
			d.Unit = uint64(bits / 8)
		}
	}
	if c.Flags.Has("N") {
		if d.Unit != 2 && d.Unit != 4 {
			return nil, &UsageError{c.Cmd.Name, "-N is for values of 16 and 32 bits"}
		}
		d.Network = true
	}
	for _, f := range []string{"s", "S"} {
		if c.Flags.Has(f) && d.Unit != c.View.WordSize() {
			return nil, &UsageError{c.Cmd.Name, fmt.Sprintf("-%s is for values of %d bits: those of %d are no addresses", f, c.View.WordSize()*8, d.Unit*8)}
		}
	}
	if err := c.rdSource(d); err != nil {
		return nil, err
	}
	if err := c.rdRange(d); err != nil {
		return nil, err
	}
	c.rdNames(d)
	if f := c.Flags.Value("r"); f != "" {
		return c.rdFile(d, f)
	}
	return d, nil
}

func (c *Call) rdSource(d *view.Dump) error {
	if c.Flags.Has("m") {
		return &UsageError{c.Cmd.Name, "-m is for machine addresses of a Xen hypervisor's dump; of a guest's dump kdx reads guest-physical memory, with -p"}
	}
	kinds := 0
	for _, f := range []string{"p", "u", "f"} {
		if c.Flags.Has(f) {
			kinds++
		}
	}
	if kinds > 1 {
		return &UsageError{c.Cmd.Name, "-p, -u and -f exclude each other"}
	}
	switch {
	case c.Flags.Has("f"):
		read, err := c.readFile()
		if err != nil {
			return err
		}
		d.Read = read
	case c.Flags.Has("p"):
		d.Read = c.readPhys
	case c.Flags.Has("u") || !c.View.Arch().IsKernel(d.Start):
		read, err := c.readUser()
		if err != nil {
			if !c.Flags.Has("u") {
				return fmt.Errorf("%#x is no address of the kernel, and the current task has no user memory to read: %w", d.Start, err)
			}
			return err
		}
		d.Read = read
	default:
		d.Read = c.readKernel
	}
	return nil
}

// rdRange works out where to begin and how many values there are.
func (c *Call) rdRange(d *view.Dump) error {
	if o := c.Flags.Value("o"); o != "" {
		n, err := strconv.ParseInt(o, 0, 64)
		if err != nil {
			return &UsageError{c.Cmd.Name, "-o wants a number of bytes"}
		}
		d.Start += uint64(n)
	}
	given := len(c.Args) == 2
	if given {
		n, err := c.number(c.Args[1])
		if err != nil {
			return err
		}
		if n == 0 {
			return &UsageError{c.Cmd.Name, "a count of 0 shows nothing"}
		}
		d.Count = n
	}
	unit := d.Unit
	if c.Flags.Has("r") || c.Flags.Has("a") {
		unit = 1
	}
	if e := c.Flags.Value("e"); e != "" {
		end, err := c.address(e)
		if err != nil {
			return err
		}
		if uint64(end) <= d.Start {
			return &UsageError{c.Cmd.Name, fmt.Sprintf("-e %s: the end does not lie behind the start", e)}
		}
		d.Count = (uint64(end) - d.Start + unit - 1) / unit
		given = true
	}
	switch {
	case c.Flags.Has("r") && !given:
		return &UsageError{c.Cmd.Name, "-r wants a count of bytes, or -e"}
	case c.Flags.Has("a"):
		d.Text0, d.UntilUnprintable = true, !given
	}
	if c.Flags.Has("R") && d.Count > 0 {
		d.Start -= (d.Count - 1) * d.Unit
	}
	if d.Count > (^uint64(0)-d.Start)/unit+1 && d.Count > 1 {
		return &UsageError{c.Cmd.Name, fmt.Sprintf("%d values from %#x lie beyond the last address", d.Count, d.Start)}
	}
	return nil
}

// rdNames sets what turns values into names. Where slab caches can't be read, symbols remain.
func (c *Call) rdNames(d *view.Dump) {
	if !c.Flags.Has("s") && !c.Flags.Has("S") {
		return
	}
	level := c.Flags.Count("S")
	d.Name = c.annotator(level)
}

// rdFile copies memory into a file, which appears whole or not at all.
func (c *Call) rdFile(d *view.Dump, path string) (view.Result, error) {
	const limit = 16 << 30 // more than this is a mistyped count: convert copies dumps
	if d.Count > limit {
		return nil, &UsageError{c.Cmd.Name, fmt.Sprintf("%d bytes are too many", d.Count)}
	}
	if strings.ContainsRune(path, 0) {
		return nil, &UsageError{c.Cmd.Name, "the file's name has a NUL"}
	}
	f, err := atomicfile.Create(path, os.FileMode(0o644))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, 64<<10)
	for done := uint64(0); done < d.Count; {
		p := buf[:min(uint64(len(buf)), d.Count-done)]
		if _, err := d.Read(p, d.Start+done); err != nil {
			return nil, fmt.Errorf("%s not written: %w", path, err)
		}
		if _, err := f.Write(p); err != nil {
			return nil, err
		}
		done += uint64(len(p))
	}
	if err := f.Commit(); err != nil {
		return nil, err
	}
	return view.Lines{fmt.Sprintf("%d bytes copied from %#x to %s", d.Count, d.Start, path)}, nil
}
