package lines

import (
	"errors"
	"fmt"
	"math"
	"slices"
	"sort"

	"kdx/symbols/dwarfinfo/internal/numbers"
)

var errNoProgram = errors.New("the unit has no line program")

// state is the line machine's registers.
type state struct {
	addr    uint64
	op      uint64 // within an instruction of several operations
	file    uint64
	line    uint64
	column  uint64
	started bool // the sequence has rows
}

// Opcodes, DW_LNS_* and DW_LNE_*.
const (
	opExtended       = 0
	opCopy           = 1
	opAdvancePC      = 2
	opAdvanceLine    = 3
	opSetFile        = 4
	opSetColumn      = 5
	opConstAddPC     = 8
	opFixedAdvancePC = 9

	extEndSequence = 1
	extSetAddress  = 2
	extDefineFile  = 3
)

// run executes the program. emit gets each row; end marks the first address behind a sequence. An error of emit ends it.
func (h *header) run(emit func(s *state, end bool) error) error {
	c := h.program
	fresh := state{file: 1, line: 1}
	s := fresh
	for c.Err == nil && c.Off < len(c.Data) {
		op := c.U8()
		end := false
		switch {
		case op >= h.opcodeBase:
			n := uint64(op - h.opcodeBase)
			h.advance(&s, n/h.lineRange)
			s.line += uint64(h.lineBase + int64(n%h.lineRange))
		case op == opExtended:
			var row bool
			if row, end = h.extended(&c, &s); !row {
				continue
			}
		case op == opCopy:
		default:
			h.standard(&c, &s, op)
			continue
		}
		if c.Err != nil {
			break
		}
		if err := emit(&s, end); err != nil {
			return err
		}
		s.started = true
		if end {
			s = fresh
		}
	}
	if c.Err == nil && s.started {
		c.Err = errors.New("its last sequence has no end")
	}
	if c.Err != nil {
		return fmt.Errorf("%#x bytes behind its header's begin: %w", c.Off, c.Err)
	}
	return nil
}

func (h *header) advance(s *state, n uint64) {
	if h.maxOps == 1 {
		s.addr += n * h.minInst
		return
	}
	s.addr += h.minInst * ((s.op + n) / h.maxOps)
	s.op = (s.op + n) % h.maxOps
}

func (h *header) standard(c *cursor, s *state, op uint8) {
	switch op {
	case opAdvancePC:
		h.advance(s, c.ULEB())
	case opAdvanceLine:
		s.line += uint64(c.SLEB())
	case opSetFile:
		s.file = c.ULEB()
	case opSetColumn:
		s.column = c.ULEB()
	case opConstAddPC:
		h.advance(s, uint64(255-h.opcodeBase)/h.lineRange)
	case opFixedAdvancePC:
		s.addr += c.Uint(2)
		s.op = 0
	default: // one that does not matter here, or that a later version brought
		for range h.operands[op-1] {
			c.ULEB()
		}
	}
}

// extended executes an extended opcode; row is true for the one that ends a sequence.
func (h *header) extended(c *cursor, s *state) (row, end bool) {
	body := c.Take(c.ULEB())
	if len(body) == 0 {
		return false, false
	}
	x := cursor{numbers.Reader{Order: c.Order, Data: body[1:]}}
	switch body[0] {
	case extEndSequence:
		return true, true
	case extSetAddress:
		s.addr, s.op = x.Uint(len(x.Data)), 0
	case extDefineFile:
		h.addFile(&x, x.CString())
	}
	if c.Err == nil {
		c.Err = x.Err
	}
	return false, false
}

// sequence is a run of machine code with its rows, sorted by address.
type sequence struct {
	lo, hi uint64
	rows   []row
}

// row says where the code from off on, counted from the sequence's begin, comes from.
type row struct {
	off    uint32
	line   uint32 // 0 if the code belongs to none
	file   uint32
	column uint16
}

// maxRows bounds the rows of a unit; the kernel's largest has some 60,000.
const maxRows = 1 << 20

// table runs the program and keeps what a look-up needs. Sequences before damage are good, so they are returned with the
// error.
func (h *header) table() ([]sequence, error) {
	var seqs []sequence
	var cur sequence
	total := 0
	err := h.run(func(s *state, end bool) error {
		if end {
			if cur.hi = s.addr; len(cur.rows) > 0 && cur.hi > cur.lo {
				cur.finish()
				seqs = append(seqs, cur)
			}
			cur = sequence{}
			return nil
		}
		if len(cur.rows) == 0 {
			cur.lo = s.addr
		}
		off := s.addr - cur.lo
		if off > math.MaxUint32 {
			return fmt.Errorf("a sequence from %#x to %#x", cur.lo, s.addr)
		}
		r := row{off: uint32(off), line: fit(s.line), file: fit(s.file)}
		if s.column <= math.MaxUint16 {
			r.column = uint16(s.column)
		}
		if n := len(cur.rows); n > 0 {
			last := &cur.rows[n-1]
			if last.off == r.off { // the last row of an address is what its code is for
				*last = r
				return nil
			}
			if last.line == r.line && last.file == r.file && last.column == r.column && last.off < r.off {
				return nil
			}
		}
		if total++; total > maxRows {
			return fmt.Errorf("more than %d rows can't be right", maxRows)
		}
		cur.rows = append(cur.rows, r)
		return nil
	})
	sort.SliceStable(seqs, func(i, j int) bool { return seqs[i].lo < seqs[j].lo })
	return seqs, err
}

func fit(n uint64) uint32 {
	if n > math.MaxUint32 {
		return 0
	}
	return uint32(n)
}

// finish makes rows as large as they need to be, and sorted, as they are but in damaged programs.
func (q *sequence) finish() {
	q.rows = slices.Clip(q.rows)
	if !slices.IsSortedFunc(q.rows, byOffset) {
		slices.SortStableFunc(q.rows, byOffset)
	}
}

func byOffset(a, b row) int { return int(int64(a.off) - int64(b.off)) }

// find is the row that covers pc, nil if there is none.
func find(seqs []sequence, pc uint64) *row {
	i := sort.Search(len(seqs), func(i int) bool { return seqs[i].lo > pc })
	// Sequences overlap only where code was discarded or the table is damaged; a few steps back suffice.
	const steps = 8
	for n := 0; i > 0 && n < steps; n++ {
		i--
		q := &seqs[i]
		if pc >= q.hi {
			continue
		}
		j := sort.Search(len(q.rows), func(j int) bool { return uint64(q.rows[j].off) > pc-q.lo })
		if j > 0 {
			return &q.rows[j-1]
		}
	}
	return nil
}
