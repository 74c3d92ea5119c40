package kallsyms

import (
	"fmt"
	"iter"
	"slices"
	"sort"
	"sync"
	"sync/atomic"

	"kdx/symbols"
)

// packed is a table that stays where it lies, in target memory: a name is expanded when it is asked for. It holds where each
// stride-th name and address is, and an index of the names' hashes, some 6 bytes a symbol.
type packed struct {
	mem    symbols.Memory
	loc    Location
	opt    Options
	tokens *tokenSet
	long   bool // two-byte lengths
	layout layout
	count  int

	starts []uint32 // of each stride-th name's record, from loc.Names
	end    uint32   // behind the last record
	addrs  []uint64 // each stride-th
	index  hashIndex

	dataFrom, dataTo uint64 // where code is data, see fixLetters

	scratch sync.Pool // *[chunkSize]byte
	failure atomic.Pointer[error]
}

const (
	stride    = 32
	chunkSize = 512 // has some 40 names
)

// readPacked makes a table if all of it is there, decodes and is sorted; else nil: then the table must be read whole, to say
// what is wrong with it and to find its way around.
func readPacked(mem symbols.Memory, loc Location, opt Options, n int, tokens *tokenSet) *Table {
	p := &packed{mem: mem, loc: loc, opt: opt, tokens: tokens, count: n}
	p.scratch.New = func() any { return new([chunkSize]byte) }
	cands, err := candidates(mem, loc, opt)
	if err != nil {
		return nil
	}
	hash := newHasher(tokens)
	var marks map[string][]int
	for _, long := range []bool{true, false} {
		p.long = long
		var sawLong, ok bool
		if marks, sawLong, ok = p.readNames(hash); ok {
			break
		}
		if !sawLong || !long {
			return nil
		}
	}
	if !p.decide(cands, marks["_stext"]) {
		return nil
	}
	absolute, ok := p.readAddrs()
	if !ok {
		return nil
	}
	if from, to := marks["_sdata"], marks["_edata"]; len(from) == 1 && len(to) == 1 {
		p.dataFrom, p.dataTo = p.addr(from[0]), p.addr(to[0])
	}
	return &Table{entries: p, absolute: absolute, layout: p.layout.name, long: p.long}
}

// nameSize is the length of the record that b begins with, in bytes: of its head and of its name; long says that lengths may have two
// bytes. 0 if b is too short to say.
func nameSize(b []byte, long bool) (head, size int) {
	switch {
	case len(b) == 0:
		return 0, 0
	case !long || b[0]&0x80 == 0:
		return 1, int(b[0])
	case len(b) == 1:
		return 0, 0
	}
	return 2, int(b[0]&0x7f) | int(b[1])<<7
}

// readNames goes through the names; ok says that all decode, sawLong that a length has bit 7. marks are the entries named _stext, _sdata and _edata.
func (p *packed) readNames(hash *hasher) (marks map[string][]int, sawLong, ok bool) {
	p.starts = p.starts[:0]
	x := newIndexer(hash, p.count)
	marks = make(map[string][]int)
	names := [...]string{"_stext", "_sdata", "_edata"}
	var wanted [len(names)]uint64
	for i, name := range names {
		wanted[i], _ = hash.of([]byte(name))
	}
	s := newStream(p.mem, p.loc.Names, p.loc.Names+nameBound(p.loc))
	const usual = 256 // bytes of a record; longer ones are looked at again
	at := uint32(0)
	var b []byte
	for i := range p.count {
		if len(b) < usual {
			b = s.ahead(usual)
		}
		sawLong = sawLong || len(b) > 0 && b[0]&0x80 != 0
		head, size := nameSize(b, p.long)
		if size == 0 {
			return nil, sawLong, false
		}
		if len(b) < head+size {
			if b = s.ahead(head + size); len(b) < head+size {
				return nil, sawLong, false
			}
		}
		h, ok := hash.name(b[head : head+size])
		if !ok {
			return nil, sawLong, false
		}
		if h == wanted[0] || h == wanted[1] || h == wanted[2] {
			w := names[slices.Index(wanted[:], h)]
			marks[w] = append(marks[w], i)
		}
		if i%stride == 0 {
			p.starts = append(p.starts, at)
		}
		x.add(h)
		b = b[head+size:]
		s.skip(head + size)
		at += uint32(head + size)
	}
	p.end = at
	p.index = x.index()
	return marks, sawLong, true
}

// decide takes the layout that gives _stext its known address.
func (p *packed) decide(cands []layout, stext []int) bool {
	if p.opt.Stext == 0 {
		return false
	}
	for _, c := range cands {
		p.layout = c
		for _, i := range stext {
			if raw, err := p.entries(i, 1); err == nil {
				if a, _ := c.address(raw, i); a == p.opt.Stext {
					return true
				}
			}
		}
	}
	return false
}

// entries reads n entries of the table of addresses.
func (p *packed) entries(i, n int) ([]byte, error) {
	size := p.layout.size(p.opt)
	raw := make([]byte, n*size)
	_, err := p.mem.ReadMemory(raw, p.addrsAt()+uint64(i*size))
	return raw, err
}

func (p *packed) addrsAt() uint64 {
	if p.layout.words {
		return p.loc.Addresses
	}
	return p.loc.Offsets
}

