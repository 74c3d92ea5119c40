package scrub

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

// Section is a part of an erase configuration: what must go of the kernel ("vmlinux") or of a module.
type Section struct {
	Module   string
	Line     int
	Commands []Command
}

// Command is an erase command or a loop; the other is nil.
type Command struct {
	Line  int
	Erase *Erase
	Loop  *Loop
}

// Erase is "erase PLACE [size N|size PLACE|nullify]".
type Erase struct {
	Place   Place
	Size    *uint64 // bytes, if given as a number
	SizeOf  *Place  // where the size stands, if given so
	Nullify bool    // the pointer itself becomes 0
}

// Place is a variable and members of it, pointers followed where there are any: "mystruct.buffer".
type Place struct {
	Name    string
	Members []string
}

func (p Place) String() string { return strings.Join(append([]string{p.Name}, p.Members...), ".") }

// Loop is "for VAR in LIST [via MEMBER|within STRUCT:MEMBER] … endfor".
type Loop struct {
	Var    string
	List   Place
	Via    string // member that leads on; "" if not given
	Struct string // what a list_head is in; "" if not given
	Member string // the list_head in Struct
	Body   []Command
}

// Bounds of a configuration: what people write has some lines.
const (
	maxConfig   = 4 << 20
	maxCommands = 1 << 16
	maxNesting  = 16
)

var keywords = []string{"erase", "size", "nullify", "for", "in", "via", "within", "endfor"}

type token struct {
	text string
	line int
}

// ParseConfig reads makedumpfile's erase configuration (makedumpfile.conf(5)). Beyond makedumpfile, loops may be nested. The
// error names the line.
func ParseConfig(r io.Reader) (Rules, error) {
	p := &configParser{}
	if err := p.read(r); err != nil {
		return Rules{}, fmt.Errorf("erase configuration: %w", err)
	}
	var out Rules
	for !p.end() {
		s, err := p.section()
		if err != nil {
			return Rules{}, fmt.Errorf("erase configuration: %w", err)
		}
		if len(s.Commands) > 0 {
			out.Config = append(out.Config, s)
		}
	}
	return out, nil
}

type configParser struct {
	tokens []token
	next   int
	count  int
}

func (p *configParser) read(r io.Reader) error {
	sc := bufio.NewScanner(io.LimitReader(r, maxConfig+1))
	sc.Buffer(nil, maxConfig+1)
	total := 0
	for line := 1; sc.Scan(); line++ {
		if total += len(sc.Bytes()) + 1; total > maxConfig {
			return fmt.Errorf("it has more than %d MiB", maxConfig>>20)
		}
		text, _, _ := strings.Cut(sc.Text(), "#")
		if strings.HasPrefix(text, "[") {
			name, rest, ok := strings.Cut(text, "]")
			if !ok || strings.TrimSpace(rest) != "" || strings.TrimSpace(name[1:]) == "" {
				return fmt.Errorf("line %d: %q is no section; one is written [module]", line, strings.TrimSpace(text))
			}
			p.tokens = append(p.tokens, token{"[" + strings.TrimSpace(name[1:]), line})
			continue
		}
		for f := range strings.FieldsSeq(text) {
			p.tokens = append(p.tokens, token{f, line})
		}
	}
	return sc.Err()
}

func (p *configParser) end() bool { return p.next == len(p.tokens) }

// peek is the next token if it is the word.
func (p *configParser) accept(word string) bool {
	if p.end() || p.tokens[p.next].text != word {
		return false
	}
	p.next++
	return true
}

// operand takes the next token, which must be there, on whatever line, and be no keyword.
func (p *configParser) operand(what string) (token, error) {
	last := p.tokens[p.next-1]
	if p.end() {
		return token{}, fmt.Errorf("line %d: %s should follow %q, but the file ends", last.line, what, last.text)
	}
	t := p.tokens[p.next]
	if slices.Contains(keywords, t.text) || strings.HasPrefix(t.text, "[") {
		return token{}, fmt.Errorf("line %d: %s should follow %q, not %q", t.line, what, last.text, t.text)
	}
	p.next++
	return t, nil
}

func (p *configParser) section() (Section, error) {
	s := Section{Module: "vmlinux", Line: p.tokens[p.next].line}
	if name, ok := strings.CutPrefix(p.tokens[p.next].text, "["); ok {
		s.Module = name
		p.next++
	}
	for !p.end() && !strings.HasPrefix(p.tokens[p.next].text, "[") {
		c, err := p.command(0)
		if err != nil {
			return s, err
		}
		s.Commands = append(s.Commands, c)
	}
	return s, nil
}

