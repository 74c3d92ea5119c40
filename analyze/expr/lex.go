package expr

import (
	"strconv"
	"strings"
)

type tokenKind uint8

const (
	tokEnd tokenKind = iota
	tokIdent
	tokInt
	tokChar
	tokString
	tokPunct
	tokHistory // $, $$, $3, $$2
)

// token is a word of an expression. text is its spelling, for tokString and tokChar the bytes it stands for.
type token struct {
	kind tokenKind
	pos  int // byte offset in the source
	end  int
	text string
	num  uint64
	suf  string // of an integer: "u", "ul", "l", …; lower case
	dec  bool   // an integer written in decimal
}

// puncts, longest first.
var puncts = []string{
	"<<=", ">>=", "...",
	"->", "++", "--", "<<", ">>", "<=", ">=", "==", "!=", "&&", "||", "+=", "-=", "*=", "/=", "%=", "&=", "|=", "^=",
	"(", ")", "[", "]", "{", "}", ".", ",", "+", "-", "*", "/", "%", "&", "|", "^", "~", "!", "<", ">", "=", "?", ":", "@", ";", "#",
}

func lex(src string) ([]token, error) {
	var out []token
	for i := 0; i < len(src); {
		c := src[i]
		switch {
		case c == ' ' || c == '\t' || c == '\n' || c == '\r':
			i++
			continue
		case c >= '0' && c <= '9':
			t, err := lexInt(src, i)
			if err != nil {
				return nil, err
			}
			out, i = append(out, t), t.end
		case isIdentByte(c):
			j := i
			for j < len(src) && (isIdentByte(src[j]) || src[j] >= '0' && src[j] <= '9') {
				j++
			}
			out, i = append(out, token{kind: tokIdent, pos: i, end: j, text: src[i:j]}), j
		case c == '$':
			j := i + 1
			for j < len(src) && (src[j] == '$' && j == i+1 || src[j] >= '0' && src[j] <= '9') {
				j++
			}
			out, i = append(out, token{kind: tokHistory, pos: i, end: j, text: src[i:j]}), j
		case c == '\'' || c == '"':
			t, err := lexQuoted(src, i)
			if err != nil {
				return nil, err
			}
			out, i = append(out, t), t.end
		default:
			p, ok := punctAt(src[i:])
			if !ok {
				return nil, &Error{Src: src, Pos: i, Msg: "unexpected character " + strconv.QuoteToASCII(firstRune(src[i:]))}
			}
			out, i = append(out, token{kind: tokPunct, pos: i, end: i + len(p), text: p}), i+len(p)
		}
	}
	return append(out, token{kind: tokEnd, pos: len(src), end: len(src)}), nil
}

func firstRune(s string) string {
	for i := range s {
		if i > 0 {
			return s[:i]
		}
	}
	return s
}

func isIdentByte(c byte) bool {
	return c == '_' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func punctAt(s string) (string, bool) {
	for _, p := range puncts {
		if strings.HasPrefix(s, p) {
			return p, true
		}
	}
	return "", false
}

func lexInt(src string, i int) (token, error) {
	j := i
	for j < len(src) && (isIdentByte(src[j]) || src[j] >= '0' && src[j] <= '9') {
		j++
	}
	t := token{kind: tokInt, pos: i, end: j, text: src[i:j]}
	if j < len(src) && src[j] == '.' && j+1 < len(src) && src[j+1] >= '0' && src[j+1] <= '9' {
		return t, &Error{Src: src, Pos: i, Msg: "the kernel has no floating point, and neither have expressions"}
	}
	s := strings.ToLower(t.text)
	base := 10
	switch {
	case strings.HasPrefix(s, "0x"):
		base, s = 16, s[2:]
	case strings.HasPrefix(s, "0b"):
		base, s = 2, s[2:]
	case len(s) > 1 && s[0] == '0':
		base, s = 8, s[1:]
	}
	digits := s
	for digits != "" && (digits[len(digits)-1] == 'u' || digits[len(digits)-1] == 'l') {
		digits = digits[:len(digits)-1]
	}
	t.suf, t.dec = s[len(digits):], base == 10
	if base == 8 && digits == "" {
		digits = "0" // "0u" and "0"
	}
	switch t.suf {
	case "", "u", "l", "ul", "lu", "ll", "ull", "llu":
	default:
		return t, &Error{Src: src, Pos: i, Msg: "bad suffix of the number " + t.text}
	}
	n, err := strconv.ParseUint(digits, base, 64)
	if err != nil {
		msg := t.text + " is no number"
		if ne, ok := err.(*strconv.NumError); ok && ne.Err == strconv.ErrRange {
			msg = t.text + " does not fit 64 bits"
		} else if base == 10 && strings.Trim(digits, "0123456789abcdef") == "" {
			msg += "; hexadecimal needs 0x in expressions: 0x" + t.text
		}
		return t, &Error{Src: src, Pos: i, Msg: msg}
	}
	t.num = n
	return t, nil
}

// lexQuoted takes 'c' and "text". Several characters in single quotes are a quoted symbol name, as in gdb.
func lexQuoted(src string, i int) (token, error) {
	quote := src[i]
	var b strings.Builder
	for j := i + 1; j < len(src); {
		c := src[j]
		if c == quote {
			t := token{kind: tokString, pos: i, end: j + 1, text: b.String()}
			if quote == '\'' {
				t.kind = tokChar
				if len(t.text) != 1 {
					t.kind = tokIdent
				}
				if t.text == "" {
					return t, &Error{Src: src, Pos: i, Msg: "empty character constant"}
				}
			}
			return t, nil
		}
		if c != '\\' {
			b.WriteByte(c)
			j++
			continue
		}
		n, used := escape(src[j:])
		if used == 0 {
			return token{}, &Error{Src: src, Pos: j, Msg: "bad escape"}
		}
		b.WriteByte(n)
		j += used
	}
	return token{}, &Error{Src: src, Pos: i, Msg: "the quote is not closed"}
}

// escape decodes the escape sequence at the start of s; used is 0 if there is none.
func escape(s string) (c byte, used int) {
	if len(s) < 2 {
		return 0, 0
	}
	if i := strings.IndexByte("abefnrtv\\'\"?", s[1]); i >= 0 {
		return "\a\b\x1b\f\n\r\t\v\\'\"?"[i], 2
	}
	base, start, most := 8, 1, 3
	if s[1] == 'x' {
		base, start, most = 16, 2, 2
	}
	end := start
	for end < len(s) && end-start < most && strings.IndexByte("0123456789abcdefABCDEF"[:map[int]int{8: 8, 16: 22}[base]], s[end]) >= 0 {
		end++
	}
	n, err := strconv.ParseUint(s[start:end], base, 8)
	if err != nil {
		return 0, 0
	}
	return byte(n), end
}
