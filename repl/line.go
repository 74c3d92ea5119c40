package repl

import (
	"fmt"
	"strings"
)

// line is a typed line taken apart.
type line struct {
	isShell bool
	shell   string // after "!"; "" asks for an interactive shell
	json    bool   // it began with the modifier json
	words   []word
	input   string // < FILE
	output  string // > FILE
	extend  bool   // >> FILE
	pipe    string // shell pipeline after |
}

// word of a line. raw has the quotes that text lacks.
type word struct{ text, raw string }

// lineError is a line that can't be understood.
type lineError struct{ msg string }

func (e *lineError) Error() string { return e.msg }

func badLine(format string, args ...any) error { return &lineError{fmt.Sprintf(format, args...)} }

// parseLine takes a line apart:
//
//	[json] COMMAND WORD… [< FILE] [> FILE | >> FILE | "|" SHELL PIPELINE]
//	! SHELL COMMAND
//	# comment, // comment
//
// Quotes hold a word together. A backslash takes the meaning from a quote, a blank, a backslash, or one of | < > # !.
// As C needs the same signs, | < and > are C's inside parentheses and brackets, and ->, >=, <=, << and || are C's
// everywhere.
func parseLine(s string) (*line, error) {
	s = strings.TrimSpace(s)
	if rest, ok := strings.CutPrefix(s, "!"); ok {
		return &line{isShell: true, shell: strings.TrimSpace(rest)}, nil
	}
	sc := &scanner{s: s}
	l := &line{}
	if err := sc.scan(l); err != nil {
		return nil, err
	}
	l.words = sc.words
	if len(l.words) > 0 && l.words[0].raw == "json" {
		if len(l.words) == 1 {
			return nil, badLine("json is a modifier: put a command behind it (json ps)")
		}
		l.json, l.words = true, l.words[1:]
	}
	if len(l.words) == 0 && (l.output != "" || l.pipe != "") {
		return nil, badLine("there is no command whose output could go there")
	}
	return l, nil
}

// scanner splits the part of a line that is kdx's own.
type scanner struct {
	s         string
	i         int
	text, raw strings.Builder
	inWord    bool
	depth     int
	words     []word
}

func (sc *scanner) end() {
	if sc.inWord {
		sc.words = append(sc.words, word{sc.text.String(), sc.raw.String()})
	}
	sc.text.Reset()
	sc.raw.Reset()
	sc.inWord = false
}

func (sc *scanner) add(text, raw string) {
	sc.text.WriteString(text)
	sc.raw.WriteString(raw)
	sc.inWord = true
}

func (sc *scanner) peek(n int) byte {
	if j := sc.i + n; j >= 0 && j < len(sc.s) {
		return sc.s[j]
	}
	return 0
}

func (sc *scanner) scan(l *line) error {
	for sc.i < len(sc.s) {
		done, err := sc.next(l)
		if err != nil {
			return err
		}
		if done {
			break
		}
	}
	sc.end()
	if sc.depth > 0 && l.pipe == "" {
		return badLine("a ( or [ is not closed; quote it if it is no expression")
	}
	return nil
}

// next takes one piece; done says that the rest of the line is used up.
func (sc *scanner) next(l *line) (done bool, err error) {
	c := sc.s[sc.i]
	switch {
	case c == ' ' || c == '\t' || c == '\r' || c == '\n':
		sc.end()
	case c == '\'' || c == '"':
		return false, sc.quoted(c)
	case c == '\\':
		sc.backslash()
		return false, nil
	case !sc.inWord && (c == '#' || c == '/' && sc.peek(1) == '/'):
		return true, nil
	case c == '(' || c == '[':
		sc.depth++
		sc.add(string(c), string(c))
	case c == ')' || c == ']':
		sc.depth = max(0, sc.depth-1)
		sc.add(string(c), string(c))
	case sc.depth == 0 && (c == '|' || c == '>' || c == '<'):
		return sc.operator(l, c)
	default:
		sc.add(sc.s[sc.i:sc.i+1], sc.s[sc.i:sc.i+1])
	}
	sc.i++
	return false, nil
}

