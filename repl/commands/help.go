package commands

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"kdx/analyze/view"
	"kdx/internal/nearest"
)

func helpCommand() *Command {
	return &Command{
		Name: "help", Group: "session", Prompt: true, Summary: "the commands, or one of them", Usage: []string{"", "COMMAND…", "input | output", "all", "-n | -r"},
		Complete: "command", Raw: true,
		Flags: []Flag{
			{Name: "n", Help: "what the dump's header says: segments, memory, notes, VMCOREINFO"},
			{Name: "D", Help: "the same"},
			{Name: "r", Help: "the registers of each CPU at the crash", Needs: NeedsTypes},
		},
		Help: "`help input` tells what a line may be, `help output` where its output can go; `help all` is the help of every command.\n\n" +
			"Crash's other flags show tables of its own; kdx says which command shows what they tell of the kernel.",
		Examples: []Example{{"help", "all commands in a line each"}, {"help bt", "bt's flags, with examples"}},
		Run:      runHelp,
	}
}

func runHelp(c *Call) (view.Result, error) {
	all := c.State.All()
	if len(c.Args) == 0 {
		return NewHelpList(all), nil
	}
	if slices.Equal(c.Args, []string{"all"}) {
		var out HelpPages
		for _, cmd := range all {
			out = append(out, NewHelpPage(cmd))
		}
		return out, nil
	}
	if letter, ok := strings.CutPrefix(c.Args[0], "-"); ok {
		return helpFlag(c, letter)
	}
	var out HelpPages
	for _, name := range c.Args {
		if t, ok := helpTopics[name]; ok {
			out = append(out, &HelpPage{Name: name, Summary: t.summary, Help: t.text})
			continue
		}
		if text, ok := c.State.Aliases[name]; ok && c.State.Command(name) == nil {
			name, _, _ = strings.Cut(text, " ")
		}
		cmd := c.State.Command(name)
		if cmd == nil {
			var names []string
			for _, x := range all {
				names = append(append(names, x.Name), x.Aliases...)
			}
			return nil, fmt.Errorf("there is no command %s%s", name, suggestion(nearest.Of(name, names)))
		}
		out = append(out, NewHelpPage(cmd))
	}
	return out, nil
}

// helpFlag answers help -X; its words are not parsed as flags so that crash's others can be told of.
func helpFlag(c *Call, letter string) (view.Result, error) {
	if c.Cmd.flag(letter) != nil && len(c.Args) == 1 {
		return internal(c, letter)
	}
	instead, known := internals[letter]
	switch {
	case !known:
		return nil, &UsageError{"help", "unknown flag -" + letter}
	case instead == "":
		return nil, fmt.Errorf("-%s shows tables of crash's own, which kdx does not have", letter)
	}
	return nil, fmt.Errorf("-%s shows a table of crash's own; %s", letter, instead)
}

// Groups are the headings of help, in order; those that are not named here follow.
var Groups = []string{"tasks", "kernel", "memory", "files and devices", "symbols and types", "session"}

// HelpList is what help shows without arguments.
type HelpList []HelpGroup

// HelpGroup are the commands under one heading.
type HelpGroup struct {
	Group    string      `json:"group"`
	Commands []HelpEntry `json:"commands"`
}

// HelpEntry is a command in a line.
type HelpEntry struct {
	Name    string   `json:"name"`
	Aliases []string `json:"aliases,omitempty"`
	Summary string   `json:"summary"`
}

// NewHelpList sorts commands under their headings.
func NewHelpList(all []*Command) HelpList {
	var out HelpList
	for _, g := range groupsOf(all) {
		h := HelpGroup{Group: g}
		for _, c := range all {
			if c.Group == g {
				h.Commands = append(h.Commands, HelpEntry{c.Name, c.Aliases, c.Summary})
			}
		}
		slices.SortFunc(h.Commands, func(a, b HelpEntry) int { return strings.Compare(a.Name, b.Name) })
		out = append(out, h)
	}
	return out
}

