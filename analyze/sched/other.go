package sched

import (
	"fmt"

	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

const maxPrios = 256 // MAX_RT_PRIO is 100

// realTime reads an rt_rq and with CONFIG_RT_GROUP_SCHED the groups below it.
func (r *Reader) realTime(what string, at vmem.Addr, depth int) *RT {
	if !r.enter(what, at, depth) {
		return nil
	}
	rq := r.v.ObjectOf("rt_rq", at)
	array := rq.Field("active")
	queues := array.Field("queue")
	if err := queues.Err(); err != nil {
		r.v.Gap(what, err)
		return nil
	}
	n := queues.Type().Strip().Len
	if n <= 0 || n > maxPrios {
		r.v.Gap(what, fmt.Errorf("struct rt_prio_array has %d priorities: its type is damaged", n))
		return nil
	}
	out := &RT{Addr: at}
	out.Array, _ = array.Addr()
	if t, err := rq.Field("rt_throttled").Uint(); err == nil { // CONFIG_RT_GROUP_SCHED alone since 6.12
		out.Throttled = t != 0
	}
	if r.v.HasMember("sched_rt_entity", "my_q") {
		tg, err := rq.Field("tg").Pointer()
		r.v.Gap(what, err)
		out.Group, out.Name = tg, r.groupName(tg)
	}
	for prio := range n {
		head, _ := queues.Index(prio).Addr()
		for se, err := range walk.List(r.v, head, r.offs.rtRunList) {
			if err != nil {
				r.v.Gap(fmt.Sprintf("%s, priority %d", what, prio), err)
				break
			}
			if !r.more(what) {
				return out
			}
			if e, ok := r.rtEntity(what, se, int(prio), depth); ok {
				out.Entities = append(out.Entities, e)
			}
		}
	}
	return out
}

func (r *Reader) rtEntity(what string, se vmem.Addr, prio, depth int) (RTEntity, bool) {
	e := RTEntity{Prio: prio, Task: se - vmem.Addr(r.offs.rt)}
	off, ok := r.v.OffsetOf("sched_rt_entity", "my_q")
	if !ok {
		return e, true
	}
	q, err := r.v.Word(se + vmem.Addr(off))
	if err != nil {
		r.v.Gap(what, err)
		return e, false
	}
	if q == 0 {
		return e, true
	}
	e.Task, e.Group = 0, r.realTime(what, vmem.Addr(q), depth+1)
	return e, e.Group != nil
}

type dlStruct struct {
	Runtime   int64  `k:"runtime"`
	Deadline  uint64 `k:"deadline"`
	Throttled uint8  `k:"dl_throttled"`
	Server    uint8  `k:"dl_server,optional"` // 6.8
}

func (r *Reader) deadlines(what string, at vmem.Addr) *Deadlines {
	root, ok := r.v.OffsetOf("dl_rq", "root") // rb_root_cached since 4.14
	if !ok {
		r.v.Gap(what, fmt.Errorf("struct dl_rq of this kernel has no member root"))
		return nil
	}
	out := &Deadlines{Addr: at, Root: at + vmem.Addr(root)}
	for se, err := range walk.RBTree(r.v, out.Root, r.offs.dlNode) {
		if err != nil {
			r.v.Gap(what, err)
			continue
		}
		if !r.more(what) {
			break
		}
		s, err := r.dl.Read(r.v, se)
		if err != nil {
			r.v.Gap(what, err)
			continue
		}
		e := DLEntity{Addr: se, Server: s.Server != 0, Runtime: s.Runtime, Deadline: s.Deadline, Throttled: s.Throttled != 0}
		if !e.Server {
			e.Task = se - vmem.Addr(r.offs.dl)
		}
		out.Entities = append(out.Entities, e)
	}
	return out
}

// ext reads the tasks that are runnable under a BPF scheduler: all are on runnable_list, whatever dispatch queue they are in.
func (r *Reader) ext(what string, at vmem.Addr) *Ext {
	head, ok1 := r.v.OffsetOf("scx_rq", "runnable_list")
	node, ok2 := r.v.OffsetOf("sched_ext_entity", "runnable_node")
	scx, ok3 := r.v.OffsetOf("task_struct", "scx")
	if !ok1 || !ok2 || !ok3 {
		r.v.Gap(what, fmt.Errorf("this kernel has no scx_rq.runnable_list of sched_ext_entity.runnable_node"))
		return nil
	}
	out := &Ext{Addr: at, Runnable: at + vmem.Addr(head)}
	first, err := r.v.Word(out.Runnable)
	if err == nil && first == 0 {
		return out // never initialised: no such scheduler was ever loaded
	}
	for task, err := range walk.List(r.v, out.Runnable, scx+node) {
		if err != nil {
			r.v.Gap(what, err)
			break
		}
		if !r.more(what) {
			break
		}
		out.Tasks = append(out.Tasks, r.extTask(what, task, task+vmem.Addr(scx)))
	}
	return out
}

func (r *Reader) extTask(what string, task, scx vmem.Addr) ExtTask {
	e := ExtTask{Task: task}
	x := r.v.ObjectOf("sched_ext_entity", scx)
	var err error
	if e.DSQ, err = x.Field("dsq").Pointer(); err != nil {
		r.v.Gap(what, err)
	}
	if e.DSQ != 0 {
		if id, err := r.v.ObjectOf("scx_dispatch_q", e.DSQ).Field("id").Uint(); err == nil {
			e.DSQID = &id
		} else {
			r.v.Gap(what+": dispatch queue", err)
		}
	}
	if e.Slice, err = x.Field("slice").Uint(); err != nil {
		r.v.Gap(what, err)
	}
	if e.VTime, err = x.Field("dsq_vtime").Uint(); err != nil {
		r.v.Gap(what, err)
	}
	return e
}