func (p *configParser) command(depth int) (Command, error) {
	t := p.tokens[p.next]
	if p.count++; p.count > maxCommands {
		return Command{}, fmt.Errorf("line %d: more than %d commands", t.line, maxCommands)
	}
	p.next++
	switch t.text {
	case "erase":
		e, err := p.erase()
		return Command{Line: t.line, Erase: e}, err
	case "for":
		if depth == maxNesting {
			return Command{}, fmt.Errorf("line %d: loops are nested more than %d deep", t.line, maxNesting)
		}
		l, err := p.loop(depth)
		return Command{Line: t.line, Loop: l}, err
	case "endfor":
		return Command{}, fmt.Errorf("line %d: endfor without for", t.line)
	}
	return Command{}, fmt.Errorf("line %d: %q is no command: erase or for should begin here", t.line, t.text)
}

func (p *configParser) erase() (*Erase, error) {
	t, err := p.operand("a symbol")
	if err != nil {
		return nil, err
	}
	e := &Erase{}
	if e.Place, err = parsePlace(t.text); err != nil {
		return nil, fmt.Errorf("line %d: %w", t.line, err)
	}
	if p.accept("nullify") {
		e.Nullify = true
		return e, nil
	}
	if !p.accept("size") {
		return e, nil
	}
	if t, err = p.operand("a number of bytes or a symbol"); err != nil {
		return nil, err
	}
	if t.text[0] == '-' || t.text[0] >= '0' && t.text[0] <= '9' {
		n, err := parseSize(t.text)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", t.line, err)
		}
		e.Size = &n
		return e, nil
	}
	place, err := parsePlace(t.text)
	if err != nil {
		return nil, fmt.Errorf("line %d: %w", t.line, err)
	}
	e.SizeOf = &place
	return e, nil
}

func (p *configParser) loop(depth int) (*Loop, error) {
	line := p.tokens[p.next-1].line
	t, err := p.operand("the loop's variable")
	if err != nil {
		return nil, err
	}
	l := &Loop{Var: t.text}
	if !isName(l.Var) {
		return nil, fmt.Errorf("line %d: %q can't be the name of a loop's variable", t.line, l.Var)
	}
	if !p.accept("in") {
		return nil, fmt.Errorf("line %d: for %s: the word in should follow", t.line, l.Var)
	}
	if t, err = p.operand("an array, a pointer or a list_head"); err != nil {
		return nil, err
	}
	if l.List, err = parsePlace(t.text); err != nil {
		return nil, fmt.Errorf("line %d: %w", t.line, err)
	}
	switch {
	case p.accept("via"):
		if t, err = p.operand("a member"); err != nil {
			return nil, err
		}
		if l.Via = t.text; !isName(l.Via) {
			return nil, fmt.Errorf("line %d: %q is no member's name", t.line, l.Via)
		}
	case p.accept("within"):
		if t, err = p.operand("STRUCT:MEMBER"); err != nil {
			return nil, err
		}
		var ok bool
		if l.Struct, l.Member, ok = strings.Cut(t.text, ":"); !ok {
			l.Member = "list" // makedumpfile's default
		}
		if _, err := parsePlace(l.Member); !isName(l.Struct) || err != nil {
			return nil, fmt.Errorf("line %d: within takes STRUCT:MEMBER, not %q", t.line, t.text)
		}
	}
	for {
		switch {
		case p.end() || strings.HasPrefix(p.tokens[p.next].text, "["):
			return nil, fmt.Errorf("line %d: this loop has no endfor", line)
		case p.accept("endfor"):
			return l, nil
		}
		c, err := p.command(depth + 1)
		if err != nil {
			return nil, err
		}
		l.Body = append(l.Body, c)
	}
}

// parsePlace reads NAME[.member…].
func parsePlace(text string) (Place, error) {
	parts := strings.Split(text, ".")
	for _, p := range parts {
		if !isName(p) {
			return Place{}, fmt.Errorf("%q is no symbol with members: they are written symbol.member.member", text)
		}
	}
	return Place{parts[0], parts[1:]}, nil
}

// isName reports whether text can be a name in C or, as the compiler makes them, a symbol.
func isName(text string) bool {
	for i := range len(text) {
		c := text[i]
		digit := c >= '0' && c <= '9'
		if !digit && c != '_' && c != '$' && (c|0x20 < 'a' || c|0x20 > 'z') || i == 0 && digit {
			return false
		}
	}
	return text != ""
}

// parseSize reads N, NK or NM.
func parseSize(text string) (uint64, error) {
	digits, unit := text, uint64(1)
	switch text[len(text)-1] | 0x20 {
	case 'k':
		digits, unit = text[:len(text)-1], 1<<10
	case 'm':
		digits, unit = text[:len(text)-1], 1<<20
	}
	n, err := strconv.ParseUint(digits, 10, 64)
	if err == nil && (n == 0 || n > 1<<44/unit) {
		err = errors.New("out of range")
	}
	if err != nil {
		return 0, fmt.Errorf("%q is no size: a positive number of bytes, with K or M for 1024 and 1048576", text)
	}
	return n * unit, nil
}
