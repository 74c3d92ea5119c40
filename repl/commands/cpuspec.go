package commands

import (
	"fmt"
	"strings"

	"kdx/analyze/expr"
	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// cpuSpec takes "runqueues:0,2-3" apart: the name and the CPUs that the specifier means. ":" alone is the CPU of the
// current task, ":a" or ":all" all that the machine has. given is false without a specifier.
func (c *Call) cpuSpec(word string) (name string, cpus []int, given bool, err error) {
	at := specAt(word)
	if at < 0 {
		return word, nil, false, nil
	}
	name, list := strings.TrimSpace(word[:at]), word[at+1:]
	if list == "" {
		t, err := c.State.CurrentTask(c.View)
		if err != nil {
			return name, nil, true, err
		}
		return name, []int{t.CPU}, true, nil
	}
	all, err := c.View.PossibleCPUs()
	if err != nil {
		return name, nil, true, err
	}
	if list == "a" || list == "all" {
		if present, err := c.View.PresentCPUs(); err == nil && len(present) > 0 {
			all = present
		}
		return name, all, true, nil
	}
	top := 0
	if len(all) > 0 {
		top = all[len(all)-1] + 1
	}
	cpus, err = parseCPUs(list, top)
	if err != nil {
		return name, nil, true, &UsageError{c.Cmd.Name, err.Error()}
	}
	return name, cpus, true, nil
}

// specAt is where a CPU specifier begins, -1 if word has none. The colon of ?: is none: "a ? b : 0".
func specAt(word string) int {
	at := strings.LastIndexByte(word, ':')
	if at < 1 || strings.Contains(word, "?") {
		return -1
	}
	list := word[at+1:]
	if list != "a" && list != "all" && strings.Trim(list, "0123456789,-") != "" {
		return -1
	}
	return at
}

// object is where a command was told to look: an address, of one CPU's copy if CPU is not negative.
type object struct {
	CPU  int
	Addr vmem.Addr
}

// objectsAt are the addresses that word means: a number in hexadecimal, a symbol, or a C expression that gives a pointer
// or lies in memory; with a CPU specifier one for each CPU.
func (c *Call) objectsAt(word string) ([]object, error) {
	name, cpus, perCPU, err := c.cpuSpec(word)
	if err != nil {
		return nil, err
	}
	addr, symbol, err := c.addressOf(name)
	if err != nil {
		return nil, err
	}
	if !perCPU {
		if symbol && c.View.IsPerCPU(addr) {
			return nil, fmt.Errorf("%s is per-CPU: say which, as in %s:0 (%s:a for all)", name, name, name)
		}
		return []object{{-1, addr}}, nil
	}
	if symbol && !c.View.IsPerCPU(addr) {
		return nil, fmt.Errorf("%s is not per-CPU: leave out %s", name, word[len(name):])
	}
	var out []object
	for _, cpu := range cpus {
		off, err := c.View.PerCPUOffset(cpu)
		if err != nil {
			return nil, err
		}
		out = append(out, object{cpu, addr + vmem.Addr(off)})
	}
	return out, nil
}

// addressOf is the address that a word without CPU specifier means. Numbers are hexadecimal with or without 0x, as
// everywhere that addresses are typed; a symbol goes before a number that looks like it.
func (c *Call) addressOf(word string) (addr vmem.Addr, symbol bool, err error) {
	if s, err := c.View.Symbol(word); err == nil {
		return vmem.Addr(s.Addr), true, nil
	}
	if n, ok := parseHex(word); ok {
		return vmem.Addr(n), false, nil
	}
	x, err := expr.Eval(c.View, word, expr.Options{CPU: -1, History: c.State.Values})
	if err != nil {
		return 0, false, err
	}
	addr, err = pointed(x)
	return addr, false, err
}

// pointed is where a value points or, for a struct, union or array, lies.
func pointed(x kernel.Value) (vmem.Addr, error) {
	switch x.Type().Strip().Kind {
	case symbols.Struct, symbols.Union, symbols.Array, symbols.Func:
		if a, ok := x.Addr(); ok {
			return a, nil
		}
	case symbols.Pointer, symbols.Int:
		return x.Pointer()
	}
	return 0, fmt.Errorf("%s is no address", x.Type())
}

func parseHex(s string) (uint64, bool) {
	s = strings.TrimPrefix(strings.TrimPrefix(s, "0x"), "0X")
	if s == "" || len(s) > 16 {
		return 0, false
	}
	var n uint64
	for i := range len(s) {
		d := strings.IndexByte("0123456789abcdef", s[i]|0x20)
		if d < 0 || s[i] < '0' {
			return 0, false
		}
		n = n<<4 | uint64(d)
	}
	return n, true
}
