package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"kdx/analyze/kernel"
	"kdx/dumpfmt"
	"kdx/repl"
	"kdx/repl/commands"
)

// excludedLines are answers that are compared, value by value, with those of the undamaged dump.
var excludedLines = []string{
	"sys", "sys -t", "sys config", "sys -c", "log", "log -T", "ps", "ps -l", "ps -m", "ps -a", "ps -r", "ps -p", "ps -c", "ps -t", "ps -S", "ps -A", "ps -g",
	"mod", "mod -t", "kmem -i", "kmem -s", "kmem -V", "kmem -z", "kmem -h", "kmem -o", "kmem -v", "kmem -S task_struct",
	"bt", "bt -a", "foreach bt", "task -R comm,pid,mm,utime", "foreach task -R comm,pid,mm,utime,se", "set", "struct task_struct init_task", "struct list_head modules",
	"struct -a -l task_struct.tasks task_struct.stack,mm,cred,files init_task.tasks.next", "p init_task", "p jiffies", "p runqueues:a", "p *init_task.mm", "p init_task.tasks.next->prev", "p init_task.comm[0] + 1",
	"list -H modules -o module.list -s module.name", "list -h init_task -o task_struct.tasks -s task_struct.pid,comm",
	"tree -t radix init_pid_ns.idr", "tree -t maple sparse_irqs", "tree -t rbtree vmap_area_root",
	"files", "foreach files", "fuser /", "mount", "mount -f", "dev", "dev -i", "dev -p", "dev -d", "net", "net -a", "foreach net -s", "ipcs", "ipcs -M", "bpf -P -t", "mach", "mach -m",
	"irq", "irq -a", "irq -s", "irq -b", "timer", "timer -r", "runq", "runq -g", "runq -v", "sig", "foreach sig", "vm 1", "foreach vm", "swap", "search -t panic",
	"kmem -n", "kmem -f", "kmem -i=shared", "kmem -s -I task_struct", "waitq kthreadd_task",
	"rd -a linux_banner", "rd -s init_task 64", "vtop init_task", "kmem init_task", "dis schedule", "sym -M",
}

// answerJSON is what a line answers on a kernel.
func answerJSON(src dumpfmt.Source, line string) (repl.Status, map[string]any, error) {
	k, err := openHostile(src)
	if err != nil {
		return repl.Failed, nil, err
	}
	return answerOf(k, line)
}

func answerOf(k *kernel.Kernel, line string) (repl.Status, map[string]any, error) {
	var out bytes.Buffer
	s := repl.New(repl.Config{Kernel: k, Commands: commands.All(), In: strings.NewReader(""), Out: &out, Err: &out, JSON: true})
	st, _ := s.Line(context.Background(), line)
	var doc map[string]any
	if err := json.Unmarshal(out.Bytes(), &doc); err != nil {
		return st, nil, fmt.Errorf("%w: %.300s", err, out.String())
	}
	return st, doc, nil
}

// agrees reports whether each value of got stands in want too. What got lacks, or has as null, it does not claim; an
// element of an array may stand elsewhere in want's.
func agrees(got, want any) (string, bool) {
	switch g := got.(type) {
	case nil:
		return "", true
	case map[string]any:
		w, ok := want.(map[string]any)
		if !ok {
			return fmt.Sprintf("an object; want %v", want), false
		}
		for k, v := range g {
			switch k {
			case "ends_badly", "confidence": // what the unwinder could not read, and what that costs
				continue
			case "rss_bytes", "mem_percent": // less what threads that can't be read have not yet added (before 6.2)
				continue
			case "text": // of an instruction, which may name what it refers to
				if _, ok := g["bytes"]; ok {
					continue
				}
			case "function", "offset":
				if g["function"] == "" {
					continue
				}
			case "tasks", "count": // of those that could be read: the gap says so
				if _, ok := v.(float64); ok {
					continue
				}
			}
			if why, ok := agrees(v, w[k]); !ok {
				return k + ": " + why, false
			}
		}
		return "", true
	case []any:
		w, ok := want.([]any)
		if !ok && len(g) > 0 {
			return fmt.Sprintf("an array; want %v", want), false
		}
		for i, v := range g {
			// The likeliest is the one with the same first differing field last: any that agrees will do.
			near := ""
			found := false
			for j := range w {
				why, ok := agrees(v, w[(i+j)%len(w)])
				if ok {
					found = true
					break
				}
				if len(near) == 0 || sameIdentity(v, w[(i+j)%len(w)]) {
					near = why
				}
			}
			if !found {
				b, _ := json.Marshal(v)
				return fmt.Sprintf("[%d] %s: %.700s", i, near, b), false
			}
		}
		return "", true
	default:
		if got != want {
			return fmt.Sprintf("%v; want %v", got, want), false
		}
		return "", true
	}
}

