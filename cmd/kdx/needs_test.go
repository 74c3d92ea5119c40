package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"kdx/repl/commands"
)

// needLine is a line of testdata/lines.
type needLine struct {
	need commands.Needs
	line string
}

func needLines(t testing.TB) []needLine {
	t.Helper()
	text, err := os.ReadFile("../../testdata/lines")
	if err != nil {
		t.Fatal(err)
	}
	words := map[string]commands.Needs{"nothing": commands.NeedsNothing, "symbols": commands.NeedsSymbols, "types": commands.NeedsTypes, "DWARF": commands.NeedsDWARF}
	var out []needLine
	for l := range strings.Lines(string(text)) {
		if strings.HasPrefix(l, "#") {
			continue
		}
		word, line, ok := strings.Cut(strings.TrimSuffix(l, "\n"), "\t")
		if !ok || words[word] == "" {
			t.Fatalf("testdata/lines: %q is not NEED, tab, LINE", l)
		}
		out = append(out, needLine{words[word], line})
	}
	return out
}

// TestLines: testdata/lines, which much is tested with, has each command with each of its flags.
func TestLines(t *testing.T) {
	seen := map[string]bool{}
	for _, n := range needLines(t) {
		name, rest, _ := strings.Cut(n.line, " ")
		if strings.HasPrefix(name, "*") {
			name, rest = "*", name[1:]+" "+rest
		}
		name, _, _ = strings.Cut(name, "/")
		c := commandNamed(name)
		if c == nil {
			t.Errorf("%s: there is no command %s", n.line, name)
			continue
		}
		seen[c.Name] = true
		if c.Raw {
			continue
		}
		f, _, err := commands.ParseFlags(c, strings.Fields(rest))
		if err != nil {
			t.Errorf("%s: %v", n.line, err)
			continue
		}
		for _, fl := range c.Flags {
			if f.Has(fl.Name) {
				seen[c.Name+" "+fl.String()] = true
			}
		}
		all := commands.AllNeeds()
		if slices.Index(all, c.NeedsOf(f)) > slices.Index(all, n.need) {
			t.Errorf("%s needs %s; by the table of commands %s", n.line, n.need, c.NeedsOf(f))
		}
	}
	structs := strings.Fields("* struct union")                 // which share their flags
	never := map[string]bool{"rd -r FILE": true, "rd -m": true} // one writes, the other is refused
	for _, c := range commands.All() {
		if c.Needs == "" {
			continue
		}
		if !seen[c.Name] {
			t.Errorf("testdata/lines has no line of %s", c.Name)
		}
		if c.Raw {
			continue
		}
		for _, fl := range c.Flags {
			found := seen[c.Name+" "+fl.String()] || never[c.Name+" "+fl.String()]
			if slices.Contains(structs, c.Name) {
				found = slices.ContainsFunc(structs, func(s string) bool { return seen[s+" "+fl.String()] })
			}
			if !found {
				t.Errorf("testdata/lines has no line of %s with %s", c.Name, fl.String())
			}
		}
	}
}

func commandNamed(name string) *commands.Command {
	for _, c := range commands.All() {
		if c.Name == name || slices.Contains(c.Aliases, name) {
			return c
		}
	}
	return nil
}

// lackingDump is a way to open a dump that lacks something.
type lackingDump struct {
	flags []string
	// enough is the most that lines may need to be answered.
	enough commands.Needs
	// word is what those that need more must name.
	word string
}

// TestNeeds: what is said to need only what is there works, and what needs more says what is missing and what to try.
func TestNeeds(t *testing.T) {
	ways := []lackingDump{
		{nil, commands.NeedsTypes, ""},
		{[]string{"--no-btf"}, commands.NeedsSymbols, "--no-btf"},
		{[]string{"--no-kallsyms"}, commands.NeedsNothing, "--no-kallsyms"},
		{[]string{"--no-btf", "--no-kallsyms", "--no-orc"}, commands.NeedsNothing, "--no-"},
		{[]string{"--no-orc"}, commands.NeedsTypes, ""},
	}
	if raceDetector {
		ways = ways[1:2]
	}
	for _, w := range ways {
		t.Run(strings.Join(append(w.flags, "all"), " "), func(t *testing.T) { w.test(t) })
	}
}

func (w lackingDump) test(t *testing.T) {
	lines := oneIn(8, needLines(t))
	args := append([]string{"open", "--no-rc", "--json"}, w.flags...)
	for _, n := range lines {
		args = append(args, "-c", n.line)
	}
	var out, errs bytes.Buffer
	runKdx(append(args, "../../testdata/dumps/6.12/vmcore"), stdio{in: strings.NewReader(""), out: &out, err: &errs})
	d := json.NewDecoder(&out)
	all := commands.AllNeeds()
	for _, n := range lines {
		var answer struct {
			Missing []struct{ Error string }
			Error   *string
		}
		if err := d.Decode(&answer); err != nil {
			t.Fatalf("%s: %v; stderr: %s", n.line, err, errs.String())
		}
		failure := ""
		if answer.Error != nil {
			failure = *answer.Error
		}
		gaps := fmt.Sprint(answer.Missing)
		answered := slices.Index(all, n.need) <= slices.Index(all, w.enough)
		switch {
		case answered && strings.Contains(failure, " needs "):
			t.Errorf("%s: %s; it should need only %s", n.line, failure, n.need)
		case answered && w.word != "" && answer.Error != nil:
			t.Errorf("%s: %s; want an answer, as it needs only %s", n.line, failure, n.need)
		case answered:
		case answer.Error == nil && len(answer.Missing) == 0:
			t.Errorf("%s: answered; it should need %s", n.line, n.need)
		case n.need != commands.NeedsDWARF && !strings.Contains(failure+gaps, w.word): // no flag leaves DWARF out
			t.Errorf("%s: %s, missing %s; want a sentence that names %s", n.line, failure, gaps, w.word)
		case answer.Error != nil && !strings.Contains(failure, "kdx open VMLINUX DUMP"):
			t.Errorf("%s: %s; want a sentence that says what to try", n.line, failure)
		}
	}
}
