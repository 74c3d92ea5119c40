package timer_test

import (
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/timer"
	"kdx/analyze/vmem"
)

const common = `
struct hlist_node { struct hlist_node *next, **pprev; };
struct hlist_head { struct hlist_node *first; };
struct timer_list { struct hlist_node entry; unsigned long expires; void *function; u32 flags; };
struct timer_base { u32 lock; void *running; unsigned long clk; struct hlist_head vectors[576]; };
struct rb_node { unsigned long parent; struct rb_node *rb_right, *rb_left; };
struct rb_root { struct rb_node *rb_node; };
struct tk_read_base { u32 mult; u32 shift; u64 xtime_nsec; s64 base; };
struct timekeeper { struct tk_read_base tkr_mono; };
`

// layouts of the queues of hrtimers: their nodes, and whether they say who tells their time.
var layouts = map[string]string{
	"6.1": `struct timerqueue_node { struct rb_node node; s64 expires; };
		struct hrtimer { struct timerqueue_node node; s64 _softexpires; void *function; };
		struct hrtimer_clock_base { void *cpu_base; u32 index; s32 clockid; void *active; void *get_time; s64 offset; };
		struct hrtimer_cpu_base { u32 lock; struct hrtimer_clock_base clock_base[8]; };`,
	"7.2": `struct rb_node_linked { struct rb_node node; void *prev, *next; };
		struct timerqueue_linked_node { struct rb_node_linked node; s64 expires; };
		struct hrtimer { struct timerqueue_linked_node node; s64 _softexpires; void *function; };
		struct hrtimer_clock_base { void *cpu_base; u32 index; s32 clockid; void *active; s64 offset; };
		struct hrtimer_cpu_base { u32 lock; struct hrtimer_clock_base clock_base[8]; };`,
}

// wheel makes three wheels with two timers in one vector of the second; it returns the first timer.
func wheel(t testing.TB, n string) (*kerneltest.Machine, vmem.Addr) {
	m := kerneltest.New(t, common)
	bases := m.Alloc(3 * 4640)
	m.Var("timer_bases", bases, "struct timer_base["+n+"]")
	j := m.Alloc(8)
	m.Var("jiffies_64", j, "")
	m.Word(j, 1000)
	head := bases + vmem.Addr(m.Offset("timer_base", "vectors")) + 5*8
	if n != "1" {
		head += 4632
	}
	a, b := m.Alloc(64), m.Alloc(64)
	m.Word(head, uint64(a))
	m.Word(a, uint64(b))
	m.Word(a+8, uint64(head))
	m.Word(b+8, uint64(a))
	m.Set(a, "timer_list", "expires", 1200)
	m.Set(b, "timer_list", "expires", 1100)
	return m, a
}

func TestWheels(t *testing.T) {
	for n, names := range map[string]string{"1": "BASE_STD", "2": "BASE_STD BASE_DEF", "3": "BASE_LOCAL BASE_GLOBAL BASE_DEF"} {
		m, a := wheel(t, n)
		v := m.View()
		bases, err := timer.Wheels(v, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		var all []timer.Timer
		for _, b := range bases {
			got = append(got, b.Name)
			all = append(all, b.Timers...)
		}
		if strings.Join(got, " ") != names || len(all) != 2 || all[0].Expires != 1100 || all[1].Addr != a {
			t.Errorf("%s wheels: %v with %+v; want %s, two timers by expiry", n, got, all, names)
		}
		if gaps, _ := v.Gaps(); len(gaps) > 0 {
			t.Errorf("%s wheels: %v", n, gaps)
		}
	}
}

// A vector that loops or leads astray is named; the walk ends, and what was found stays.
func TestDamagedWheel(t *testing.T) {
	for what, next := range map[string]func(a vmem.Addr) uint64{"comes back": func(a vmem.Addr) uint64 { return uint64(a) }, "vectors[5]": func(vmem.Addr) uint64 { return 0x4141414141414140 }} {
		m, a := wheel(t, "3")
		m.Word(a, next(a))
		v := m.View()
		bases, err := timer.Wheels(v, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		gaps, _ := v.Gaps()
		if len(gaps) == 0 || !strings.Contains(gaps[0].String(), what) || len(bases) != 3 {
			t.Errorf("gaps %v; want %q", gaps, what)
		}
	}
}

func queues(t testing.TB, release string) (m *kerneltest.Machine, top, left vmem.Addr) {
	m = kerneltest.New(t, common+layouts[release])
	base := m.Alloc(1024)
	m.Var("hrtimer_bases", base, "struct hrtimer_cpu_base")
	tk := m.Alloc(64)
	m.Var("tk_core", tk, "")
	m.Set(tk+8, "timekeeper", "tkr_mono.base", 5_000_000_000)
	m.Set(tk+8, "timekeeper", "tkr_mono.shift", 8)
	m.Set(tk+8, "timekeeper", "tkr_mono.xtime_nsec", 100<<8)
	clock := base + vmem.Addr(m.Offset("hrtimer_cpu_base", "clock_base"))
	m.Set(clock, "hrtimer_clock_base", "clockid", 1)
	top, left = m.Alloc(128), m.Alloc(128)
	m.Set(clock, "hrtimer_clock_base", "active", uint64(top))
	m.Word(top+16, uint64(left))
	m.Word(left, uint64(top))
	m.Set(top, "hrtimer", "node.expires", 7_000_000_000)
	m.Set(left, "hrtimer", "node.expires", 6_000_000_000)
	return m, top, left
}

func TestHRTimers(t *testing.T) {
	for release := range layouts {
		m, top, left := queues(t, release)
		v := m.View()
		cpus, err := timer.HighRes(v, []int{0})
		if err != nil {
			t.Fatal(err)
		}
		c := cpus[0].Clocks
		if len(c) != 8 || c[0].Soft || !c[4].Soft || c[0].Name != "ktime_get" || c[0].Now == nil || *c[0].Now != 5_000_000_100 {
			t.Errorf("%s: clocks %+v", release, c)
		}
		if x := c[0].Timers; len(x) != 2 || x[0].Addr != left || x[1].Addr != top || x[1].Expires != 7_000_000_000 {
			t.Errorf("%s: timers %+v", release, x)
		}
		if gaps, _ := v.Gaps(); len(gaps) > 0 {
			t.Errorf("%s: %v", release, gaps)
		}
	}
}

// A queue that loops or leads astray is named, and ends.
func TestDamagedQueue(t *testing.T) {
	for release := range layouts {
		for _, child := range []uint64{0, 0x4141414141414140} {
			m, top, left := queues(t, release)
			if child == 0 {
				child = uint64(top)
			}
			m.Word(left+8, child)
			v := m.View()
			if _, err := timer.HighRes(v, []int{0}); err != nil {
				t.Fatal(err)
			}
			if gaps, _ := v.Gaps(); len(gaps) == 0 || !strings.Contains(gaps[0].String(), "hrtimers of CPU 0, clock 0") {
				t.Errorf("%s: gaps %v; want the queue's", release, gaps)
			}
		}
	}
}
