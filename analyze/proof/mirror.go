package proof

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"sync"

	"kdx/analyze/arch"
	"kdx/analyze/kernel"
	"kdx/analyze/task"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
)

// checker is one Check.
type checker struct {
	full    *kernel.Kernel
	in, out *dumpfmt.Image
	opt     Options

	mu       sync.Mutex
	present  dumpfmt.PageSet // pages that are known to be in the output
	compared dumpfmt.PageSet // and to have the right bytes
	failures []failure
	failed   []uint64 // by area
	doubted  []uint64
	doubts   dumpfmt.PageSet
	layout   func() *layout
	buffers  sync.Pool

	once  sync.Once
	table *task.Table // see tasksOf
	err   error
}

// failure is a Failure and where it stands among others.
type failure struct {
	Failure
	area  int
	doubt bool
}

// why a page must be there.
type why int

const (
	byPlace   why = iota // the kernel has it for as long as it runs, or maps it for itself
	byPointer            // something points to it, which may be wrong: kernels that crash have their reasons
)

// maxFailures of each area are kept; a dump with more is as useless as one with these.
const maxFailures = 100

// pass is the check of one area: a kernel whose memory is read through the output.
type pass struct {
	c        *checker
	area     int
	name     string
	ctx      context.Context
	v        *kernel.View // reads through the output, see mirror
	want     []byte
	got      []byte
	n        int    // pages of spans, for the choice of those that are compared
	at       uint64 // the address of the page of a span; 0 elsewhere
	pages    uint64
	compared uint64
	absent   uint64
	waived   uint64
}

// mirrorCache bounds the pages that one area remembers, in bytes.
const mirrorCache = 512 << 10

func (c *checker) newPass(ctx context.Context, area int, name string) (*pass, error) {
	size := c.in.Info().PageSize
	p := &pass{c: c, area: area, name: name, ctx: ctx, want: make([]byte, size), got: make([]byte, size)}
	img := dumpfmt.NewImage(&mirror{p}, dumpfmt.Options{CacheBytes: mirrorCache})
	a, err := arch.New(env{img, c.full.VMCoreInfo()})
	if err != nil {
		return p, err
	}
	k := kernel.New(kernel.Config{Image: img, Arch: a, VMCoreInfo: c.full.VMCoreInfo(), Symbols: c.full.Symbols(), Log: c.full.Log()})
	p.v = k.View(ctx)
	err = a.Late(func(name string) (uint64, error) {
		s, err := k.Symbol(name)
		if err != nil {
			return 0, err
		}
		return k.Word(vmem.Addr(s.Addr))
	})
	if err != nil {
		p.v.Gap("the direct map", err)
	}
	return p, nil
}

func (p *pass) gaps() ([]kernel.Gap, int) {
	if p.v == nil {
		return nil, 0
	}
	return p.v.Gaps()
}

// tasksOf reads the tasks, once for all areas.
func (p *pass) tasksOf() (*task.Table, error) {
	p.c.once.Do(func() { p.c.table, p.c.err = task.Read(p.v) })
	return p.c.table, p.c.err
}

type env struct {
	img *dumpfmt.Image
	vci *vmcoreinfo.Info
}

func (e env) Image() *dumpfmt.Image        { return e.img }
func (e env) VMCoreInfo() *vmcoreinfo.Info { return e.vci }

// mirror gives the input's pages, and holds each against the output's as it is read. So a walk goes on behind a page that is
// wrong, and finds further ones.
type mirror struct{ p *pass }

func (m *mirror) Info() *dumpfmt.Info { return m.p.c.in.Info() }
func (m *mirror) Close() error        { return nil }

// State never says Zero: the Image would not ask for such a page.
func (m *mirror) State(pfn uint64) dumpfmt.PageState {
	if s := m.p.c.in.State(pfn); !s.Readable() {
		return s
	}
	return dumpfmt.Present
}

// ReadPage may be called by several goroutines, those of an unwinder for one.
func (m *mirror) ReadPage(dst []byte, pfn uint64) error {
	c := m.p.c
	if err := c.in.Source().ReadPage(dst, pfn); err != nil {
		return err
	}
	todo, first := c.claim(pfn, true)
	if !todo {
		return nil
	}
	b := c.buffers.Get().(*buffers)
	defer c.buffers.Put(b)
	copy(b.want, dst)
	m.p.count(first, c.compare(m.p, pfn, b.want, b.got, byPointer))
	return nil
}

// buffers are a page of the input and one of the output.
type buffers struct{ want, got []byte }

// claim reports whether this is still to be proven of the page, and whether it is the first that is asked of it.
func (c *checker) claim(pfn uint64, compare bool) (todo, first bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	first = !c.present.Has(pfn)
	todo = first || compare && !c.compared.Has(pfn)
	c.present.Add(pfn)
	if compare {
		c.compared.Add(pfn)
	}
	return todo, first
}

