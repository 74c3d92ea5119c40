package commands

import (
	"fmt"
	"strings"

	"kdx/analyze/expr"
	"kdx/analyze/kernel"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

func pCommand() *Command {
	return &Command{
		Name:    "p",
		Group:   "symbols and types",
		Summary: "evaluate a C expression and print its value",
		Usage:   []string{"[-x | -d] [-a] [/FORMAT] EXPRESSION", "[-x | -d] [-a] [/FORMAT] EXPRESSION:CPUS"},
		Flags: []Flag{
			{Name: "x", Help: "integers in hexadecimal"},
			{Name: "d", Help: "integers in decimal"},
			{Name: "u", Help: "the value lies at an address of user space, of the current task: p -u *(char *)ADDRESS@16"},
			annotateFlag(),
		},
		Help: prose(`The expression is C over the variables, types and enumerators of the kernel: casts, members (. and -> are taken for each
other), indexing, & and *, arithmetic with C's conversions, comparison, &&, ||, ?:, sizeof, and beyond C container_of,
offsetof, per_cpu(variable, cpu), per_cpu_ptr(pointer, cpu), gdb's object@count for arrays, and $N, $ and $$ for values
shown before. Nothing can be assigned, and no function called.

Of a per-CPU variable, p shows the type and where each CPU's copy is. CPUS behind a colon says whose value to show:
p runqueues:0, p runqueues.nr_running:0-3, p runqueues.clock:a for all, and p runqueues.clock: for the current task's CPU.

FORMAT is gdb's, for every scalar in the value: p/x hexadecimal, /d signed, /u unsigned, /o octal, /t binary,
/c character, /a address with its symbol, /z hexadecimal with leading zeros, /s text.

Once a frame was chosen (frame N), its variables go before the kernel's of the same name: p count, p file->f_path.dentry, p &buf.

A variable whose type the kernel's own type data do not know can be shown by giving the type:
p (unsigned long)name, p *(struct page **)&mem_map. What lies on a page that the dump does not have is marked.`),
		Examples: []Example{
			{"p jiffies", "a variable"},
			{"p *(struct list_head *)&init_task.tasks", "what lies at an address, seen as a type"},
			{"p container_of(init_task.tasks.next, struct task_struct, tasks)->pid", "from a list entry to its struct"},
			{"p/x runqueues.clock:a", "one member of each CPU's run queue, in hexadecimal"},
		},
		Needs:    NeedsTypes,
		Complete: "variable",
		Quotes:   true,
		Run:      runP,
	}
}

func runP(c *Call) (view.Result, error) {
	text, st, err := c.expression()
	if err != nil {
		return nil, err
	}
	src, cpus, given, err := c.cpuSpec(text)
	if err != nil {
		return nil, err
	}
	opt := expr.Options{CPU: -1, History: c.State.Values, Local: c.local()}
	if given {
		return c.printPerCPU(src, cpus, opt, st)
	}
	isLocal := false
	if opt.Local != nil {
		_, isLocal = opt.Local(src)
	}
	if res, ok := c.perCPUPlaces(src); ok && !isLocal {
		return res, nil
	}
	x, err := expr.Eval(c.View, src, opt)
	if err != nil {
		return nil, err
	}
	if c.Flags.Has("u") {
		if x, err = c.userValue(x); err != nil {
			return nil, err
		}
	}
	if err := printable(src, x); err != nil {
		return nil, err
	}
	shown := c.remember(src, -1, isLocal, x)
	if st.Format != 0 { // as gdb says it
		shown.Name = ""
	}
	return &view.Printed{Expression: src, Style: st, List: []view.PrintedValue{shown}}, nil
}

// expression joins the words and takes /FORMAT off.
func (c *Call) expression() (string, view.Style, error) {
	st := view.Style{Hex: c.hex()}
	text := strings.TrimSpace(strings.Join(c.Args, " "))
	if format, rest, _ := strings.Cut(text, " "); strings.HasPrefix(format, "/") {
		letter := strings.TrimPrefix(format, "/")
		if len(letter) != 1 || !strings.Contains("xduotacsz", letter) {
			return "", st, &UsageError{c.Cmd.Name, format + " is none of the formats /x /d /u /o /t /a /c /s /z"}
		}
		st.Hex, st.Format = false, letter[0]
		text = strings.TrimSpace(rest)
	}
	if text == "" {
		return "", st, &UsageError{c.Cmd.Name, "give an expression"}
	}
	st.Pointee = c.pointees()
	return text, st, nil
}

// remember makes the value $N.
func (c *Call) remember(src string, cpu int, isLocal bool, x kernel.Value) view.PrintedValue {
	c.State.Values = append(c.State.Values, x)
	p := view.PrintedValue{CPU: cpu, Number: len(c.State.Values), Value: x}
	if cpu < 0 && (isLocal || c.View.HasSymbol(src)) {
		p.Name = src
	}
	if cpu >= 0 {
		p.Name = fmt.Sprintf("per_cpu(%s, %d)", src, cpu)
	}
	return p
}

// printable refuses what has no bytes that could be shown.
func printable(src string, x kernel.Value) error {
	t := x.Type().Strip()
	switch {
	case t.Kind == symbols.Void:
		return fmt.Errorf("the kernel's type data do not say what type %s has: give it, as in *(unsigned long *)&(%s), or show its memory with rd", src, src)
	case t.Incomplete:
		return fmt.Errorf("%s is declared, but this kernel's types do not define it", t)
	}
	return nil
}

func (c *Call) printPerCPU(src string, cpus []int, opt expr.Options, st view.Style) (view.Result, error) {
	class, name := expr.Classify(c.View, src)
	if class == expr.Struct || class == expr.Union {
		class = expr.Variable // a variable of a tag's name
	}
	if s, err := c.View.Symbol(name); class == expr.Variable && err == nil && !c.View.IsPerCPU(vmem.Addr(s.Addr)) {
		return nil, fmt.Errorf("%s is not per-CPU", name)
	}
	res := &view.Printed{Expression: src, Style: st, PerCPU: true}
	for _, cpu := range cpus {
		opt.CPU = cpu
		x, err := expr.Eval(c.View, src, opt)
		if err != nil {
			return nil, err
		}
		if err := printable(src, x); err != nil {
			return nil, err
		}
		res.List = append(res.List, c.remember(src, cpu, false, x))
	}
	return res, nil
}

// perCPUPlaces answers a per-CPU variable's bare name.
func (c *Call) perCPUPlaces(name string) (view.Result, bool) {
	s, err := c.View.Symbol(name)
	if err != nil || s.IsText() || !c.View.IsPerCPU(vmem.Addr(s.Addr)) {
		return nil, false
	}
	res := &view.PerCPUPlaces{Name: name}
	if t, err := c.View.Debug().VariableType(name); err == nil {
		res.Type = t
	}
	cpus, err := c.View.PresentCPUs()
	if err != nil {
		return nil, false
	}
	for _, cpu := range cpus {
		off, err := c.View.PerCPUOffset(cpu)
		if err != nil {
			c.View.Gap(fmt.Sprintf("%s of CPU %d", name, cpu), err)
			continue
		}
		res.List = append(res.List, view.PerCPUPlace{CPU: cpu, Addr: vmem.Addr(s.Addr + off)})
	}
	return res, true
}

// userValue reads a value that lies in user space: the object at an address, or the text of a char pointer.
func (c *Call) userValue(x kernel.Value) (kernel.Value, error) {
	addr, inMemory := x.Addr()
	if !inMemory || c.View.Arch().IsKernel(uint64(addr)) {
		return x, nil
	}
	space, err := c.currentSpace()
	if err != nil {
		return x, err
	}
	x = c.userObject(space, x.Type(), addr)
	return x, x.Err()
}
