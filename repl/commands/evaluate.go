package commands

import (
	"fmt"
	"strconv"
	"strings"

	"kdx/analyze/kernel"
)

// evaluate computes an expression of whole numbers and symbols: ( ) + - & | ^ * / % << >> and unary - and ~, with C's
// precedence and 64 bits. A number may end in k, m, g or t; it is hexadecimal after 0x or if it has a letter a-f, else of
// the given base.
func evaluate(v *kernel.View, src string, base int) (uint64, error) {
	e := evaluator{v: v, src: src, base: base}
	u, err := e.binary(0, 0)
	if err != nil {
		return 0, err
	}
	if e.skip(); e.i < len(e.src) {
		return 0, fmt.Errorf("%s: what is %q doing there?", src, e.src[e.i:])
	}
	return u, nil
}

type evaluator struct {
	v    *kernel.View
	src  string
	i    int
	base int
}

const maxParens = 200

func (e *evaluator) skip() {
	for e.i < len(e.src) && (e.src[e.i] == ' ' || e.src[e.i] == '\t') {
		e.i++
	}
}

var evalOps = []struct {
	text string
	prec int
	f    func(a, b uint64) (uint64, bool)
}{
	{"<<", 4, func(a, b uint64) (uint64, bool) { return a << b, true }},
	{">>", 4, func(a, b uint64) (uint64, bool) { return a >> b, true }},
	{"|", 1, func(a, b uint64) (uint64, bool) { return a | b, true }},
	{"^", 2, func(a, b uint64) (uint64, bool) { return a ^ b, true }},
	{"&", 3, func(a, b uint64) (uint64, bool) { return a & b, true }},
	{"+", 5, func(a, b uint64) (uint64, bool) { return a + b, true }},
	{"-", 5, func(a, b uint64) (uint64, bool) { return a - b, true }},
	{"*", 6, func(a, b uint64) (uint64, bool) { return a * b, true }},
	{"/", 6, func(a, b uint64) (uint64, bool) { return a / max(b, 1), b != 0 }},
	{"%", 6, func(a, b uint64) (uint64, bool) { return a % max(b, 1), b != 0 }},
}

func (e *evaluator) binary(prec, depth int) (uint64, error) {
	if depth > maxParens {
		return 0, fmt.Errorf("the expression nests too deep")
	}
	a, err := e.unary(depth)
	for err == nil {
		e.skip()
		k := -1
		for i, o := range evalOps {
			if o.prec > prec && strings.HasPrefix(e.src[e.i:], o.text) {
				k = i
				break
			}
		}
		if k < 0 {
			return a, nil
		}
		e.i += len(evalOps[k].text)
		var b uint64
		if b, err = e.binary(evalOps[k].prec, depth+1); err != nil {
			break
		}
		var ok bool
		if a, ok = evalOps[k].f(a, b); !ok {
			return 0, fmt.Errorf("%s: division by zero", e.src)
		}
	}
	return 0, err
}

func (e *evaluator) unary(depth int) (uint64, error) {
	if depth > maxParens {
		return 0, fmt.Errorf("the expression nests too deep")
	}
	e.skip()
	if e.i >= len(e.src) {
		return 0, fmt.Errorf("%s: the expression ends too soon", e.src)
	}
	switch c := e.src[e.i]; c {
	case '-', '~', '+':
		e.i++
		u, err := e.unary(depth + 1)
		switch c {
		case '-':
			u = -u
		case '~':
			u = ^u
		}
		return u, err
	case '(':
		e.i++
		u, err := e.binary(0, depth+1)
		if err != nil {
			return 0, err
		}
		if e.skip(); e.i >= len(e.src) || e.src[e.i] != ')' {
			return 0, fmt.Errorf("%s: a ) is missing", e.src)
		}
		e.i++
		return u, nil
	}
	return e.operand()
}

func isWordByte(c byte) bool {
	return c == '_' || c == '.' || c >= '0' && c <= '9' || c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z'
}

func (e *evaluator) operand() (uint64, error) {
	start := e.i
	for e.i < len(e.src) && isWordByte(e.src[e.i]) {
		e.i++
	}
	word := e.src[start:e.i]
	if word == "" {
		return 0, fmt.Errorf("%s: %q is no number", e.src, e.src[start:])
	}
	if c := word[0]; c < '0' || c > '9' {
		if sym, err := e.v.Symbol(word); err == nil {
			return sym.Addr, nil
		}
	}
	if u, ok := parseNumber(word, e.base); ok {
		return u, nil
	}
	return 0, fmt.Errorf("%s: %s is neither a number nor a symbol%s", e.src, word, similarSymbol(e.v, word))
}

// parseNumber reads a number with an optional suffix of size.
func parseNumber(word string, base int) (uint64, bool) {
	digits, shift := word, 0
	switch word[len(word)-1] {
	case 'k', 'K':
		shift = 10
	case 'm', 'M':
		shift = 20
	case 'g', 'G':
		shift = 30
	case 't', 'T':
		shift = 40
	}
	if shift > 0 {
		digits = word[:len(word)-1]
	}
	if hex, ok := strings.CutPrefix(strings.ToLower(digits), "0x"); ok {
		digits, base = hex, 16
	} else if strings.ContainsAny(digits, "abcdefABCDEF") {
		base = 16
	}
	u, err := strconv.ParseUint(digits, base, 64)
	if err != nil || u<<shift>>shift != u {
		return 0, false
	}
	return u << shift, true
}
