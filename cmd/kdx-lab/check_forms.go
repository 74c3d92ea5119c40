package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
)

// formCommands must say the same on every form of one dump. All their data is the kernel's own, which level 31 keeps.
var formCommands = []string{"sys", "ps", "log", "mod", "foreach bt", "sym -l", "struct task_struct", "p init_task", "kmem -i", "kmem -s", "kmem -v",
	"foreach task -R comm", "bt -a", "bt -f", "foreach bt -S", "ps -t", "log -m", "dis schedule", "vtop init_task", "rd -s init_task 64", "p runqueues:0",
	"struct -o task_struct", "whatis init_task", "sys -c", "list task_struct.tasks -s task_struct.pid,comm -h init_task"}

// checkForms makes the forms of a dump and compares the text of commands on each with that on the complete one.
func (l *lab) checkForms(ctx context.Context, s *subject) (string, error) {
	files, err := l.forms(ctx, s.dir)
	if err != nil {
		return "", err
	}
	whole, err := s.sayAll(ctx, s.dump)
	if err != nil {
		return "", err
	}
	var d differences
	var names []string
	for _, f := range files {
		name := filepath.Base(f)
		names = append(names, name)
		got, err := s.sayAll(ctx, f)
		if err != nil {
			d.add("%s: %v", name, err)
			continue
		}
		for _, c := range formCommands {
			if got[c] != whole[c] {
				d.add("%s: %s differs: %s", name, c, firstDifference(whole[c], got[c]))
			}
		}
	}
	return fmt.Sprintf("%d commands equal on %s", len(formCommands), strings.Join(names, " ")), d.err()
}

// sayAll runs the commands one process each, so that each output stands alone. The name of the dump is the one thing that may differ.
func (s *subject) sayAll(ctx context.Context, dump string) (map[string]string, error) {
	out := map[string]string{}
	for _, c := range formCommands {
		text, err := s.say(ctx, dump, c)
		if err != nil {
			return nil, err
		}
		out[c] = aboutKernel(text)
	}
	return out, nil
}

// firstDifference is the first line that differs.
func firstDifference(want, got string) string {
	w, g := strings.Split(want, "\n"), strings.Split(got, "\n")
	for i := range max(len(w), len(g)) {
		var a, b string
		if i < len(w) {
			a = w[i]
		}
		if i < len(g) {
			b = g[i]
		}
		if a != b {
			return fmt.Sprintf("line %d: %q; want %q", i+1, b, a)
		}
	}
	return "nothing"
}
