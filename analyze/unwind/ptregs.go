package unwind

import "fmt"

// PtRegsSize is the size of x86-64's struct pt_regs in bytes; its order is PtRegs's.
const (
	PtRegsSize   = 21 * 8
	iretFrameLen = 5 * 8 // RIP CS RFLAGS RSP SS
)

func (u *unwinder) readPtRegs(at uint64, partial bool) (*PtRegs, error) {
	size := PtRegsSize
	if partial {
		size = iretFrameLen
	}
	b := make([]byte, size)
	if _, err := u.c.Mem.ReadMemory(b, at); err != nil {
		return nil, err
	}
	p := &PtRegs{Partial: partial}
	if partial {
		p.decode(u.c.Order.Uint64, b, p.iret())
	} else {
		p.decode(u.c.Order.Uint64, b, p.all())
	}
	p.CS &= 0xffff // with FRED (6.9) the upper bits hold other things
	p.SS &= 0xffff
	if !p.plausible() {
		return nil, fmt.Errorf("CS %#x and SS %#x are no segments of the kernel or of user space", p.CS, p.SS)
	}
	return p, nil
}

// DecodePtRegs takes a whole struct pt_regs apart; b has PtRegsSize bytes.
func DecodePtRegs(word func([]byte) uint64, b []byte) *PtRegs {
	p := &PtRegs{}
	p.decode(word, b, p.all())
	p.CS &= 0xffff
	p.SS &= 0xffff
	return p
}

func (p *PtRegs) decode(word func([]byte) uint64, b []byte, into []*uint64) {
	for i, r := range into {
		*r = word(b[i*8 : i*8+8])
	}
}

func (p *PtRegs) all() []*uint64 {
	return append([]*uint64{&p.R15, &p.R14, &p.R13, &p.R12, &p.RBP, &p.RBX, &p.R11, &p.R10, &p.R9, &p.R8, &p.RAX, &p.RCX, &p.RDX, &p.RSI, &p.RDI, &p.OrigRAX}, p.iret()...)
}

func (p *PtRegs) iret() []*uint64 { return []*uint64{&p.RIP, &p.CS, &p.RFLAGS, &p.RSP, &p.SS} }

// plausible: code segments are __KERNEL_CS 0x10 and user's 0x33 and 0x23 (compat), Xen's 0xe033 and 0xe02b; an empty
// frame is all zeros.
func (p *PtRegs) plausible() bool {
	switch p.CS {
	case 0x10, 0x33, 0x23, 0xe030, 0xe033, 0xe023:
		return true
	case 0:
		return p.RIP == 0
	}
	return false
}

func (p *PtRegs) regs() Regs {
	var r Regs
	for n, v := range map[int]uint64{RAX: p.RAX, RBX: p.RBX, RCX: p.RCX, RDX: p.RDX, RSI: p.RSI, RDI: p.RDI, RBP: p.RBP, RSP: p.RSP,
		R8: p.R8, R9: p.R9, R10: p.R10, R11: p.R11, R12: p.R12, R13: p.R13, R14: p.R14, R15: p.R15, RIP: p.RIP} {
		r.Set(n, v)
	}
	return r
}

// Registers are all of p as registers to unwind from.
func (p *PtRegs) Registers() Regs { return p.regs() }
