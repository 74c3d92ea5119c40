package cfi

import (
	"errors"
	"fmt"
	"slices"

	"github.com/go-delve/delve/pkg/dwarf/frame"

	"kdx/symbols"
	"kdx/symbols/dwarfinfo/internal/numbers"
)

// state is a row while instructions change it. regs has the rules of registers that are not what they were.
type state struct {
	cfa  symbols.Rule
	regs []symbols.RegRule
}

func (s *state) clone() state { return state{s.cfa, slices.Clone(s.regs)} }

func (s *state) rule(reg uint16) (symbols.Rule, bool) {
	for i := range s.regs {
		if s.regs[i].Reg == reg {
			return s.regs[i].Rule, true
		}
	}
	return symbols.Rule{}, false
}

// machine executes the instructions of a CIE and of an entry up to one address.
type machine struct {
	numbers.Reader
	c       *cie
	loc, pc uint64
	row     state
	initial state // after the CIE's instructions
	stack   []state
}

// What instructions may use up: compilers remember one state, and no machine has as many registers.
const (
	maxRemembered = 64
	maxRegs       = 128
)

// rowAt is the row for pc, as linked.
func (t *table) rowAt(f *fde, pc uint64) (state, error) {
	m := machine{c: f.cie, loc: f.begin, pc: pc}
	m.Reader = numbers.Reader{Data: f.cie.program, Order: t.order}
	if err := m.run(); err != nil {
		return state{}, fmt.Errorf("instructions of the CIE: %w", err)
	}
	m.initial = m.row.clone()
	m.loc = f.begin
	m.Reader = numbers.Reader{Data: t.data[f.program:f.stop], Order: t.order}
	if err := m.run(); err != nil {
		return state{}, fmt.Errorf("instruction at %#x: %w", f.program+uint64(m.Off), err)
	}
	return m.row, nil
}

func (m *machine) run() error {
	for m.Left() > 0 && m.loc <= m.pc {
		m.step(byte(m.Uint(1)))
		if m.Err != nil {
			return m.Err
		}
	}
	return nil
}

func (m *machine) step(op byte) {
	low := uint64(op & 0x3f)
	switch op & 0xc0 {
	case frame.DW_CFA_advance_loc:
		m.advance(low)
		return
	case frame.DW_CFA_offset:
		m.set(low, m.atCFA(int64(m.ULEB())))
		return
	case frame.DW_CFA_restore:
		m.restore(low)
		return
	}
	switch op {
	case frame.DW_CFA_nop:
	case frame.DW_CFA_set_loc:
		m.loc = m.Uint(m.c.wordSize)
	case frame.DW_CFA_advance_loc1:
		m.advance(m.Uint(1))
	case frame.DW_CFA_advance_loc2:
		m.advance(m.Uint(2))
	case frame.DW_CFA_advance_loc4:
		m.advance(m.Uint(4))
	case frame.DW_CFA_offset_extended:
		r := m.ULEB()
		m.set(r, m.atCFA(int64(m.ULEB())))
	case frame.DW_CFA_offset_extended_sf:
		r := m.ULEB()
		m.set(r, m.atCFA(m.SLEB()))
	case frame.DW_CFA_restore_extended:
		m.restore(m.ULEB())
	case frame.DW_CFA_undefined:
		m.set(m.ULEB(), symbols.Rule{Kind: symbols.RuleUndefined})
	case frame.DW_CFA_same_value:
		m.set(m.ULEB(), symbols.Rule{Kind: symbols.RuleSame})
	case frame.DW_CFA_register:
		r := m.ULEB()
		m.set(r, symbols.Rule{Kind: symbols.RuleRegPlus, Reg: m.reg(m.ULEB())})
	case frame.DW_CFA_val_offset:
		r := m.ULEB()
		m.set(r, symbols.Rule{Kind: symbols.RuleCFAPlus, Off: int64(m.ULEB()) * m.c.dataAlign})
	case frame.DW_CFA_val_offset_sf:
		r := m.ULEB()
		m.set(r, symbols.Rule{Kind: symbols.RuleCFAPlus, Off: m.SLEB() * m.c.dataAlign})
	case frame.DW_CFA_expression:
		r := m.ULEB()
		m.set(r, symbols.Rule{Kind: symbols.RuleAtExpr, Expr: string(m.Take(m.ULEB()))})
	case frame.DW_CFA_val_expression:
		r := m.ULEB()
		m.set(r, symbols.Rule{Kind: symbols.RuleExpr, Expr: string(m.Take(m.ULEB()))})
	case frame.DW_CFA_remember_state, frame.DW_CFA_restore_state:
		m.remembered(op == frame.DW_CFA_remember_state)
	case frame.DW_CFA_def_cfa:
		r := m.ULEB()
		m.row.cfa = symbols.Rule{Kind: symbols.RuleRegPlus, Reg: m.reg(r), Off: int64(m.ULEB())}
	case frame.DW_CFA_def_cfa_sf:
		r := m.ULEB()
		m.row.cfa = symbols.Rule{Kind: symbols.RuleRegPlus, Reg: m.reg(r), Off: m.SLEB() * m.c.dataAlign}
	case frame.DW_CFA_def_cfa_register:
		r := m.reg(m.ULEB())
		m.changeCFA(func(rule *symbols.Rule) { rule.Reg = r })
	case frame.DW_CFA_def_cfa_offset:
		off := int64(m.ULEB())
		m.changeCFA(func(rule *symbols.Rule) { rule.Off = off })
	case frame.DW_CFA_def_cfa_offset_sf:
		off := m.SLEB() * m.c.dataAlign
		m.changeCFA(func(rule *symbols.Rule) { rule.Off = off })
	case frame.DW_CFA_def_cfa_expression:
		m.row.cfa = symbols.Rule{Kind: symbols.RuleExpr, Expr: string(m.Take(m.ULEB()))}
	case frame.DW_CFA_GNU_args_size: // of arguments pushed for a call; the CFA rule has it already
		m.ULEB()
	case cfaNegateOffset:
		r := m.ULEB()
		m.set(r, m.atCFA(-int64(m.ULEB())))
	case cfaNegateRAState: // AArch64 signs return addresses from here on; their upper bits are the architecture's to strip
	default:
		m.Err = fmt.Errorf("opcode %#x is not known", op)
	}
}

