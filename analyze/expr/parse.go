package expr

import (
	"kdx/symbols"
)

type op uint8

const (
	opInt op = iota
	opChar
	opString
	opIdent
	opHistory
	opType // a type name where an expression may stand
	opUnary
	opBinary
	opTernary
	opMember
	opIndex
	opCast
	opSizeof
	opContainerOf
	opOffsetof
	opPerCPU
	opPerCPUPtr
)

// node of the syntax tree.
type node struct {
	op   op
	pos  int // where an error about this node points
	tok  token
	text string // operator, member path
	kids []*node
	typ  *symbols.Type
}

const maxDepth = 200 // of nesting; what people type nests some 10 deep

type parser struct {
	e     *evaluator
	toks  []token
	i     int
	depth int
}

func (p *parser) peek() token { return p.toks[p.i] }

func (p *parser) next() token {
	t := p.toks[p.i]
	if t.kind != tokEnd {
		p.i++
	}
	return t
}

func (p *parser) at(punct string) bool {
	t := p.peek()
	return t.kind == tokPunct && t.text == punct
}

func (p *parser) accept(punct string) bool {
	if p.at(punct) {
		p.i++
		return true
	}
	return false
}

func (p *parser) expect(punct, what string) error {
	if p.accept(punct) {
		return nil
	}
	t := p.peek()
	if t.kind == tokEnd {
		return p.e.errorf(t.pos, "the expression ends; %s wants %q", what, punct)
	}
	return p.e.errorf(t.pos, "%s wants %q here", what, punct)
}

func (p *parser) enter() error {
	p.depth++
	if p.depth > maxDepth {
		return p.e.errorf(p.peek().pos, "the expression nests more than %d deep", maxDepth)
	}
	return nil
}

func (p *parser) leave() { p.depth-- }

func (p *parser) whole() (*node, error) {
	if p.peek().kind == tokEnd {
		return nil, p.e.errorf(0, "there is no expression")
	}
	start := p.i
	if t, ok, err := p.typeName(); err != nil {
		return nil, err
	} else if ok && p.peek().kind == tokEnd {
		return &node{op: opType, pos: 0, typ: t}, nil
	}
	p.i = start
	n, err := p.comma()
	if err != nil {
		return nil, err
	}
	t := p.peek()
	switch {
	case t.kind == tokEnd:
		return n, nil
	case t.kind == tokPunct && assigns(t.text):
		return nil, p.e.errorf(t.pos, "a dump can't be changed: there is no assignment (== compares)")
	}
	return nil, p.e.errorf(t.pos, "the expression should end here")
}

func assigns(text string) bool {
	switch text {
	case "=", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=", "<<=", ">>=", "++", "--":
		return true
	}
	return false
}

func (p *parser) comma() (*node, error) {
	n, err := p.ternary()
	for err == nil && p.at(",") {
		t := p.next()
		var r *node
		if r, err = p.ternary(); err == nil {
			n = &node{op: opBinary, pos: t.pos, text: ",", kids: []*node{n, r}}
		}
	}
	return n, err
}

func (p *parser) ternary() (*node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	cond, err := p.binary(0)
	if err != nil || !p.at("?") {
		return cond, err
	}
	t := p.next()
	yes, err := p.comma()
	if err != nil {
		return nil, err
	}
	if err := p.expect(":", "?"); err != nil {
		return nil, err
	}
	no, err := p.ternary()
	if err != nil {
		return nil, err
	}
	return &node{op: opTernary, pos: t.pos, kids: []*node{cond, yes, no}}, nil
}

// levels are the binary operators from those that bind least. @ stands where gdb has it.
var levels = [][]string{
	{"||"}, {"&&"}, {"|"}, {"^"}, {"&"}, {"==", "!="}, {"<", ">", "<=", ">="}, {"<<", ">>"}, {"@"}, {"+", "-"}, {"*", "/", "%"},
}

func (p *parser) binary(level int) (*node, error) {
	if level == len(levels) {
		return p.unary()
	}
	left, err := p.binary(level + 1)
	if err != nil {
		return nil, err
	}
	for {
		t := p.peek()
		if t.kind != tokPunct || !contains(levels[level], t.text) {
			return left, nil
		}
		p.next()
		right, err := p.binary(level + 1)
		if err != nil {
			return nil, err
		}
		left = &node{op: opBinary, pos: t.pos, text: t.text, kids: []*node{left, right}}
	}
}

func contains(list []string, s string) bool {
	for _, x := range list {
		if x == s {
			return true
		}
	}
	return false
}

func (p *parser) unary() (*node, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	t := p.peek()
	switch {
	case t.kind == tokPunct:
		switch t.text {
		case "++", "--":
			return nil, p.e.errorf(t.pos, "a dump can't be changed: there is no %s", t.text)
		case "-", "+", "!", "~", "*", "&":
			p.next()
			kid, err := p.unary()
			if err != nil {
				return nil, err
			}
			return &node{op: opUnary, pos: t.pos, text: t.text, kids: []*node{kid}}, nil
		case "&&":
			return nil, p.e.errorf(t.pos, "&& has nothing on its left")
		case "(":
			return p.parenthesis()
		}
	case t.kind == tokIdent && t.text == "sizeof":
		return p.sizeof()
	}
	return p.postfix()
}

