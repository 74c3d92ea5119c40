package commands

import (
	"fmt"

	"kdx/analyze/view"
	"kdx/symbols/demangle"
)

func rustfiltCommand() *Command {
	return &Command{
		Name: "rustfilt", Group: "symbols and types", Summary: "names of Rust's symbols as they are written in source", Prompt: true,
		Usage:    []string{"SYMBOL…"},
		Help:     "Backtraces, sym, dis and log show these names by themselves. A name that is not mangled is shown as it is.",
		Examples: []Example{{"rustfilt _RNvCs1234_6kernel5panic", "kernel::panic"}, {"rustfilt _ZN4core9panicking5panic17h0123456789abcdefE", "core::panicking::panic"}},
		Run:      runRustfilt,
	}
}

func runRustfilt(c *Call) (view.Result, error) {
	if len(c.Args) == 0 {
		return nil, &UsageError{"rustfilt", "give a symbol"}
	}
	out := view.Lines{}
	for _, s := range c.Args {
		out = append(out, demangle.Name(s))
	}
	return out, nil
}

func extendCommand() *Command {
	return &Command{
		Name: "extend", Group: "session", Summary: "crash's extensions, and what takes their place", Prompt: true,
		Usage: []string{"", "FILE.so"},
		Help: "An extension of crash is a shared object built against the C structures of one release of it; no other program can load it. What they are used for, kdx does by " +
			"commands of its own, by C expressions over the kernel's types (`p`, `struct`, `list`, `tree`), and in JSON for scripts outside (`json COMMAND`, `kdx COMMAND --json DUMP`).",
		Examples: []Example{{"extend", "what takes their place"}, {"extend trace.so", "why this can't be loaded"}},
		Run:      runExtend,
	}
}

// extensions are well-known ones, and where in kdx the same is found.
var extensions = []struct{ name, instead string }{
	{"echo", "the example of crash's source"},
	{"dminfo", "struct and list over dm's structures"},
	{"eppic, mpykdump", "json COMMAND, or kdx COMMAND --json, for scripts"},
	{"trace", "log for the kernel's messages; ftrace's buffers are not decoded"},
	{"gcore", "vm, vtop -u and rd -u show a process's memory; no core file is written"},
	{"snap", "kdx convert makes dumps, kdx open --live looks at the running kernel"},
	{"sockq", "net -s, whose queues show what waits"},
	{"ipcs", "ipcs"},
}

func runExtend(c *Call) (view.Result, error) {
	if len(c.Args) > 0 {
		return nil, fmt.Errorf("%s can't be loaded: extensions are built against crash's own C structures (extend lists what takes the place of some)", c.Args[0])
	}
	out := view.Lines{"Extensions of crash can't be loaded: they are built against its own C structures. Instead of"}
	for _, e := range extensions {
		out = append(out, fmt.Sprintf("  %-16s %s", e.name, e.instead))
	}
	return out, nil
}
