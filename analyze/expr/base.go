package expr

import "kdx/symbols"

// bases are C's own types. Expressions need them where no finder of types is there, too.
type bases struct {
	char, int_, uint_, long, ulong, llong, ullong, bool_ *symbols.Type
}

func baseTypes(word uint64) *bases {
	mk := func(name string, size uint64, signed bool) *symbols.Type {
		return &symbols.Type{Kind: symbols.Int, Name: name, Size: size, Signed: signed, Char: size == 1}
	}
	return &bases{
		char: mk("char", 1, true),
		int_: mk("int", 4, true), uint_: mk("unsigned int", 4, false),
		long: mk("long", word, true), ulong: mk("unsigned long", word, false),
		llong: mk("long long", 8, true), ullong: mk("unsigned long long", 8, false),
		bool_: &symbols.Type{Kind: symbols.Bool, Name: "_Bool", Size: 1},
	}
}
