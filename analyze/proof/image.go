package proof

import (
	"errors"
	"strings"

	"kdx/analyze/backtrace"
	"kdx/analyze/printk"
	"kdx/analyze/vmem"
)

// span needs all pages behind [lo, hi). What is not mapped has no page.
func (p *pass) span(lo, hi uint64, every int, w why) error {
	page := p.v.PageSize()
	space := p.v.Arch().Kernel()
	defer func() { p.at = 0 }()
	for va := lo &^ (page - 1); va < hi; {
		f, err := space.Translate(va)
		if err != nil {
			if err := p.v.Step(); err != nil {
				return err
			}
			if va += page; va < page {
				return nil // the end of the address space
			}
			continue
		}
		n := min((f.Left+page-1)/page, (hi-va+page-1)/page)
		for i := range n {
			p.at = va + i*page
			if err := p.need(uint64(f.Phys)/page+i, p.n%every == 0, w); err != nil {
				return err
			}
		}
		if va += n * page; va < page {
			return nil
		}
	}
	return nil
}

// object needs the pages of a structure that somebody points to, and compares them.
func (p *pass) object(addr vmem.Addr, size uint64) error {
	if addr == 0 || size == 0 || !p.v.Arch().IsKernel(uint64(addr)) {
		return nil
	}
	return p.span(uint64(addr), uint64(addr)+size, 1, byPointer)
}

// symbolSpan needs what lies between two symbols; a kernel that lacks one of them has nothing there.
func (p *pass) symbolSpan(from, to string, every int) error {
	lo, err1 := p.v.Symbol(from)
	hi, err2 := p.v.Symbol(to)
	if err1 != nil || err2 != nil || lo.Addr >= hi.Addr {
		return nil
	}
	const limit = 1 << 30 // the room that x86-64 has for the kernel's image
	return p.span(lo.Addr, min(hi.Addr, lo.Addr+limit), every, byPlace)
}

// vmcoreinfo follows each SYMBOL(): readers of dumps begin there.
func (p *pass) vmcoreinfo() error {
	vci := p.v.VMCoreInfo()
	word := p.v.WordSize()
	for _, key := range vci.Keys() {
		name, ok := strings.CutPrefix(key, "SYMBOL(")
		if !ok {
			continue
		}
		addr, ok := vci.Symbol(strings.TrimSuffix(name, ")"))
		if !ok {
			continue
		}
		if err := p.object(vmem.Addr(addr), word); err != nil {
			return err
		}
		// Many are pointers: what they point to is what is wanted.
		if to, err := p.v.Word(vmem.Addr(addr)); err == nil && p.v.Arch().IsKernel(to) {
			if err := p.object(vmem.Addr(to), word); err != nil {
				return err
			}
		}
	}
	for _, name := range []string{"vmcoreinfo_data", "vmcoreinfo_note"} { // where the note itself is from
		if at, err := p.v.UintAt(name, word); err == nil {
			if err := p.object(vmem.Addr(at), p.v.PageSize()); err != nil {
				return err
			}
		}
	}
	return p.sections()
}

// sections are the roots of the sparse memory model: makedumpfile and crash go through them.
func (p *pass) sections() error {
	at, ok := p.v.VMCoreInfo().Symbol("mem_section")
	n, ok2 := p.v.VMCoreInfo().Length("mem_section")
	const limit = 1 << 16
	if !ok || !ok2 || n > limit {
		return nil
	}
	roots, err := p.v.Word(vmem.Addr(at)) // since 4.15 a pointer to the array, before it the array
	if err != nil {
		return nil
	}
	if !p.v.Arch().IsKernel(roots) {
		return nil
	}
	for i := range n {
		root, err := p.v.Word(vmem.Addr(roots + i*p.v.WordSize()))
		if err != nil {
			return nil
		}
		if err := p.object(vmem.Addr(root), p.v.WordSize()); err != nil {
			return err
		}
	}
	return nil
}

