// Package irq reads a kernel's interrupts: descriptors with their actions and counts, softirqs and tasklets, and the interrupt
// descriptor table of x86.
package irq

import (
	"errors"
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

// IRQ is an interrupt that has a descriptor. Names that the kernel does not give are empty.
type IRQ struct {
	Number      int
	Desc        vmem.Addr // its struct irq_desc
	Chip        string
	Flow        string // how it is handled: "edge", "fasteoi"
	HWIRQ       uint64 // its number at the chip
	Domain      string
	Depth       uint32 // 0 if it is enabled, else how often it was disabled
	Level       bool   // level and not edge triggered
	PerCPU      bool   // each CPU has its own
	Actions     []Action
	Affinity    []int // CPUs that it may go to, nil if unknown
	Effective   []int // CPUs that it goes to, nil if the kernel does not keep that
	kstat       uint64
	countsByCPU bool
}

// Action is a handler of an interrupt.
type Action struct {
	Addr     vmem.Addr // its struct irqaction
	Name     string
	Handler  vmem.Addr
	ThreadFn vmem.Addr // 0 without a thread
	Thread   vmem.Addr // its task_struct
	Flags    uint32    // IRQF_*
	DevID    vmem.Addr
}

type descStruct struct {
	KStat   uint64    `k:"kstat_irqs"`
	Action  vmem.Addr `k:"action"`
	Status  uint32    `k:"status_use_accessors|status"`
	Depth   uint32    `k:"depth"`
	Name    vmem.Addr `k:"name"`
	Data    vmem.Addr `k:"&irq_data"`
	IRQ     uint32    `k:"irq_data.irq"`
	HWIRQ   uint64    `k:"irq_data.hwirq"`
	Chip    vmem.Addr `k:"irq_data.chip"`
	Domain  vmem.Addr `k:"irq_data.domain,optional"`
	State   uint32    `k:"irq_common_data.state_use_accessors,optional"` // 4.2
	KStatAt vmem.Addr `k:"&kstat_irqs"`
}

type actionStruct struct {
	Handler  vmem.Addr `k:"handler"`
	DevID    vmem.Addr `k:"dev_id"`
	Next     vmem.Addr `k:"next"`
	ThreadFn vmem.Addr `k:"thread_fn,optional"`
	Thread   vmem.Addr `k:"thread,optional"`
	Flags    uint32    `k:"flags"`
	Name     vmem.Addr `k:"name"`
}

const (
	maxName    = 128
	maxActions = 4096 // handlers that share one interrupt: boards share between a few devices

	stateLevel  = 1 << 8 // IRQD_LEVEL
	statePerCPU = 1 << 11
)

// Reader reads interrupts of one View.
type Reader struct {
	v      *kernel.View
	desc   kernel.Binding[descStruct]
	action kernel.Binding[actionStruct]
	names  map[vmem.Addr]string
	stat   vmem.Addr // offset of the count in what kstat_irqs points to
}

// New makes a Reader; it fails if the kernel's types are not known.
func New(v *kernel.View) (*Reader, error) {
	r := &Reader{v: v, names: make(map[vmem.Addr]string)}
	var err error
	if r.desc, err = kernel.Bind[descStruct](v.Kernel, "irq_desc"); err != nil {
		return nil, err
	}
	if r.action, err = kernel.Bind[actionStruct](v.Kernel, "irqaction"); err != nil {
		return nil, err
	}
	if off, ok := v.OffsetOf("irqstat", "cnt"); ok { // 6.10: unsigned int before
		r.stat = vmem.Addr(off)
	}
	return r, nil
}

// Limit is how many interrupt numbers the kernel has, 0 if it does not say.
func Limit(v *kernel.View) int {
	for _, name := range []string{"total_nr_irqs", "nr_irqs"} { // 6.13 renamed it
		if n, err := v.UintAt(name, 4); err == nil && n < 1<<20 {
			return int(n)
		}
	}
	return 0
}

// All yields the interrupts that have a descriptor by rising number.
func (r *Reader) All() iter.Seq2[*IRQ, error] {
	return func(yield func(*IRQ, error) bool) {
		for e, err := range r.descs() {
			if err != nil {
				if !yield(nil, err) {
					return
				}
				continue
			}
			x, err := r.read(int(e.Index), vmem.Addr(e.Value))
			if !yield(x, err) {
				return
			}
		}
	}
}

// descs yields numbers and descriptors: from a maple tree (sparse_irqs, 6.5), a radix tree (irq_desc_tree), or without
// CONFIG_SPARSE_IRQ from an array.
func (r *Reader) descs() iter.Seq2[walk.Entry, error] {
	return func(yield func(walk.Entry, error) bool) {
		if s, err := r.v.Symbol("sparse_irqs"); err == nil {
			for e, err := range walk.Maple(r.v, vmem.Addr(s.Addr)) {
				if !yield(walk.Entry{Index: e.First, Value: e.Entry}, named("sparse_irqs", err)) {
					return
				}
			}
			return
		}
		if s, err := r.v.Symbol("irq_desc_tree"); err == nil {
			for e, err := range walk.XArray(r.v, vmem.Addr(s.Addr)) {
				if !yield(e, named("irq_desc_tree", err)) {
					return
				}
			}
			return
		}
		s, err := r.v.Symbol("irq_desc")
		if err != nil {
			if symbols.Absent(err) {
				err = errors.New("this kernel has neither sparse_irqs nor irq_desc_tree nor irq_desc")
			}
			yield(walk.Entry{}, err)
			return
		}
		for i := range uint64(Limit(r.v)) {
			if !yield(walk.Entry{Index: i, Value: s.Addr + i*r.desc.Size()}, nil) {
				return
			}
		}
	}
}

func named(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%s: %w", what, err)
}

// read reads a descriptor. What lies behind its pointers and can't be read is a gap.
func (r *Reader) read(number int, at vmem.Addr) (*IRQ, error) {
	d, err := r.desc.Read(r.v, at)
	if err != nil {
		return nil, fmt.Errorf("IRQ %d: %w", number, err)
	}
	if int(d.IRQ) != number {
		return nil, fmt.Errorf("IRQ %d: irq_desc at %#x says that it is IRQ %d: damaged", number, uint64(at), d.IRQ)
	}
	what := fmt.Sprintf("IRQ %d", number)
	x := &IRQ{Number: number, Desc: at, HWIRQ: d.HWIRQ, Depth: d.Depth, Level: d.State&stateLevel != 0, PerCPU: d.State&statePerCPU != 0, kstat: d.KStat}
	t, ok := r.desc.Type().Path("kstat_irqs")
	x.countsByCPU = ok && t.Type.Strip().Kind == symbols.Pointer
	if !x.countsByCPU {
		x.kstat = uint64(d.KStatAt)
	}
	x.Flow = r.name(what+": name", d.Name)
	if d.Chip != 0 {
		name, err := r.v.ObjectOf("irq_chip", d.Chip).Field("name").Pointer()
		r.v.Gap(what+": chip", err)
		x.Chip = r.name(what+": name of the chip", name)
	}
	if d.Domain != 0 {
		name, err := r.v.ObjectOf("irq_domain", d.Domain).Field("name").Pointer()
		r.v.Gap(what+": domain", err)
		x.Domain = r.name(what+": name of the domain", name)
	}
	desc := r.v.Object(r.desc.Type(), at)
	x.Affinity = r.mask(what, desc.Field("irq_common_data.affinity"))
	if eff := desc.Field("irq_common_data.effective_affinity"); eff.Err() == nil { // CONFIG_GENERIC_IRQ_EFFECTIVE_AFF_MASK, 4.13
		x.Effective = r.mask(what, eff)
	}
	x.Actions = r.actions(what, d.Action)
	return x, nil
}

// name reads a string once for all that share it.
func (r *Reader) name(what string, at vmem.Addr) string {
	if at == 0 {
		return ""
	}
	if s, ok := r.names[at]; ok {
		return s
	}
	s, err := r.v.CString(at, maxName)
	if err != nil {
		r.v.Gap(what, err)
		return s
	}
	r.names[at] = s
	return s
}

func (r *Reader) actions(what string, first vmem.Addr) []Action {
	var out []Action
	seen := make(map[vmem.Addr]bool)
	for at := first; at != 0; {
		if seen[at] {
			r.v.Gap(what+": actions", fmt.Errorf("irqaction at %#x: %w", uint64(at), walk.ErrLoop))
			break
		}
		if len(out) >= maxActions {
			r.v.Gap(what+": actions", fmt.Errorf("more than %d: damaged", maxActions))
			break
		}
		seen[at] = true
		a, err := r.action.Read(r.v, at)
		if err != nil {
			r.v.Gap(what+": actions", err)
			break
		}
		out = append(out, Action{Addr: at, Name: r.name(what+": name of an action", a.Name), Handler: a.Handler, ThreadFn: a.ThreadFn,
			Thread: a.Thread, Flags: a.Flags, DevID: a.DevID})
		at = a.Next
	}
	return out
}

// mask reads a cpumask_var_t: a pointer with CONFIG_CPUMASK_OFFSTACK, an array of one struct cpumask without.
func (r *Reader) mask(what string, m kernel.Value) []int {
	cpus, err := kernelMask(r.v, m)
	r.v.Gap(what+": affinity", err)
	return cpus
}

func kernelMask(v *kernel.View, m kernel.Value) ([]int, error) {
	if err := m.Err(); err != nil {
		return nil, err
	}
	possible, err := v.PossibleCPUs()
	if err != nil || len(possible) == 0 {
		return nil, err
	}
	at, err := m.Pointer() // an array decays to its address
	if err != nil {
		return nil, err
	}
	if at == 0 {
		return nil, nil
	}
	ws := v.WordSize()
	last := uint64(possible[len(possible)-1])
	out := []int{}
	for w := range last/(ws*8) + 1 {
		word, err := v.Word(at + vmem.Addr(w*ws))
		if err != nil {
			return nil, err
		}
		for b := range ws * 8 {
			if cpu := w*ws*8 + b; word>>b&1 != 0 && cpu <= last {
				out = append(out, int(cpu))
			}
		}
	}
	return out, nil
}

// Counts are how often x came on each of the CPUs; a count that could not be read is a gap, and nil.
func (r *Reader) Counts(x *IRQ, cpus []int) []*uint64 {
	out := make([]*uint64, len(cpus))
	if x.kstat == 0 {
		r.v.Gap(fmt.Sprintf("IRQ %d: counts", x.Number), errors.New("kstat_irqs is NULL"))
		return out
	}
	for i, cpu := range cpus {
		n, err := r.count(x, cpu)
		if err != nil {
			r.v.Gap(fmt.Sprintf("IRQ %d: count of CPU %d", x.Number, cpu), err)
			continue
		}
		out[i] = &n
	}
	return out
}

func (r *Reader) count(x *IRQ, cpu int) (uint64, error) {
	at := vmem.Addr(x.kstat) + r.stat
	if x.countsByCPU {
		off, err := r.v.PerCPUOffset(cpu)
		if err != nil {
			return 0, err
		}
		at += vmem.Addr(off)
	} else {
		at += vmem.Addr(cpu * 4)
	}
	return uintAt(r.v, at)
}

// uintAt reads an unsigned int.
func uintAt(v *kernel.View, at vmem.Addr) (uint64, error) {
	var b [4]byte
	if err := v.Read(b[:], at); err != nil {
		return 0, err
	}
	return uint64(v.ByteOrder().Uint32(b[:])), nil
}
