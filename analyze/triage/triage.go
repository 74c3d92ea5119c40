// Package triage is the first page of a case: what died, where, what all CPUs did, who was blocked, and the end of the log. Each part
// is bounded and stands alone: one that can't be read costs none of the others.
package triage

import (
	"context"
	"fmt"
	"time"

	"kdx/analyze/backtrace"
	"kdx/analyze/kernel"
	"kdx/analyze/task"
	"kdx/analyze/vmem"
)

// Version of the JSON: it changes when a field changes its meaning; fields may be added without.
const Version = 1

// Bounds of what is told; what is left out is counted.
const (
	maxCPUs    = 512 // stacks of CPUs
	maxBlocked = 64  // different stacks of blocked tasks
	maxPIDs    = 16  // of tasks that share a stack
	maxFrames  = 64  // of a stack
	maxLog     = 200 // lines
	maxModules = 512
	maxMissing = 100
	maxWalk    = 20_000 // blocked tasks that are unwound
)

// Report is the first page. What could not be read is null, and Missing says why.
type Report struct {
	Version int     `json:"version"`
	System  *System `json:"system"`
	// Panic is the line of the log that says why the kernel died.
	Panic string `json:"panic"`
	// Crashed is the task that crashed.
	Crashed *Stack  `json:"crashed"`
	CPUs    []Stack `json:"cpus"`
	// MoreCPUs counts those that are left out.
	MoreCPUs int     `json:"more_cpus,omitempty"`
	Tasks    *Tasks  `json:"tasks"`
	Blocked  []Group `json:"blocked"`
	// MoreBlocked counts blocked tasks that are left out.
	MoreBlocked int      `json:"more_blocked,omitempty"`
	Memory      *Memory  `json:"memory"`
	Log         []string `json:"log"`
	Modules     []Module `json:"modules"`
	MoreModules int      `json:"more_modules,omitempty"`
	Missing     []string `json:"missing"`
}

// System says which machine and kernel it was.
type System struct {
	Nodename string      `json:"nodename"`
	Release  string      `json:"release"`
	Version  string      `json:"version"`
	Machine  string      `json:"machine"`
	Crashed  *time.Time  `json:"crashed"`
	Uptime   *float64    `json:"uptime_seconds"`
	CPUs     *int        `json:"cpus"`
	Memory   *uint64     `json:"memory_bytes"`
	Taint    *string     `json:"taint"`
	Load     *[3]float64 `json:"load_average"`
}

// Stack is a task and where it stood.
type Stack struct {
	PID    int32     `json:"pid"`
	Comm   string    `json:"comm"`
	CPU    int       `json:"cpu"`
	Task   vmem.Addr `json:"task"`
	State  string    `json:"state"`
	Frames []Frame   `json:"frames"`
	// Ends says why there are no more frames, if that is not where a stack should end.
	Ends string `json:"ends_badly,omitempty"`
}

// Frame is one function of a stack.
type Frame struct {
	Function string    `json:"function"` // "" if no symbol covers the PC
	Offset   uint64    `json:"offset"`
	Module   string    `json:"module,omitempty"`
	PC       vmem.Addr `json:"pc"`
	Guessed  bool      `json:"guessed,omitempty"`
}

// Tasks counts tasks by their state.
type Tasks struct {
	Total  int            `json:"total"`
	States map[string]int `json:"states"`
}

// Group are tasks that wait at the same place.
type Group struct {
	Count int `json:"count"`
	// PIDs are the first of them.
	PIDs  []int32  `json:"pids"`
	Comms []string `json:"comms"`
	Stack Stack    `json:"stack"`
}

// Memory is how it was used, bytes; null where it could not be read.
type Memory struct {
	Total       *uint64 `json:"total"`
	Free        *uint64 `json:"free"`
	Cached      *uint64 `json:"cached"`
	Buffers     *uint64 `json:"buffers"`
	Anonymous   *uint64 `json:"anonymous"`
	Shared      *uint64 `json:"shared"`
	Slab        *uint64 `json:"slab"`
	Reclaimable *uint64 `json:"slab_reclaimable"`
	PageTables  *uint64 `json:"page_tables"`
	SwapTotal   *uint64 `json:"swap_total"`
	SwapUsed    *uint64 `json:"swap_used"`
}

// Module is a loaded kernel module.
type Module struct {
	Name string `json:"name"`
	Size uint64 `json:"size"`
	// Taint are letters of what the module did to the kernel; "" for most.
	Taint string `json:"taint,omitempty"`
}

// maker collects a Report.
type maker struct {
	k      *kernel.Kernel
	rep    *Report
	tasks  *task.Table
	tracer *backtrace.Tracer
	seen   map[string]bool // what Missing holds
	more   int
}

// Make asks the kernel of a dump. When ctx ends, what there is by then is returned.
func Make(ctx context.Context, k *kernel.Kernel) *Report {
	m := &maker{k: k, seen: make(map[string]bool), rep: &Report{Version: Version, CPUs: []Stack{}, Blocked: []Group{}, Log: []string{}, Modules: []Module{}, Missing: []string{}}}
	// What matters most comes first, as time may be short.
	for _, part := range []struct {
		name string
		do   func(*kernel.View) error
	}{
		{"log", m.log}, {"system", m.system}, {"tasks", m.readTasks}, {"the crashed task", m.crashed}, {"CPUs", m.cpus},
		{"blocked tasks", m.blocked}, {"memory", m.memory}, {"modules", m.modules},
	} {
		if err := ctx.Err(); err != nil {
			m.missing(part.name, context.Cause(ctx))
			continue
		}
		m.run(ctx, part.name, part.do)
	}
	if m.more > 0 {
		m.rep.Missing = append(m.rep.Missing, fmt.Sprintf("and %d more", m.more))
	}
	return m.rep
}

// run keeps a part's failure to itself, even a mistake in kdx: the page is for whoever can't wait for a better one.
func (m *maker) run(ctx context.Context, name string, do func(*kernel.View) error) {
	v := m.k.View(ctx)
	defer func() {
		if p := recover(); p != nil {
			m.missing(name, fmt.Errorf("a mistake in kdx, please report it: %v", p))
		}
		gaps, _ := v.Gaps()
		for _, g := range gaps {
			m.missing(name, fmt.Errorf("%s", g))
		}
	}()
	if err := do(v); err != nil {
		m.missing(name, err)
	}
}

func (m *maker) missing(what string, err error) {
	text := what + ": " + err.Error()
	if m.seen[text] {
		return
	}
	if len(m.rep.Missing) >= maxMissing {
		m.more++
		return
	}
	m.seen[text] = true
	m.rep.Missing = append(m.rep.Missing, text)
}
