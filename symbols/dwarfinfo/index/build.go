package index

import (
	"cmp"
	"context"
	"math/rand/v2"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"

	"golang.org/x/sync/errgroup"

	"kdx/internal/mapfile"
	"kdx/symbols/dwarfinfo"
)

// task is a unit to scan.
type task struct {
	u  *dwarfinfo.Unit
	sp *space
}

// batch is how many units a worker takes at once: neighbours share pages and, from some tools, abbreviations.
const batch = 8

// build scans d and its alt file.
func build(ctx context.Context, d *dwarfinfo.Data, opt Options) ([]byte, error) {
	main := &space{d: d}
	spaces := []*space{main}
	secs := &sections{secStr: d.Str, secLineStr: d.LineStr}
	if d.Alt != nil {
		main.alt = &space{d: d.Alt, id: 1}
		spaces = append(spaces, main.alt)
		secs[secStr+2], secs[secLineStr+2] = d.Alt.Str, d.Alt.LineStr
	}
	var tasks []task
	var total int64
	budget := minBudget
	for _, sp := range spaces {
		for _, u := range sp.d.Units() {
			tasks = append(tasks, task{u, sp})
			total += int64(u.End - u.Off)
		}
		budget += maxReread * len(sp.d.Abbrev)
	}
	// Units that share abbreviations come one behind the other, so that these are compiled once.
	slices.SortStableFunc(tasks, func(a, b task) int {
		return cmp.Or(cmp.Compare(a.sp.id, b.sp.id), cmp.Compare(a.u.AbbrevOffset(), b.u.AbbrevOffset()))
	})
	jobs := max(1, min(opt.Jobs, (len(tasks)+batch-1)/batch))
	seed := rand.Uint64()
	workers := make([]*worker, jobs)
	var next, done atomic.Int64
	var mu sync.Mutex // of Progress and Log
	g, ctx := errgroup.WithContext(ctx)
	damaged := 0
	for i := range workers {
		w := newWorker(secs, seed, budget, int(total)/jobs)
		workers[i] = w
		g.Go(func() error {
			for {
				from := int(next.Add(batch)) - batch
				if from >= len(tasks) {
					return nil
				}
				size := int64(0)
				for _, t := range tasks[from:min(from+batch, len(tasks))] {
					if err := ctx.Err(); err != nil {
						return err
					}
					size += int64(t.u.End - t.u.Off)
					if err := mapfile.Guard(t.sp.d.Name, func() error { return w.unit(t) }); err != nil {
						mu.Lock()
						if damaged++; damaged <= maxComplaints {
							opt.Log.Warn("debug information is damaged; what lies behind is not indexed", "error", err)
						}
						mu.Unlock()
					}
				}
				if opt.Progress != nil {
					mu.Lock()
					opt.Progress(done.Add(size), total)
					mu.Unlock()
				}
			}
		})
	}
	if err := g.Wait(); err != nil {
		return nil, err
	}
	if damaged > maxComplaints {
		opt.Log.Warn("debug information is damaged", "file", d.Name, "units", damaged, "of", len(tasks))
	}
	var b []byte
	err := mapfile.Guard(d.Name, func() (err error) {
		m := &merger{seed: seed}
		for _, w := range workers {
			if len(w.entries) >= maxEntries {
				opt.Log.Warn("there are more definitions than can be right; not all of them are indexed", "file", d.Name, "kept", maxEntries)
				break
			}
		}
		for _, w := range workers[1:] {
			workers[0].join(w)
		}
		m.add(workers[0])
		workers = nil
		if total > largeInfo {
			runtime.GC() // half of what the workers made is garbage, and the image is as large
		}
		b, err = m.image()
		return err
	})
	return b, err
}

const (
	// maxComplaints bounds the damaged units that are named one by one.
	maxComplaints = 8
	// maxReread is how many times the abbreviations may be read: units share them, and units refer to each other.
	maxReread = 16
	minBudget = 1 << 20
	// largeInfo is the size of .debug_info, in bytes, from which the garbage of a scan is worth collecting: a kernel's, no
	// module's.
	largeInfo = 32 << 20
)

func (w *worker) unit(t task) error {
	u, err := w.open(t.u, t.sp, true)
	if err != nil {
		return err
	}
	return w.scan(u)
}
