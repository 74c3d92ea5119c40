package symbols

// Compilers disagree about what C's integer types are called: to GCC it is "long unsigned int" what clang and people
// call "unsigned long". A Type has the latter.
var gccNames = map[string]string{
	"long int":               "long",
	"long unsigned int":      "unsigned long",
	"long long int":          "long long",
	"long long unsigned int": "unsigned long long",
	"short int":              "short",
	"short unsigned int":     "unsigned short",
	"__int128 unsigned":      "unsigned __int128",
	"bool":                   "_Bool", // clang, Rust
}

// BaseTypeName is a base type's name in C, given a compiler's.
func BaseTypeName(name string) string {
	if c, ok := gccNames[name]; ok {
		return c
	}
	return name
}

// BaseTypeSpellings are the names that compilers may give to the base type that C calls name.
func BaseTypeSpellings(name string) []string {
	name = BaseTypeName(name)
	out := []string{name}
	for gcc, c := range gccNames {
		if c == name {
			out = append(out, gcc)
		}
	}
	return out
}
