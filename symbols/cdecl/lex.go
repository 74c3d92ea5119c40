package cdecl

import "strings"

// maxText is the longest declaration that is read; C's own are shorter.
const maxText = 4096

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokName
	tokNumber
	tokPunct
)

type token struct {
	kind tokenKind
	text string
	pos  int // offset in the source
}

// scan returns the token at or behind pos, and where the next may begin.
func scan(s string, pos int) (token, int) {
	for pos < len(s) && strings.IndexByte(" \t\n\r\v\f", s[pos]) >= 0 {
		pos++
	}
	if pos >= len(s) {
		return token{kind: tokEnd, pos: len(s)}, len(s)
	}
	start := pos
	switch c := s[pos]; {
	case isNameStart(c):
		for pos < len(s) && (isNameStart(s[pos]) || isDigit(s[pos])) {
			pos++
		}
		return token{tokName, s[start:pos], start}, pos
	case isDigit(c):
		for pos < len(s) && (isNameStart(s[pos]) || isDigit(s[pos])) {
			pos++
		}
		return token{tokNumber, s[start:pos], start}, pos
	}
	if strings.HasPrefix(s[pos:], "...") {
		return token{tokPunct, "...", start}, pos + 3
	}
	return token{tokPunct, s[start : start+1], start}, pos + 1
}

func isNameStart(c byte) bool { return c == '_' || c|0x20 >= 'a' && c|0x20 <= 'z' }
func isDigit(c byte) bool     { return c >= '0' && c <= '9' }
