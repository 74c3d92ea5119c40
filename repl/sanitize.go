package repl

import (
	"fmt"
	"io"
	"unicode/utf8"
)

// safeWriter keeps control characters from a terminal: a dump's log, command and file names may hold anything, and a
// terminal obeys. Line feeds and tabs pass; other controls (C0, DEL, C1), broken UTF-8 and the marks that turn the
// writing direction are shown as \xHH, or inside JSON as \uHHHH, so that it stays the same JSON.
type safeWriter struct {
	w    io.Writer
	json bool
	tail []byte // the beginning of a character whose rest comes with the next Write
	buf  []byte
}

func (s *safeWriter) Write(p []byte) (int, error) {
	if len(s.tail) == 0 && plain(p) {
		return s.w.Write(p)
	}
	in := p
	if len(s.tail) > 0 {
		in = append(s.tail, p...)
		s.tail = nil
	}
	s.buf = s.buf[:0]
	for len(in) > 0 {
		c, n := utf8.DecodeRune(in)
		if c == utf8.RuneError && n == 1 && !utf8.FullRune(in) {
			s.tail = append([]byte(nil), in...)
			break
		}
		s.buf = s.appendSafe(s.buf, c, in[:n])
		in = in[n:]
	}
	if _, err := s.w.Write(s.buf); err != nil {
		return 0, err
	}
	return len(p), nil
}

// Flush writes what was held back: a character that never became whole.
func (s *safeWriter) Flush() error {
	if len(s.tail) == 0 {
		return nil
	}
	var out []byte
	for i := range s.tail {
		out = s.appendSafe(out, utf8.RuneError, s.tail[i:i+1])
	}
	s.tail = nil
	_, err := s.w.Write(out)
	return err
}

func plain(p []byte) bool {
	for _, c := range p {
		if (c < ' ' && c != '\n' && c != '\t') || c >= 0x7f {
			return false
		}
	}
	return true
}

func (s *safeWriter) appendSafe(out []byte, c rune, raw []byte) []byte {
	switch {
	case c == '\n' || c == '\t':
		return append(out, byte(c))
	case c == utf8.RuneError && len(raw) == 1:
		if s.json {
			return append(out, `\ufffd`...)
		}
		return fmt.Appendf(out, `\x%02x`, raw[0])
	case c < ' ' || c == 0x7f || c >= 0x80 && c < 0xa0:
		if s.json {
			return fmt.Appendf(out, `\u%04x`, c)
		}
		for _, b := range raw {
			out = fmt.Appendf(out, `\x%02x`, b)
		}
		return out
	case turnsText(c):
		return fmt.Appendf(out, `\u%04x`, c)
	}
	return append(out, raw...)
}

// turnsText reports whether c changes the writing direction of what follows (Unicode TR 9), which can make a line read
// as what it is not.
func turnsText(c rune) bool {
	return c >= 0x202a && c <= 0x202e || c >= 0x2066 && c <= 0x2069 || c == 0x200e || c == 0x200f || c == 0x061c
}

// safe is s for a terminal.
func safe(s string) string {
	if plain([]byte(s)) {
		return s
	}
	w := safeWriter{}
	var out []byte
	for len(s) > 0 {
		c, n := utf8.DecodeRuneInString(s)
		out = w.appendSafe(out, c, []byte(s[:n]))
		s = s[n:]
	}
	return string(out)
}
