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
	Total  *uint64   // of what is counted for all CPUs together, which then have no counts
}

// archCount says where a count lies: a member of irq_cpustat_t until 7.0, since then an element of its array counts (enum irq_stat_counts); or a per-CPU
// variable, or a variable for all CPUs together.
type archCount struct {
	name, member, enum, what string
	perCPU, global           string
	rare                     bool // shown where it was counted: other machines have nothing that could
}

// archCounts are those of x86 in the order of /proc/interrupts. What a kernel was built without it does not have.
var archCounts = []archCount{
	{name: "NMI", member: "__nmi_count", enum: "IRQ_COUNT_NMI", what: "Non-maskable interrupts"},
	{name: "LOC", member: "apic_timer_irqs", enum: "IRQ_COUNT_APIC_TIMER", what: "Local timer interrupts"},
	{name: "SPU", member: "irq_spurious_count", enum: "IRQ_COUNT_SPURIOUS", what: "Spurious interrupts"},
	{name: "PMI", member: "apic_perf_irqs", enum: "IRQ_COUNT_APIC_PERF", what: "Performance monitoring interrupts"},
	{name: "IWI", member: "apic_irq_work_irqs", enum: "IRQ_COUNT_IRQ_WORK", what: "IRQ work interrupts"},
	{name: "RTR", member: "icr_read_retry_count", enum: "IRQ_COUNT_ICR_READ_RETRY", what: "APIC ICR read retries"},
	{name: "PLT", member: "x86_platform_ipis", enum: "IRQ_COUNT_X86_PLATFORM_IPI", what: "Platform interrupts", rare: true},
	{name: "RES", member: "irq_resched_count", enum: "IRQ_COUNT_RESCHEDULE", what: "Rescheduling interrupts"},
	{name: "CAL", member: "irq_call_count", enum: "IRQ_COUNT_CALL_FUNCTION", what: "Function call interrupts"},
	{name: "TLB", member: "irq_tlb_count", enum: "IRQ_COUNT_TLB", what: "TLB shootdowns"},
	{name: "TRM", member: "irq_thermal_count", enum: "IRQ_COUNT_THERMAL_APIC", what: "Thermal event interrupts"},
	{name: "THR", member: "irq_threshold_count", enum: "IRQ_COUNT_THRESHOLD_APIC", what: "Threshold APIC interrupts"},
	{name: "DFR", member: "irq_deferred_error_count", enum: "IRQ_COUNT_DEFERRED_ERROR", what: "Deferred Error APIC interrupts"},
	{name: "MCE", enum: "IRQ_COUNT_MCE_EXCEPTION", perCPU: "mce_exception_count", what: "Machine check exceptions"},
	{name: "MCP", enum: "IRQ_COUNT_MCE_POLL", perCPU: "mce_poll_count", what: "Machine check polls"},
	{name: "HYP", member: "irq_hv_callback_count", enum: "IRQ_COUNT_HYPERVISOR_CALLBACK", what: "Hypervisor callback interrupts", rare: true},
	{name: "HRE", member: "irq_hv_reenlightenment_count", enum: "IRQ_COUNT_HYPERV_REENLIGHTENMENT", what: "Hyper-V reenlightenment interrupts", rare: true},
	{name: "HVS", member: "hyperv_stimer0_count", enum: "IRQ_COUNT_HYPERV_STIMER0", what: "Hyper-V stimer0 interrupts", rare: true},
	{name: "ERR", enum: "IRQ_COUNT_PIC_APIC_ERROR", global: "irq_err_count", what: "PIC/APIC error interrupts"},
	{name: "MIS", enum: "IRQ_COUNT_IOAPIC_MISROUTED", global: "irq_mis_count", what: "Misrouted IO/APIC interrupts"},
	{name: "PIN", member: "kvm_posted_intr_ipis", enum: "IRQ_COUNT_POSTED_INTR", what: "Posted-interrupt notification event"},
	{name: "NPI", member: "kvm_posted_intr_nested_ipis", enum: "IRQ_COUNT_POSTED_INTR_NESTED", what: "Nested posted-interrupt event"},
	{name: "PIW", member: "kvm_posted_intr_wakeup_ipis", enum: "IRQ_COUNT_POSTED_INTR_WAKEUP", what: "Posted-interrupt wakeup event"},
	{name: "VPMI", enum: "IRQ_COUNT_PERF_GUEST_MEDIATED_PMI", what: "Perf Guest Mediated PMI"}, // 7.0
}

// ArchCounts reads what the given CPUs counted; a kernel of another architecture has nothing.
func ArchCounts(v *kernel.View, cpus []int) []ArchCount {
	if _, err := v.Symbol("irq_stat"); err != nil {
		return nil
	}
	var out []ArchCount
	for _, a := range archCounts {
		c := ArchCount{Name: a.name, What: a.what}
		if a.global != "" && v.HasSymbol(a.global) {
			const size = 4 // atomic_t
			n, err := v.UintAt(a.global, size)
			if err != nil {
				v.Gap(a.name+": count", err)
			} else {
				c.Total = &n
			}
			out = append(out, c)
			continue
		}
		known, counted := false, false
		c.Counts = make([]*uint64, len(cpus))
		for i, cpu := range cpus {
			u, ok, err := a.of(v, cpu)
			known = known || ok
			if err != nil {
				if !ok { // irq_stat itself
					v.GapOnce("interrupts without a number", err)
					return out
				}
				v.Gap(a.name+": counts", err)
				continue
			}
			if ok {
				c.Counts[i] = &u
			}
			counted = counted || u != 0
		}
		if known && (counted || !a.rare) {
			out = append(out, c)
		}
	}
	return out
}

// of is what one CPU counted; ok is false where the kernel counts no such thing, and with an error where nothing can be known of the CPU.
func (a *archCount) of(v *kernel.View, cpu int) (n uint64, ok bool, err error) {
	if a.perCPU != "" && v.HasSymbol(a.perCPU) {
		n, err = v.PerCPU(a.perCPU, cpu).Uint()
		return n, true, err
	}
	x := v.PerCPU("irq_stat", cpu)
	if err := x.Err(); err != nil {
		return 0, false, err
	}
	if a.member != "" && x.Has(a.member) {
		n, err = x.Field(a.member).Uint()
		return n, true, err
	}
	i, _, err := v.Symbols().Enumerator(a.enum)
	if errors.Is(err, symbols.ErrNotFound) || !x.Has("counts") {
		return 0, false, nil
	}
	n, err = x.Field("counts").Index(i).Uint()
	return n, true, err
}
