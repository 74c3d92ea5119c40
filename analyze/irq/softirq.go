package irq

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// Softirq is a bottom half that runs after interrupts.
type Softirq struct {
	Index  int
	Name   string // as /proc/softirqs has it; "" if it can't be read
	Action vmem.Addr
	Counts []*uint64 // by CPU; nil if unknown
}

// maxSoftirqs bounds what types may claim: NR_SOFTIRQS has been 10 since 2.6.37.
const maxSoftirqs = 64

// Softirqs reads softirq_vec, the names of softirqs and how often each ran on the given CPUs.
func Softirqs(v *kernel.View, cpus []int) ([]Softirq, error) {
	vec := v.Global("softirq_vec")
	t := vec.Type()
	if err := vec.Err(); err != nil {
		return nil, err
	}
	n := t.Strip().Len
	if n <= 0 || n > maxSoftirqs {
		return nil, fmt.Errorf("softirq_vec has %d elements: its type is damaged", n)
	}
	out := make([]Softirq, n)
	for i := range out {
		out[i] = Softirq{Index: i, Counts: make([]*uint64, len(cpus))}
		p, err := vec.Index(int64(i)).Field("action").Pointer()
		if err != nil {
			return nil, fmt.Errorf("softirq_vec[%d]: %w", i, err)
		}
		out[i].Action = p
	}
	softirqNames(v, out)
	for c, cpu := range cpus {
		stat := v.PerCPU("kstat", cpu).Field("softirqs")
		for i := range out {
			u, err := stat.Index(int64(i)).Uint()
			if err != nil {
				v.Gap(fmt.Sprintf("softirq counts of CPU %d", cpu), err)
				break
			}
			out[i].Counts[c] = &u
		}
	}
	return out, nil
}

// softirqNames reads softirq_to_name, an array of pointers to strings.
func softirqNames(v *kernel.View, list []Softirq) {
	sym, err := v.Symbol("softirq_to_name")
	if err != nil {
		return // without CONFIG_PROC_FS nobody needs it
	}
	for i := range list {
		p, err := v.Word(vmem.Addr(sym.Addr + uint64(i)*v.WordSize()))
		if err == nil {
			list[i].Name, err = v.CString(vmem.Addr(p), maxName)
		}
		if err != nil {
			v.GapOnce("softirq_to_name", err)
			return
		}
	}
}

// Tasklet is one that is queued to run on a CPU.
type Tasklet struct {
	CPU   int
	High  bool // tasklet_hi_vec, which goes first
	Addr  vmem.Addr
	Func  vmem.Addr
	State uint64 // TASKLET_STATE_*
	Count int64  // not 0: disabled
}

type taskletStruct struct {
	Next  vmem.Addr `k:"next"`
	State uint64    `k:"state"`
	Count int64     `k:"count"`
	Func  vmem.Addr `k:"func"`
}

const maxTasklets = 1 << 20

// Tasklets reads the queues of tasklets of the given CPUs.
func Tasklets(v *kernel.View, cpus []int) []Tasklet {
	bind, err := kernel.Bind[taskletStruct](v.Kernel, "tasklet_struct")
	if err != nil {
		v.Gap("tasklets", err)
		return nil
	}
	var out []Tasklet
	for _, cpu := range cpus {
		for _, name := range []string{"tasklet_hi_vec", "tasklet_vec"} {
			what := fmt.Sprintf("%s of CPU %d", name, cpu)
			at, err := v.PerCPU(name, cpu).Field("head").Pointer()
			if err != nil {
				v.Gap(what, err)
				continue
			}
			seen := make(map[vmem.Addr]bool)
			for at != 0 {
				if seen[at] || len(seen) >= maxTasklets {
					v.Gap(what, fmt.Errorf("tasklet at %#x: %w", uint64(at), walk.ErrLoop))
					break
				}
				seen[at] = true
				t, err := bind.Read(v, at)
				if err != nil {
					v.Gap(what, err)
					break
				}
				out = append(out, Tasklet{CPU: cpu, High: name == "tasklet_hi_vec", Addr: at, Func: t.Func, State: t.State, Count: t.Count})
				at = t.Next
			}
		}
	}
	return out
}
