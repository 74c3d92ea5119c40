package expr

import (
	"slices"
	"strings"

	"kdx/symbols"
)

// bases are C's own types. Expressions need them where no finder of types is there, too.
type bases struct {
	char, schar, uchar, short, ushort, int_, uint_, long, ulong, llong, ullong, int128, uint128, bool_ *symbols.Type
}

func baseTypes(word uint64) *bases {
	mk := func(name string, size uint64, signed bool) *symbols.Type {
		return &symbols.Type{Kind: symbols.Int, Name: name, Size: size, Signed: signed, Char: size == 1}
	}
	return &bases{
		char: mk("char", 1, true), schar: mk("signed char", 1, true), uchar: mk("unsigned char", 1, false),
		short: mk("short", 2, true), ushort: mk("unsigned short", 2, false),
		int_: mk("int", 4, true), uint_: mk("unsigned int", 4, false),
		long: mk("long", word, true), ulong: mk("unsigned long", word, false),
		llong: mk("long long", 8, true), ullong: mk("unsigned long long", 8, false),
		int128: mk("__int128", 16, true), uint128: mk("unsigned __int128", 16, false),
		bool_: &symbols.Type{Kind: symbols.Bool, Name: "_Bool", Size: 1},
	}
}

// named is the base type of words in any order: "long unsigned int".
func (b *bases) named(words []string) (*symbols.Type, bool) {
	w := slices.Clone(words)
	slices.Sort(w)
	switch strings.Join(w, " ") {
	case "void":
		return symbols.VoidType, true
	case "bool", "_Bool":
		return b.bool_, true
	case "char":
		return b.char, true
	case "char signed":
		return b.schar, true
	case "char unsigned":
		return b.uchar, true
	case "short", "int short", "short signed", "int short signed":
		return b.short, true
	case "short unsigned", "int short unsigned":
		return b.ushort, true
	case "int", "signed", "int signed":
		return b.int_, true
	case "unsigned", "int unsigned":
		return b.uint_, true
	case "long", "int long", "long signed", "int long signed":
		return b.long, true
	case "long unsigned", "int long unsigned":
		return b.ulong, true
	case "long long", "int long long", "long long signed", "int long long signed":
		return b.llong, true
	case "long long unsigned", "int long long unsigned":
		return b.ullong, true
	case "__int128", "__int128 signed":
		return b.int128, true
	case "__int128 unsigned":
		return b.uint128, true
	}
	return nil, false
}
