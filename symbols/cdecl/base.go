package cdecl

import (
	"errors"
	"fmt"

	"kdx/symbols"
)

// specifiers counts the words of a base type, which C allows in any order.
type specifiers struct {
	short, long, signed, unsigned int
	word                          string // void, char, int, _Bool, float, double, __int128
	quals                         []symbols.Kind
	typ                           *symbols.Type // struct, union, enum or typedef
	any                           bool
}

// baseWords are the words that make a base type.
var baseWords = map[string]string{
	"void": "void", "char": "char", "int": "int", "_Bool": "_Bool", "float": "float", "double": "double",
	"__int128": "__int128",
}

// skippedWords mean nothing for the type of an object: storage, and the kernel's marks for checkers.
var skippedWords = map[string]bool{
	"static": true, "extern": true, "register": true, "inline": true, "__inline": true,
	"__percpu": true, "__user": true, "__iomem": true, "__rcu": true, "__kernel": true, "__force": true, "__private": true,
	"__read_mostly": true, "__ro_after_init": true, "asmlinkage": true,
}

var qualifierWords = map[string]symbols.Kind{
	"const": symbols.Const, "__const": symbols.Const,
	"volatile": symbols.Volatile, "__volatile__": symbols.Volatile,
	"restrict": symbols.Restrict, "__restrict": symbols.Restrict, "__restrict__": symbols.Restrict,
}

// word takes in a word of a base type; ok is false if it is none.
func (s *specifiers) addWord(w string) (ok bool, err error) {
	switch w {
	case "short":
		s.short++
	case "long":
		s.long++
	case "signed", "__signed__":
		s.signed++
	case "unsigned":
		s.unsigned++
	default:
		b, known := baseWords[w]
		if !known {
			return false, nil
		}
		if s.word != "" {
			return true, fmt.Errorf("%q and %q don't go together", s.word, w)
		}
		s.word = b
	}
	if s.typ != nil {
		return true, fmt.Errorf("%q does not go with %s", w, s.typ)
	}
	s.any = true
	return true, nil
}

var errWords = errors.New("these words make no C type")

// base is the type that the words make.
func (p *parser) base(s *specifiers) (*symbols.Type, error) {
	if s.typ != nil {
		return qualify(s.typ, s.quals), nil
	}
	b, err := s.name(p.lookup.pointerSize())
	if err != nil {
		return nil, err
	}
	if b.kind == symbols.Void {
		return qualify(symbols.VoidType, s.quals), nil
	}
	if p.lookup.Types != nil {
		if t, err := p.lookup.Types.TypeNamed(b.kind, b.name); err == nil && t.Size == b.size {
			return qualify(t, s.quals), nil
		}
	}
	t := &symbols.Type{Kind: b.kind, Name: b.name, Size: b.size, Signed: b.signed, From: "C"}
	t.Char = b.size == 1 && b.kind == symbols.Int
	return qualify(t, s.quals), nil
}

type baseType struct {
	kind   symbols.Kind
	name   string
	size   uint64 // bytes
	signed bool
}

// name is the type that the words make where long is as wide as a pointer.
func (s *specifiers) name(long uint64) (baseType, error) {
	if s.signed+s.unsigned > 1 || s.short > 1 || s.long > 2 || s.short > 0 && s.long > 0 {
		return baseType{}, errWords
	}
	widths, signs := s.short+s.long, s.signed+s.unsigned
	sign, signed := "", s.unsigned == 0
	if !signed {
		sign = "unsigned "
	}
	switch s.word {
	case "void", "_Bool", "float":
		if widths+signs > 0 {
			return baseType{}, errWords
		}
		return map[string]baseType{
			"void":  {kind: symbols.Void},
			"_Bool": {symbols.Bool, "_Bool", 1, false},
			"float": {symbols.Float, "float", 4, false},
		}[s.word], nil
	case "double":
		if signs+s.short > 0 || s.long > 1 {
			return baseType{}, errWords
		}
		if s.long == 1 {
			return baseType{symbols.Float, "long double", 16, false}, nil
		}
		return baseType{symbols.Float, "double", 8, false}, nil
	case "char", "__int128":
		if widths > 0 {
			return baseType{}, errWords
		}
		if s.word == "__int128" {
			return baseType{symbols.Int, sign + "__int128", 16, signed}, nil
		}
		if s.signed > 0 {
			sign = "signed "
		}
		return baseType{symbols.Int, sign + "char", 1, signed}, nil
	}
	switch {
	case s.short == 1:
		return baseType{symbols.Int, sign + "short", 2, signed}, nil
	case s.long == 1:
		return baseType{symbols.Int, sign + "long", long, signed}, nil
	case s.long == 2:
		return baseType{symbols.Int, sign + "long long", 8, signed}, nil
	}
	return baseType{symbols.Int, sign + "int", 4, signed}, nil
}

// fixedWidth are the kernel's integer types, for kernels of which nothing is known.
var fixedWidth = map[string]struct {
	size   uint64 // 0: that of a pointer
	signed bool
}{
	"u8": {1, false}, "u16": {2, false}, "u32": {4, false}, "u64": {8, false},
	"s8": {1, true}, "s16": {2, true}, "s32": {4, true}, "s64": {8, true},
	"__u8": {1, false}, "__u16": {2, false}, "__u32": {4, false}, "__u64": {8, false},
	"__s8": {1, true}, "__s16": {2, true}, "__s32": {4, true}, "__s64": {8, true},
	"uint8_t": {1, false}, "uint16_t": {2, false}, "uint32_t": {4, false}, "uint64_t": {8, false},
	"int8_t": {1, true}, "int16_t": {2, true}, "int32_t": {4, true}, "int64_t": {8, true},
	"size_t": {0, false}, "ssize_t": {0, true}, "uintptr_t": {0, false}, "bool": {1, false},
	"uint": {4, false}, "ulong": {0, false}, "ushort": {2, false},
}

// typedef finds a typedef, or makes one of the kernel's integer types.
func (p *parser) typedef(name string) (*symbols.Type, error) {
	var err error = symbols.ErrNotFound
	if p.lookup.Types != nil {
		var t *symbols.Type
		if t, err = p.lookup.Types.TypeNamed(symbols.Typedef, name); err == nil {
			return t, nil
		}
	}
	w, ok := fixedWidth[name]
	if !ok {
		return nil, err
	}
	if w.size == 0 {
		w.size = p.lookup.pointerSize()
	}
	t := &symbols.Type{Kind: symbols.Int, Name: name, Size: w.size, Signed: w.signed, From: "C"}
	if name == "bool" {
		t.Kind, t.Name = symbols.Bool, "_Bool"
	}
	return t, nil
}

// qualify wraps t in qualifiers, each once.
func qualify(t *symbols.Type, quals []symbols.Kind) *symbols.Type {
	var done [symbols.Restrict + 1]bool
	for _, q := range quals {
		if done[q] {
			continue
		}
		done[q] = true
		elem := t
		t = symbols.NewType(&symbols.Type{Kind: q, Size: elem.Size, From: elem.From}, func(p *symbols.Parts) { p.Elem = elem })
	}
	return t
}
