package cdecl

import (
	"errors"
	"fmt"
	"math/bits"
	"strconv"
	"strings"

	"kdx/symbols"
)

// ErrNotType says that the text does not begin with a type.
var ErrNotType = errors.New("not a type")

// Types finds types by name; every symbols.TypeFinder does.
type Types interface {
	TypeNamed(kind symbols.Kind, name string) (*symbols.Type, error)
}

// Lookup is what a parser needs to know of the target.
type Lookup struct {
	Types       Types  // nil if no types are known
	PointerSize uint64 // bytes; 0 means 8
}

func (l Lookup) pointerSize() uint64 {
	if l.PointerSize == 4 {
		return 4
	}
	return 8
}

// ParseType reads a type name: "struct task_struct", "unsigned long *", "int (*)(void *)". The error wraps ErrNotType if
// s does not begin with a type at all, and symbols.ErrNotFound if it names one that this kernel does not have.
func ParseType(l Lookup, s string) (*symbols.Type, error) {
	t, rest, err := ParseTypePrefix(l, s)
	if err != nil {
		return nil, err
	}
	if rest = strings.TrimSpace(rest); rest != "" {
		return nil, fmt.Errorf("type %q: %q is unexpected", s, rest)
	}
	return t, nil
}

// ParseTypePrefix reads the type name that s begins with, and returns what follows it: of "struct page *)p" the type and
// ")p". For casts and sizeof.
func ParseTypePrefix(l Lookup, s string) (t *symbols.Type, rest string, err error) {
	p, err := newParser(l, s)
	if err != nil {
		return nil, s, err
	}
	t, _, err = p.declaration(false)
	if err != nil {
		return nil, s, p.explain(err)
	}
	return t, s[p.tok.pos:], nil
}

// ParseDecl reads a declaration: "struct list_head modules", "char *(*names[4])(int)". A semicolon may end it.
func ParseDecl(l Lookup, s string) (name string, t *symbols.Type, err error) {
	p, err := newParser(l, s)
	if err != nil {
		return "", nil, err
	}
	t, name, err = p.declaration(true)
	if err != nil {
		return "", nil, p.explain(err)
	}
	if p.is(";") {
		p.advance()
	}
	if p.tok.kind != tokEnd {
		return "", nil, p.explain(p.unexpected())
	}
	if name == "" {
		return "", nil, p.explain(errors.New("the name is missing"))
	}
	return name, t, nil
}

const (
	maxDepth = 32      // of parentheses
	maxSize  = 1 << 48 // bytes of an array; no object is larger
)

type parser struct {
	lookup Lookup
	src    string
	next   int
	tok    token
	depth  int
}

func newParser(l Lookup, s string) (*parser, error) {
	if len(s) > maxText {
		return nil, fmt.Errorf("type: %d characters are too many", len(s))
	}
	p := &parser{lookup: l, src: s}
	p.advance()
	return p, nil
}

func (p *parser) advance()            { p.tok, p.next = scan(p.src, p.next) }
func (p *parser) is(text string) bool { return p.tok.kind == tokPunct && p.tok.text == text }

// peek is the token behind the current one.
func (p *parser) peek() token {
	t, _ := scan(p.src, p.next)
	return t
}

func (p *parser) explain(err error) error { return fmt.Errorf("type %q: %w", p.src, err) }

func (p *parser) unexpected() error {
	if p.tok.kind == tokEnd {
		return errors.New("it ends too early")
	}
	return fmt.Errorf("%q at column %d is unexpected", p.tok.text, p.tok.pos+1)
}

// declaration reads specifiers and a declarator, which has a name only if named.
func (p *parser) declaration(named bool) (*symbols.Type, string, error) {
	base, err := p.specifiers()
	if err != nil {
		return nil, "", err
	}
	wrap, name, err := p.declarator(named)
	if err != nil {
		return nil, "", err
	}
	t, err := wrap(base)
	return t, name, err
}

