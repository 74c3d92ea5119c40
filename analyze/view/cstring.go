package view

import (
	"strings"
)

// quoteC writes p as a C string literal the way gdb does: printable ASCII as it is, the rest as escapes of three octal
// digits. cut says that more follows.
func quoteC(b *strings.Builder, p []byte, cut bool) {
	b.WriteByte('"')
	afterOctal := false
	for _, c := range p {
		afterOctal = escapeC(b, c, '"', afterOctal)
	}
	b.WriteByte('"')
	if cut {
		b.WriteString("...")
	}
}

// quoteChar writes c as a C character constant.
func quoteChar(b *strings.Builder, c byte) {
	b.WriteByte('\'')
	escapeC(b, c, '\'', false)
	b.WriteByte('\'')
}

// escapeC writes one character. A digit behind an octal escape is escaped too, as it would read as part of it; gdb does
// so even where three digits leave no doubt.
func escapeC(b *strings.Builder, c, quote byte, afterOctal bool) (octal bool) {
	switch c {
	case '\a':
		b.WriteString(`\a`)
	case '\b':
		b.WriteString(`\b`)
	case '\f':
		b.WriteString(`\f`)
	case '\n':
		b.WriteString(`\n`)
	case '\r':
		b.WriteString(`\r`)
	case '\t':
		b.WriteString(`\t`)
	case '\v':
		b.WriteString(`\v`)
	case '\\', quote:
		b.WriteByte('\\')
		b.WriteByte(c)
	default:
		if c >= ' ' && c < 0x7f && !(afterOctal && c >= '0' && c <= '9') {
			b.WriteByte(c)
			return false
		}
		b.WriteByte('\\')
		b.WriteByte('0' + c>>6)
		b.WriteByte('0' + c>>3&7)
		b.WriteByte('0' + c&7)
		return true
	}
	return false
}
