package commands

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"kdx/analyze/expr"
	"kdx/analyze/kernel"
	"kdx/analyze/task"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

const maxObjects = 1 << 16 // of one struct command

var structFlags = []Flag{
	{Name: "o", Help: "with offsets of the members; for an object, with their addresses"},
	{Name: "l", Arg: "OFFSET", Help: "the address is of a member at this offset (a number, or struct.member), as lists link them"},
	{Name: "r", Help: "the raw bytes"},
	{Name: "u", Help: "the address is one of user space, of the current task"},
	{Name: "f", Help: "the address is an offset in the dump's file"},
	{Name: "x", Help: "numbers in hexadecimal"},
	{Name: "d", Help: "numbers in decimal"},
	{Name: "p", Help: "follow the pointers among the members shown, and show what they point to"},
	{Name: "c", Arg: "COUNT", Help: "so many objects, one behind the other; if negative, those that end with this one"},
	annotateFlag(),
}

// prose makes one line of each paragraph, as Help wants it, so that the source can be read.
func prose(text string) string {
	paragraphs := strings.Split(text, "\n\n")
	for i, p := range paragraphs {
		paragraphs[i] = strings.ReplaceAll(p, "\n", " ")
	}
	return strings.Join(paragraphs, "\n\n")
}

const structHelp = `Without an address: the definition and its size. With one: the object there, member by member.

NAME is a struct tag, a union tag or a typedef. Members are given behind it: task_struct.pid,comm or, within members,
task_struct.se.load.weight and rq.cfs.avg; array elements as signal_struct.rlim[3].

ADDRESS is in hexadecimal (0x may be left out), a symbol, or a C expression without spaces that points to the object,
such as init_task.tasks.next. For per-CPU objects a specifier says which: runqueues:0, runqueues:1,3-5, runqueues:a
for all, and runqueues: alone for the CPU of the current task.

What lies on a page that the dump does not have is marked, "<page excluded>", and null in JSON.`

func newStruct(name, what string, kind symbols.Kind) *Command {
	return &Command{
		Name:    name,
		Group:   "symbols and types",
		Summary: what,
		Usage:   []string{"NAME[.MEMBER[,MEMBER]…] [-o] [-x | -d]", "NAME[.MEMBER[,MEMBER]…] [-rufxdpa] [-l OFFSET] [-c COUNT] ADDRESS[:CPUS] [COUNT]"},
		Flags:   structFlags,
		Help:    prose(structHelp),
		Needs:   NeedsTypes,
		Run:     func(c *Call) (view.Result, error) { return runStruct(c, kind) },

		Complete: "type",
		Quotes:   true,
	}
}

func structCommand() *Command {
	c := newStruct("struct", "show a struct's definition, or an object of it", symbols.Struct)
	c.Examples = []Example{
		{"struct list_head -o", "the definition, with offsets"},
		{"struct task_struct.pid,comm,se.vruntime init_task", "three members of one object"},
		{"struct rq.nr_running,curr runqueues:a", "of all CPUs' copies"},
		{"struct task_struct.comm -l task_struct.tasks init_task.tasks.next", "the object that a list entry is part of"},
		{"struct task_struct.stack,real_parent,mm,cred -a init_task.tasks.next -l task_struct.tasks", "pointers, with what they lead to"},
	}
	return c
}

func unionCommand() *Command {
	c := newStruct("union", "show a union's definition, or an object of it", symbols.Union)
	c.Examples = []Example{
		{"union sigval", "the definition"},
		{"union rcu_special -o", "with offsets; members begin at 0"},
	}
	return c
}

func starCommand() *Command {
	c := newStruct("*", "struct or union, in one character", symbols.Void)
	c.Examples = []Example{
		{"*list_head init_task.tasks", "the list_head in init_task"},
		{"*task_struct.comm init_task", "one member"},
	}
	return c
}