func (p *parser) specifiers() (*symbols.Type, error) {
	var s specifiers
	for p.tok.kind == tokName {
		w := p.tok.text
		if skippedWords[w] {
			p.advance()
			continue
		}
		if q, ok := qualifierWords[w]; ok {
			s.quals = append(s.quals, q)
			p.advance()
			continue
		}
		ok, err := s.addWord(w)
		if err != nil {
			return nil, err
		}
		if ok {
			p.advance()
			continue
		}
		if s.any || s.typ != nil {
			break // the declarator's name
		}
		if s.typ, err = p.namedType(w); err != nil {
			return nil, err
		}
	}
	if !s.any && s.typ == nil {
		return nil, ErrNotType
	}
	return p.base(&s)
}

// tags are the words before a tag.
var tags = map[string]symbols.Kind{"struct": symbols.Struct, "union": symbols.Union, "enum": symbols.Enum}

// namedType reads "struct x", "struct { … }", "union x", "enum x" or a typedef's name.
func (p *parser) namedType(w string) (*symbols.Type, error) {
	kind, tagged := tags[w]
	if !tagged {
		t, err := p.typedef(w)
		if errors.Is(err, symbols.ErrNotFound) {
			return nil, fmt.Errorf("%s: %w", w, ErrNotType)
		}
		if err == nil {
			p.advance()
		}
		return t, err
	}
	p.advance()
	if p.is("{") && kind != symbols.Enum {
		return p.body(kind)
	}
	if p.tok.kind != tokName {
		return nil, p.unexpected()
	}
	name := p.tok.text
	if p.lookup.Types == nil {
		return nil, fmt.Errorf("%s %s: no types are known of this kernel: %w", kind, name, symbols.ErrNotFound)
	}
	t, err := p.lookup.Types.TypeNamed(kind, name)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", kind, name, err)
	}
	p.advance()
	return t, nil
}

// A wrapper makes of the type left of a declarator that of the declared name.
type wrapper func(*symbols.Type) (*symbols.Type, error)

func same(t *symbols.Type) (*symbols.Type, error) { return t, nil }

// declarator reads pointers, then a name or a declarator in parentheses, then arrays and parameters.
func (p *parser) declarator(named bool) (wrapper, string, error) {
	if p.depth++; p.depth > maxDepth {
		return nil, "", errors.New("it nests too deep")
	}
	defer func() { p.depth-- }()
	pointers := p.pointers()
	inner, name := wrapper(same), ""
	switch {
	case named && p.tok.kind == tokName:
		name = p.tok.text
		p.advance()
	case p.is("(") && p.nests(named):
		p.advance()
		var err error
		if inner, name, err = p.declarator(named); err != nil {
			return nil, "", err
		}
		if !p.is(")") {
			return nil, "", p.unexpected()
		}
		p.advance()
	}
	suffixes, err := p.suffixes()
	if err != nil {
		return nil, "", err
	}
	return func(t *symbols.Type) (*symbols.Type, error) {
		for _, quals := range pointers {
			t = qualify(symbols.PointerTo(t, p.lookup.pointerSize()), quals)
		}
		for i := len(suffixes) - 1; i >= 0; i-- {
			var err error
			if t, err = suffixes[i](t); err != nil {
				return nil, err
			}
		}
		return inner(t)
	}, name, nil
}

// pointers reads stars; each has its qualifiers.
func (p *parser) pointers() [][]symbols.Kind {
	var out [][]symbols.Kind
	for p.is("*") {
		p.advance()
		var quals []symbols.Kind
		for p.tok.kind == tokName {
			if q, ok := qualifierWords[p.tok.text]; ok {
				quals = append(quals, q)
			} else if !skippedWords[p.tok.text] {
				break
			}
			p.advance()
		}
		out = append(out, quals)
	}
	return out
}

