package irq

import (
	"errors"

	"kdx/analyze/kernel"
	"kdx/symbols"
)

// ArchCount is an interrupt that the processor's own code counts: it has no number and no descriptor.
type ArchCount struct {
	Name   string // as /proc/interrupts begins its line
	What   string
	Counts []*uint64 // by CPU; nil if unknown
}

// archCounts are those of x86 in the order of /proc/interrupts: members of irq_cpustat_t until 7.0, since then elements of its
// array counts (enum irq_stat_counts). What a kernel was built without it does not have.
var archCounts = []struct{ name, member, enum, what string }{
	{"NMI", "__nmi_count", "IRQ_COUNT_NMI", "Non-maskable interrupts"},
	{"LOC", "apic_timer_irqs", "IRQ_COUNT_APIC_TIMER", "Local timer interrupts"},
	{"SPU", "irq_spurious_count", "IRQ_COUNT_SPURIOUS", "Spurious interrupts"},
	{"PMI", "apic_perf_irqs", "IRQ_COUNT_APIC_PERF", "Performance monitoring interrupts"},
	{"IWI", "apic_irq_work_irqs", "IRQ_COUNT_IRQ_WORK", "IRQ work interrupts"},
	{"RTR", "icr_read_retry_count", "IRQ_COUNT_ICR_READ_RETRY", "APIC ICR read retries"},
	{"RES", "irq_resched_count", "IRQ_COUNT_RESCHEDULE", "Rescheduling interrupts"},
	{"CAL", "irq_call_count", "IRQ_COUNT_CALL_FUNCTION", "Function call interrupts"},
	{"TLB", "irq_tlb_count", "IRQ_COUNT_TLB", "TLB shootdowns"},
	{"TRM", "irq_thermal_count", "IRQ_COUNT_THERMAL_APIC", "Thermal event interrupts"},
	{"THR", "irq_threshold_count", "IRQ_COUNT_THRESHOLD_APIC", "Threshold APIC interrupts"},
	{"DFR", "irq_deferred_error_count", "IRQ_COUNT_DEFERRED_ERROR", "Deferred Error APIC interrupts"},
	{"PIN", "kvm_posted_intr_ipis", "IRQ_COUNT_POSTED_INTR", "Posted-interrupt notification event"},
	{"NPI", "kvm_posted_intr_nested_ipis", "IRQ_COUNT_POSTED_INTR_NESTED", "Nested posted-interrupt event"},
	{"PIW", "kvm_posted_intr_wakeup_ipis", "IRQ_COUNT_POSTED_INTR_WAKEUP", "Posted-interrupt wakeup event"},
}

// ArchCounts reads irq_stat of the given CPUs; a kernel of another architecture has none.
func ArchCounts(v *kernel.View, cpus []int) []ArchCount {
	if _, err := v.Symbol("irq_stat"); err != nil {
		return nil
	}
	var out []ArchCount
	for _, a := range archCounts {
		c := ArchCount{Name: a.name, What: a.what, Counts: make([]*uint64, len(cpus))}
		known := false
		for i, cpu := range cpus {
			x := v.PerCPU("irq_stat", cpu)
			if err := x.Err(); err != nil {
				v.GapOnce("interrupts without a number", err)
				return out
			}
			y := x.Field(a.member)
			if y.Err() != nil {
				n, _, err := v.Symbols().Enumerator(a.enum)
				if errors.Is(err, symbols.ErrNotFound) || !x.Has("counts") {
					break
				}
				y = x.Field("counts").Index(n)
			}
			known = true
			u, err := y.Uint()
			if err != nil {
				v.Gap(a.name+": counts", err)
				continue
			}
			c.Counts[i] = &u
		}
		if known {
			out = append(out, c)
		}
	}
	return out
}
