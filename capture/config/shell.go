package config

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"mvdan.cc/sh/v3/syntax"
)

// setting is an assignment or a directive of another configuration.
type setting struct {
	key, value string
	line       int
	// unknown says why there is no value: it would have to be run.
	unknown string
}

// maxValue bounds what references to other values may add up to.
const maxValue = 16 << 10

// maxShell bounds what the shell's parser gets to see. It recurses: a byte of arithmetic may cost some 4 KB of stack, and Go's
// stack ends at 1 GB (250 MB on 32 bits) without a way back.
const maxShell = 16 << 10

// withoutCommentLines empties lines that are comments; in quotes too, where a value of several lines has no place anyway.
func withoutCommentLines(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(strings.TrimLeft(line, " \t"), "#") {
			line = line[len(strings.TrimRight(line, "\n")):]
		}
		b.WriteString(line)
	}
	return b.String()
}

// readShell reads a file that its owners source into a shell: assignments with quotes and references to earlier values.
// Everything else is returned as settings without a value. Nothing is run.
func readShell(name string, text []byte) ([]setting, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: the file has %d bytes; a configuration has no more than %d", name, len(text), maxFile)
	}
	code := withoutCommentLines(string(text))
	if n := len(strings.ReplaceAll(code, "\n", "")); n > maxShell {
		return nil, fmt.Errorf("%s: %d bytes beside comments; a configuration has no more than %d", name, n, maxShell)
	}
	f, err := syntax.NewParser(syntax.Variant(syntax.LangBash)).Parse(strings.NewReader(code), name)
	if err != nil {
		var pe syntax.ParseError
		if errors.As(err, &pe) {
			return nil, &Problem{File: name, Line: int(pe.Pos.Line()), Column: int(pe.Pos.Col()), What: "no shell reads this: " + pe.Text, Want: "its own tools fail on it, too"}
		}
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	r := shellReader{vars: map[string]*setting{}}
	for _, st := range f.Stmts {
		r.statement(st)
	}
	return r.out, nil
}

type shellReader struct {
	out  []setting
	vars map[string]*setting
}

func (r *shellReader) add(s setting) {
	r.out = append(r.out, s)
	if s.key != "" {
		r.vars[s.key] = &s
	}
}

func (r *shellReader) statement(st *syntax.Stmt) {
	line := int(st.Pos().Line())
	plain := !st.Negated && !st.Background && !st.Coprocess && len(st.Redirs) == 0
	switch c := st.Cmd.(type) {
	case *syntax.CallExpr:
		if plain && len(c.Args) == 0 {
			for _, a := range c.Assigns {
				r.assign(a)
			}
			return
		}
	case *syntax.DeclClause:
		if plain && c.Variant.Value == "export" {
			for _, a := range c.Args {
				if a.Name != nil && !a.Naked {
					r.assign(a)
				}
			}
			return
		}
	}
	r.refuse(st, line)
}

// refuse names a statement that would have to be run, and the variables that it may set.
func (r *shellReader) refuse(st *syntax.Stmt, line int) {
	what := "a command"
	switch st.Cmd.(type) {
	case *syntax.IfClause, *syntax.CaseClause, *syntax.BinaryCmd:
		what = "a condition"
	case *syntax.ForClause, *syntax.WhileClause:
		what = "a loop"
	case *syntax.FuncDecl:
		what = "a function"
	}
	var sets []string
	syntax.Walk(st, func(n syntax.Node) bool {
		if a, ok := n.(*syntax.Assign); ok && a.Name != nil && !slices.Contains(sets, a.Name.Value) {
			sets = append(sets, a.Name.Value)
		}
		return true
	})
	if len(sets) == 0 {
		r.add(setting{line: line, unknown: what + " in the file is not run"})
	}
	for _, key := range sets {
		r.add(setting{key: key, line: line, unknown: "it is set by " + what + ", and kdx runs none"})
	}
}

