package repl

import (
	"cmp"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kdx/analyze/kernel"
	"kdx/repl/commands"
	"kdx/symbols"
)

// maxCandidates bounds what a Tab collects; the screen shows less.
const maxCandidates = 2000

// complete is what could stand at the end of line: have is the beginning that is there, names are whole candidates that
// begin with it, sorted. An only candidate that ends a word has a blank behind it.
func (s *Session) complete(line string) (have string, names []string) {
	ctx, cancel := s.interrupts.command(context.Background())
	defer cancel(nil)
	c := completion{s: s, ctx: ctx}
	if s.cfg.Kernel != nil {
		c.v = s.cfg.Kernel.View(ctx)
	}
	have, names = c.of(line)
	slices.Sort(names)
	names = slices.Compact(names)
	if len(names) == 1 && !strings.HasSuffix(names[0], "/") && !strings.HasSuffix(names[0], ".") {
		names[0] += " "
	}
	return have, names
}

type completion struct {
	s   *Session
	ctx context.Context
	v   *kernel.View // nil without a dump
}

func (c *completion) of(line string) (have string, names []string) {
	head, last := splitLast(line)
	if before := strings.TrimRight(head, " \t"); strings.HasSuffix(before, ">") || strings.HasSuffix(before, "<") {
		return last, files(last)
	}
	l, err := parseLine(expandAliases(head, c.s.state.Aliases))
	if err != nil || l.isShell || l.pipe != "" || l.output != "" || l.input != "" {
		if err == nil || !strings.HasPrefix(strings.TrimSpace(head), "json") || len(strings.Fields(head)) != 1 {
			return last, nil
		}
		l = &line0 // the modifier alone: a command comes
	}
	if len(l.words) == 0 {
		if strings.ContainsAny(last, ".>") {
			return c.expression(last)
		}
		names = withPrefix(c.s.commandNames(), last)
		if len(last) >= 3 {
			names = append(names, c.symbols(last, true)...)
			names = append(names, c.types(last, false)...)
			names = append(names, c.enumerators(last)...)
		}
		return last, names
	}
	cmd := c.s.byName[l.words[0].text]
	if cmd == nil {
		return last, nil
	}
	cmd = c.inner(cmd, l.words[1:])
	if strings.HasPrefix(last, "-") {
		return last, flagNames(cmd, last)
	}
	return c.argument(cmd, last)
}

var line0 = line{}

// inner is the command that foreach will run, once it is there: of several the last.
func (c *completion) inner(cmd *commands.Command, ws []word) *commands.Command {
	if cmd.Name != "foreach" {
		return cmd
	}
	for _, w := range ws {
		if in := c.s.byName[w.text]; in != nil && (in.Tasks || in.TaskFlag != "") {
			cmd = in
		}
	}
	return cmd
}

func (c *completion) argument(cmd *commands.Command, last string) (have string, names []string) {
	if cmd.Name == "foreach" {
		names = withPrefix([]string{"user", "kernel", "gleader", "active"}, last)
		for _, x := range c.s.cfg.Commands {
			if (x.Tasks || x.TaskFlag != "") && strings.HasPrefix(x.Name, last) {
				names = append(names, x.Name)
			}
		}
		return last, append(names, c.tasks(last)...)
	}
	if cmd.Name == "set" {
		return last, append(withPrefix(commands.VariableNames(), last), c.tasks(last)...)
	}
	switch cmd.Complete {
	case "command":
		return last, append(withPrefix(c.s.commandNames(), last), withPrefix([]string{"all", "input", "output"}, last)...)
	case "task":
		return last, c.tasks(last)
	case "type":
		if strings.Contains(last, ".") {
			return c.members(last)
		}
		if cmd.Name == "whatis" { // which tells of whatever has a name
			return last, slices.Concat(c.types(last, true), c.symbols(last, false), c.enumerators(last))
		}
		return last, append(c.types(last, false), c.symbols(last, true)...)
	case "symbol":
		return last, c.symbols(last, false)
	case "variable":
		return c.expression(last)
	}
	return last, nil
}

// expression completes the name at the end of a C expression: a member after . or ->, else a symbol or type.
func (c *completion) expression(last string) (have string, names []string) {
	i := len(last)
	for i > 0 && (isNameByte(last[i-1]) || last[i-1] == '.' || i > 1 && last[i-2:i] == "->" || last[i-1] == '-' && i < len(last) && last[i] == '>') {
		i--
	}
	front, tail := last[:i], last[i:]
	if strings.Contains(tail, ".") || strings.Contains(tail, "->") {
		have, names = c.members(tail)
	} else {
		have, names = tail, slices.Concat(c.symbols(tail, true), c.types(tail, true), c.enumerators(tail))
	}
	for j := range names {
		names[j] = front + names[j]
	}
	return front + have, names
}

func isNameByte(b byte) bool {
	return b == '_' || b >= '0' && b <= '9' || b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z'
}

// members completes task_struct.se.lo and init_task->mm.pg. Of a list (task_struct.pid,comm) it is the last.
func (c *completion) members(last string) (have string, names []string) {
	if c.v == nil {
		return last, nil
	}
	cut := strings.LastIndexAny(last, ".,>") + 1
	path := strings.TrimSuffix(strings.TrimSuffix(last[:cut], "."), "->")
	if base, list, ok := strings.Cut(last[:cut], "."); ok && strings.HasSuffix(last[:cut], ",") {
		_ = list
		path = base // after a comma the path begins again at the struct
	} else if i := strings.LastIndexByte(path, ','); i >= 0 {
		path = base + "." + path[i+1:]
	}
	t := c.typeOf(strings.FieldsFunc(path, func(r rune) bool { return r == '.' || r == '-' || r == '>' }))
	if t == nil {
		return last, nil
	}
	for _, m := range memberNames(t, 0) {
		if strings.HasPrefix(m, last[cut:]) {
			names = append(names, last[:cut]+m)
		}
	}
	return last, names
}

