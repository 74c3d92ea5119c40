// Package timer reads a kernel's timers: the wheels of struct timer_list, in jiffies, and the queues of struct hrtimer, in
// nanoseconds.
package timer

import (
	"errors"
	"fmt"
	"slices"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// Base is a timer wheel of a CPU.
type Base struct {
	CPU    int
	Index  int
	Name   string // "BASE_LOCAL"
	Addr   vmem.Addr
	Clock  *uint64 // jiffies up to which it has run; nil if that can't be read
	Timers []Timer // by expiry
	Lost   bool    // of Timers some could not be read
}

// Timer is a struct timer_list that is queued.
type Timer struct {
	Addr     vmem.Addr
	Expires  uint64 // jiffies
	Function vmem.Addr
	Flags    uint32
}

// baseNames by how many wheels a CPU has: since 6.9 timers that any CPU may run have their own, and with CONFIG_NO_HZ_COMMON
// there always was one for timers that need not wake a CPU.
var baseNames = map[int64][]string{1: {"BASE_STD"}, 2: {"BASE_STD", "BASE_DEF"}, 3: {"BASE_LOCAL", "BASE_GLOBAL", "BASE_DEF"}}

const (
	maxBases   = 8
	maxVectors = 1 << 12 // WHEEL_SIZE is 576 or 512
	maxTimers  = 1 << 24 // of one wheel
)

type wheelStruct struct {
	Clk     uint64    `k:"clk"`
	Vectors vmem.Addr `k:"&vectors"`
}

type timerStruct struct {
	Expires  uint64    `k:"expires"`
	Function vmem.Addr `k:"function"`
	Flags    uint32    `k:"flags,optional"`
}

// Jiffies is the kernel's count of ticks.
func Jiffies(v *kernel.View) (uint64, error) {
	n, err := v.UintAt("jiffies_64", 8)
	if err != nil {
		return 0, fmt.Errorf("jiffies: %w", err)
	}
	return n, nil
}

// Wheels reads the timer wheels of the given CPUs. A wheel that can't be read in part is there with what could be.
func Wheels(v *kernel.View, cpus []int) ([]Base, error) {
	base, err := kernel.Bind[wheelStruct](v.Kernel, "timer_base")
	if err != nil {
		return nil, err
	}
	timer, err := kernel.Bind[timerStruct](v.Kernel, "timer_list")
	if err != nil {
		return nil, err
	}
	entry, ok := v.OffsetOf("timer_list", "entry")
	if !ok {
		return nil, errors.New("struct timer_list of this kernel has no member entry")
	}
	vectors, ok := base.Type().Path("vectors")
	if !ok || vectors.Type.Strip().Len <= 0 || vectors.Type.Strip().Len > maxVectors {
		return nil, errors.New("struct timer_base of this kernel has no array vectors of a sane size")
	}
	w := wheels{v: v, base: base, timer: timer, entry: entry, vectors: uint64(vectors.Type.Strip().Len)}
	var out []Base
	for _, cpu := range cpus {
		all := v.PerCPU("timer_bases", cpu)
		if err := all.Err(); err != nil {
			return nil, err
		}
		n := all.Type().Strip().Len
		if n <= 0 { // BTF before 5.13 has no per-CPU variables, their declaration no length: the symbol's is what lies before the next
			n = 1
			if sym, err := v.Symbol("timer_bases"); err == nil && sym.Size >= 2*base.Size() {
				n = int64(min(sym.Size/base.Size(), uint64(len(baseNames))))
			}
		}
		if n > maxBases {
			return nil, fmt.Errorf("timer_bases has %d elements: its type is damaged", n)
		}
		for i := range n {
			at, _ := all.Index(i).Addr()
			b := Base{CPU: cpu, Index: int(i), Name: fmt.Sprintf("BASE_%d", i), Addr: at}
			if names := baseNames[n]; names != nil {
				b.Name = names[i]
			}
			w.read(&b)
			out = append(out, b)
		}
	}
	return out, v.Context().Err()
}

type wheels struct {
	v       *kernel.View
	base    kernel.Binding[wheelStruct]
	timer   kernel.Binding[timerStruct]
	entry   uint64
	vectors uint64
}

func (w *wheels) read(b *Base) {
	what := fmt.Sprintf("timers of CPU %d, %s", b.CPU, b.Name)
	lost := func(what string, err error) {
		w.v.Gap(what, err)
		b.Lost = true
	}
	s, err := w.base.Read(w.v, b.Addr)
	if err != nil {
		lost(what, err)
		return
	}
	b.Clock = &s.Clk
	ws := w.v.WordSize()
	heads := make([]byte, w.vectors*ws)
	if err := w.v.Read(heads, s.Vectors); err != nil {
		lost(what, err)
		return
	}
	for i := range w.vectors {
		if !slices.ContainsFunc(heads[i*ws:(i+1)*ws], func(c byte) bool { return c != 0 }) {
			continue
		}
		for at, err := range walk.HList(w.v, s.Vectors+vmem.Addr(i*ws), w.entry) {
			if err == nil && len(b.Timers) >= maxTimers {
				err = fmt.Errorf("more than %d: damaged", maxTimers)
			}
			if err != nil {
				lost(fmt.Sprintf("%s, vectors[%d]", what, i), err)
				break
			}
			t, err := w.timer.Read(w.v, at)
			if err != nil {
				lost(what, err)
				break
			}
			b.Timers = append(b.Timers, Timer{Addr: at, Expires: t.Expires, Function: t.Function, Flags: t.Flags})
		}
	}
	slices.SortStableFunc(b.Timers, func(a, c Timer) int { return order(a.Expires, c.Expires) })
}

func order[T uint64 | int64](a, b T) int {
	switch {
	case a < b:
		return -1
	case a > b:
		return 1
	}
	return 0
}