// verdict is what compare found.
type verdict int

const (
	there verdict = iota // its state says so
	equal                // and so do its bytes
	waived
	wrong
	doubtful
	notInInput
)

// count counts a page under its area, once.
func (p *pass) count(first bool, v verdict) {
	p.c.mu.Lock()
	defer p.c.mu.Unlock()
	if first && (v == there || v == equal) {
		p.pages++
	}
	switch v {
	case equal:
		p.compared++
	case waived:
		p.waived++
	case notInInput:
		p.absent++
	}
}

// need proves that the page is in the output, if it is in the input; and that its bytes are the same, if compare. The
// error is the context's.
func (p *pass) need(pfn uint64, compare bool, w why) error {
	p.n++
	if p.n%64 == 0 && p.ctx.Err() != nil {
		return p.ctx.Err()
	}
	switch p.c.in.State(pfn) {
	case dumpfmt.Present, dumpfmt.Zero:
	case dumpfmt.Absent:
		return nil // a device's memory
	default:
		p.count(false, notInInput)
		return nil
	}
	todo, first := p.c.claim(pfn, compare)
	if !todo && (w != byPlace || !p.c.isDoubted(pfn)) {
		return nil
	}
	v := p.c.state(p, pfn, w)
	st := p.c.out.State(pfn)
	if v == there && (compare || st != dumpfmt.Present) {
		if err := p.c.in.Source().ReadPage(p.want, pfn); err != nil {
			v = notInInput
		} else {
			v = p.c.compare(p, pfn, p.want, p.got, w)
		}
	}
	p.count(first, v)
	return nil
}

// state looks at no bytes.
func (c *checker) state(p *pass, pfn uint64, w why) verdict {
	if c.opt.Waived != nil && c.opt.Waived(pfn) {
		return waived
	}
	if st := c.out.State(pfn); !st.Readable() {
		return c.missing(p, Failure{PFN: pfn, Found: st.String()}, w)
	}
	return there
}

// missing is a page that the output does not hold.
func (c *checker) missing(p *pass, f Failure, w why) verdict {
	if w == byPointer && c.givenAway(f.PFN) {
		c.doubt(p, f)
		return doubtful
	}
	c.fail(p, f)
	return wrong
}

// compare holds want, the input's page, which it may write to, against the output's. A page that the output does not hold
// but says, or lets one take, for zeros is compared in any case: that costs nothing.
func (c *checker) compare(p *pass, pfn uint64, want, got []byte, w why) verdict {
	if v := c.state(p, pfn, w); v != there {
		return v
	}
	if c.opt.Change != nil && (c.opt.Untouched == nil || !c.opt.Untouched(pfn)) {
		if _, err := c.opt.Change(pfn, want); err != nil {
			c.fail(p, Failure{PFN: pfn, Found: "not known", Detail: "what should be in it can't be told: " + err.Error()})
			return wrong
		}
	}
	st := c.out.State(pfn)
	if err := c.out.Source().ReadPage(got, pfn); err != nil {
		var pe *dumpfmt.PageError
		if errors.As(err, &pe) {
			st = pe.State
		}
		c.fail(p, Failure{PFN: pfn, Found: st.String(), Detail: err.Error()})
		return wrong
	}
	if bytes.Equal(want, got) || c.full.Live() {
		return equal
	}
	at := firstDifference(want, got)
	n := min(8, len(want)-at)
	f := Failure{PFN: pfn, Found: st.String(), Detail: fmt.Sprintf("byte %#x and on: % x; the input has % x", at, got[at:at+n], want[at:at+n])}
	if st == dumpfmt.ZeroOrExcluded {
		return c.missing(p, f, w)
	}
	c.fail(p, f)
	return wrong
}

func firstDifference(a, b []byte) int {
	for i := range a {
		if a[i] != b[i] {
			return i
		}
	}
	return len(a)
}

func (c *checker) fail(p *pass, f Failure) { c.record(p, f, false) }

// isDoubted: it is not there, and that was doubtful when somebody else asked.
func (c *checker) isDoubted(pfn uint64) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.doubts.Has(pfn)
}

func (c *checker) doubt(p *pass, f Failure) { c.record(p, f, true) }

func (c *checker) record(p *pass, f Failure, doubt bool) {
	f.Check, f.At = p.name, vmem.Addr(p.at)
	f.Addr = dumpfmt.Phys(f.PFN * c.in.Info().PageSize)
	c.mu.Lock()
	defer c.mu.Unlock()
	n := &c.failed[p.area]
	if doubt {
		n = &c.doubted[p.area]
		c.doubts.Add(f.PFN)
	}
	if *n++; *n <= maxFailures {
		c.failures = append(c.failures, failure{f, p.area, doubt})
	}
}
