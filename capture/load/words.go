package load

import "strings"

// splitWords cuts a command line as the kernel does (lib/cmdline.c): at white space outside of double quotes.
func splitWords(line string) []string {
	var words []string
	start, quoted := -1, false
	for i := 0; i < len(line); i++ {
		c := line[i]
		space := !quoted && isSpace(c)
		switch {
		case space && start >= 0:
			words = append(words, line[start:i])
			start = -1
		case !space && start < 0:
			start = i
		}
		if c == '"' {
			quoted = !quoted
		}
	}
	if start >= 0 {
		words = append(words, line[start:])
	}
	return words
}

func isSpace(c byte) bool {
	return c == ' ' || '\t' <= c && c <= '\r'
}

// nameOf is the name of a word's parameter. The kernel takes - and _ for the same, and a quote may stand in front of the name.
func nameOf(word string) string {
	name, _, _ := strings.Cut(strings.TrimPrefix(word, `"`), "=")
	return strings.ReplaceAll(strings.TrimSuffix(name, `"`), "-", "_")
}

// valueOf is what stands behind the =.
func valueOf(word string) string {
	_, v, _ := strings.Cut(strings.Trim(word, `"`), "=")
	return strings.Trim(v, `"`)
}
