package expr

import (
	"errors"

	"kdx/symbols"
	"kdx/symbols/cdecl"
)

// typeName takes a type name with its abstract declarator: "struct page *", "unsigned long", "u8 [16]",
// "void (*)(struct work_struct *)". ok is false, and nothing taken, if what follows is no type.
func (p *parser) typeName() (t *symbols.Type, ok bool, err error) {
	tok := p.peek()
	if tok.kind != tokIdent || p.e.src[tok.pos] == '\'' || p.e.isLocal(tok.text) {
		return nil, false, nil
	}
	const longest = 2048 // of a type's name; the rest of the expression need not be looked at
	text := p.e.src[tok.pos:min(len(p.e.src), tok.pos+longest)]
	syms := p.e.v.Debug()
	t, rest, err := cdecl.ParseTypePrefix(cdecl.Lookup{Types: syms, PointerSize: p.e.v.WordSize()}, text)
	switch {
	case err == nil:
		end := tok.pos + len(text) - len(rest)
		for p.peek().kind != tokEnd && p.peek().pos < end {
			p.i++
		}
		return t, true, nil
	case errors.Is(err, cdecl.ErrNotType):
		return p.bareTag()
	case errors.Is(err, symbols.ErrNotFound):
		if tag, kind := p.unknownTag(); tag.kind == tokIdent {
			return nil, false, p.e.errorf(tag.pos, "there is no %s %s%s", kind, tag.text, SimilarType(p.e.v, tag.text, kind))
		}
	}
	if inner := errors.Unwrap(err); inner != nil {
		err = inner // without the text, which Error shows
	}
	return nil, false, p.e.fail(tok.pos, err)
}

// unknownTag is the first tag at or behind the token at hand that this kernel does not have.
func (p *parser) unknownTag() (token, symbols.Kind) {
	kinds := map[string]symbols.Kind{"struct": symbols.Struct, "union": symbols.Union, "enum": symbols.Enum}
	for i := p.i; i+1 < len(p.toks); i++ {
		kind, ok := kinds[p.toks[i].text]
		if tag := p.toks[i+1]; ok && p.toks[i].kind == tokIdent && tag.kind == tokIdent {
			if _, err := p.e.v.Debug().TypeNamed(kind, tag.text); err != nil {
				return tag, kind
			}
		}
	}
	return token{}, 0
}

// bareTag takes a tag without struct, as in (task_struct *)0xffff888003a4c000. It must not be a symbol too, and be
// followed by stars, the end, ) or a comma.
func (p *parser) bareTag() (*symbols.Type, bool, error) {
	i, stars := p.i+1, 0
	for p.toks[i].kind == tokPunct && p.toks[i].text == "*" && stars < 8 {
		i, stars = i+1, stars+1
	}
	next := p.toks[i]
	ends := next.kind == tokEnd || next.kind == tokPunct && (next.text == ")" || next.text == ",")
	if !ends || p.e.v.HasSymbol(p.peek().text) {
		return nil, false, nil
	}
	for _, kind := range []symbols.Kind{symbols.Struct, symbols.Union, symbols.Enum} {
		t, err := p.e.v.Debug().TypeNamed(kind, p.peek().text)
		if err != nil {
			continue
		}
		p.i = i
		for range stars {
			t = symbols.PointerTo(t, p.e.v.WordSize())
		}
		return t, true, nil
	}
	return nil, false, nil
}
