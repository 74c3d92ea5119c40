package scrub

import (
	"errors"
	"fmt"
	"regexp"
	"regexp/syntax"
	"unicode/utf8"
)

// longest is the longest match that is looked for, in bytes.
const longest = 64 << 10

// pattern is a regular expression over memory.
type pattern struct {
	re *regexp.Regexp
	// need: each match holds one of these, at most before bytes behind its start. Nil if nothing is known.
	need   [][]byte
	fold   bool // need is in lower case, and so must be what is searched
	before int
	// first are the bytes with which a match can begin; nil if that is not known.
	first *[256]bool
	max   int // no match is longer, in bytes
	// open: matches can be of any length, and max is only where kdx gives up.
	open bool
}

// compilePattern takes an expression in Go's syntax. Memory has no beginning or end, and "." does not match the NUL that ends
// strings (nor a newline).
func compilePattern(text string) (*pattern, error) {
	const maxExpression = 16 << 10
	if len(text) > maxExpression {
		return nil, fmt.Errorf("the expression has more than %d bytes", maxExpression)
	}
	tree, err := syntax.Parse(text, syntax.Perl)
	if err != nil {
		var se *syntax.Error
		if errors.As(err, &se) { // its text would show the expression, which may be the secret
			return nil, fmt.Errorf("the expression is wrong: %s", se.Code)
		}
		return nil, errors.New("the expression is wrong")
	}
	if err := stopAtNUL(tree); err != nil {
		return nil, err
	}
	p := &pattern{}
	if p.re, err = regexp.Compile(tree.String()); err != nil {
		return nil, errors.New("the expression is too large")
	}
	if p.re.MatchString("") {
		return nil, errors.New("the expression matches nothing at all, too (as x* does): it would match everywhere")
	}
	p.max = longestMatch(tree)
	if p.max > longest {
		p.max, p.open = longest, true
	}
	if set, fold, before := required(tree.Simplify()); usable(set) {
		p.need, p.fold, p.before = set, fold, min(before, p.max)
	}
	if p.need == nil {
		var first [256]bool
		if begins(tree, &first) {
			p.first = &first
		}
	}
	return p, nil
}

// begins adds the bytes with which a match of re can begin; false if it can be empty, or is not known to begin with anything.
func begins(re *syntax.Regexp, into *[256]bool) bool {
	switch re.Op {
	case syntax.OpLiteral:
		if re.Flags&syntax.FoldCase != 0 && !foldsPlainly(re.Rune[0]) || re.Rune[0] >= utf8.RuneSelf {
			return false
		}
		into[byte(re.Rune[0])] = true
		if re.Flags&syntax.FoldCase != 0 {
			into[lower[byte(re.Rune[0])]] = true
			if c := lower[byte(re.Rune[0])]; c >= 'a' && c <= 'z' {
				into[c&^0x20] = true
			}
		}
		return true
	case syntax.OpCharClass:
		for i := 0; i+1 < len(re.Rune); i += 2 {
			for c := re.Rune[i]; c <= min(re.Rune[i+1], utf8.RuneSelf-1); c++ {
				into[byte(c)] = true
			}
			if re.Rune[i+1] >= utf8.RuneSelf {
				for c := utf8.RuneSelf; c < 256; c++ {
					into[c] = true
				}
			}
		}
		return true
	case syntax.OpCapture, syntax.OpPlus:
		return begins(re.Sub[0], into)
	case syntax.OpRepeat:
		return re.Min > 0 && begins(re.Sub[0], into)
	case syntax.OpConcat:
		for _, sub := range re.Sub {
			switch sub.Op {
			case syntax.OpBeginLine, syntax.OpEndLine, syntax.OpWordBoundary, syntax.OpNoWordBoundary, syntax.OpEmptyMatch:
				continue
			case syntax.OpStar, syntax.OpQuest:
				if !begins(sub.Sub[0], into) {
					return false
				}
				continue
			}
			return begins(sub, into)
		}
	case syntax.OpAlternate:
		for _, sub := range re.Sub {
			if !begins(sub, into) {
				return false
			}
		}
		return len(re.Sub) > 0
	}
	return false
}

