package kallsyms

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"kdx/symbols/internal/memtest"
)

// sym is a symbol to encode.
type sym struct {
	letter byte
	name   string
	addr   uint64
}

// encoder writes a table as scripts/kallsyms does, but with fewer clever tokens.
type encoder struct {
	order   binary.ByteOrder
	word    int
	base    uint64 // where the image starts
	addrs   string // percpu, relative, place, words
	long    bool   // two-byte lengths, 6.1
	newer   bool   // order of tables since 6.4
	seqs    bool   // seqs_of_names between markers and tokens (6.2, 6.3)
	align   int    // of labels: 8, 4 since 6.20
	wideNum bool   // num_syms and markers are words (before 4.20)

	buf  []byte
	locs map[string]uint64
}

func (e *encoder) label(name string) {
	for len(e.buf)%e.align != 0 {
		e.buf = append(e.buf, 0)
	}
	e.locs[name] = e.base + uint64(len(e.buf))
}

func (e *encoder) u16(v uint16) {
	e.buf = append(e.buf, 0, 0)
	e.order.PutUint16(e.buf[len(e.buf)-2:], v)
}
func (e *encoder) u32(v uint32) {
	e.buf = append(e.buf, 0, 0, 0, 0)
	e.order.PutUint32(e.buf[len(e.buf)-4:], v)
}
func (e *encoder) putWord(v uint64) {
	if e.word == 4 {
		e.u32(uint32(v))
		return
	}
	e.buf = append(e.buf, make([]byte, 8)...)
	e.order.PutUint64(e.buf[len(e.buf)-8:], v)
}

func (e *encoder) num(v int) {
	if e.wideNum {
		e.putWord(uint64(v))
		return
	}
	e.u32(uint32(v))
}

// tokens: every character stands for itself; the codes that no name uses stand for common pieces.
func (e *encoder) tokens(syms []sym) (table [256]string) {
	used := [256]bool{}
	for _, s := range syms {
		used[s.letter] = true
		for _, c := range []byte(s.name) {
			used[c] = true
		}
	}
	common := []string{"Tsys_", "__", "_init", "struct", "get", "Dinit_", "this_is_a_token_longer_than_sixteen", "er_"}
	for i := range table {
		switch {
		case used[i]:
			table[i] = string(rune(i))
		case len(common) > 0:
			table[i], common = common[0], common[1:]
		case i > ' ' && i < 0x7f:
			table[i] = string(rune(i))
		default:
			table[i] = "q"
		}
	}
	return table
}

func compress(s string, table [256]string) []byte {
	var out []byte
	for s != "" {
		best := -1
		for i, t := range table {
			if strings.HasPrefix(s, t) && (best < 0 || len(t) > len(table[best])) {
				best = i
			}
		}
		out = append(out, byte(best))
		s = s[len(table[best]):]
	}
	return out
}

func (e *encoder) offsets(syms []sym) {
	base := syms[0].addr
	for _, s := range syms {
		if s.addr > 0x1000000 {
			base = s.addr
			break
		}
	}
	e.label("offsets")
	if e.addrs == "words" {
		e.locs["addresses"] = e.locs["offsets"]
		delete(e.locs, "offsets")
		for _, s := range syms {
			e.putWord(s.addr)
		}
		return
	}
	for _, s := range syms {
		switch {
		case e.addrs == "place":
			e.u32(uint32(s.addr - (e.base + uint64(len(e.buf)))))
		case e.addrs == "relative":
			e.u32(uint32(s.addr - base))
		case s.addr < base:
			e.u32(uint32(s.addr))
		default:
			e.u32(uint32(base - 1 - s.addr))
		}
	}
	if e.addrs != "place" {
		e.label("relative_base")
		e.putWord(base)
	}
}

// build writes an image of that kernel around the table.
func (e *encoder) build(syms []sym) (*memtest.Memory, Location, Options) {
	e.locs = map[string]uint64{}
	if e.order == nil {
		e.order = binary.LittleEndian
	}
	e.word, e.align = max(e.word, 4), max(e.align, 4)
	for i := range 5000 { // code and data that are not the table
		e.buf = append(e.buf, byte(i*7), byte(i>>3))
	}
	table := e.tokens(syms)
	if !e.newer {
		e.offsets(syms)
	}
	e.label("num_syms")
	e.num(len(syms))
	e.label("names")
	start := len(e.buf)
	var markers []int
	for i, s := range syms {
		if i%256 == 0 {
			markers = append(markers, len(e.buf)-start)
		}
		c := compress(string(s.letter)+s.name, table)
		if n := len(c); n > 0x7f && e.long {
			e.buf = append(e.buf, byte(n)|0x80, byte(n>>7))
		} else {
			e.buf = append(e.buf, byte(n))
		}
		e.buf = append(e.buf, c...)
	}
	e.label("markers")
	for _, m := range markers {
		e.num(m)
	}
	if e.seqs {
		e.label("seqs")
		for i := range syms {
			e.buf = append(e.buf, byte(i>>16), byte(i>>8), byte(i))
		}
	}
	e.label("token_table")
	var index []int
	at := len(e.buf)
	for _, t := range table {
		index = append(index, len(e.buf)-at)
		e.buf = append(append(e.buf, t...), 0)
	}
	e.label("token_index")
	for _, i := range index {
		e.u16(uint16(i))
	}
	if e.newer {
		e.offsets(syms)
	}
	e.buf = append(e.buf, make([]byte, 4096)...)
	loc := Location{Names: e.locs["names"], NumSyms: e.locs["num_syms"], TokenTable: e.locs["token_table"],
		TokenIndex: e.locs["token_index"], Offsets: e.locs["offsets"], RelativeBase: e.locs["relative_base"],
		Addresses: e.locs["addresses"]}
	opt := Options{Order: e.order, WordSize: e.word}
	for _, s := range syms {
		if s.name == "_stext" {
			opt.Stext = s.addr
		}
	}
	return new(memtest.Memory).Put(e.base, e.buf), loc, opt
}

// someSyms is a table of n functions and some data above text, with a few special ones.
func someSyms(n int, text uint64) []sym {
	out := []sym{{'T', "_stext", text}, {'T', "_text", text}}
	for i := range n {
		out = append(out, sym{'t', fmt.Sprintf("sys_get_struct_%d", i), text + uint64(i)*16})
	}
	out = append(out, sym{'t', "twice", text + uint64(n)*16}, sym{'t', "twice", text + uint64(n)*16 + 4},
		sym{'T', "_etext", text + uint64(n)*16 + 8},
		sym{'D', "init_task", text + uint64(n)*16 + 0x200000}, sym{'b', "big_buffer", text + uint64(n)*16 + 0x201000},
		sym{'B', "_end", text + uint64(n)*16 + 0x281000})
	slices.SortStableFunc(out, func(a, b sym) int {
		switch {
		case a.addr < b.addr:
			return -1
		case a.addr > b.addr:
			return 1
		}
		return 0
	})
	return out
}

// withPercpu puts x86-64's per-CPU variables in front.
func withPercpu(s []sym) []sym {
	return append([]sym{{'A', "fixed_percpu_data", 0}, {'A', "runqueues", 0x31980}}, s...)
}
