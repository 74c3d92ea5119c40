package sched_test

import (
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/sched"
	"kdx/analyze/vmem"
)

const common = `
struct list_head { struct list_head *next, *prev; };
struct rb_node { unsigned long parent; struct rb_node *rb_right, *rb_left; };
struct rb_root_cached { struct rb_node *rb_node, *rb_leftmost; };
struct load_weight { unsigned long weight; u32 inv; };
struct kernfs_node { const char *name; };
struct cgroup { struct kernfs_node *kn; };
struct css { struct cgroup *cgroup; };
struct rt_prio_array { unsigned long bitmap[2]; struct list_head queue[100]; };
struct rt_rq { struct rt_prio_array active; unsigned int rt_nr_running; };
struct sched_rt_entity { struct list_head run_list; };
struct dl_rq { struct rb_root_cached root; };
struct sched_dl_entity { struct rb_node rb_node; s64 runtime; u64 deadline; unsigned int dl_throttled : 1; unsigned int dl_server : 1; };
struct wait_queue_head { u32 lock; struct list_head head; };
struct wait_queue_entry { unsigned int flags; void *private; void *func; struct list_head entry; };
`

// layouts of the fair class: CFS, EEVDF, and queues of groups in per-CPU memory with sched_ext beside.
var layouts = map[string]string{
	"6.1": `
struct cfs_rq { struct load_weight load; unsigned int nr_running; u64 min_vruntime; struct rb_root_cached tasks_timeline; struct sched_entity *curr; struct task_group *tg; int throttled, throttle_count; };
struct sched_entity { struct load_weight load; struct rb_node run_node; u64 vruntime; struct cfs_rq *my_q; };
struct task_group { struct css css; struct cfs_rq **cfs_rq; struct list_head siblings, children; };
struct task_struct { long pad; struct sched_entity se; struct sched_rt_entity rt; struct sched_dl_entity dl; };
struct rq { unsigned int nr_running; struct cfs_rq cfs; struct rt_rq rt; struct dl_rq dl; struct task_struct *curr, *idle; u64 clock; };`,
	"7.2": `
struct cfs_rq { struct load_weight load; unsigned int nr_queued; u64 zero_vruntime; struct rb_root_cached tasks_timeline; struct sched_entity *curr; struct task_group *tg;
	bool throttled : 1; int throttle_count; struct list_head throttled_limbo_list; };
struct sched_entity { struct load_weight load; struct rb_node run_node; u64 deadline; unsigned char on_rq, sched_delayed; u64 vruntime; s64 vlag; u64 vprot; u64 slice; struct cfs_rq *my_q; };
struct scx_dispatch_q { u32 lock; u64 id; };
struct sched_ext_entity { struct scx_dispatch_q *dsq; struct list_head runnable_node; u64 slice, dsq_vtime; };
struct scx_rq { struct list_head runnable_list; };
struct task_group { struct css css; struct cfs_rq *cfs_rq; struct list_head siblings, children; };
struct task_struct { long pad; struct sched_entity se; struct sched_rt_entity rt; struct sched_dl_entity dl; struct sched_ext_entity scx; struct list_head throttle_node; };
struct rq { unsigned int nr_running; struct cfs_rq cfs; struct rt_rq rt; struct dl_rq dl; struct scx_rq scx; struct task_struct *curr, *idle; u64 clock; };`,
}

type world struct {
	m                        *kerneltest.Machine
	release                  string
	rq, cfs                  vmem.Addr
	group, groupQ            vmem.Addr // a child of the root group, and its queue
	inGroup, inRoot, rt, dl1 vmem.Addr // tasks
}

