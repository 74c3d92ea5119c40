package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
)

// gdbFrame is a line of gdb's bt: number, pc (which inlined functions leave to the innermost), function, parameters.
var gdbFrame = regexp.MustCompile(`^#\d+ +(?:0x([0-9a-f]+) in )?(\S+) \((.*)\)(?: (?:at|from) .*)?$`)

// gdbParameters are the parameters in the frames of these tasks that gdb knows, by crash's own gdb.
// Idle tasks, which share a pid, are left out.
func (l *lab) gdbParameters(ctx context.Context, s *subject, pids []int) (known map[variableKey]string, err error) {
	p, err := l.peers(ctx)
	if err != nil {
		return nil, err
	}
	vmlinux, err := filepath.EvalSymlinks(filepath.Join(s.dir, "vmlinux"))
	if err != nil {
		return nil, err
	}
	dir, err := filepath.Abs(s.dir)
	if err != nil {
		return nil, err
	}
	var script strings.Builder
	script.WriteString("gdb set print frame-arguments all\ngdb set width 0\ngdb set print elements 4\n")
	for _, pid := range pids {
		fmt.Fprintf(&script, "set %d\ngdb bt\n", pid)
	}
	script.WriteString("q\n")
	here := filepath.Join(dir, "gdb.in")
	if err := os.WriteFile(here, []byte(script.String()), 0o644); err != nil {
		return nil, err
	}
	defer os.Remove(here)
	out, err := p.run(ctx, []string{dir, filepath.Dir(vmlinux)}, "crash", "-s", vmlinux, filepath.Join(dir, "vmcore"), "-i", here)
	if err != nil {
		return nil, err
	}
	known = make(map[variableKey]string)
	k := variableKey{}
	for line := range strings.Lines(string(out)) {
		line = strings.TrimSpace(line)
		if text, ok := strings.CutPrefix(line, "PID: "); ok {
			k.pid, _ = strconv.Atoi(text)
			continue
		}
		m := gdbFrame.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		k.inline++
		if m[1] != "" {
			k.inline, k.pc = 0, "0x"+strings.TrimLeft(m[1], "0")
		}
		k.function = m[2]
		for name, value := range gdbArguments(m[3]) {
			k.name = name
			if _, done := known[k]; !done && k.pid != 0 {
				known[k] = value
			}
		}
	}
	return known, nil
}

// gdbArguments takes "a=1, b=b@entry=0x2 <x>, c@entry=3, d=<optimized out>" apart: what is known, by name. @VALUE is one that gdb has
// from what the caller passed: through a caller that hands on its own parameters it takes the wrong frame's.
func gdbArguments(text string) map[string]string {
	known := map[string]string{}
	for text != "" {
		name, rest, ok := strings.Cut(text, "=")
		if !ok {
			return known
		}
		end := endOfValue(rest)
		value := rest[:end]
		text = strings.TrimPrefix(rest[end:], ", ")
		name, entry := strings.CutSuffix(name, "@entry")
		if _, has := known[name]; has && entry {
			continue
		}
		if passed, ok := strings.CutPrefix(value, name+"@entry="); ok || entry {
			known[name] = "@" + passed
			continue
		}
		if strings.Contains(value, "<optimized out>") || strings.HasPrefix(value, "<error") || strings.Contains(value, "<synthetic") {
			continue
		}
		known[name] = value
	}
	return known
}

// endOfValue is where the value at the start of text ends: at a comma outside of braces, brackets and quotes.
func endOfValue(text string) int {
	depth, quote := 0, byte(0)
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case quote != 0 && c == '\\':
			i++
		case quote != 0:
			if c == quote {
				quote = 0
			}
		case c == '"' || c == '\'':
			quote = c
		case strings.IndexByte("{[(<", c) >= 0:
			depth++
		case strings.IndexByte("}])>", c) >= 0:
			depth--
		case c == ',' && depth <= 0:
			return i
		}
	}
	return len(text)
}
