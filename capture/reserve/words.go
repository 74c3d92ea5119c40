package reserve

import (
	"fmt"
	"strings"
)

// Word is one crashkernel= of a command line.
type Word struct {
	Text string `json:"text"` // what stands behind crashkernel=, up to the next space
	// Suffix is high, low or cma; "" for a plain size or ranges.
	Suffix string `json:"suffix"`
	// Used says whether the kernel goes by this word; Why says why not, or what is odd about it.
	Used bool   `json:"used"`
	Why  string `json:"why"`

	inside bool // found within another word, as in xcrashkernel=
}

const name = "crashkernel="

// findWords lists the words of a command line as the kernel finds them: every place where the name stands, also in the middle of
// another word, and the text up to the next space (no tab).
func findWords(cmdline string) []Word {
	var out []Word
	for at := 0; ; {
		i := strings.Index(cmdline[at:], name)
		if i < 0 {
			return out
		}
		start := at + i
		text, _, _ := strings.Cut(cmdline[start+len(name):], " ")
		out = append(out, Word{Text: text, inside: start > 0 && cmdline[start-1] != ' ' && cmdline[start-1] != '\t'})
		at = start + 1
	}
}

// suffixOf is the suffix by which kernels sort words. Only the last characters count, whatever stands before them.
func suffixOf(text string, known []string) string {
	for _, s := range known {
		if strings.HasSuffix(name+text, ","+s) {
			return s
		}
	}
	return ""
}

// last is the index of the last word of a suffix, -1 if there is none. The last one counts, even if it is wrong.
func last(words []Word, suffix string) int {
	for i := len(words) - 1; i >= 0; i-- {
		if words[i].Suffix == suffix {
			return i
		}
	}
	return -1
}

// plain is what a word without suffix asks for.
type plain struct {
	size, offset uint64
	steps        []string
}

func (p *plain) step(format string, args ...any) {
	p.steps = append(p.steps, fmt.Sprintf(format, args...))
}

// parsePlain reads size[@offset] or ranges[@offset]. ram is what the kernel counts as memory, rounded what it holds ranges against.
func parsePlain(text string, ram, rounded uint64) (plain, error) {
	if strings.Contains(text, ":") {
		return parseRanges(text, ram, rounded)
	}
	var p plain
	size, rest := memparse(text)
	switch {
	case rest == text:
		return p, fmt.Errorf("%q begins with no size", text)
	case strings.HasPrefix(rest, "@"):
		// What stands behind the offset is never looked at.
		offset, left := memparse(rest[1:])
		p.offset = offset
		if left == rest[1:] {
			p.step("no offset stands behind @, so it is taken as 0: anywhere")
		} else if left != "" {
			p.step("%q behind the offset is ignored", left)
		}
	case rest != "":
		return p, fmt.Errorf("%q stands behind the size; the kernel takes nothing there but @ and an offset%s", rest, hint(text, rest))
	}
	p.size = size
	p.step("size %s%s", Size(size), at(p.offset))
	if size == 0 {
		p.step("0 means that nothing is reserved")
	}
	return p, nil
}

func at(offset uint64) string {
	if offset == 0 {
		return ""
	}
	return fmt.Sprintf(" at %#x (%s)", offset, Size(offset))
}

// hint says what may have been meant by what stands behind a size.
func hint(text, rest string) string {
	switch {
	case strings.HasPrefix(text, "0") && digit(rest[0]) < 10:
		return " (a number that begins with 0 is octal, and has no digits 8 and 9)"
	case strings.EqualFold(rest, "b"), strings.EqualFold(rest, "ib"):
		return " (units are one letter: 256M, not 256MB)"
	case rest[0] == '.':
		return " (sizes are whole numbers: 1536M, not 1.5G)"
	case rest[0] == '-':
		return " (a range needs a size behind a colon: 2G-:256M)"
	case rest[0] == ',':
		return " (suffixes are ,high ,low and ,cma, in small letters, at the end of the word)"
	}
	return ""
}

// parseRanges reads start-[end]:size, … [@offset]. Ranges behind the one that matches are never read.
func parseRanges(text string, ram, rounded uint64) (plain, error) {
	var p plain
	if rounded != ram {
		p.step("RAM of %s is rounded up to %s, a multiple of 128 MiB, before ranges are looked at", Size(ram), Size(rounded))
	}
	cur := text
	matched := false
	for {
		start, rest := memparse(cur)
		if rest == cur {
			return p, fmt.Errorf("%q should be a range, but begins with no size", cur)
		}
		if !strings.HasPrefix(rest, "-") {
			return p, fmt.Errorf("a - is missing behind the start of the range %q", cur)
		}
		end, open := ^uint64(0), true
		rest = rest[1:]
		if !strings.HasPrefix(rest, ":") {
			var tail string
			end, tail = memparse(rest)
			open = false
			if tail == rest {
				return p, fmt.Errorf("the end of the range %q is no size", cur)
			}
			if end <= start {
				return p, fmt.Errorf("the range %q ends before it starts", cur)
			}
			rest = tail
		}
		if !strings.HasPrefix(rest, ":") {
			return p, fmt.Errorf("a : is missing behind the range in %q", cur)
		}
		size, tail := memparse(rest[1:])
		if tail == rest[1:] {
			return p, fmt.Errorf("no size stands behind the colon of %q", cur)
		}
		label := cur[:len(cur)-len(tail)]
		if size >= rounded {
			return p, fmt.Errorf("range %s asks for %s, which is not less than the RAM of %s: that makes the whole word invalid, even if a later range would match", label, Size(size), Size(rounded))
		}
		cur = tail
		if rounded >= start && rounded < end {
			p.size, matched = size, true
			p.step("range %s: from %s to %s: matches, %s are asked for", label, Size(start), endOf(end, open), Size(size))
			break
		}
		p.step("range %s: from %s to %s: does not match %s", label, Size(start), endOf(end, open), Size(rounded))
		if !strings.HasPrefix(cur, ",") {
			break
		}
		cur = cur[1:]
	}
	if !matched {
		p.step("no range matches, so nothing is reserved; the kernel says \"crashkernel size resulted in zero bytes\"")
		return p, nil
	}
	if p.size == 0 {
		p.step("the range asks for 0 bytes, so nothing is reserved")
		return p, nil
	}
	if _, offset, ok := strings.Cut(cur, "@"); ok {
		n, left := memparse(offset)
		if left == offset {
			return p, fmt.Errorf("no offset stands behind @ in %q", text)
		}
		p.offset = n
		p.step("one offset serves all ranges:%s", at(n))
	}
	return p, nil
}

func endOf(end uint64, open bool) string {
	if open {
		return "any size"
	}
	return "below " + Size(end)
}

// parseSuffixed reads size,suffix and allows nothing else.
func parseSuffixed(text, suffix string) (uint64, error) {
	n, rest := memparse(text)
	switch {
	case rest == text:
		return 0, fmt.Errorf("%q begins with no size", text)
	case rest != ","+suffix:
		return 0, fmt.Errorf("%q is not a size and ,%s: %q stands between them (ranges and offsets can't be used with ,%s)", text, suffix, strings.TrimSuffix(rest, ","+suffix), suffix)
	}
	return n, nil
}

// Size is a size in the largest unit that divides it, as the kernel takes it: 256M.
func Size(n uint64) string {
	units := []string{"", "K", "M", "G", "T", "P", "E"}
	i := 0
	for n != 0 && n%1024 == 0 && i < len(units)-1 {
		n /= 1024
		i++
	}
	return fmt.Sprintf("%d%s", n, units[i])
}