// newWorld has, on one CPU, a task of the fair class, a group of one, a real-time task and a deadline task.
func newWorld(t testing.TB, release string) *world {
	m := kerneltest.New(t, common+layouts[release])
	at := func(tag, path string) vmem.Addr { return vmem.Addr(m.Offset(tag, path)) }
	w := &world{m: m, release: release, rq: m.Alloc(8192), group: m.Alloc(256), groupQ: m.Alloc(512), inGroup: m.Alloc(1024), inRoot: m.Alloc(1024), rt: m.Alloc(1024), dl1: m.Alloc(1024)}
	m.Var("runqueues", w.rq, "struct rq")
	w.cfs = w.rq + at("rq", "cfs")
	root := m.Alloc(256)
	m.Var("root_task_group", root, "struct task_group")
	m.Set(w.rq, "rq", "clock", 900)
	m.Set(w.rq, "rq", "curr", uint64(w.inRoot))
	m.Set(w.cfs, "cfs_rq", "tg", uint64(root))
	m.Set(w.groupQ, "cfs_rq", "tg", uint64(w.group))
	name, kn, cg := m.Alloc(16), m.Alloc(16), m.Alloc(16)
	m.Write(name, []byte("batch\x00"))
	m.Word(kn, uint64(name))
	m.Word(cg, uint64(kn))
	m.Set(w.group, "task_group", "css.cgroup", uint64(cg))
	m.Ring(root+at("task_group", "children"), w.group+at("task_group", "siblings"))
	m.Ring(w.group + at("task_group", "children"))
	if release == "6.1" {
		per := m.Alloc(8)
		m.Word(per, uint64(w.groupQ))
		m.Set(w.group, "task_group", "cfs_rq", uint64(per))
	} else {
		m.Set(w.group, "task_group", "cfs_rq", uint64(w.groupQ))
		m.Ring(w.cfs + at("cfs_rq", "throttled_limbo_list"))
		m.Ring(w.groupQ + at("cfs_rq", "throttled_limbo_list"))
		m.Ring(w.rq + at("rq", "scx.runnable_list"))
	}
	// The root's tree: the task and, to its right, the group's entity.
	se, run := at("task_struct", "se"), at("sched_entity", "run_node")
	ge := m.Alloc(512)
	m.Set(ge, "sched_entity", "my_q", uint64(w.groupQ))
	m.Set(w.cfs, "cfs_rq", "tasks_timeline.rb_node", uint64(w.inRoot+se+run))
	m.Word(w.inRoot+se+run+8, uint64(ge+run))
	m.Word(ge+run, uint64(w.inRoot+se+run))
	m.Set(w.groupQ, "cfs_rq", "tasks_timeline.rb_node", uint64(w.inGroup+se+run))
	m.Set(w.inGroup, "task_struct", "se.vruntime", 4711)
	for i := range vmem.Addr(100) {
		m.Ring(w.rq + at("rq", "rt.active.queue") + i*16)
	}
	m.Ring(w.rq+at("rq", "rt.active.queue")+42*16, w.rt+at("task_struct", "rt.run_list"))
	dl := w.dl1 + at("task_struct", "dl")
	m.Set(w.rq, "rq", "dl.root.rb_node", uint64(dl))
	m.Set(dl, "sched_dl_entity", "deadline", 1234)
	m.Set(dl, "sched_dl_entity", "runtime", 55)
	return w
}

func (w *world) read(t testing.TB) (*sched.Queue, string) {
	t.Helper()
	v := w.m.View()
	r, err := sched.New(v)
	if err != nil {
		t.Fatal(err)
	}
	q, err := r.Queue(0)
	if err != nil {
		t.Fatal(err)
	}
	r.Tasks(q)
	var gaps []string
	gs, _ := v.Gaps()
	for _, g := range gs {
		gaps = append(gaps, g.String())
	}
	return q, strings.Join(gaps, "\n")
}

func TestQueues(t *testing.T) {
	for release := range layouts {
		w := newWorld(t, release)
		q, gaps := w.read(t)
		if gaps != "" || q.Clock != 900 || q.Current != w.inRoot {
			t.Fatalf("%s: %+v, gaps %s", release, q, gaps)
		}
		f := q.Fair.Entities
		if len(f) != 2 || f[0].Task != w.inRoot || f[1].Group == nil || f[1].Group.Name != "batch" || len(f[1].Group.Entities) != 1 {
			t.Fatalf("%s: fair class %+v", release, f)
		}
		if e := f[1].Group.Entities[0]; e.Task != w.inGroup || e.Vruntime != 4711 || (e.Deadline != nil) != (release == "7.2") || (e.Vlag != nil) != (release == "7.2") {
			t.Errorf("%s: %+v", release, e)
		}
		if e := q.RT.Entities; len(e) != 1 || e[0].Prio != 42 || e[0].Task != w.rt {
			t.Errorf("%s: real-time class %+v", release, e)
		}
		if e := q.Deadline.Entities; len(e) != 1 || e[0].Task != w.dl1 || e[0].Deadline != 1234 || e[0].Runtime != 55 || e[0].Server {
			t.Errorf("%s: deadline class %+v", release, e)
		}
	}
}

// A server of the deadline class is no task; a group that is throttled is in no tree.
func TestServerAndThrottled(t *testing.T) {
	for release := range layouts {
		w := newWorld(t, release)
		m := w.m
		bits := w.dl1 + vmem.Addr(m.Offset("task_struct", "dl")) + vmem.Addr(m.Offset("sched_dl_entity", "deadline")) + 8
		m.Put(bits, 4, 2)
		se, run := vmem.Addr(m.Offset("task_struct", "se")), vmem.Addr(m.Offset("sched_entity", "run_node"))
		m.Word(w.inRoot+se+run+8, 0)
		size := 4
		if release == "7.2" {
			size = 1
		}
		m.Put(w.groupQ+vmem.Addr(m.Offset("cfs_rq", "throttled")), size, 1)
		m.Set(w.groupQ, "cfs_rq", "throttle_count", 1)
		q, gaps := w.read(t)
		if e := q.Deadline.Entities; gaps != "" || len(e) != 1 || e[0].Task != 0 || !e[0].Server {
			t.Errorf("%s: deadline class %+v, gaps %s; want a server", release, e, gaps)
		}
		if f := q.Fair.Entities; len(f) != 2 || f[1].Group == nil || !f[1].Group.Throttled || len(f[1].Group.Entities) != 1 {
			t.Errorf("%s: fair class %+v; want the throttled group with its task", release, f)
		} else if e := f[1].Group.Entities[0]; e.Throttled != (release == "6.1") || f[0].Throttled {
			t.Errorf("%s: the task is throttled: %v; since 6.18 it is once it has left the tree", release, e.Throttled)
		}
	}
}

