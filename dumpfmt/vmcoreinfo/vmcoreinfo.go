// Package vmcoreinfo parses the text that a Linux kernel leaves in the VMCOREINFO note for readers of its dump: lines
// KEY=VALUE such as OSRELEASE=6.1.0, SYMBOL(_stext)=ffffffff81000000, OFFSET(page.flags)=0, NUMBER(phys_base)=-16777216.
// The kernel writes at most a page of it (Documentation/admin-guide/kdump/vmcoreinfo.rst).
package vmcoreinfo

import (
	"strconv"
	"strings"
)

// Info is a parsed VMCOREINFO. It is immutable.
type Info struct {
	text   string
	values map[string]string
	keys   []string
	origin string
}

// Parse reads the note's text. It takes what it can: a line without '=' is skipped, of a repeated key the last counts,
// as the kernel appends (CRASHTIME).
func Parse(desc []byte) *Info {
	text := strings.TrimRight(string(desc), "\x00")
	info := &Info{text: text, values: make(map[string]string)}
	for line := range strings.SplitSeq(text, "\n") {
		key, value, ok := strings.Cut(line, "=")
		if !ok || key == "" {
			continue
		}
		if _, seen := info.values[key]; !seen {
			info.keys = append(info.keys, key)
		}
		info.values[key] = value
	}
	return info
}

// Text is the note as it stands in the dump, without trailing NULs.
func (i *Info) Text() string { return i.text }

// Keys in the order of the note.
func (i *Info) Keys() []string { return i.keys }

// Get returns the raw value of a key such as "OSRELEASE" or "SYMBOL(_stext)".
func (i *Info) Get(key string) (string, bool) {
	if i == nil {
		return "", false
	}
	v, ok := i.values[key]
	return v, ok
}

// Symbol is the run-time address (KASLR applied) of an exported kernel symbol.
func (i *Info) Symbol(name string) (uint64, bool) {
	s, ok := i.Get("SYMBOL(" + name + ")")
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	return v, err == nil
}

// Number is a NUMBER(name). Most are signed decimals; some kernels print 0x… or an unsigned 64-bit value, which is
// returned as its two's complement.
func (i *Info) Number(name string) (int64, bool) { return i.integer("NUMBER(" + name + ")") }

// Size is a SIZE(name), in bytes.
func (i *Info) Size(name string) (uint64, bool) { return i.unsigned("SIZE(" + name + ")") }

// Offset is an OFFSET(struct.member), in bytes.
func (i *Info) Offset(name string) (uint64, bool) { return i.unsigned("OFFSET(" + name + ")") }

// Length is a LENGTH(name): elements of an array.
func (i *Info) Length(name string) (uint64, bool) { return i.unsigned("LENGTH(" + name + ")") }

// Hex is a bare hexadecimal value such as KERNELOFFSET.
func (i *Info) Hex(key string) (uint64, bool) {
	s, ok := i.Get(key)
	if !ok {
		return 0, false
	}
	v, err := strconv.ParseUint(strings.TrimPrefix(s, "0x"), 16, 64)
	return v, err == nil
}

// Decimal is a bare decimal value such as PAGESIZE or CRASHTIME.
func (i *Info) Decimal(key string) (int64, bool) { return i.integer(key) }

func (i *Info) unsigned(key string) (uint64, bool) {
	v, ok := i.integer(key)
	return uint64(v), ok
}

func (i *Info) integer(key string) (int64, bool) {
	s, ok := i.Get(key)
	if !ok {
		return 0, false
	}
	s = strings.TrimSpace(s)
	if v, err := strconv.ParseInt(s, 0, 64); err == nil {
		return v, true
	}
	v, err := strconv.ParseUint(s, 0, 64)
	return int64(v), err == nil
}
