package kmod

import "strings"

// MatchAlias says whether a name matches a module's alias, a pattern of fnmatch: *, ? and [a-z]. '-' and '_' are the same outside of
// brackets, as modprobe has it.
func MatchAlias(pattern, name string) bool {
	// The last * is tried with ever more of the name, earlier ones never again: linear for all but hostile patterns, quadratic for those.
	p, n, star, mark := 0, 0, -1, 0
	for n < len(name) {
		if p < len(pattern) {
			if pattern[p] == '*' {
				star, mark = p, n
				p++
				continue
			}
			if size := matchOne(pattern[p:], name[n]); size > 0 {
				p += size
				n++
				continue
			}
		}
		if star < 0 {
			return false
		}
		mark++
		p, n = star+1, mark
	}
	return strings.Trim(pattern[p:], "*") == ""
}

// matchOne matches one byte with the beginning of a pattern, and returns how long that is; 0 if it does not match.
func matchOne(p string, b byte) int {
	switch p[0] {
	case '?':
		return 1
	case '[':
		end := strings.IndexByte(p[1:], ']')
		if end <= 0 {
			break
		}
		set := p[1 : 1+end]
		not := set[0] == '!' || set[0] == '^'
		if not {
			set = set[1:]
		}
		if inSet(set, b) == not {
			return 0
		}
		return end + 2
	}
	if p[0] == b || (p[0] == '-' || p[0] == '_') && (b == '-' || b == '_') {
		return 1
	}
	return 0
}

func inSet(set string, b byte) bool {
	for i := 0; i < len(set); i++ {
		if i+2 < len(set) && set[i+1] == '-' {
			if set[i] <= b && b <= set[i+2] {
				return true
			}
			i += 2
			continue
		}
		if set[i] == b {
			return true
		}
	}
	return false
}
