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
		if s.word != "" && !(s.word == "int" || b == "int") {
			return true, fmt.Errorf("%q and %q don't go together", s.word, w)
		}
		if s.word == "" || s.word == "int" {
			s.word = b
		}
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
	name, size, err := s.name(p.lookup.pointerSize())
	if err != nil {
		return nil, err
	}
	if name.kind == symbols.Void {
		return qualify(symbols.VoidType, s.quals), nil
	}
	for _, n := range []string{name.gcc, name.clang} {
		if p.lookup.Types == nil {
			break
		}
		t, err := p.lookup.Types.TypeNamed(name.kind, n)
		if err == nil && t.Size == size {
			return qualify(t, s.quals), nil
		}
	}
	t := &symbols.Type{Kind: name.kind, Name: name.gcc, Size: size, Signed: name.signed, Char: size == 1 && name.kind == symbols.Int, From: "C"}
	return qualify(t, s.quals), nil
}

type baseName struct {
	kind       symbols.Kind
	gcc, clang string // what compilers call it in debugging information
	signed     bool
}

// name is what debugging information calls the type, and its size in bytes where long is as wide as a pointer.
func (s *specifiers) name(long uint64) (baseName, uint64, error) {
	if s.signed+s.unsigned > 1 || s.short > 1 || s.long > 2 || s.short > 0 && s.long > 0 {
		return baseName{}, 0, errWords
	}
	integer := s.short+s.long+s.signed+s.unsigned > 0
	sign, gccSign := "", ""
	if s.unsigned > 0 {
		sign, gccSign = "unsigned ", "unsigned "
	}
	switch s.word {
	case "void", "_Bool", "float":
		if integer {
			return baseName{}, 0, errWords
		}
		switch s.word {
		case "_Bool":
			return baseName{kind: symbols.Bool, gcc: "_Bool", clang: "bool"}, 1, nil
		case "float":
			return baseName{kind: symbols.Float, gcc: "float", clang: "float"}, 4, nil
		}
		return baseName{kind: symbols.Void}, 0, nil
	case "double":
		if s.short+s.signed+s.unsigned > 0 || s.long > 1 {
			return baseName{}, 0, errWords
		}
		if s.long == 1 {
			return baseName{kind: symbols.Float, gcc: "long double", clang: "long double"}, 16, nil
		}
		return baseName{kind: symbols.Float, gcc: "double", clang: "double"}, 8, nil
	case "char":
		if s.short+s.long > 0 {
			return baseName{}, 0, errWords
		}
		n := sign + "char"
		if s.signed > 0 {
			n = "signed char"
		}
		return baseName{symbols.Int, n, n, s.unsigned == 0}, 1, nil
	case "__int128":
		if s.short+s.long > 0 {
			return baseName{}, 0, errWords
		}
		if s.unsigned > 0 {
			return baseName{symbols.Int, "__int128 unsigned", "unsigned __int128", false}, 16, nil
		}
		return baseName{symbols.Int, "__int128", "__int128", true}, 16, nil
	}
	signed := s.unsigned == 0
	switch {
	case s.short == 1:
		return baseName{symbols.Int, "short " + gccSign + "int", sign + "short", signed}, 2, nil
	case s.long == 1:
		return baseName{symbols.Int, "long " + gccSign + "int", sign + "long", signed}, long, nil
	case s.long == 2:
		return baseName{symbols.Int, "long long " + gccSign + "int", sign + "long long", signed}, 8, nil
	}
	return baseName{symbols.Int, sign + "int", sign + "int", signed}, 4, nil
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
