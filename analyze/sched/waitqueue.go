package sched

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/symbols"
)

// Waiter is an entry of a wait queue.
type Waiter struct {
	Entry     vmem.Addr
	Task      vmem.Addr // task_struct; 0 if Func wakes someone in another way, as epoll does
	Func      vmem.Addr // 0 in simple wait queues
	Exclusive bool
}

type waitEntry struct {
	Flags   uint32    `k:"flags"`
	Private vmem.Addr `k:"private"`
	Func    vmem.Addr `k:"func"`
}

const (
	exclusive  = 1       // WQ_FLAG_EXCLUSIVE
	maxWaiters = 1 << 20 // of one queue
)

// Waiters reads a struct wait_queue_head (4.13: before, __wait_queue_head) or, if simple is set, a struct swait_queue_head.
// isTask says what is a task_struct. What can't be read is a gap.
func Waiters(v *kernel.View, head vmem.Addr, simple bool, isTask func(vmem.Addr) bool) ([]Waiter, error) {
	tag, list, entry, link := "wait_queue_head", "head", "wait_queue_entry", "entry"
	if simple {
		tag, list, entry, link = "swait_queue_head", "task_list", "swait_queue", "task_list"
	}
	headOff, ok := v.OffsetOf(tag, list)
	if !ok {
		return nil, fmt.Errorf("struct %s of this kernel has no member %s", tag, list)
	}
	linkOff, ok := v.OffsetOf(entry, link)
	if !ok {
		return nil, fmt.Errorf("struct %s of this kernel has no member %s", entry, link)
	}
	bind, err := kernel.Bind[waitEntry](v.Kernel, "wait_queue_entry")
	if err != nil && !simple {
		return nil, err
	}
	what := fmt.Sprintf("wait queue %#x", uint64(head))
	var out []Waiter
	for at, err := range walk.List(v, head+vmem.Addr(headOff), linkOff) {
		if err == nil && len(out) >= maxWaiters {
			err = fmt.Errorf("more than %d entries: damaged", maxWaiters)
		}
		if err != nil {
			v.Gap(what, err)
			return out, v.Context().Err()
		}
		w := Waiter{Entry: at}
		if simple {
			w.Task, err = v.ObjectOf("swait_queue", at).Field("task").Pointer()
		} else {
			err = w.read(v, bind, isTask)
		}
		if err != nil {
			v.Gap(what, err)
			continue
		}
		out = append(out, w)
	}
	return out, v.Context().Err()
}

func (w *Waiter) read(v *kernel.View, bind kernel.Binding[waitEntry], isTask func(vmem.Addr) bool) error {
	e, err := bind.Read(v, w.Entry)
	if err != nil {
		return err
	}
	w.Func, w.Exclusive = e.Func, e.Flags&exclusive != 0
	switch {
	case isTask(e.Private):
		w.Task = e.Private
	case e.Private != 0 && v.HasMember("poll_wqueues", "polling_task"):
		// select and poll: private is their struct poll_wqueues.
		p, err := v.ObjectOf("poll_wqueues", e.Private).Field("polling_task").Pointer()
		if err == nil && isTask(p) {
			w.Task = p
		}
	}
	return nil
}

// IsSimple reports whether t is a simple wait queue's head.
func IsSimple(t *symbols.Type) bool {
	t = t.Strip()
	return t.Kind == symbols.Struct && t.Name == "swait_queue_head"
}
