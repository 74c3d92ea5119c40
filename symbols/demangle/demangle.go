// Package demangle reads the names that Rust's compiler gives to symbols: "_RNv…" (v0), and the older "_ZN…17h<hash>E".
package demangle

import (
	"regexp"
	"strings"

	"github.com/ianlancetaylor/demangle"
)

// maxName bounds what is read; what is longer than compilers write stays as it is.
const (
	maxName   = 1 << 12
	maxResult = 1 << 14
)

// Name is a symbol's name as it stands in the source: "core::option::Option<u32>::unwrap". What is no mangled Rust name stays
// as it is. What a compiler put behind a name (".llvm.123", ".cold") stays behind it.
func Name(name string) string {
	if len(name) > maxName || !strings.HasPrefix(name, "_R") && !strings.HasPrefix(name, "_ZN") {
		return name
	}
	end := strings.IndexByte(name+".", '.')
	if strings.HasPrefix(name, "_ZN") {
		at := hash.FindStringIndex(name)
		if at == nil {
			return name // C++'s
		}
		end = at[1]
	}
	suffix := name[end:]
	out, ok := plain(name[:end])
	if !ok {
		return name
	}
	if strings.HasPrefix(suffix, ".llvm.") {
		suffix = "" // says which of equal local names it is
	}
	return out + suffix
}

// hash is what Rust puts behind the path of an older name.
var hash = regexp.MustCompile(`17h[0-9a-f]{16}E`)

// plain demangles. Names of a damaged dump may be anything, also what the library did not expect.
func plain(name string) (out string, ok bool) {
	defer func() {
		if recover() != nil {
			ok = false
		}
	}()
	out, err := demangle.ToString(name, demangle.NoClones, demangle.MaxLength(14))
	return out, err == nil && len(out) <= maxResult
}

// mangled finds names in text. A v0 name has letters, digits and underscores.
var mangled = regexp.MustCompile(`\b(?:_R[A-Za-z0-9_]{3,}|_ZN[A-Za-z0-9_$.]{3,}17h[0-9a-f]{16}E)`)

// Text replaces the mangled names in a text.
func Text(text string) string {
	if !strings.Contains(text, "_R") && !strings.Contains(text, "_ZN") {
		return text
	}
	return mangled.ReplaceAllStringFunc(text, Name)
}
