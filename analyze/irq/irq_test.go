package irq_test

import (
	"strings"
	"testing"

	"kdx/analyze/irq"
	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
)

const common = `
struct irqaction { void *handler; void *dev_id; void *percpu; struct irqaction *next; void *thread_fn; void *thread; struct irqaction *secondary; unsigned int irq, flags; const char *name; };
struct irq_chip { void *parent; const char *name; };
struct irq_domain { void *link; const char *name; };
struct irq_common_data { unsigned int state_use_accessors; unsigned int node; void *handler_data; void *msi; unsigned long affinity[1]; };
struct irq_data { u32 mask; unsigned int irq; unsigned long hwirq; void *common; struct irq_chip *chip; struct irq_domain *domain; };
struct xarray { u32 lock; u32 flags; void *xa_head; };
struct xa_node { u8 shift, offset, count, nr; struct xa_node *parent; struct xarray *array; void *slots[64]; };
struct maple_range_64 { void *parent; unsigned long pivot[15]; void *slot[16]; };
struct maple_arange_64 { void *parent; unsigned long pivot[9]; void *slot[10]; unsigned long gap[10]; };
struct maple_node { void *parent; void *slot[31]; };
struct maple_tree { u32 lock; u32 flags; void *ma_root; };
struct softirq_action { void *action; };
struct tasklet_struct { struct tasklet_struct *next; unsigned long state; int count; bool use; void *func; unsigned long data; };
struct tasklet_head { struct tasklet_struct *head; void *tail; };
struct kernel_stat { unsigned long sum; unsigned int softirqs[2]; };
`

// layouts of irq_desc: where counts lie and what they are.
var layouts = map[string]string{
	"5.10": `struct irq_desc { struct irq_common_data irq_common_data; struct irq_data irq_data; unsigned int *kstat_irqs; void *handle; struct irqaction *action;
		unsigned int status_use_accessors, core; unsigned int depth; const char *name; };`,
	"6.1":  "",
	"6.12": `struct irqstat { unsigned int cnt; unsigned int ref; };`,
	"7.2":  `struct irqstat { unsigned int cnt; };`,
}

type world struct {
	m            *kerneltest.Machine
	desc, action vmem.Addr
}

func newWorld(t testing.TB, release string) *world {
	desc := layouts["5.10"]
	if release == "6.12" || release == "7.2" {
		desc = layouts[release] + strings.Replace(desc, "unsigned int *kstat_irqs", "struct irqstat *kstat_irqs", 1)
	}
	w := &world{m: kerneltest.New(t, common+desc)}
	m := w.m
	w.desc, w.action = m.Alloc(256), m.Alloc(128)
	chip, name, stat := m.Alloc(16), m.Alloc(64), m.Alloc(16)
	m.Write(name, []byte("IO-APIC\x00edge\x00ttyS0\x00"))
	m.Set(chip, "irq_chip", "name", uint64(name))
	m.Set(w.desc, "irq_desc", "irq_data.irq", 4)
	m.Set(w.desc, "irq_desc", "irq_data.chip", uint64(chip))
	m.Set(w.desc, "irq_desc", "name", uint64(name+8))
	m.Set(w.desc, "irq_desc", "kstat_irqs", uint64(stat))
	m.Set(w.desc, "irq_desc", "action", uint64(w.action))
	m.Word(w.desc+vmem.Addr(m.Offset("irq_desc", "irq_common_data.affinity")), 1)
	m.Set(w.action, "irqaction", "name", uint64(name+13))
	m.Put(stat, 4, 7)
	root := m.Alloc(16)
	if release == "6.12" || release == "7.2" {
		node := m.AllocPage()
		m.Word(node+8+0, 3) // pivots: nothing up to 3, the descriptor at 4
		m.Word(node+8+8, 4)
		m.Word(node+8+16, ^uint64(0))
		m.Word(node+8+15*8+8, uint64(w.desc))
		m.Set(root, "maple_tree", "ma_root", uint64(node)|1<<3|2)
		m.Var("sparse_irqs", root, "")
	} else {
		node := m.AllocPage()
		m.Word(node+vmem.Addr(m.Offset("xa_node", "slots"))+4*8, uint64(w.desc))
		m.Set(root, "xarray", "xa_head", uint64(node)|2)
		m.Var("irq_desc_tree", root, "")
	}
	return w
}