func sameIdentity(a, b any) bool {
	x, ok1 := a.(map[string]any)
	y, ok2 := b.(map[string]any)
	if !ok1 || !ok2 {
		return false
	}
	for _, k := range []string{"task", "address", "module", "name", "level", "cpu"} {
		if x[k] != nil {
			return x[k] == y[k]
		}
	}
	return false
}

// whole is the answer of a whole dump, and which pages were read for it.
type whole struct {
	st    repl.Status
	doc   map[string]any
	pages []uint64
}

// hold holds the answer of a dump that lacks pages against that of the whole one.
func (w *whole) hold(t *testing.T, what string, st repl.Status, doc map[string]any, err error) {
	t.Helper()
	if doc == nil {
		if err == nil || st == repl.OK {
			t.Errorf("%s: status %v, %v", what, st, err)
		}
		return
	}
	got, _ := json.Marshal(doc["result"])
	want, _ := json.Marshal(w.doc["result"])
	if st == repl.OK && w.st == repl.OK && !bytes.Equal(got, want) {
		i := 0
		for i < min(len(got), len(want)) && got[i] == want[i] {
			i++
		}
		t.Errorf("%s: answered without a gap\n   %.300s\nbut the whole dump's answer is\n   %.300s", what, got[max(0, i-100):], want[max(0, i-100):])
		return
	}
	if why, ok := agrees(doc["result"], w.doc["result"]); !ok {
		t.Errorf("%s: (%d gaps, error %v) %s", what, len(doc["missing"].([]any)), doc["error"], why)
	}
}

// TestExcluded: pages that are left out of a dump may cost an answer, and kdx says so; they never change one. A 0 for a
// number that could not be read would be such a change. KDX_HOSTILE_SEEDS, KDX_HOSTILE_DUMPS as in TestHostile.
func TestExcluded(t *testing.T) {
	to := uint64(60)
	if raceDetector {
		to = 3
	}
	from, to, _ := seedsAsked(t, to)
	lines := excludedLines
	if s := os.Getenv("KDX_HOSTILE_LINE"); s != "" {
		lines = []string{s}
	}
	known := map[string]*whole{}
	sources := openSources(t)
	for seed := from; seed < to; seed++ {
		r := rand.New(rand.NewPCG(seed, 2))
		c := sources[r.IntN(len(sources))]
		line := lines[r.IntN(len(lines))]
		w := known[c.name+line]
		if w == nil {
			d := &damaged{Source: c.src, read: make(map[uint64]bool)}
			st, doc, err := answerJSON(d, line)
			if err != nil {
				t.Fatalf("%s: %s: %v", c.name, line, err)
			}
			w = &whole{st: st, doc: doc}
			for pfn := range d.read {
				w.pages = append(w.pages, pfn)
			}
			if len(w.pages) == 0 {
				t.Fatalf("%s: %s reads nothing: %v", c.name, line, doc)
			}
			slices.Sort(w.pages)
			known[c.name+line] = w
		}
		d := &damaged{Source: c.src, missing: make(map[uint64]dumpfmt.PageState)}
		for range 1 + r.IntN(1+r.IntN(6)) {
			d.missing[w.pages[r.IntN(len(w.pages))]] = dumpfmt.Excluded
		}
		st, doc, err := answerJSON(d, line)
		w.hold(t, fmt.Sprintf("%s seed %d: %s", c.name, seed, line), st, doc, err)
	}
}
