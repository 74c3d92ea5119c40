package symbols

// Row says how to find the caller's registers from a frame's: the neutral form of an ORC entry and of a DWARF CFI row.
// Registers are DWARF numbers of the architecture (x86-64: 0 rax, 1 rdx, 2 rcx, 3 rbx, 4 rsi, 5 rdi, 6 rbp, 7 rsp,
// 8-15 r8-r15, 16 return address).
type Row struct {
	CFA   Rule      // canonical frame address: the caller's stack pointer
	RA    Rule      // return address
	Saved []RegRule // other registers that the frame changed
	// Complete: registers that are not in Saved keep their value, so far as the calling convention lets a function change none
	// of them. Otherwise (ORC) the row knows only those that it lists, and nothing is known of the others.
	Complete bool
	Frame    FrameKind
	// Signal: what RA gives is the pc of interrupted code, not a return address. The caller's row is then that at its pc,
	// not at pc-1.
	Signal bool
	// From names the finder ("orc", "orc:nvme", …).
	From string
}

// FrameKind says what lies at the CFA.
type FrameKind uint8

const (
	FrameCall        FrameKind = iota // an ordinary call frame
	FrameRegs                         // a whole struct pt_regs starts at the CFA
	FrameRegsPartial                  // only the hardware's exception frame (ip cs flags sp ss) is valid there
	FrameEnd                          // the outermost frame: nothing called it
	FrameUndefined                    // the table says that unwinding is impossible here
)

// RuleKind says how a register's value in the caller is found.
type RuleKind uint8

const (
	RuleUndefined RuleKind = iota // lost
	RuleSame                      // unchanged
	RuleAtCFA                     // saved in memory at CFA+Off
	RuleRegPlus                   // the value is register Reg plus Off
	RuleAtRegPlus                 // the value is in memory at register Reg plus Off
	RuleRegDeref                  // (CFA only) the value is the word at Reg, plus Off
	RuleCFAPlus                   // the value is CFA+Off
	RuleExpr                      // the value is what Expr computes
	RuleAtExpr                    // the value is in memory at the address that Expr computes
)

// Rule of one register. Off is in bytes.
type Rule struct {
	Kind RuleKind
	Reg  uint16
	Off  int64
	// Expr are the bytes of a DWARF expression. It starts with the CFA on its stack, but for the CFA's own rule.
	Expr string
}

// RegRule is a Rule with the register it restores.
type RegRule struct {
	Reg  uint16
	Rule Rule
}