// denser is how much more often pages of tables are compared in which one wrong byte makes all that follows wrong.
const denser = 4

func (p *pass) tables() error {
	every := max(1, p.c.opt.Every/denser)
	for _, r := range [][2]string{{"__start_BTF", "__stop_BTF"}, {"__start_orc_unwind_ip", "__stop_orc_unwind_ip"}, {"__start_orc_unwind", "__stop_orc_unwind"}} {
		if err := p.symbolSpan(r[0], r[1], every); err != nil {
			return err
		}
	}
	var lo, hi uint64
	for _, key := range p.v.VMCoreInfo().Keys() { // kallsyms_names and its neighbours, since 6.0
		name, ok := strings.CutPrefix(key, "SYMBOL(kallsyms_")
		if !ok {
			continue
		}
		if addr, ok := p.v.VMCoreInfo().Symbol("kallsyms_" + strings.TrimSuffix(name, ")")); ok {
			if lo == 0 || addr < lo {
				lo = addr
			}
			hi = max(hi, addr)
		}
	}
	const limit = 64 << 20 // a kernel's names take some 3 MB
	if hi-lo > limit {
		return nil
	}
	return p.span(lo, hi+1, every, byPlace)
}

// image: code, constants and variables. Its initial part, the gaps between these, and what would be shared with a hypervisor if
// memory were encrypted, are given back when the kernel has booted.
func (p *pass) image() error {
	parts := [][2]string{{"_stext", "_etext"}, {"__start_rodata", "__end_rodata"}, {"_sdata", "__init_begin"}, {"__bss_start", "__bss_stop"}}
	if p.v.HasSymbol("__start_bss_decrypted_unused") {
		parts = append(parts[:3], [][2]string{{"__bss_start", "__start_bss_decrypted_unused"}, {"__end_bss_decrypted", "__bss_stop"}}...)
	}
	for _, r := range parts {
		if err := p.symbolSpan(r[0], r[1], p.c.opt.Every); err != nil {
			return err
		}
	}
	base, err := p.v.Symbol("__brk_base")
	if err != nil {
		return nil
	}
	const limit = 64 << 20
	end, err := p.v.UintAt("_brk_end", p.v.WordSize())
	if err != nil || end < base.Addr || end-base.Addr > limit {
		return nil
	}
	return p.span(base.Addr, end, p.c.opt.Every, byPlace)
}

// log reads all messages; what is read is compared.
func (p *pass) log() error {
	n := 0
	var last error
	for _, err := range printk.Records(p.v) {
		if err != nil {
			last = err
			continue
		}
		n++
	}
	if n == 0 && last != nil {
		return last
	}
	buf, err1 := p.v.UintAt("log_buf", p.v.WordSize())
	size, err2 := p.v.UintAt("log_buf_len", 4)
	const limit = 1 << 30
	if err1 != nil || err2 != nil || size > limit {
		return nil
	}
	return p.span(buf, buf+size, p.c.opt.Every, byPlace)
}

// processors: registers, and the stacks of interrupts and exceptions; then the stack of whoever crashed is unwound.
func (p *pass) processors() error {
	tasks, err := p.tasksOf()
	if err != nil {
		return err
	}
	t := backtrace.New(p.v, tasks)
	cpus, err := p.v.PossibleCPUs()
	if err != nil {
		return err
	}
	for _, cpu := range cpus {
		for _, s := range t.CPUStacks(p.v, cpu) {
			if s.Hi-s.Lo > 1<<20 {
				continue
			}
			if err := p.span(s.Lo, s.Hi, p.c.opt.Every, byPlace); err != nil {
				return err
			}
		}
		if x := tasks.Current(cpu); x != nil {
			if _, err := t.Trace(p.v, x); err != nil && !errors.Is(err, backtrace.ErrNoRegisters) && !errors.Is(err, backtrace.ErrOffline) {
				p.v.Gap("stack of "+x.Comm, err)
			}
		}
	}
	if err := p.v.Context().Err(); err != nil {
		return err
	}
	return nil
}