// parenthesis is a cast or an expression in parentheses.
func (p *parser) parenthesis() (*node, error) {
	open, start := p.next(), p.i
	typ, ok, err := p.typeName()
	if err != nil {
		return nil, err
	}
	if ok && p.at(")") {
		p.next()
		if !p.startsOperand() {
			return &node{op: opType, pos: open.pos, typ: typ}, nil
		}
		kid, err := p.unary()
		if err != nil {
			return nil, err
		}
		return &node{op: opCast, pos: open.pos, typ: typ, kids: []*node{kid}}, nil
	}
	p.i = start
	n, err := p.comma()
	if err != nil {
		return nil, err
	}
	if err := p.expect(")", "("); err != nil {
		return nil, err
	}
	return p.suffixes(n)
}

// startsOperand reports whether what follows a type in parentheses can be what is cast.
func (p *parser) startsOperand() bool {
	t := p.peek()
	switch t.kind {
	case tokEnd:
		return false
	case tokPunct:
		return contains([]string{"(", "-", "+", "!", "~", "*", "&"}, t.text)
	}
	return true
}

func (p *parser) sizeof() (*node, error) {
	t := p.next()
	if p.at("(") {
		start := p.i
		p.next()
		typ, ok, err := p.typeName()
		if err != nil {
			return nil, err
		}
		if ok && p.accept(")") {
			return &node{op: opSizeof, pos: t.pos, typ: typ}, nil
		}
		p.i = start
	}
	kid, err := p.unary()
	if err != nil {
		return nil, err
	}
	return &node{op: opSizeof, pos: t.pos, kids: []*node{kid}}, nil
}

func (p *parser) postfix() (*node, error) {
	n, err := p.primary()
	if err != nil {
		return nil, err
	}
	return p.suffixes(n)
}

func (p *parser) suffixes(n *node) (*node, error) {
	for {
		t := p.peek()
		if t.kind != tokPunct {
			return n, nil
		}
		switch t.text {
		case ".", "->":
			p.next()
			name := p.next()
			if name.kind != tokIdent {
				return nil, p.e.errorf(name.pos, "%s wants a member's name", t.text)
			}
			n = &node{op: opMember, pos: name.pos, text: name.text, kids: []*node{n}}
		case "[":
			p.next()
			i, err := p.comma()
			if err != nil {
				return nil, err
			}
			if err := p.expect("]", "["); err != nil {
				return nil, err
			}
			n = &node{op: opIndex, pos: t.pos, kids: []*node{n, i}}
		case "(":
			return nil, p.e.errorf(t.pos, "functions of a dump can't be called")
		case "++", "--":
			return nil, p.e.errorf(t.pos, "a dump can't be changed: there is no %s", t.text)
		default:
			return n, nil
		}
	}
}

func (p *parser) primary() (*node, error) {
	t := p.next()
	switch t.kind {
	case tokInt:
		return &node{op: opInt, pos: t.pos, tok: t}, nil
	case tokChar:
		return &node{op: opChar, pos: t.pos, tok: t}, nil
	case tokString:
		return &node{op: opString, pos: t.pos, tok: t}, nil
	case tokHistory:
		return &node{op: opHistory, pos: t.pos, tok: t}, nil
	case tokIdent:
		if p.at("(") {
			switch t.text {
			case "container_of", "offsetof", "per_cpu", "per_cpu_ptr":
				return p.builtin(t)
			}
		}
		return &node{op: opIdent, pos: t.pos, tok: t}, nil
	case tokEnd:
		return nil, p.e.errorf(t.pos, "the expression ends where a value should follow")
	}
	return nil, p.e.errorf(t.pos, "%q can't stand here: a value should", t.text)
}

func (p *parser) builtin(t token) (*node, error) {
	p.next() // (
	n := &node{pos: t.pos, tok: t}
	var err error
	switch t.text {
	case "container_of":
		n.op = opContainerOf
		if err = p.argument(n); err == nil {
			err = p.typeAndMember(n, t.text)
		}
	case "offsetof":
		n.op = opOffsetof
		err = p.typeAndMember(n, t.text)
	default:
		n.op = opPerCPU
		if t.text == "per_cpu_ptr" {
			n.op = opPerCPUPtr
		}
		if err = p.argument(n); err == nil {
			var cpu *node
			if cpu, err = p.ternary(); err == nil {
				n.kids = append(n.kids, cpu)
			}
		}
	}
	if err != nil {
		return nil, err
	}
	return n, p.expect(")", t.text)
}

// argument takes an expression and the comma behind it.
func (p *parser) argument(n *node) error {
	kid, err := p.ternary()
	if err != nil {
		return err
	}
	n.kids = append(n.kids, kid)
	return p.expect(",", n.tok.text)
}

// typeAndMember takes "struct x, a.b[1]".
func (p *parser) typeAndMember(n *node, what string) error {
	at := p.peek()
	typ, ok, err := p.typeName()
	if err != nil {
		return err
	}
	if !ok {
		return p.e.errorf(at.pos, "%s wants a type here", what)
	}
	if err := p.expect(",", what); err != nil {
		return err
	}
	start := p.peek().pos
	path := ""
	for !p.at(")") && p.peek().kind != tokEnd {
		path += p.next().text
	}
	m, ok := typ.Path(path)
	if !ok {
		return p.e.noMember(start, typ, path)
	}
	if m.BitSize != 0 {
		return p.e.errorf(start, "%s is a bit-field and has no address", path)
	}
	n.typ, n.text, n.tok.num = typ, path, m.Offset()
	return nil
}