func (sc *scanner) quoted(q byte) error {
	rest := sc.s[sc.i+1:]
	var text strings.Builder
	for j := 0; j < len(rest); j++ {
		c := rest[j]
		// '\'' is C's character constant; "\"" and "\\" are the shell's.
		if c == '\\' && j+1 < len(rest) && (q == '"' && (rest[j+1] == '"' || rest[j+1] == '\\') || q == '\'' && j == 0 && strings.HasPrefix(rest, `\''`)) {
			j++
			text.WriteByte(rest[j])
			continue
		}
		if c == q {
			sc.add(text.String(), sc.s[sc.i:sc.i+j+2])
			sc.i += j + 2
			return nil
		}
		text.WriteByte(c)
	}
	return badLine("the quote %c is not closed", q)
}

func (sc *scanner) backslash() {
	next := sc.peek(1)
	if next != 0 && strings.IndexByte(" \t\\'\"|<>#!", next) >= 0 {
		sc.add(string(next), sc.s[sc.i:sc.i+2])
		sc.i += 2
		return
	}
	sc.add(`\`, `\`) // a regular expression's
	sc.i++
}

func (sc *scanner) operator(l *line, c byte) (done bool, err error) {
	next := sc.peek(1)
	switch {
	case c == '|' && next == '|', c == '>' && next == '=', c == '<' && (next == '=' || next == '<'):
		sc.add(sc.s[sc.i:sc.i+2], sc.s[sc.i:sc.i+2])
		sc.i += 2
		return false, nil
	case c == '>' && sc.peek(-1) == '-', c == '<' && sc.inWord:
		sc.add(string(c), string(c))
		sc.i++
		return false, nil
	case c == '|':
		sc.end()
		l.pipe = strings.TrimSpace(sc.s[sc.i+1:])
		if l.pipe == "" {
			return false, badLine("there is no shell command after |")
		}
		return true, nil
	}
	sc.end()
	sc.i++
	if c == '>' && next == '>' {
		l.extend = true
		sc.i++
	}
	return true, sc.file(l, c)
}

// file takes the name after > or <, and what may follow it.
func (sc *scanner) file(l *line, op byte) error {
	rest := &scanner{s: sc.s, i: sc.i}
	more := &line{}
	if err := rest.scan(more); err != nil {
		return err
	}
	sc.i = len(sc.s)
	if len(rest.words) != 1 {
		return badLine("after %c comes one file name (C's %c needs parentheses around the expression)", op, op)
	}
	if op == '<' {
		l.input, l.output, l.extend, l.pipe = rest.words[0].text, more.output, more.extend, more.pipe
		if more.input != "" {
			return badLine("two inputs")
		}
		return nil
	}
	l.output = rest.words[0].text
	if more.output != "" || more.pipe != "" || more.input != "" {
		return badLine("output goes to one place: a file or a pipeline")
	}
	return nil
}

// firstWord is the word that an alias could stand for, with what precedes and follows it.
func firstWord(s string) (before, first, rest string) {
	trimmed := strings.TrimLeft(s, " \t")
	before = s[:len(s)-len(trimmed)]
	if after, ok := strings.CutPrefix(trimmed, "json"); ok && after != "" && (after[0] == ' ' || after[0] == '\t') {
		b, f, r := firstWord(after)
		return before + "json" + b, f, r
	}
	end := strings.IndexAny(trimmed, " \t|<>")
	if end < 0 {
		end = len(trimmed)
	}
	return before, trimmed[:end], trimmed[end:]
}

// expandAliases replaces the first word as long as it is an alias, each alias once.
func expandAliases(s string, aliases map[string]string) string {
	used := map[string]bool{}
	for {
		before, first, rest := firstWord(s)
		text, ok := aliases[first]
		if !ok || used[first] {
			return s
		}
		used[first] = true
		s = before + text + rest
	}
}
