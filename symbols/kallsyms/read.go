package kallsyms

import (
	"errors"
	"fmt"
	"slices"

	"kdx/symbols"
)

// Limits far above real kernels (a distribution's has 0.2 million symbols and 3 MB of names), so that a lying count
// costs neither memory nor time.
const (
	maxSymbols   = 8 << 20
	maxNameBytes = 64 << 20
	maxExpanded  = 512 << 20
	maxName      = 1024 // KSYM_NAME_LEN is 512 since 6.1, 128 before
	readStep     = 1 << 20
	pageStep     = 4096
)

// Read opens the table at loc, most of which stays there: mem is read for as long as the Table is used. A table with holes gives the symbols that are there; Missing then says what is not.
// The error is non-nil if nothing useful decodes.
func Read(mem symbols.Memory, loc Location, opt Options) (*Table, error) {
	if loc.Names == 0 || loc.NumSyms == 0 || loc.TokenTable == 0 || loc.TokenIndex == 0 {
		return nil, errors.New("kallsyms: the places of names, num_syms, token_table and token_index are not all known")
	}
	if loc.Offsets == 0 && loc.Addresses == 0 {
		return nil, errors.New("kallsyms: neither kallsyms_offsets nor kallsyms_addresses is known")
	}
	n, err := readCount(mem, loc.NumSyms, opt)
	if err != nil {
		return nil, err
	}
	tokens, err := readTokens(mem, loc, opt)
	if err != nil {
		return nil, err
	}
	if t := readPacked(mem, loc, opt, n, tokens); t != nil {
		return t, nil
	}
	names, err := readNames(mem, loc, opt, n, tokens)
	if err != nil {
		return nil, err
	}
	return build(mem, loc, opt, names)
}

func readCount(mem symbols.Memory, addr uint64, opt Options) (int, error) {
	var b [8]byte
	if _, err := mem.ReadMemory(b[:4], addr); err != nil {
		return 0, fmt.Errorf("kallsyms: number of symbols at %#x: %w", addr, err)
	}
	n := opt.order().Uint32(b[:])
	if n == 0 && opt.wordSize() == 8 {
		// An unsigned long before 4.20; on big-endian machines the first half is then 0.
		if _, err := mem.ReadMemory(b[:], addr); err == nil && opt.order().Uint64(b[:]) <= maxSymbols {
			n = uint32(opt.order().Uint64(b[:]))
		}
	}
	if n == 0 || n > maxSymbols {
		return 0, fmt.Errorf("kallsyms: number of symbols at %#x is %d; that can't be right", addr, n)
	}
	return int(n), nil
}

// readUpTo reads at most n bytes in steps, so that a lying n costs no memory. It returns what is there before the first
// missing byte, and that byte's error.
func readUpTo(mem symbols.Memory, buf []byte, addr uint64, n int) ([]byte, error) {
	for n > 0 {
		step := min(n, readStep)
		at := len(buf)
		buf = slices.Grow(buf, step)[:at+step]
		got, err := mem.ReadMemory(buf[at:], addr)
		buf = buf[:at+min(max(got, 0), step)]
		if err != nil {
			return buf, err
		}
		if got < step {
			return buf, fmt.Errorf("%#x: short read", addr+uint64(max(got, 0)))
		}
		addr += uint64(step)
		n -= step
	}
	return buf, nil
}

// span is a missing piece of a table, in bytes from its start.
type span struct {
	from, to int
	err      error
}

// readHoles reads n bytes and goes on behind missing pages, which are left zero and listed.
func readHoles(mem symbols.Memory, addr uint64, n int) ([]byte, []span) {
	buf, err := readUpTo(mem, nil, addr, n)
	if err == nil {
		return buf, nil
	}
	var holes []span
	for len(buf) < n {
		at := addr + uint64(len(buf))
		next := (at | (pageStep - 1)) + 1
		skip := min(int(next-at), n-len(buf))
		if k := len(holes); k > 0 && holes[k-1].to == len(buf) {
			holes[k-1].to += skip
		} else {
			holes = append(holes, span{len(buf), len(buf) + skip, err})
		}
		if at > ^uint64(0)-pageStep || holes[len(holes)-1].to-holes[len(holes)-1].from > readStep*16 {
			break // a table that is not there at all; don't try all its pages
		}
		buf = append(buf, make([]byte, skip)...)
		buf, err = readUpTo(mem, buf, addr+uint64(len(buf)), n-len(buf))
		if err == nil {
			break
		}
	}
	if len(buf) < n {
		holes = append(holes, span{len(buf), n, err})
	}
	return buf, holes
}