func groupsOf(all []*Command) []string {
	var out []string
	for _, g := range Groups {
		if slices.ContainsFunc(all, func(c *Command) bool { return c.Group == g }) {
			out = append(out, g)
		}
	}
	for _, c := range all {
		if !slices.Contains(out, c.Group) {
			out = append(out, c.Group)
		}
	}
	return out
}

// Text writes the list.
func (l HelpList) Text(w io.Writer, o view.Options) error {
	var b strings.Builder
	for i, g := range l {
		if i > 0 {
			b.WriteByte('\n')
		}
		b.WriteString(strings.ToUpper(g.Group) + "\n")
		for _, e := range g.Commands {
			wrap(&b, fmt.Sprintf("%-10s %s", e.Name, e.Summary), "  ", strings.Repeat(" ", 13), columns(o))
		}
	}
	b.WriteString("\nhelp COMMAND shows its flags and examples; help input and help output tell what a line may be.\n")
	_, err := io.WriteString(w, b.String())
	return err
}

// HelpPages are what help shows of commands.
type HelpPages []*HelpPage

// HelpPage is the help of a command.
type HelpPage struct {
	Name     string        `json:"name"`
	Aliases  []string      `json:"aliases,omitempty"`
	Summary  string        `json:"summary"`
	Usage    []string      `json:"usage,omitempty"` // whole lines, the name in front
	Flags    []HelpFlag    `json:"flags,omitempty"`
	Help     string        `json:"help,omitempty"` // paragraphs
	Examples []HelpExample `json:"examples,omitempty"`
	Needs    string        `json:"needs,omitempty"`
}

// HelpFlag is a flag of a command.
type HelpFlag struct {
	Flag string `json:"flag"` // "-c CPUS"
	Help string `json:"help"`
}

// HelpExample is a line to type.
type HelpExample struct {
	Line string `json:"line"`
	Text string `json:"text"`
	// Output are the first lines of its answer on a dump that kdx is tested with.
	Output []string `json:"output,omitempty"`
}

// NewHelpPage makes a command's page.
func NewHelpPage(c *Command) *HelpPage {
	p := &HelpPage{Name: c.Name, Aliases: c.Aliases, Summary: c.Summary, Help: c.Help, Needs: string(c.Needs)}
	usage := c.Usage
	if len(usage) == 0 {
		usage = []string{""}
	}
	for _, u := range usage {
		p.Usage = append(p.Usage, strings.TrimSpace(c.Name+" "+u))
	}
	for i := range c.Flags {
		f := &c.Flags[i]
		help := f.Help
		if f.Needs != "" {
			help += " (needs " + f.Needs.Short() + ")"
		}
		p.Flags = append(p.Flags, HelpFlag{f.String(), help})
	}
	for _, e := range c.Examples {
		p.Examples = append(p.Examples, HelpExample{e.Line, e.Text, exampleOutputs()[e.Line]})
	}
	return p
}

// String is the flag as it is typed: -c CPUS, --sp SP.
func (f *Flag) String() string {
	s := "-" + f.Name
	if len(f.Name) > 1 && (f.Name[0] < '0' || f.Name[0] > '9') { // crash's -16 has one dash
		s = "-" + s
	}
	if f.Arg != "" {
		s += " " + f.Arg
	}
	if f.Maybe != "" {
		s += "[=" + f.Maybe + "]"
	}
	return s
}

// Text writes the pages, wrapped to the screen.
func (l HelpPages) Text(w io.Writer, o view.Options) error {
	for i, p := range l {
		if i > 0 {
			if _, err := io.WriteString(w, "\n"); err != nil {
				return err
			}
		}
		if err := p.Text(w, o); err != nil {
			return err
		}
	}
	return nil
}

// readable is the width of text that is easily read.
const readable = 100

// columns that help fills.
func columns(o view.Options) int {
	if o.Width > 0 {
		return max(40, min(readable, o.Width))
	}
	return readable
}

