package lkcd

import "fmt"

// Run lengths as the kernel wrote them: 00 00 is one zero, 00 n v is v for n+1 times, anything else is itself. A reader of
// such dumps, and the dumps that its authors made for tests, take 00 n v for n times; then extra is 0 instead of 1.

// unrle fills dst with the page that src holds. It fails if src holds more or less than that.
func unrle(dst, src []byte, extra int) error {
	n := 0
	for i := 0; i < len(src); {
		c := src[i]
		i++
		run := 1
		if c == 0 {
			if i == len(src) {
				return fmt.Errorf("run lengths: the page ends inside a run")
			}
			count := int(src[i])
			i++
			if count > 0 {
				if i == len(src) {
					return fmt.Errorf("run lengths: the page ends inside a run")
				}
				c, run = src[i], count+extra
				i++
			}
		}
		if run > len(dst)-n {
			return fmt.Errorf("run lengths: the page decodes to more than %d bytes", len(dst))
		}
		for j := range run {
			dst[n+j] = c
		}
		n += run
	}
	if n != len(dst) {
		return fmt.Errorf("run lengths: the page decodes to %d bytes; want %d", n, len(dst))
	}
	return nil
}

// rle appends the page in the kernel's form.
func rle(dst, page []byte) []byte {
	for i := 0; i < len(page); {
		c := page[i]
		n := 1
		for n < 256 && i+n < len(page) && page[i+n] == c {
			n++
		}
		switch {
		case n > 2, n == 2 && c == 0:
			dst = append(dst, 0, byte(n-1), c)
		case n == 2:
			dst = append(dst, c, c)
		case c == 0:
			dst = append(dst, 0, 0)
		default:
			dst = append(dst, c)
		}
		i += n
	}
	return dst
}