// typeOf follows members from a type or a variable; pointers and arrays are followed to what they hold.
func (c *completion) typeOf(path []string) *symbols.Type {
	if len(path) == 0 {
		return nil
	}
	var t *symbols.Type
	syms := c.v.Debug()
	for _, kind := range []symbols.Kind{symbols.Struct, symbols.Union, symbols.Typedef} {
		if found, err := syms.TypeNamed(kind, path[0]); err == nil {
			t = found
			break
		}
	}
	if t == nil {
		found, err := syms.VariableType(path[0])
		if err != nil {
			return nil
		}
		t = found
	}
	t = target(t)
	for _, name := range path[1:] {
		name, _, _ = strings.Cut(name, "[")
		m := memberNamed(t, name, 0)
		if m == nil {
			return nil
		}
		t = target(m)
	}
	return t
}

func target(t *symbols.Type) *symbols.Type {
	for range 8 {
		t = t.Strip()
		if t.Kind != symbols.Pointer && t.Kind != symbols.Array {
			break
		}
		t = t.Elem()
	}
	return t
}

func memberNamed(t *symbols.Type, name string, depth int) *symbols.Type {
	for _, m := range t.Members() {
		if m.Name == name {
			return m.Type
		}
		if m.Name == "" && depth < 8 {
			if found := memberNamed(m.Type.Strip(), name, depth+1); found != nil {
				return found
			}
		}
	}
	return nil
}

func memberNames(t *symbols.Type, depth int) []string {
	var out []string
	for _, m := range t.Members() {
		switch {
		case m.Name != "":
			out = append(out, m.Name)
		case depth < 8:
			out = append(out, memberNames(m.Type.Strip(), depth+1)...)
		}
	}
	return out
}

// symbols that begin with prefix; data only if so wanted.
func (c *completion) symbols(prefix string, data bool) []string {
	if c.v == nil || prefix == "" {
		return nil
	}
	var out []string
	for s := range c.v.Debug().All() {
		if strings.HasPrefix(s.Name, prefix) && !(data && s.IsText()) {
			if out = append(out, s.Name); len(out) >= maxCandidates {
				break
			}
		}
		if c.v.Step() != nil {
			break
		}
	}
	return out
}

// types that begin with prefix.
func (c *completion) types(prefix string, all bool) []string {
	if c.v == nil || prefix == "" {
		return nil
	}
	var out []string
	for kind, name := range c.v.Debug().TypeNames() {
		wanted := kind == symbols.Struct || kind == symbols.Union || kind == symbols.Typedef || all && kind == symbols.Enum
		if wanted && strings.HasPrefix(name, prefix) {
			if out = append(out, name); len(out) >= maxCandidates {
				break
			}
		}
		if c.v.Step() != nil {
			break
		}
	}
	return out
}

// enumerators that begin with prefix.
func (c *completion) enumerators(prefix string) []string {
	if c.v == nil || prefix == "" {
		return nil
	}
	var out []string
	for name := range c.v.Debug().EnumeratorNames(prefix) {
		if out = append(out, name); len(out) >= maxCandidates || c.v.Step() != nil {
			break
		}
	}
	return out
}

// tasks by name, or by pid if the word is a number.
func (c *completion) tasks(prefix string) []string {
	if c.v == nil {
		return nil
	}
	t, err := c.s.state.Tasks(c.v)
	if err != nil {
		return nil
	}
	var out []string
	for _, x := range t.Tasks {
		name := x.Comm
		if isNumber(prefix) {
			name = strconv.Itoa(int(x.PID))
		}
		if strings.HasPrefix(name, prefix) && !strings.ContainsAny(name, " \t'\"|<>\\") && plain([]byte(name)) {
			out = append(out, name)
		}
	}
	return out
}

func flagNames(cmd *commands.Command, prefix string) []string {
	var out []string
	for i := range cmd.Flags {
		name, _, _ := strings.Cut(cmd.Flags[i].String(), " ")
		if strings.HasPrefix(name, prefix) {
			out = append(out, name)
		}
	}
	return out
}

func withPrefix(names []string, prefix string) []string {
	var out []string
	for _, n := range names {
		if strings.HasPrefix(n, prefix) {
			out = append(out, n)
		}
	}
	return out
}

// files whose path begins with prefix; directories end in a slash.
func files(prefix string) []string {
	dir, base := filepath.Split(prefix)
	entries, err := os.ReadDir(cmp.Or(expandHome(dir), "."))
	if err != nil {
		return nil
	}
	var out []string
	for _, e := range entries {
		name := e.Name()
		if !strings.HasPrefix(name, base) || name[0] == '.' && base == "" || strings.ContainsAny(name, " '\"\\") {
			continue
		}
		if e.IsDir() {
			name += "/"
		}
		out = append(out, dir+name)
	}
	return out
}

// splitLast cuts the word that is being typed off a line.
func splitLast(line string) (head, last string) {
	i := strings.LastIndexAny(line, " \t|<>!")
	for i > 0 && line[i] == '>' && line[i-1] == '-' {
		i = strings.LastIndexAny(line[:i-1], " \t|<>!")
	}
	return line[:i+1], line[i+1:]
}
