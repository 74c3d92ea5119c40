package signal_test

import (
	"slices"
	"strings"
	"testing"

	"kdx/analyze/kernel"
	"kdx/analyze/kerneltest"
	"kdx/analyze/signal"
	"kdx/analyze/vmem"
)

const types = `
struct list_head { struct list_head *next, *prev; };
struct sigset { unsigned long sig[1]; };
struct sigpending { struct list_head list; struct sigset signal; };
struct kernel_siginfo { int si_signo, si_errno, si_code; };
struct sigqueue { struct list_head list; int flags; struct kernel_siginfo info; };
struct sigaction { void *sa_handler; unsigned long sa_flags; void *sa_restorer; struct sigset sa_mask; };
struct k_sigaction { struct sigaction sa; };
struct sighand_struct { u32 lock; struct k_sigaction action[64]; };
struct signal_struct { int nr_threads; struct sigpending shared_pending; };
struct task_struct { struct signal_struct *signal; struct sighand_struct *sighand; struct sigset blocked; struct sigpending pending; };
`

type world struct {
	m            *kerneltest.Machine
	task, queued vmem.Addr
}

func newWorld(t testing.TB) *world {
	m := kerneltest.New(t, types)
	w := &world{m: m, task: m.Alloc(128), queued: m.Alloc(64)}
	sig, hand := m.Alloc(64), m.Alloc(2112)
	m.Set(w.task, "task_struct", "signal", uint64(sig))
	m.Set(w.task, "task_struct", "sighand", uint64(hand))
	m.Set(sig, "signal_struct", "nr_threads", 3)
	m.Word(w.task+vmem.Addr(m.Offset("task_struct", "blocked")), 1<<11)
	pending := w.task + vmem.Addr(m.Offset("task_struct", "pending"))
	m.Ring(pending, w.queued)
	m.Word(pending+16, 1<<11)
	shared := sig + vmem.Addr(m.Offset("signal_struct", "shared_pending"))
	m.Ring(shared)
	m.Set(w.queued, "sigqueue", "info.si_signo", 12)
	first := hand + vmem.Addr(m.Offset("sighand_struct", "action"))
	m.Word(first+32, 1)         // SIGINT is ignored
	m.Word(first+64, 0x401000)  // SIGQUIT has a handler
	m.Word(first+72, 0x4000004) // with SA_RESTORER and SA_SIGINFO
	return w
}

func TestSignals(t *testing.T) {
	w := newWorld(t)
	v := w.m.View()
	s, err := signal.Of(v, "PID 1", w.task)
	if err != nil {
		t.Fatal(err)
	}
	if gaps, _ := v.Gaps(); len(gaps) > 0 {
		t.Fatal(gaps)
	}
	if len(s.Actions) != 64 || s.Actions[1].Handler != 1 || s.Actions[2].Handler != 0x401000 || strings.Join(signal.FlagNames(s.Actions[2].Flags), "|") != "SA_RESTORER|SA_SIGINFO" {
		t.Errorf("actions %+v", s.Actions[:3])
	}
	set, known := s.Deliverable()
	if *s.NRThreads != 3 || s.Private.Set != 1<<11 || len(s.Private.Queue) != 1 || s.Private.Queue[0].Sig != 12 || len(s.Shared.Queue) != 0 || !known || set != 0 {
		t.Errorf("%+v, %+v, deliverable %#x %v", s.Private, s.Shared, set, known)
	}
}

// A queue that loops or leads astray is named; a task that has exited has no handlers.
func TestDamaged(t *testing.T) {
	for what, damage := range map[string]func(w *world){
		"comes back":      func(w *world) { w.m.Word(w.queued, uint64(w.queued)) },
		"private signals": func(w *world) { w.m.Word(w.queued, 0x4141414141414141) },
		"handlers":        func(w *world) { w.m.Set(w.task, "task_struct", "sighand", 0x4141414141414141) },
		"shared signals":  func(w *world) { w.m.Set(w.task, "task_struct", "signal", 0x4141414141414141) },
	} {
		w := newWorld(t)
		damage(w)
		v := w.m.View()
		s, err := signal.Of(v, "PID 1", w.task)
		gaps, _ := v.Gaps()
		if err != nil || s.Blocked == nil || !slices.ContainsFunc(gaps, func(g kernel.Gap) bool { return strings.Contains(g.String(), what) }) {
			t.Errorf("%+v, %v, gaps %v; want %q", s, err, gaps, what)
		}
	}
	w := newWorld(t)
	w.m.Set(w.task, "task_struct", "sighand", 0)
	v := w.m.View()
	s, err := signal.Of(v, "PID 1", w.task)
	if gaps, _ := v.Gaps(); err != nil || s.Actions != nil || len(gaps) > 0 {
		t.Errorf("exited: %+v, %v, gaps %v", s, err, gaps)
	}
}

func TestSetNames(t *testing.T) {
	if got := strings.Join(signal.SetNames(0x800A000000000201), " "); got != "SIGHUP SIGUSR1 SIGRTMAX-14 SIGRTMAX-12 SIGRTMAX" {
		t.Error(got)
	}
}
