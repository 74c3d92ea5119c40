package sched

import (
	"fmt"

	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

type cfsStruct struct {
	NR        uint32    `k:"nr_queued|nr_running"` // 6.14 renamed it
	Root      vmem.Addr `k:"&tasks_timeline"`
	Curr      vmem.Addr `k:"curr"`
	MinV      uint64    `k:"min_vruntime|zero_vruntime,optional"` // 6.18
	Group     vmem.Addr `k:"tg,optional"`                         // CONFIG_FAIR_GROUP_SCHED
	Throttled uint32    `k:"throttled,optional"`                  // CONFIG_CFS_BANDWIDTH
	Count     int32     `k:"throttle_count,optional"`             // how many of it and the queues above it are throttled
	Limbo     vmem.Addr `k:"&throttled_limbo_list,optional"`      // 6.18
}

type seStruct struct {
	Weight   uint64    `k:"load.weight"`
	Delayed  uint8     `k:"sched_delayed,optional"` // 6.12
	Vruntime uint64    `k:"vruntime"`
	Deadline uint64    `k:"deadline,optional"` // 6.6
	Slice    uint64    `k:"slice,optional"`
	Vlag     int64     `k:"vlag,optional"`
	MyQ      vmem.Addr `k:"my_q,optional"` // CONFIG_FAIR_GROUP_SCHED
}

// fair reads a cfs_rq and the groups below it.
func (r *Reader) fair(what string, at vmem.Addr, cpu, depth int) *Fair {
	if !r.enter(what, at, depth) {
		return nil
	}
	s, err := r.cfs.Read(r.v, at)
	if err != nil {
		r.v.Gap(what, err)
		return nil
	}
	f := &Fair{Addr: at, Root: s.Root, Group: s.Group, Name: r.groupName(s.Group), NRQueued: s.NR, Throttled: s.Throttled != 0}
	if r.cfs.Has("MinV") {
		f.MinVruntime = &s.MinV
	}
	if s.Curr != 0 {
		r.entity(what, f, s.Curr, cpu, depth, true)
	}
	waiting := s.Count > 0 && s.Limbo == 0 // since 6.18 a task that is still in the tree may run on until it is back in user mode
	for se, err := range walk.RBTree(r.v, s.Root, r.offs.runNode) {
		if err != nil {
			r.v.Gap(what, err)
			continue
		}
		if !r.more(what) {
			break
		}
		if se == s.Curr || !r.entity(what, f, se, cpu, depth, false) {
			continue
		}
		if e := &f.Entities[len(f.Entities)-1]; e.Task != 0 {
			e.Throttled = waiting
		}
	}
	if s.Limbo != 0 {
		r.limbo(what, f, s.Limbo)
	}
	r.throttledBelow(what, f, cpu, depth)
	return f
}

// entity adds a task or a group to f; it reports whether it could be read.
func (r *Reader) entity(what string, f *Fair, at vmem.Addr, cpu, depth int, current bool) bool {
	s, err := r.se.Read(r.v, at)
	if err != nil {
		r.v.Gap(what, err)
		return false
	}
	e := r.values(at, &s)
	e.Current = current
	if s.MyQ == 0 {
		e.Task = at - vmem.Addr(r.offs.se)
	} else if e.Group = r.fair(what, s.MyQ, cpu, depth+1); e.Group == nil {
		return false // the gap is said
	}
	f.Entities = append(f.Entities, e)
	return true
}

func (r *Reader) values(at vmem.Addr, s *seStruct) Entity {
	e := Entity{Addr: at, Delayed: s.Delayed != 0, Weight: s.Weight, Vruntime: s.Vruntime}
	if r.se.Has("Deadline") {
		e.Deadline = &s.Deadline
	}
	if r.se.Has("Slice") {
		e.Slice = &s.Slice
	}
	if r.keepsLag {
		e.Vlag = &s.Vlag
	}
	return e
}

// EntityOf is what the fair class knows of a task, queued or not.
func (r *Reader) EntityOf(task vmem.Addr) (Entity, error) {
	at := task + vmem.Addr(r.offs.se)
	s, err := r.se.Read(r.v, at)
	if err != nil {
		return Entity{}, err
	}
	e := r.values(at, &s)
	e.Task = task
	return e, nil
}

// limbo adds the tasks that a throttled group took off its queue: since 6.18 each goes by itself, on its way to user space.
func (r *Reader) limbo(what string, f *Fair, head vmem.Addr) {
	off, ok := r.v.OffsetOf("task_struct", "throttle_node")
	if !ok {
		return
	}
	for task, err := range walk.List(r.v, head, off) {
		if err != nil {
			r.v.Gap(what+": throttled tasks", err)
			return
		}
		if !r.more(what) {
			return
		}
		e, err := r.EntityOf(task)
		if err != nil {
			r.v.Gap(what+": throttled tasks", err)
			continue
		}
		e.Throttled = true
		f.Entities = append(f.Entities, e)
	}
}

// throttledBelow adds the child groups that are throttled, which took them out of their parent's tree.
func (r *Reader) throttledBelow(what string, f *Fair, cpu, depth int) {
	if f.Group == 0 || !r.cfs.Has("Throttled") {
		return
	}
	children, ok1 := r.v.OffsetOf("task_group", "children")
	siblings, ok2 := r.v.OffsetOf("task_group", "siblings")
	if !ok1 || !ok2 {
		return
	}
	for tg, err := range walk.List(r.v, f.Group+vmem.Addr(children), siblings) {
		if err != nil {
			r.v.Gap(what+": child groups", err)
			return
		}
		if !r.more(what) {
			return
		}
		at, err := r.queueOf(tg, cpu)
		if err != nil {
			r.v.Gap(fmt.Sprintf("%s: queue of task group %#x", what, uint64(tg)), err)
			continue
		}
		if at == 0 || r.seen[at] {
			continue
		}
		s, err := r.cfs.Read(r.v, at)
		if err != nil {
			r.v.Gap(what, err)
			continue
		}
		if s.Throttled == 0 {
			// Nothing of it runs here, but a group below it may be throttled.
			if !r.anyBelow(tg, cpu, depth) {
				continue
			}
		}
		if g := r.fair(what, at, cpu, depth+1); g != nil && (g.Throttled || len(g.Entities) > 0) {
			f.Entities = append(f.Entities, Entity{Group: g})
		}
	}
}

// anyBelow reports whether a task group has children at all.
func (r *Reader) anyBelow(tg vmem.Addr, cpu, depth int) bool {
	off, ok := r.v.OffsetOf("task_group", "children")
	if !ok || depth >= maxDepth {
		return false
	}
	first, err := r.v.Word(tg + vmem.Addr(off))
	return err == nil && vmem.Addr(first) != tg+vmem.Addr(off)
}

// queueOf is a task group's cfs_rq on a CPU.
func (r *Reader) queueOf(tg vmem.Addr, cpu int) (vmem.Addr, error) {
	m := r.v.ObjectOf("task_group", tg).Field("cfs_rq")
	if err := m.Err(); err != nil {
		return 0, err
	}
	if pointerToPointers(m.Type()) {
		return m.Index(int64(cpu)).Pointer()
	}
	p, err := m.Pointer()
	if err != nil || p == 0 {
		return p, err
	}
	off, err := r.v.PerCPUOffset(cpu)
	return p + vmem.Addr(off), err
}