// stopAtNUL makes "." stop at NUL, and refuses what only makes sense in a text that begins and ends.
func stopAtNUL(re *syntax.Regexp) error {
	switch re.Op {
	case syntax.OpAnyCharNotNL:
		re.Op = syntax.OpCharClass
		re.Rune = []rune{1, '\n' - 1, '\n' + 1, utf8.MaxRune}
	case syntax.OpBeginText, syntax.OpEndText:
		return errors.New("memory has no beginning and no end for ^, $, \\A or \\z: begin the expression with (?m) if ^ and $ are to be those of lines")
	}
	for _, sub := range re.Sub {
		if err := stopAtNUL(sub); err != nil {
			return err
		}
	}
	return nil
}

// unbounded stands for no limit; small enough that sums of two of them fit an int of 32 bits.
const unbounded = 1 << 28

// longestMatch is an upper bound of a match's length in bytes.
func longestMatch(re *syntax.Regexp) int {
	switch re.Op {
	case syntax.OpLiteral:
		return len(re.Rune) * utf8.UTFMax
	case syntax.OpCharClass, syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		return utf8.UTFMax
	case syntax.OpStar, syntax.OpPlus:
		return unbounded
	case syntax.OpQuest, syntax.OpCapture:
		return longestMatch(re.Sub[0])
	case syntax.OpRepeat:
		n := longestMatch(re.Sub[0])
		if re.Max < 0 || re.Max > 0 && n > unbounded/re.Max {
			return unbounded
		}
		return n * re.Max
	case syntax.OpConcat:
		return sum(re.Sub)
	case syntax.OpAlternate:
		n := 0
		for _, sub := range re.Sub {
			n = max(n, longestMatch(sub))
		}
		return n
	}
	return 0
}

func sum(subs []*syntax.Regexp) int {
	n := 0
	for _, sub := range subs {
		if n += longestMatch(sub); n > unbounded {
			return unbounded
		}
	}
	return n
}

// required finds strings of which each match holds one, and how many bytes of the match can stand before it.
func required(re *syntax.Regexp) (set [][]byte, fold bool, before int) {
	switch re.Op {
	case syntax.OpLiteral:
		return literal(re)
	case syntax.OpCapture, syntax.OpPlus:
		return required(re.Sub[0])
	case syntax.OpRepeat:
		if re.Min > 0 {
			return required(re.Sub[0])
		}
	case syntax.OpConcat:
		for i, sub := range re.Sub {
			s, f, b := required(sub)
			if shortest(s) > shortest(set) {
				set, fold, before = s, f, min(unbounded, sum(re.Sub[:i])+b)
			}
		}
		return set, fold, before
	case syntax.OpAlternate:
		const maxSet = 32
		for _, sub := range re.Sub {
			s, f, b := required(sub)
			if s == nil || len(set)+len(s) > maxSet || len(set) > 0 && f != fold {
				return nil, false, 0
			}
			set, fold, before = append(set, s...), f, max(before, b)
		}
		return set, fold, before
	}
	return nil, false, 0
}

// literal is the string of a literal; of one in any case, its longest stretch that is the same letters in any case.
func literal(re *syntax.Regexp) ([][]byte, bool, int) {
	if re.Flags&syntax.FoldCase == 0 {
		return [][]byte{[]byte(string(re.Rune))}, false, 0
	}
	best, from, start := 0, 0, 0
	for i := 0; i <= len(re.Rune); i++ {
		if i < len(re.Rune) && foldsPlainly(re.Rune[i]) {
			continue
		}
		if i-start > best {
			best, from = i-start, start
		}
		start = i + 1
	}
	if best == 0 {
		return nil, false, 0
	}
	low := make([]byte, best)
	for i, c := range re.Rune[from : from+best] {
		low[i] = lower[byte(c)]
	}
	return [][]byte{low}, true, from * utf8.UTFMax
}

// foldsPlainly reports whether the only other case of c is ASCII: k and s have further ones (the Kelvin sign, the long s).
func foldsPlainly(c rune) bool {
	return c < utf8.RuneSelf && c|0x20 != 'k' && c|0x20 != 's'
}

var lower = func() (t [256]byte) {
	for i := range t {
		t[i] = byte(i)
		if i >= 'A' && i <= 'Z' {
			t[i] |= 0x20
		}
	}
	return t
}()

func shortest(set [][]byte) int {
	n := 0
	for i, s := range set {
		if i == 0 || len(s) < n {
			n = len(s)
		}
	}
	return n
}

// usable reports whether to look for the set is faster than to match: strings of one byte are everywhere.
func usable(set [][]byte) bool { return shortest(set) >= 2 }