// nests reports whether the parenthesis at hand holds a declarator, not parameters.
func (p *parser) nests(named bool) bool {
	t := p.peek()
	switch {
	case t.kind == tokPunct:
		return t.text == "*" || t.text == "(" || t.text == "["
	case t.kind == tokName && named:
		return !p.isType(t.text)
	}
	return false
}

// isType reports whether a type can begin with the word.
func (p *parser) isType(w string) bool {
	switch w {
	case "struct", "union", "enum", "short", "long", "signed", "unsigned", "__signed__":
		return true
	}
	if _, ok := qualifierWords[w]; ok || baseWords[w] != "" || skippedWords[w] {
		return true
	}
	_, err := p.typedef(w)
	return err == nil
}

func (p *parser) suffixes() ([]wrapper, error) {
	var out []wrapper
	for {
		var w wrapper
		var err error
		switch {
		case p.is("["):
			w, err = p.array()
		case p.is("(") && (p.peek().text == ")" || p.isType(p.peek().text)):
			w, err = p.params()
		default:
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		out = append(out, w)
	}
}

func (p *parser) array() (wrapper, error) {
	p.advance()
	n := int64(symbols.Flexible)
	if p.tok.kind == tokNumber {
		u, err := strconv.ParseUint(strings.TrimRight(p.tok.text, "uUlL"), 0, 62)
		if err != nil {
			return nil, fmt.Errorf("%q is no length of an array", p.tok.text)
		}
		n = int64(u)
		p.advance()
	} else if p.tok.kind == tokName {
		v, err := p.constant(p.tok.text)
		if err != nil {
			return nil, err
		}
		n = v
		p.advance()
	}
	if !p.is("]") {
		return nil, p.unexpected()
	}
	p.advance()
	return func(t *symbols.Type) (*symbols.Type, error) {
		if t.Kind == symbols.Void || t.Kind == symbols.Func {
			return nil, fmt.Errorf("an array of %s is impossible", t.Kind)
		}
		if hi, lo := bits.Mul64(t.Size, uint64(max(n, 0))); hi != 0 || lo > maxSize {
			return nil, fmt.Errorf("an array of %d elements of %d bytes is too large", n, t.Size)
		}
		return symbols.ArrayOf(t, n), nil
	}, nil
}

// constant is the value of an enumeration constant as an array's length.
func (p *parser) constant(name string) (int64, error) {
	e, ok := p.lookup.Types.(interface {
		Enumerator(name string) (int64, *symbols.Type, error)
	})
	if !ok {
		return 0, fmt.Errorf("%s: %w", name, symbols.ErrNotFound)
	}
	n, _, err := e.Enumerator(name)
	if err != nil {
		return 0, fmt.Errorf("%s: %w", name, err)
	}
	if n < 0 {
		return 0, fmt.Errorf("%s is %d, which is no length of an array", name, n)
	}
	return n, nil
}

func (p *parser) params() (wrapper, error) {
	p.advance()
	if p.depth++; p.depth > maxDepth {
		return nil, errors.New("it nests too deep")
	}
	defer func() { p.depth-- }()
	var params []symbols.Param
	variadic := false
	for !p.is(")") {
		if p.is("...") {
			variadic = true
			p.advance()
			break
		}
		t, name, err := p.declaration(true)
		if err != nil {
			return nil, err
		}
		params = append(params, symbols.Param{Name: name, Type: t})
		if !p.is(",") {
			break
		}
		p.advance()
	}
	if !p.is(")") {
		return nil, p.unexpected()
	}
	p.advance()
	if len(params) == 1 && params[0].Type.Kind == symbols.Void && params[0].Name == "" {
		params = nil
	}
	return func(t *symbols.Type) (*symbols.Type, error) {
		f := &symbols.Type{Kind: symbols.Func, Variadic: variadic, From: t.From}
		return symbols.NewType(f, func(parts *symbols.Parts) { parts.Elem, parts.Params = t, params }), nil
	}, nil
}