// Opcodes that delve's package has no names for.
const (
	cfaNegateRAState = 0x2d // DW_CFA_AARCH64_negate_ra_state
	cfaNegateOffset  = 0x2f // DW_CFA_GNU_negative_offset_extended, obsolete
)

func (m *machine) advance(n uint64) {
	to := m.loc + n*m.c.codeAlign
	if to < m.loc {
		m.Err = errors.New("an advance beyond the address space")
		return
	}
	m.loc = to
}

func (m *machine) atCFA(n int64) symbols.Rule {
	return symbols.Rule{Kind: symbols.RuleAtCFA, Off: n * m.c.dataAlign}
}

func (m *machine) reg(n uint64) uint16 {
	if n > 0xffff && m.Err == nil {
		m.Err = fmt.Errorf("there is no register %d", n)
	}
	return uint16(n)
}

func (m *machine) set(n uint64, r symbols.Rule) {
	reg := m.reg(n)
	if m.Err != nil {
		return
	}
	for i := range m.row.regs {
		if m.row.regs[i].Reg == reg {
			m.row.regs[i].Rule = r
			return
		}
	}
	if len(m.row.regs) == maxRegs {
		m.Err = fmt.Errorf("more than %d registers can't be right", maxRegs)
		return
	}
	m.row.regs = append(m.row.regs, symbols.RegRule{Reg: reg, Rule: r})
}

func (m *machine) restore(n uint64) {
	reg := m.reg(n)
	if r, ok := m.initial.rule(reg); ok {
		m.set(n, r)
		return
	}
	m.row.regs = slices.DeleteFunc(m.row.regs, func(r symbols.RegRule) bool { return r.Reg == reg })
}

func (m *machine) remembered(push bool) {
	switch n := len(m.stack); {
	case push && n == maxRemembered:
		m.Err = fmt.Errorf("more than %d remembered states can't be right", maxRemembered)
	case push:
		m.stack = append(m.stack, m.row.clone())
	case n == 0:
		m.Err = errors.New("a state is restored that was not remembered")
	default:
		m.row, m.stack = m.stack[n-1], m.stack[:n-1]
	}
}

func (m *machine) changeCFA(f func(*symbols.Rule)) {
	if m.row.cfa.Kind != symbols.RuleRegPlus {
		if m.Err == nil {
			m.Err = errors.New("a part of the CFA's rule is changed that has no such part")
		}
		return
	}
	f(&m.row.cfa)
}
