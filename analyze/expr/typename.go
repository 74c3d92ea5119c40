package expr

import (
	"slices"
	"strings"

	"kdx/symbols"
)

// typeName takes a type name with its abstract declarator: "struct page *", "unsigned long", "u8 [16]",
// "void (*)(struct work_struct *)". ok is false, and nothing taken, if what follows is no type.
func (p *parser) typeName() (t *symbols.Type, ok bool, err error) {
	if err := p.enter(); err != nil {
		return nil, false, err
	}
	defer p.leave()
	start := p.i
	t, ok, err = p.specifiers()
	if err != nil || !ok {
		p.i = start
		return nil, false, err
	}
	wrap, err := p.declarator()
	if err != nil {
		return nil, false, err
	}
	return wrap(t), true, nil
}

// specifiers takes the words before the declarator.
func (p *parser) specifiers() (*symbols.Type, bool, error) {
	var words []string
	var quals []symbols.Kind
	var t *symbols.Type
	for {
		tok := p.peek()
		if tok.kind != tokIdent || t != nil && !isQualifier(tok.text) {
			break
		}
		switch {
		case isQualifier(tok.text):
			quals = append(quals, qualifiers[tok.text])
			p.next()
			continue
		case tok.text == "struct" || tok.text == "union" || tok.text == "enum":
			if len(words) > 0 {
				return nil, false, nil
			}
			p.next()
			tag := p.next()
			if tag.kind != tokIdent {
				return nil, false, p.e.errorf(tag.pos, "%s wants a tag", tok.text)
			}
			found, err := p.e.tag(tok.text, tag)
			if err != nil {
				return nil, false, err
			}
			t = found
			continue
		case isBaseWord(tok.text):
			words = append(words, tok.text)
			p.next()
			continue
		case len(words) == 0:
			found, ok := p.e.typeWord(tok.text, p.wordIsType())
			if !ok {
				return nil, false, nil
			}
			p.next()
			t = found
			continue
		}
		break
	}
	if t == nil && len(words) > 0 {
		found, ok := p.e.base.named(words)
		if !ok {
			return nil, false, p.e.errorf(p.toks[p.i-1].pos, "%q is no C type", strings.Join(words, " "))
		}
		t = found
	}
	if t == nil {
		return nil, false, nil
	}
	for _, q := range quals {
		t = qualified(q, t)
	}
	return t, true, nil
}

// wordIsType reports whether what stands behind the word at hand can follow a type: the end, ), * or [. A bare tag
// without struct is only taken for a type there.
func (p *parser) wordIsType() bool {
	i := p.i + 1
	for p.toks[i].kind == tokPunct && p.toks[i].text == "*" {
		i++
	}
	t := p.toks[i]
	return t.kind == tokEnd || t.kind == tokPunct && (t.text == ")" || t.text == "," && i == p.i+1)
}

var qualifiers = map[string]symbols.Kind{"const": symbols.Const, "volatile": symbols.Volatile, "restrict": symbols.Restrict}

func isQualifier(s string) bool { _, ok := qualifiers[s]; return ok }

func qualified(kind symbols.Kind, t *symbols.Type) *symbols.Type {
	return symbols.NewType(&symbols.Type{Kind: kind, Size: t.Size, From: t.From}, func(p *symbols.Parts) { p.Elem = t })
}

func isBaseWord(s string) bool {
	switch s {
	case "void", "char", "short", "int", "long", "signed", "unsigned", "bool", "_Bool", "__int128":
		return true
	}
	return false
}

// declarator takes "*", "* const", "[3]", "(*)(int)" and returns what it makes of a type.
func (p *parser) declarator() (func(*symbols.Type) *symbols.Type, error) {
	if err := p.enter(); err != nil {
		return nil, err
	}
	defer p.leave()
	stars := 0
	var quals [][]symbols.Kind
	for p.at("*") {
		p.next()
		stars++
		quals = append(quals, nil)
		for p.peek().kind == tokIdent && isQualifier(p.peek().text) {
			quals[stars-1] = append(quals[stars-1], qualifiers[p.next().text])
		}
		if stars > 16 {
			return nil, p.e.errorf(p.peek().pos, "a pointer of more than 16 levels")
		}
	}
	inner := func(t *symbols.Type) *symbols.Type { return t }
	if p.at("(") && p.i+1 < len(p.toks) && p.toks[p.i+1].kind == tokPunct && p.toks[p.i+1].text == "*" {
		p.next()
		var err error
		if inner, err = p.declarator(); err != nil {
			return nil, err
		}
		if err := p.expect(")", "the declarator"); err != nil {
			return nil, err
		}
	}
	suffixes, err := p.typeSuffixes()
	if err != nil {
		return nil, err
	}
	size := p.e.v.WordSize()
	return func(t *symbols.Type) *symbols.Type {
		for i := range stars {
			t = symbols.PointerTo(t, size)
			for _, q := range quals[i] {
				t = qualified(q, t)
			}
		}
		for _, s := range slices.Backward(suffixes) {
			t = s(t)
		}
		return inner(t)
	}, nil
}

func (p *parser) typeSuffixes() (out []func(*symbols.Type) *symbols.Type, err error) {
	for {
		switch {
		case p.at("["):
			p.next()
			n := int64(symbols.Flexible)
			if t := p.peek(); t.kind == tokInt {
				if t.num > 1<<32 {
					return nil, p.e.errorf(t.pos, "an array of %d elements", t.num)
				}
				n = int64(p.next().num)
			}
			if err := p.expect("]", "["); err != nil {
				return nil, err
			}
			out = append(out, func(t *symbols.Type) *symbols.Type { return symbols.ArrayOf(t, n) })
		case p.at("("):
			// A parenthesis behind a type can only be parameters if a type or ) follows it.
			start := p.i
			f, ok, err := p.params()
			if err != nil {
				return nil, err
			}
			if !ok {
				p.i = start
				return out, nil
			}
			out = append(out, f)
		default:
			return out, nil
		}
	}
}

func (p *parser) params() (func(*symbols.Type) *symbols.Type, bool, error) {
	p.next() // (
	var params []symbols.Param
	variadic := false
	for !p.at(")") {
		if p.accept("...") {
			variadic = true
			break
		}
		t, ok, err := p.typeName()
		if err != nil || !ok {
			return nil, false, err
		}
		params = append(params, symbols.Param{Type: t})
		if !p.accept(",") {
			break
		}
	}
	if !p.accept(")") {
		return nil, false, nil
	}
	if len(params) == 1 && params[0].Type.Strip().Kind == symbols.Void {
		params = nil
	}
	return func(t *symbols.Type) *symbols.Type {
		return symbols.NewType(&symbols.Type{Kind: symbols.Func, Variadic: variadic}, func(p *symbols.Parts) {
			p.Elem, p.Params = t, params
		})
	}, true, nil
}