func runStruct(c *Call, kind symbols.Kind) (view.Result, error) {
	args := c.Args
	if len(args) > 1 {
		switch args[0] { // as C spells it
		case "struct", "union", "enum":
			kind = map[string]symbols.Kind{"struct": symbols.Struct, "union": symbols.Union, "enum": symbols.Enum}[args[0]]
			args = args[1:]
		}
	}
	if len(args) == 0 {
		return nil, &UsageError{c.Cmd.Name, "name a struct, union or typedef"}
	}
	t, members, err := c.typeAndMembers(args[0], kind)
	if err != nil {
		return nil, err
	}
	count, args, err := c.objectCount(args[1:])
	if err != nil {
		return nil, err
	}
	switch len(args) {
	case 0:
		for _, f := range []string{"l", "r", "u", "f", "p", "c", "a"} {
			if c.Flags.Has(f) {
				return nil, &UsageError{c.Cmd.Name, "-" + f + " wants the address of an object"}
			}
		}
		return &view.Definition{Type: t, Members: members, Offsets: c.Flags.Has("o"), Hex: c.hex()}, nil
	case 1:
	default:
		return nil, &UsageError{c.Cmd.Name, fmt.Sprintf("%q is more than a name, an address and a count", args[1])}
	}
	objs, err := c.objectsAt(args[0])
	if err != nil {
		return nil, err
	}
	shift, err := c.listOffset(t)
	if err != nil {
		return nil, err
	}
	for i := range objs {
		objs[i].Addr -= vmem.Addr(shift)
	}
	if c.Flags.Has("o") {
		return c.showPlaces(t, members, objs, count)
	}
	return c.showObjects(t, members, objs, count)
}

// showPlaces is -o of objects: where their members lie.
func (c *Call) showPlaces(t *symbols.Type, members []string, at []object, count int) (view.Result, error) {
	var out view.Definitions
	for _, o := range at {
		addr, n := firstObject(t, o.Addr, count)
		for i := range n {
			d := &view.Definition{Type: t, Members: members, Offsets: true, Hex: c.hex()}
			a := addr + vmem.Addr(uint64(i)*t.Size)
			d.Base = &a
			if o.CPU >= 0 && i == 0 {
				d.CPU = &o.CPU
			}
			out = append(out, d)
		}
	}
	if len(out) == 1 {
		return out[0], nil
	}
	return out, nil
}

// firstObject is where the first of count objects lies, and how many there are: a negative count means those up to the one at addr.
func firstObject(t *symbols.Type, addr vmem.Addr, count int) (vmem.Addr, int) {
	if count < 0 {
		return addr - vmem.Addr(uint64(-count-1)*t.Size), -count
	}
	return addr, count
}

// hex says whether integers are shown in hexadecimal: by -x, -d or the session's radix.
func (c *Call) hex() bool {
	return c.Flags.Has("x") || c.State.Hex && !c.Flags.Has("d")
}

// typeAndMembers resolves "task_struct.pid,comm".
func (c *Call) typeAndMembers(word string, kind symbols.Kind) (*symbols.Type, []string, error) {
	name, list, dotted := strings.Cut(word, ".")
	t, err := c.typeNamed(name, kind)
	if err != nil || !dotted {
		return t, nil, err
	}
	members := strings.Split(list, ",")
	for _, m := range members {
		if _, ok := t.Path(m); ok {
			continue
		}
		if !t.Composite() {
			return nil, nil, fmt.Errorf("%s has no members: it is %s", name, t.Strip())
		}
		return nil, nil, fmt.Errorf("%s has no member %s%s", t, m, expr.SimilarMember(t, m))
	}
	return t, members, nil
}

// typeNamed finds a tag, preferring kind, or a typedef.
func (c *Call) typeNamed(name string, kind symbols.Kind) (*symbols.Type, error) {
	kinds := []symbols.Kind{symbols.Struct, symbols.Union, symbols.Typedef, symbols.Enum}
	if kind != symbols.Void {
		kinds = append([]symbols.Kind{kind}, kinds...)
	}
	for _, k := range kinds {
		t, err := c.View.Debug().TypeNamed(k, name)
		if err == nil {
			return t, nil
		}
		if !errors.Is(err, symbols.ErrNotFound) {
			return nil, err
		}
	}
	return nil, fmt.Errorf("this kernel has no type %s%s", name, expr.SimilarType(c.View, name))
}

// objectCount is how many objects to show, from -c or the last argument.
func (c *Call) objectCount(args []string) (int, []string, error) {
	text := c.Flags.Value("c")
	if text == "" {
		if len(args) < 2 {
			return 1, args, nil
		}
		text, args = args[len(args)-1], args[:len(args)-1]
	}
	n, err := strconv.ParseInt(text, 0, 32)
	if err != nil || n == 0 || n > maxObjects || n < -maxObjects {
		return 0, nil, &UsageError{c.Cmd.Name, fmt.Sprintf("%q is no count of objects (at most %d)", text, maxObjects)}
	}
	return int(n), args, nil
}

