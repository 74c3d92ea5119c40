package mm

import (
	"errors"
	"fmt"
	"iter"
	"runtime"
	"sync"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// Chunk is a run of struct pages as they lie in memory.
type Chunk struct {
	First uint64 // pfn
	raw   []byte
	pages *Pages
}

// Len is how many pages it has.
func (c Chunk) Len() uint64 { return uint64(len(c.raw)) / c.pages.size }

// Page decodes the i-th.
func (c Chunk) Page(i uint64) Page {
	return c.pages.decode(c.raw[i*c.pages.size:(i+1)*c.pages.size], c.First+i)
}

// Raw is the i-th struct page.
func (c Chunk) Raw(i uint64) []byte { return c.raw[i*c.pages.size : (i+1)*c.pages.size] }

// chunkPages is how many pages a worker takes at once: 256 KiB of struct pages.
const chunkPages = 4096

type pageRun struct{ first, end uint64 }

// runs are the pages that have a struct page: of each section that has a map or, where sections can't be read, all.
func (p *Pages) runs(v *kernel.View) []pageRun {
	ss, err := Sections(v)
	if err != nil || len(ss) == 0 {
		return []pageRun{{0, p.maxPFN}}
	}
	var out []pageRun
	for _, s := range ss {
		if !s.HasMap {
			continue
		}
		if n := len(out); n > 0 && out[n-1].end == s.First {
			out[n-1].end += s.Pages
			continue
		}
		out = append(out, pageRun{s.First, s.First + s.Pages})
	}
	return out
}

// chunks splits runs into what workers take.
func chunks(runs []pageRun) iter.Seq[pageRun] {
	return func(yield func(pageRun) bool) {
		for _, r := range runs {
			for first := r.first; first < r.end; first += chunkPages {
				if !yield(pageRun{first, min(first+chunkPages, r.end)}) {
					return
				}
			}
		}
	}
}

// Scan reads all struct pages on all cores and yields what f makes of them, in the order of memory. f is called for each run that
// could be read, from several goroutines at once, with a View of its own, and keeps nothing of the Chunk; what could not be read is
// a gap of v.
func Scan[T any](v *kernel.View, p *Pages, f func(v *kernel.View, c Chunk) T) iter.Seq[T] {
	return func(yield func(T) bool) {
		type answer struct {
			made []T
			view *kernel.View
		}
		type job struct {
			pageRun
			done chan answer
		}
		workers := runtime.GOMAXPROCS(0)
		jobs := make(chan job)
		order := make(chan job, 2*workers) // what is under way: it bounds how far workers run ahead
		stop := make(chan struct{})
		var busy sync.WaitGroup
		defer busy.Wait() // nobody reads the dump any more when the walk is over
		defer close(stop)
		runs := p.runs(v)
		go func() {
			defer close(jobs)
			defer close(order)
			for r := range chunks(runs) {
				j := job{r, make(chan answer, 1)}
				select {
				case order <- j:
				case <-stop:
					return
				}
				select {
				case jobs <- j:
				case <-stop:
					return
				}
			}
		}()
		for range workers {
			busy.Go(func() {
				buf := make([]byte, chunkPages*p.size)
				for j := range jobs {
					fork := v.Fork()
					var a answer
					p.read(fork, j.pageRun, buf, func(c Chunk) { a.made = append(a.made, f(fork, c)) })
					a.view = fork
					j.done <- a
				}
			})
		}
		for j := range order {
			var a answer
			select {
			case a = <-j.done:
			case <-v.Context().Done():
				return
			}
			v.Merge(a.view)
			for _, t := range a.made {
				if !yield(t) {
					return
				}
			}
			if v.Context().Err() != nil {
				return
			}
		}
	}
}

// read reads the struct pages of r in as many pieces as holes of the dump leave.
func (p *Pages) read(v *kernel.View, r pageRun, buf []byte, f func(Chunk)) {
	var lost uint64
	var first error
	for pfn := r.first; pfn < r.end; {
		want := buf[:(r.end-pfn)*p.size]
		n, err := v.ReadMemory(want, uint64(p.Of(pfn)))
		whole := uint64(n) / p.size
		if whole > 0 {
			f(Chunk{First: pfn, raw: want[:whole*p.size], pages: p})
		}
		pfn += whole
		if err == nil {
			continue
		}
		if v.Context().Err() != nil {
			return
		}
		// On to the next page of struct pages.
		step := max(1, (v.PageSize()-uint64(p.Of(pfn))%v.PageSize()+p.size-1)/p.size)
		step = min(step, r.end-pfn)
		if notThere(err) && !p.anyRAM(v, pfn, step) {
			pfn += step // a hole of the machine's memory has no struct pages
			continue
		}
		if first == nil {
			first = err
		}
		lost += step
		pfn += step
	}
	if lost > 0 {
		v.Gap(fmt.Sprintf("struct pages of %d of the pages from %#x to %#x", lost, r.first, r.end-1), first)
	}
}

func notThere(err error) bool {
	var fault *vmem.FaultError
	return errors.As(err, &fault) && fault.Err == nil
}

func (p *Pages) anyRAM(v *kernel.View, pfn, n uint64) bool {
	for i := range n {
		if v.Image().State(pfn + i).RAM() {
			return true
		}
	}
	return false
}

// Shared counts the pages to which there is more than one reference and that are not reserved: what crash calls SHARED. Most are
// mapped by several processes, or mapped and in the page cache.
func Shared(v *kernel.View, p *Pages) (uint64, error) {
	reserved, t, err := v.Symbols().Enumerator("PG_reserved")
	if err != nil {
		return 0, err
	}
	if t.Name != "pageflags" || reserved < 0 || reserved > 63 {
		return 0, errors.New("PG_reserved is no page flag of this kernel")
	}
	var sum uint64
	for n := range Scan(v, p, func(_ *kernel.View, c Chunk) uint64 {
		n := uint64(0)
		for i := range c.Len() {
			raw := c.Raw(i)
			if p.flags(raw)>>reserved&1 == 0 && p.refcount(raw) > 1 {
				n++
			}
		}
		return n
	}) {
		sum += n
	}
	return sum, v.Context().Err()
}