// readAddrs goes through the addresses. What it returns lies above all absolute ones; ok says that all are there and rise.
func (p *packed) readAddrs() (absolute uint64, ok bool) {
	size := p.layout.size(p.opt)
	s := newStream(p.mem, p.addrsAt(), p.addrsAt()+uint64(size*p.count))
	p.addrs = make([]uint64, 0, len(p.starts))
	prev := uint64(0)
	var b []byte
	for i := range p.count {
		if len(b) < size {
			if b = s.ahead(size); len(b) < size {
				return 0, false
			}
		}
		a, isAbsolute := p.layout.address(b, i)
		b = b[size:]
		s.skip(size)
		if a < prev {
			return 0, false
		}
		prev = a
		if isAbsolute {
			absolute = max(absolute, a+1)
		}
		if i%stride == 0 {
			p.addrs = append(p.addrs, a)
		}
	}
	return absolute, true
}

// failed remembers that memory, all of which could be read at first, can't be any more.
func (p *packed) failed(what string, err error) {
	err = fmt.Errorf("kallsyms: %s, which could be read before: %w", what, err)
	p.failure.CompareAndSwap(nil, &err)
}

func (p *packed) err() error {
	if e := p.failure.Load(); e != nil {
		return *e
	}
	return nil
}

func (p *packed) len() int { return p.count }

// block is the addresses of entries from on, up to the next that p.addrs has.
func (p *packed) block(from int) []uint64 {
	n := min(stride-from%stride, p.count-from)
	raw, err := p.entries(from, n)
	if err != nil {
		p.failed("addresses", err)
		return nil
	}
	size := p.layout.size(p.opt)
	out := make([]uint64, n)
	for k := range out {
		out[k], _ = p.layout.address(raw[k*size:], from+k)
	}
	return out
}

func (p *packed) addr(i int) uint64 {
	if i%stride == 0 {
		return p.addrs[i/stride]
	}
	raw, err := p.entries(i, 1)
	if err != nil {
		p.failed("addresses", err)
		return 0
	}
	a, _ := p.layout.address(raw, i)
	return a
}

func (p *packed) addresses() []uint64 {
	out := make([]uint64, 0, p.count)
	for i := 0; i < p.count; i += stride {
		b := p.block(i)
		if b == nil {
			return nil
		}
		out = append(out, b...)
	}
	return out
}

func (p *packed) above(a uint64) int {
	k := sort.Search(len(p.addrs), func(k int) bool { return p.addrs[k] > a })
	if k == 0 {
		return 0
	}
	from := (k - 1) * stride
	for i, x := range p.block(from) {
		if x > a {
			return from + i
		}
	}
	return min(k*stride, p.count)
}

// record calls use with the compressed name of entry i.
func (p *packed) record(i int, use func(name []byte)) {
	buf := p.scratch.Get().(*[chunkSize]byte)
	defer p.scratch.Put(buf)
	have, off := buf[:0], p.starts[i/stride]
	ahead := func(n int) bool {
		if len(have) >= n {
			return true
		}
		room := buf[:]
		if n > len(room) {
			room = make([]byte, n)
		}
		have = room[:min(len(room), int(p.end-off))]
		if _, err := p.mem.ReadMemory(have, p.loc.Names+uint64(off)); err != nil {
			p.failed("names", err)
			return false
		}
		return len(have) >= n
	}
	for left := i % stride; ; left-- {
		if !ahead(min(2, int(p.end-off))) {
			return
		}
		head, size := nameSize(have, p.long)
		if size == 0 || int(p.end-off) < head+size {
			return
		}
		if left == 0 {
			if ahead(head + size) {
				use(have[head : head+size])
			}
			return
		}
		off += uint32(head + size)
		have = have[min(len(have), head+size):]
	}
}

func (p *packed) name(i int) string {
	var name string
	p.record(i, func(compressed []byte) {
		b, _, _ := p.tokens.append(make([]byte, 0, 64), compressed)
		name = string(b)
	})
	return name
}

func (p *packed) letter(i int) byte {
	letter := byte('?')
	p.record(i, func(compressed []byte) { letter = p.tokens[compressed[0]].long[0] })
	return p.fixed(i, letter)
}

// fixed is a letter as it should be.
func (p *packed) fixed(i int, letter byte) byte {
	if p.dataFrom < p.dataTo && letter|0x20 == 't' {
		if a := p.addr(i); a >= p.dataFrom && a < p.dataTo {
			return dataLetter(letter)
		}
	}
	return letter
}

func (p *packed) find(name string) iter.Seq[int] {
	return func(yield func(int) bool) {
		var buf []byte
		for i := range p.index.find([]byte(name)) {
			same := false
			p.record(i, func(compressed []byte) {
				buf, _, _ = p.tokens.append(buf[:0], compressed)
				same = string(buf) == name
			})
			if same && !yield(i) {
				return
			}
		}
	}
}

func (p *packed) each(yield func(i int, name string, letter byte) bool) {
	s := newStream(p.mem, p.loc.Names, p.loc.Names+uint64(p.end))
	var buf []byte
	for i := range p.count {
		head, size := nameSize(s.ahead(2), p.long)
		b := s.ahead(head + size)
		if size == 0 || len(b) < head+size {
			p.failed("names", s.err)
			return
		}
		var letter byte
		buf, letter, _ = p.tokens.append(buf[:0], b[head:head+size])
		s.skip(head + size)
		if !yield(i, string(buf), p.fixed(i, letter)) {
			return
		}
	}
}