// listOffset is what -l subtracts.
func (c *Call) listOffset(t *symbols.Type) (uint64, error) {
	text := c.Flags.Value("l")
	if text == "" {
		return 0, nil
	}
	if n, err := strconv.ParseUint(text, 0, 64); err == nil {
		return n, nil
	}
	name, path, dotted := strings.Cut(text, ".")
	if !dotted {
		name, path = "", text // a member of the struct that is shown
	}
	in := t
	if name != "" {
		var err error
		if in, err = c.typeNamed(name, symbols.Struct); err != nil {
			return 0, err
		}
	}
	m, ok := in.Path(path)
	if !ok {
		return 0, fmt.Errorf("-l: %s has no member %s%s", in, path, expr.SimilarMember(in, path))
	}
	return m.Offset(), nil
}

func (c *Call) showObjects(t *symbols.Type, members []string, at []object, count int) (view.Result, error) {
	s := t.Strip()
	if s.Incomplete {
		return nil, fmt.Errorf("%s is declared, but this kernel's types do not define it", t)
	}
	if c.Flags.Has("a") && c.Flags.Has("r") {
		return nil, &UsageError{c.Cmd.Name, "-a is for members; raw words with what they lead to are for rd -S"}
	}
	if s.Kind == symbols.Func || t.Size == 0 && !t.Composite() {
		return nil, fmt.Errorf("%s has no objects", t)
	}
	res := &view.Objects{Type: t, Members: members, Follow: c.Flags.Has("p"), Raw: c.Flags.Has("r"), Style: view.Style{Hex: c.hex(), Pointee: c.pointees()}}
	read, err := c.structSource()
	if err != nil {
		return nil, err
	}
	for _, o := range at {
		if read == nil && !c.View.Arch().IsKernel(uint64(o.Addr)) {
			return nil, fmt.Errorf("%#x is no address of the kernel (for user space there is -u)", uint64(o.Addr))
		}
		addr, n := firstObject(t, o.Addr, count)
		for i := range n {
			a := addr + vmem.Addr(uint64(i)*t.Size)
			x := c.View.Object(t, a)
			if read != nil {
				x = c.copiedObject(read, t, a)
			}
			if err := x.Err(); err != nil {
				return nil, fmt.Errorf("%s at %#x: %w", t, uint64(a), err)
			}
			res.List = append(res.List, view.Object{CPU: o.CPU, First: i == 0, Addr: a, Value: x})
		}
	}
	return res, nil
}

// structSource reads what is not kernel memory, for -u and -f; nil without them.
func (c *Call) structSource() (readAt, error) {
	switch {
	case c.Flags.Has("u") && c.Flags.Has("f"):
		return nil, &UsageError{c.Cmd.Name, "-u and -f exclude each other"}
	case c.Flags.Has("u"):
		return c.readUser()
	case c.Flags.Has("f"):
		return c.readFile()
	}
	return nil, nil
}

// currentSpace is the user space of the current task.
func (c *Call) currentSpace() (vmem.Space, error) {
	t, err := c.State.CurrentTask(c.View)
	if err != nil {
		return nil, err
	}
	return task.UserSpace(c.View, t)
}

// userObject reads an object of user space whole.
func (c *Call) userObject(space vmem.Space, t *symbols.Type, addr vmem.Addr) kernel.Value {
	return c.copiedObject(func(p []byte, at uint64) (int, error) { return vmem.Read(c.View.Image(), space, p, at) }, t, addr)
}

// copiedObject reads an object that is not in kernel memory whole.
func (c *Call) copiedObject(read readAt, t *symbols.Type, addr vmem.Addr) kernel.Value {
	const limit = 1 << 20
	if t.Size > limit {
		return c.View.Failed(fmt.Errorf("%s has %d bytes, which is more than kdx reads of user space or a file", t, t.Size))
	}
	p := make([]byte, t.Size)
	if _, err := read(p, uint64(addr)); err != nil {
		return c.View.Failed(err)
	}
	return c.View.NewValue(t, p)
}
