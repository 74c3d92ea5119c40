package kallsyms

import (
	"bytes"
	"fmt"

	"kdx/symbols"
)

const inlineToken = 16

// token is one of 256 strings that names are made of.
type token struct {
	short [inlineToken]byte // the token, if it fits: copied whole, which is faster than by its length
	n     int
	long  []byte
	good  bool // not empty and printable
}

type tokenSet [256]token

// readTokens reads token_table and token_index.
func readTokens(mem symbols.Memory, loc Location, opt Options) (*tokenSet, error) {
	var index [512]byte
	if _, err := mem.ReadMemory(index[:], loc.TokenIndex); err != nil {
		return nil, fmt.Errorf("kallsyms: token index at %#x: %w", loc.TokenIndex, err)
	}
	last := int(opt.order().Uint16(index[510:]))
	// The last token's end is not in the index. Read a little more than any token is long, or what is there of it.
	table, err := readUpTo(mem, nil, loc.TokenTable, last+128)
	if len(table) <= last {
		return nil, fmt.Errorf("kallsyms: token table at %#x: %w", loc.TokenTable, err)
	}
	return parseTokens(table, index[:], opt)
}

func parseTokens(table, index []byte, opt Options) (*tokenSet, error) {
	set := new(tokenSet)
	prev := -1
	for i := range set {
		at := int(opt.order().Uint16(index[2*i:]))
		if at <= prev || at >= len(table) || (i == 0 && at != 0) {
			return nil, fmt.Errorf("kallsyms: token index is damaged: entry %d is %d after %d", i, at, prev)
		}
		prev = at
		s := table[at:]
		end := bytes.IndexByte(s, 0)
		if end < 0 {
			return nil, fmt.Errorf("kallsyms: token %d at offset %d has no end", i, at)
		}
		set[i].set(s[:end])
	}
	return set, nil
}

func (t *token) set(s []byte) {
	t.n = len(s)
	t.long = s
	copy(t.short[:], s)
	t.good = len(s) > 0
	for _, c := range s {
		if c <= ' ' || c > '~' {
			t.good = false
		}
	}
}

// append expands a compressed name onto dst. The first character is the symbol's letter, which is taken off. ok is false
// if this can't be a name; dst is then what it was.
func (set *tokenSet) append(dst, compressed []byte) (out []byte, letter byte, ok bool) {
	start := len(dst)
	if len(compressed) == 0 || !set[compressed[0]].good {
		return dst, 0, false
	}
	first := &set[compressed[0]]
	letter = first.long[0]
	if !isLetter(letter) {
		return dst, 0, false
	}
	dst = append(dst, first.long[1:]...)
	for _, c := range compressed[1:] {
		t := &set[c]
		if !t.good || len(dst)-start > maxName {
			return dst[:start], 0, false
		}
		if t.n <= inlineToken && cap(dst)-len(dst) >= inlineToken {
			at := len(dst)
			*(*[inlineToken]byte)(dst[at : at+inlineToken]) = t.short
			dst = dst[:at+t.n]
			continue
		}
		dst = append(dst, t.long...)
	}
	if len(dst) == start || len(dst)-start > maxName {
		return dst[:start], 0, false
	}
	return dst, letter, true
}

func isLetter(c byte) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c == '?'
}
