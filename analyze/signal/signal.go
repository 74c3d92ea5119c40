// Package signal reads what a task does about signals, and which wait for it.
package signal

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

// State is a task's signals. Sets have bit N-1 for signal N.
type State struct {
	Struct    vmem.Addr // its process's signal_struct
	NRThreads *int32
	Actions   []Action // of signals 1 and up; nil for a task that has given up its handlers (it has exited)
	Blocked   *uint64
	Private   *Pending // for this thread
	Shared    *Pending // for the process; nil if it has no signal_struct any more
}

// Deliverable are the signals that are pending and not blocked.
func (s *State) Deliverable() (set uint64, known bool) {
	if s.Blocked == nil || s.Private == nil {
		return 0, false
	}
	set = s.Private.Set
	if s.Shared != nil {
		set |= s.Shared.Set
	}
	return set &^ *s.Blocked, true
}

// Action is what happens on a signal.
type Action struct {
	Addr    vmem.Addr // its struct k_sigaction
	Handler uint64    // in user space; 0 is SIG_DFL, 1 SIG_IGN
	Mask    uint64    // signals that are blocked meanwhile
	Flags   uint64    // SA_*
}

// Pending is a struct sigpending.
type Pending struct {
	Set   uint64
	Queue []Queued
}

// Queued is a signal that waits with what was said of it.
type Queued struct {
	Addr vmem.Addr // its struct sigqueue
	Info vmem.Addr // its siginfo
	Sig  int32
	Code int32 // SI_*: who sent it
}

type actionStruct struct {
	Handler uint64 `k:"sa.sa_handler"`
	Flags   uint64 `k:"sa.sa_flags"`
	Mask    uint64 `k:"sa.sa_mask"`
}

type queuedStruct struct {
	Info vmem.Addr `k:"&info"`
	Sig  int32     `k:"info.si_signo"`
	Code int32     `k:"info.si_code"`
}

const (
	maxSignals = 128     // _NSIG is 64, on MIPS 128
	maxQueued  = 1 << 20 // RLIMIT_SIGPENDING is some thousands
)

// Of reads the signals of the task at its task_struct. What can't be read is a gap.
func Of(v *kernel.View, what string, task vmem.Addr) (*State, error) {
	t := v.ObjectOf("task_struct", task)
	if err := t.Err(); err != nil {
		return nil, err
	}
	s := &State{}
	if u, err := t.Field("blocked").Field("sig").Index(0).Uint(); err == nil {
		s.Blocked = &u
	} else {
		v.Gap(what+": blocked signals", err)
	}
	s.Private = pending(v, what+": private signals", t.Field("pending"))
	sig, err := t.Field("signal").Pointer()
	if err != nil {
		v.Gap(what, err)
		return s, nil
	}
	if s.Struct = sig; sig != 0 {
		x := v.ObjectOf("signal_struct", sig)
		if n, err := x.Field("nr_threads").Int(); err == nil {
			threads := int32(n)
			s.NRThreads = &threads
		} else {
			v.Gap(what+": signal_struct", err)
		}
		s.Shared = pending(v, what+": shared signals", x.Field("shared_pending"))
	}
	hand, err := t.Field("sighand").Pointer()
	if err != nil {
		v.Gap(what, err)
		return s, nil
	}
	if hand != 0 {
		s.Actions, err = actions(v, hand)
		v.Gap(what+": handlers", err)
	}
	return s, nil
}

// actions reads sighand_struct.action in one go.
func actions(v *kernel.View, hand vmem.Addr) ([]Action, error) {
	all := v.ObjectOf("sighand_struct", hand).Field("action")
	if err := all.Err(); err != nil {
		return nil, err
	}
	bind, err := kernel.Bind[actionStruct](v.Kernel, "k_sigaction")
	if err != nil {
		return nil, err
	}
	n := all.Type().Strip().Len
	if all.Type().Strip().Kind != symbols.Array || n <= 0 || n > maxSignals {
		return nil, fmt.Errorf("sighand_struct has %d actions: its type is damaged", n)
	}
	first, _ := all.Addr()
	out := make([]Action, n)
	for i := range out {
		at := first + vmem.Addr(uint64(i)*bind.Size())
		a, err := bind.Read(v, at)
		if err != nil {
			return nil, err
		}
		out[i] = Action{Addr: at, Handler: a.Handler, Mask: a.Mask, Flags: a.Flags}
	}
	return out, nil
}

// pending reads a struct sigpending: the set, and the queue as far as it goes.
func pending(v *kernel.View, what string, x kernel.Value) *Pending {
	set, err := x.Field("signal").Field("sig").Index(0).Uint()
	if err != nil {
		v.Gap(what, err)
		return nil
	}
	p := &Pending{Set: set}
	bind, err := kernel.Bind[queuedStruct](v.Kernel, "sigqueue")
	if err != nil {
		v.Gap(what, err)
		return p
	}
	head, _ := x.Field("list").Addr()
	off, ok := v.OffsetOf("sigqueue", "list")
	if !ok {
		v.Gap(what, fmt.Errorf("struct sigqueue of this kernel has no member list"))
		return p
	}
	for at, err := range walk.List(v, head, off) {
		if err == nil && len(p.Queue) >= maxQueued {
			err = fmt.Errorf("more than %d: damaged", maxQueued)
		}
		if err != nil {
			v.Gap(what, err)
			break
		}
		q, err := bind.Read(v, at)
		if err != nil {
			v.Gap(what, err)
			continue
		}
		p.Queue = append(p.Queue, Queued{Addr: at, Info: q.Info, Sig: q.Sig, Code: q.Code})
	}
	return p
}