// Text writes the page.
func (p *HelpPage) Text(w io.Writer, o view.Options) error {
	width := columns(o)
	var b strings.Builder
	head := p.Name
	if len(p.Aliases) > 0 {
		head += " (" + strings.Join(p.Aliases, ", ") + ")"
	}
	wrap(&b, head+": "+p.Summary, "", "  ", width)
	if len(p.Usage) > 0 {
		b.WriteString("\nUSAGE\n")
		for _, u := range p.Usage {
			wrap(&b, u, "  ", "      ", width)
		}
	}
	if len(p.Flags) > 0 {
		b.WriteString("\nFLAGS\n")
		col := 0
		for _, f := range p.Flags {
			col = max(col, min(len([]rune(f.Flag)), 14))
		}
		for _, f := range p.Flags {
			wrap(&b, fmt.Sprintf("%-*s  %s", col, f.Flag, f.Help), "  ", strings.Repeat(" ", col+4), width)
		}
	}
	if p.Help != "" {
		b.WriteByte('\n')
		for i, para := range strings.Split(p.Help, "\n\n") {
			if i > 0 {
				b.WriteByte('\n')
			}
			for line := range strings.SplitSeq(para, "\n") {
				wrap(&b, line, "", "", width)
			}
		}
	}
	if len(p.Examples) > 0 {
		b.WriteString("\nEXAMPLES\n")
		col := 0
		for _, e := range p.Examples {
			col = max(col, min(len([]rune(e.Line)), 30))
		}
		for i, e := range p.Examples {
			if i > 0 && len(p.Examples[i-1].Output) > 0 {
				b.WriteByte('\n')
			}
			wrap(&b, fmt.Sprintf("%-*s  %s", col, e.Line, e.Text), "  ", strings.Repeat(" ", col+4), width)
			for _, row := range e.Output {
				b.WriteString("      " + cutRow(row, width-6) + "\n")
			}
		}
	}
	if p.Needs != "" {
		b.WriteString("\nNeeds " + p.Needs + ".\n")
	}
	_, err := io.WriteString(w, b.String())
	return err
}

// wrap writes text in lines of at most width columns where blanks allow; the first begins with first, the others with
// next. Blanks within the first line stay, as they align columns.
func wrap(b *strings.Builder, text, first, next string, width int) {
	line := []rune(first + text)
	for len(line) > width {
		cut := -1
		for i := width; i > len([]rune(next)); i-- {
			if line[i] == ' ' {
				cut = i
				break
			}
		}
		if cut < 0 {
			break
		}
		b.WriteString(strings.TrimRight(string(line[:cut]), " ") + "\n")
		line = []rune(next + strings.TrimLeft(string(line[cut:]), " "))
	}
	b.WriteString(strings.TrimRight(string(line), " ") + "\n")
}

var helpTopics = map[string]struct{ summary, text string }{
	"input": {"what a line may be", `COMMAND WORD…          flags and arguments in any order
json COMMAND WORD…     its answer as JSON
COMMAND < FILE         the command once for each line of arguments in the file
< FILE                 the commands in the file
! COMMAND              a shell command; ! alone is a shell
# text, // text        a comment
h, r, !!, !N           the history; r, r N and r TEXT repeat a line

A first word that is no command is shown if it is a variable, and defined or shown if it is a type: jiffies is p jiffies, list_head is struct list_head. ` +
		`Quotes hold a word together; a backslash takes the meaning from a quote, blank or | < > # !.

C needs the signs | < > too: within parentheses and brackets they are C's, so that p (a > b) compares and p a > b writes the file b. -> >= <= << and || are C's everywhere.

Addresses are hexadecimal without 0x, pids and counts decimal. Keys: Tab completes, Ctrl-R searches the history, Ctrl-C stops the command that runs.`},
	"output": {"where output can go", `COMMAND | SHELL PIPELINE   ps | grep ssh
COMMAND > FILE             written anew
COMMAND >> FILE            appended

On a terminal, what is longer than the screen is shown in a pager: $KDX_PAGER, else $PAGER, else less -E -X; set scroll off turns it off. ` +
		`Control characters out of the dump never reach a terminal: they are shown as \xHH.

What could not be read goes to stderr and shows in the exit code (docs/exit-codes.md). In JSON it is under missing:
{"kdx":1,"command":"ps","args":[],"result":[…],"missing":[{"what":"…","error":"…"}],"error":null}`},
}