func (r *shellReader) assign(a *syntax.Assign) {
	s := setting{key: a.Name.Value, line: int(a.Pos().Line())}
	switch {
	case a.Array != nil || a.Index != nil:
		s.unknown = "it is an array"
	case a.Value != nil:
		var b strings.Builder
		s.unknown = r.word(&b, a.Value.Parts, false)
		s.value = b.String()
	}
	if a.Append {
		if old := r.vars[s.key]; old != nil {
			s.value = old.value + s.value
			if s.unknown == "" {
				s.unknown = old.unknown
			}
		}
	}
	if len(s.value) > maxValue {
		s.unknown = "it is too long"
	}
	if s.unknown != "" {
		s.value = ""
	}
	r.add(s)
}

// word writes the value of parts, or says why it has none.
func (r *shellReader) word(b *strings.Builder, parts []syntax.WordPart, quoted bool) (unknown string) {
	for _, p := range parts {
		if b.Len() > maxValue {
			return "it is too long"
		}
		switch p := p.(type) {
		case *syntax.Lit:
			unescape(b, p.Value, quoted)
		case *syntax.SglQuoted:
			if p.Dollar {
				return "it holds $'…', which kdx does not read"
			}
			b.WriteString(p.Value)
		case *syntax.DblQuoted:
			if why := r.word(b, p.Parts, true); why != "" {
				return why
			}
		case *syntax.ParamExp:
			if why := r.param(b, p, quoted); why != "" {
				return why
			}
		case *syntax.CmdSubst:
			return "it holds a command ($(…)), and kdx runs none"
		default:
			return "it holds a shell expression that kdx does not evaluate"
		}
	}
	return ""
}

// param writes the value of $NAME, ${NAME} or ${NAME:-WORD}. A name that the file does not set is empty, as in a shell that
// starts with nothing.
func (r *shellReader) param(b *strings.Builder, p *syntax.ParamExp, quoted bool) (unknown string) {
	if p.Param == nil || p.Excl || p.Length || p.Width || p.IsSet || p.Index != nil || p.Slice != nil || p.Repl != nil || p.Names != 0 {
		return "it holds a shell expression that kdx does not evaluate"
	}
	v := r.vars[p.Param.Value]
	if p.Exp != nil {
		if p.Exp.Op != syntax.DefaultUnset && p.Exp.Op != syntax.DefaultUnsetOrNull || p.Exp.Word == nil {
			return "it holds a shell expression that kdx does not evaluate"
		}
		if v == nil || p.Exp.Op == syntax.DefaultUnsetOrNull && v.value == "" && v.unknown == "" {
			return r.word(b, p.Exp.Word.Parts, quoted)
		}
	}
	switch {
	case v == nil && !shellName(p.Param.Value):
		return "it holds $" + p.Param.Value + ", which only a running shell knows"
	case v == nil:
		return "it refers to $" + p.Param.Value + ", which the file does not set"
	case v.unknown != "":
		return "it refers to $" + p.Param.Value + ", of which " + v.unknown
	}
	b.WriteString(v.value)
	return ""
}

func shellName(s string) bool {
	return s != "" && (s[0] == '_' || s[0]|0x20 >= 'a' && s[0]|0x20 <= 'z')
}

// unescape writes literal text without the backslashes that a shell takes away.
func unescape(b *strings.Builder, s string, quoted bool) {
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		next := s[i+1]
		switch {
		case next == '\n':
		case quoted && !strings.ContainsRune("$`\"\\", rune(next)):
			b.WriteByte('\\')
			b.WriteByte(next)
		default:
			b.WriteByte(next)
		}
		i++
	}
}

// readDirectives reads kdump.conf: lines "DIRECTIVE value"; a comment begins at any #.
func readDirectives(name string, text []byte) ([]setting, error) {
	if len(text) > maxFile {
		return nil, fmt.Errorf("%s: the file has %d bytes; a configuration has no more than %d", name, len(text), maxFile)
	}
	var out []setting
	n := 0
	for line := range strings.Lines(string(text)) {
		n++
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) == 0 {
			continue
		}
		value := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(line), words[0]))
		out = append(out, setting{key: words[0], value: value, line: n})
	}
	return out, nil
}
