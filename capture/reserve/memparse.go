package reserve

import "strings"

// memparse reads a size as the kernel's memparse does and returns what is left: digits in C's bases (0x…, 0…, decimal) and one of
// K, M, G, T, P, E, of either case. It read nothing if rest is text. Numbers wrap at 2^64, as they do there.
func memparse(text string) (n uint64, rest string) {
	base, digits := uint64(10), text
	if strings.HasPrefix(text, "0") {
		base = 8
		// "0x" without a hexadecimal digit behind it is an octal 0 with an x behind it.
		if len(text) > 2 && (text[1] == 'x' || text[1] == 'X') && digit(text[2]) < 16 {
			base, digits = 16, text[2:]
		}
	}
	i := 0
	for ; i < len(digits) && uint64(digit(digits[i])) < base; i++ {
		n = n*base + uint64(digit(digits[i]))
	}
	if i == 0 {
		return 0, text
	}
	rest = digits[i:]
	if rest == "" {
		return n, rest
	}
	shift := strings.IndexByte("KMGTPE", rest[0]&^0x20)
	if shift < 0 {
		return n, rest
	}
	return n << (10 * (shift + 1)), rest[1:]
}

// digit is a digit's value, 16 if the byte is none.
func digit(c byte) byte {
	switch {
	case c >= '0' && c <= '9':
		return c - '0'
	case c|0x20 >= 'a' && c|0x20 <= 'f':
		return c | 0x20 - 'a' + 10
	}
	return 16
}

// ParseSize reads a size as people write it: what the kernel takes, and nothing behind it.
func ParseSize(text string) (uint64, bool) {
	n, rest := memparse(text)
	return n, text != "" && rest == ""
}
