package view

import (
	"strings"
)

// quoteC writes p as a C string literal the way gdb does: printable ASCII as it is, the rest as escapes of three octal
// digits. cut says that more follows.
func quoteC(b *strings.Builder, p []byte, cut bool) {
	b.WriteByte('"')
	for _, c := range p {
		escapeC(b, c, '"')
	}
	b.WriteByte('"')
	if cut {
		b.WriteString("...")
	}
}

// quoteChar writes c as a C character constant.
func quoteChar(b *strings.Builder, c byte) {
	b.WriteByte('\'')
	escapeC(b, c, '\'')
	b.WriteByte('\'')
}

// escapeC writes one character.
func escapeC(b *strings.Builder, c, quote byte) {
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
		if c >= ' ' && c < 0x7f {
			b.WriteByte(c)
			return
		}
		b.WriteByte('\\')
		b.WriteByte('0' + c>>6)
		b.WriteByte('0' + c>>3&7)
		b.WriteByte('0' + c&7)
	}
}