func (w *world) list(t *testing.T) ([]*irq.IRQ, *irq.Reader, []string) {
	t.Helper()
	v := w.m.View()
	r, err := irq.New(v)
	if err != nil {
		t.Fatal(err)
	}
	var out []*irq.IRQ
	for x, err := range r.All() {
		if err != nil {
			v.Gap("", err)
			continue
		}
		out = append(out, x)
	}
	var gaps []string
	gs, _ := v.Gaps()
	for _, g := range gs {
		gaps = append(gaps, g.String())
	}
	return out, r, gaps
}

func TestIRQs(t *testing.T) {
	for release := range layouts {
		w := newWorld(t, release)
		list, r, gaps := w.list(t)
		if len(gaps) > 0 || len(list) != 1 {
			t.Fatalf("%s: %d interrupts, gaps %v; want 1", release, len(list), gaps)
		}
		x := list[0]
		if x.Number != 4 || x.Desc != w.desc || x.Chip != "IO-APIC" || x.Flow != "edge" || len(x.Actions) != 1 || x.Actions[0].Name != "ttyS0" || len(x.Affinity) != 1 {
			t.Errorf("%s: %+v", release, x)
		}
		if n := r.Counts(x, []int{0})[0]; n == nil || *n != 7 {
			t.Errorf("%s: counts %v; want 7", release, n)
		}
	}
}

// Wild pointers and loops are named, and what was found stays.
func TestDamaged(t *testing.T) {
	for what, damage := range map[string]func(w *world){
		"comes back":     func(w *world) { w.m.Set(w.action, "irqaction", "next", uint64(w.action)) },
		"actions":        func(w *world) { w.m.Set(w.action, "irqaction", "next", 0x4141414141414141) },
		"chip":           func(w *world) { w.m.Set(w.desc, "irq_desc", "irq_data.chip", 0xffff000000000000) },
		"name":           func(w *world) { w.m.Set(w.desc, "irq_desc", "name", 0x10) },
		"it is IRQ 1234": func(w *world) { w.m.Set(w.desc, "irq_desc", "irq_data.irq", 1234) },
		"excluded":       func(w *world) { w.m.Exclude(w.action) },
	} {
		for _, release := range []string{"6.1", "7.2"} {
			w := newWorld(t, release)
			damage(w)
			_, _, gaps := w.list(t)
			if len(gaps) == 0 || !strings.Contains(strings.Join(gaps, "\n"), what) {
				t.Errorf("%s: gaps %q; want %q", release, gaps, what)
			}
		}
	}
}

func TestTasklets(t *testing.T) {
	m := kerneltest.New(t, common)
	lo, hi, a, b := m.Alloc(16), m.Alloc(16), m.Alloc(64), m.Alloc(64)
	m.Var("tasklet_vec", lo, "struct tasklet_head")
	m.Var("tasklet_hi_vec", hi, "struct tasklet_head")
	m.Word(lo, uint64(a))
	m.Word(a, uint64(b))
	m.Word(b, uint64(a)) // a loop
	m.Set(b, "tasklet_struct", "func", 0x77)
	v := m.View()
	list := irq.Tasklets(v, []int{0})
	gaps, _ := v.Gaps()
	if len(list) != 2 || list[1].Func != 0x77 || len(gaps) != 1 || !strings.Contains(gaps[0].String(), "tasklet_vec of CPU 0") {
		t.Errorf("%+v, gaps %v; want two, and the loop", list, gaps)
	}
}