// Since 6.18 tasks of a throttled group leave its queue one by one; sched_ext keeps its tasks on a list of its own.
func TestLimboAndExt(t *testing.T) {
	w := newWorld(t, "7.2")
	m := w.m
	at := func(tag, path string) vmem.Addr { return vmem.Addr(m.Offset(tag, path)) }
	m.Ring(w.groupQ+at("cfs_rq", "throttled_limbo_list"), w.rt+at("task_struct", "throttle_node"))
	dsq := m.Alloc(64)
	m.Set(dsq, "scx_dispatch_q", "id", 1<<63|2)
	m.Set(w.inGroup, "task_struct", "scx.dsq", uint64(dsq))
	m.Set(w.inGroup, "task_struct", "scx.slice", 20_000_000)
	m.Ring(w.rq+at("rq", "scx.runnable_list"), w.inGroup+at("task_struct", "scx.runnable_node"), w.rt+at("task_struct", "scx.runnable_node"))
	q, gaps := w.read(t)
	if g := q.Fair.Entities[1].Group; gaps != "" || len(g.Entities) != 2 || !g.Entities[1].Throttled || g.Entities[1].Task != w.rt {
		t.Errorf("group %+v, gaps %s; want its throttled task", g, gaps)
	}
	if x := q.Ext.Tasks; len(x) != 2 || x[0].Task != w.inGroup || x[0].DSQID == nil || *x[0].DSQID != 1<<63|2 || x[0].Slice != 20_000_000 || x[1].DSQ != 0 {
		t.Errorf("sched_ext %+v", x)
	}
}

// Wild pointers and loops are named, and what was found stays.
func TestDamagedQueues(t *testing.T) {
	for _, release := range []string{"6.1", "7.2"} {
		for what, damage := range map[string]func(w *world, at func(string, string) vmem.Addr){
			"fair class": func(w *world, at func(string, string) vmem.Addr) { // a group that is its own child
				w.m.Set(w.inGroup, "task_struct", "se.my_q", uint64(w.groupQ))
			},
			"tree node 0x4141": func(w *world, at func(string, string) vmem.Addr) {
				w.m.Set(w.groupQ, "cfs_rq", "tasks_timeline.rb_node", 0x4141414141414140)
			},
			"priority 42": func(w *world, at func(string, string) vmem.Addr) {
				w.m.Word(w.rt+at("task_struct", "rt.run_list"), uint64(w.rt+at("task_struct", "rt.run_list")))
				w.m.Word(w.rt+at("task_struct", "rt.run_list")+8, 0x10)
			},
			"deadline class": func(w *world, at func(string, string) vmem.Addr) {
				w.m.Word(w.dl1+at("task_struct", "dl")+8, uint64(w.dl1+at("task_struct", "dl")))
			},
			"child groups": func(w *world, at func(string, string) vmem.Addr) {
				w.m.Word(w.group+at("task_group", "siblings"), 0x4141414141414140)
			},
			"name of task group": func(w *world, at func(string, string) vmem.Addr) {
				w.m.Set(w.group, "task_group", "css.cgroup", 0x4141414141414140)
			},
		} {
			w := newWorld(t, release)
			damage(w, func(tag, path string) vmem.Addr { return vmem.Addr(w.m.Offset(tag, path)) })
			q, gaps := w.read(t)
			if !strings.Contains(gaps, what) || q.Fair == nil {
				t.Errorf("%s: gaps %q; want %q", release, gaps, what)
			}
		}
	}
}

func TestWaiters(t *testing.T) {
	isTask := func(p vmem.Addr) bool { return p == 0x1000 }
	for _, loop := range []bool{false, true} {
		m, head, last := waitQueue(t)
		if loop {
			m.Word(last, uint64(last))
		}
		v := m.View()
		got, err := sched.Waiters(v, head, false, isTask)
		if gaps, _ := v.Gaps(); err != nil || (len(gaps) > 0) != loop || len(got) != 2 || got[0].Task != 0x1000 || !got[0].Exclusive || got[1].Task != 0 || got[1].Func != 0x77 {
			t.Errorf("loop %v: %+v, %v, gaps %v", loop, got, err, gaps)
		}
	}
}

// waitQueue has an exclusive waiter and one that is no task; last is the link of the latter.
func waitQueue(t testing.TB) (m *kerneltest.Machine, head, last vmem.Addr) {
	m = kerneltest.New(t, common+layouts["6.1"])
	head = m.Alloc(64)
	a, b := m.Alloc(64), m.Alloc(64)
	at := vmem.Addr(m.Offset("wait_queue_entry", "entry"))
	m.Ring(head+8, a+at, b+at)
	m.Set(a, "wait_queue_entry", "private", 0x1000)
	m.Set(a, "wait_queue_entry", "flags", 1)
	m.Set(b, "wait_queue_entry", "func", 0x77)
	return m, head, b + at
}
