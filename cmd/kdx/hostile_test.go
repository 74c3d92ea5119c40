package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"kdx/analyze"
	"kdx/analyze/kernel"
	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/repl"
	"kdx/repl/commands"
)

// damaged is a dump whose pages are not what the file holds: some are missing, some hold other bytes. It also
// remembers which pages were read.
type damaged struct {
	dumpfmt.Source
	missing map[uint64]dumpfmt.PageState
	change  map[uint64]func(pfn uint64, page []byte)

	mu   sync.Mutex
	read map[uint64]bool // nil: not recorded
}

func (d *damaged) State(pfn uint64) dumpfmt.PageState {
	if st, ok := d.missing[pfn]; ok {
		return st
	}
	st := d.Source.State(pfn)
	if d.change[pfn] != nil && st.Readable() {
		return dumpfmt.Present
	}
	return st
}

func (d *damaged) ReadPage(dst []byte, pfn uint64) error {
	if d.read != nil {
		d.mu.Lock()
		d.read[pfn] = true
		d.mu.Unlock()
	}
	if st, ok := d.missing[pfn]; ok {
		pe := &dumpfmt.PageError{Addr: dumpfmt.Phys(pfn * d.Info().PageSize), PFN: pfn, State: st, Level: 31}
		if st == dumpfmt.Unreadable {
			pe.Err = errors.New("zlib: invalid data")
		}
		return pe
	}
	if err := d.Source.ReadPage(dst, pfn); err != nil {
		return err
	}
	if f := d.change[pfn]; f != nil {
		f(pfn, dst)
	}
	return nil
}

// Close leaves the file open: many damaged dumps share it.
func (d *damaged) Close() error { return nil }

// hostileMore are lines that run on each damaged dump beside those of testdata/lines.
var hostileMore = []string{
	"sys config", "log -m -d", "ps -t", "ps -a", "ps -r", "ps -p", "ps -g", "ps -c", "ps -l -C a", "bt -R schedule", "foreach bt -f", "foreach bt -F", "foreach bt -t",
	"foreach bt -e", "foreach task -R comm,pid,mm", "foreach UN bt", "foreach set", "kmem -S task_struct", "kmem -S kmalloc-64", "kmem -p | head -50", "task 1", "set 1",
	"p *init_task.mm", "p init_task.tasks.next->next", "p init_task.comm[0] + 1", "struct task_struct init_task", "struct list_head modules", "struct module",
	"union thread_union", "init_task", "task_struct.pid,comm init_task", "whatis -m task_struct", "whatis -m list_head", "whatis task_struct", "rd -8 linux_banner 10000",
	"vtop linux_banner", "vtop 0x1000", "vtop ffffc90000000000", "vtop -u 7f0000000000", "list -h init_task -o task_struct.tasks -s task_struct.pid,comm",
	"list -r -H modules", "tree -t maple sparse_irqs", "tree -t xarray init_pid_ns.idr", "tree -t rbtree vmap_area_root", "tree -t radix init_task",
	"tree -t maple init_task", "tree -t rbtree init_task", "dis panic", "dis -r do_syscall_64+10", "dis init_task 50", "sym init_task", "sym -p schedule",
	"sym -n schedule", "sym -q module", "ptov 0", "ptov 1000", "pte 8000000011a001e3", "eval 1k", "ascii linux_banner",
}

// hostileLines are the commands that run on each damaged dump: each with each of its flags, as TestLines sees to it.
func hostileLines(t testing.TB) []string {
	t.Helper()
	var out []string
	for _, n := range needLines(t) {
		out = append(out, n.line)
	}
	return append(out, hostileMore...)
}

// oneIn is one in n of what is there, if the race detector runs.
func oneIn[T any](n int, all []T) []T {
	if !raceDetector {
		return all
	}
	var few []T
	for i := 0; i < len(all); i += n {
		few = append(few, all[i])
	}
	return few
}

// clean is a dump that is damaged in memory, again and again.
type clean struct {
	name  string
	src   dumpfmt.Source
	pages []uint64 // those that hostileLines have something of, sorted
}

var errTooMuch = errors.New("more output than any dump of this size has")

// boundedBuffer keeps what a command wrote, up to a limit.
type boundedBuffer struct {
	bytes.Buffer
	limit int
}

func (b *boundedBuffer) Write(p []byte) (int, error) {
	if b.Len()+len(p) > b.limit {
		return 0, errTooMuch
	}
	return b.Buffer.Write(p)
}

// smallDump is open until the test ends.
func smallDump(t testing.TB) *dumpfmt.Image {
	t.Helper()
	img, err := formats.Open(context.Background(), []string{"../../testdata/dumps/6.12/vmcore"}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

func openImage(t testing.TB, img *dumpfmt.Image) *kernel.Kernel {
	t.Helper()
	k, err := analyze.Open(context.Background(), img, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func openHostile(src dumpfmt.Source) (*kernel.Kernel, error) {
	return analyze.Open(context.Background(), dumpfmt.NewImage(src, dumpfmt.Options{}), analyze.Options{})
}

// hostileRun runs one line and reports a panic, too much output, too much memory, or a command that does not stop
// when it is cancelled.
func hostileRun(t testing.TB, k *kernel.Kernel, line, what string, patience time.Duration) string {
	t.Helper()
	out := &boundedBuffer{limit: 64 << 20}
	s := repl.New(repl.Config{Kernel: k, Commands: commands.All(), In: strings.NewReader(""), Out: out, Err: out, JSON: len(line)%3 == 0})
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	done := make(chan struct{})
	begin := time.Now()
	go func() {
		defer close(done)
		s.Line(ctx, line)
	}()
	select {
	case <-done:
	case <-time.After(patience + 20*time.Second): // race detectors and slow machines included
		buf := make([]byte, 1<<20)
		buf = buf[:runtime.Stack(buf, true)]
		t.Fatalf("%s: %s: does not stop when it is cancelled\n%s", what, line, buf)
	}
	if os.Getenv("KDX_HOSTILE_SLOW") != "" && time.Since(begin) > 2*time.Second {
		t.Logf("%s: %s: slow: %v", what, line, time.Since(begin))
	}
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 2<<30 {
		t.Errorf("%s: %s: allocated %d MiB", what, line, n>>20)
	}
	text := out.String()
	if i := strings.Index(text, "a mistake in kdx"); i >= 0 {
		t.Errorf("%s: %s: %.3000s", what, line, text[i:])
	}
	if strings.Contains(text, errTooMuch.Error()) {
		t.Errorf("%s: %s: %v: %.300s", what, line, errTooMuch, text)
	}
	return text
}

// openSources opens the dumps that are damaged in memory; they stay open, as tests share them.
func openSources(t testing.TB) []*clean {
	t.Helper()
	pattern := "../../testdata/dumps/*/vmcore"
	if p := os.Getenv("KDX_HOSTILE_DUMPS"); p != "" {
		pattern = p
	}
	files, _ := filepath.Glob(pattern)
	if len(files) == 0 {
		t.Fatalf("there is no dump %s", pattern)
	}
	var out []*clean
	for _, f := range files {
		img, err := formats.Open(context.Background(), []string{f}, formats.Options{})
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, &clean{name: filepath.Base(filepath.Dir(f)), src: img.Source()})
	}
	return out
}

// hostileDumps are these, and which of their pages commands read: those that a distilled dump holds. Of any other dump all lines are run
// to find out, which takes a while.
func hostileDumps(t testing.TB) []*clean {
	t.Helper()
	dumps := openSources(t)
	for _, c := range dumps {
		if os.Getenv("KDX_HOSTILE_DUMPS") != "" {
			c.findPages(t)
			continue
		}
		for pfn := range c.src.Info().MaxPFN {
			if c.src.State(pfn).Readable() {
				c.pages = append(c.pages, pfn)
			}
		}
	}
	return dumps
}

// findPages runs all lines to see which pages they read.
func (c *clean) findPages(t testing.TB) {
	t.Helper()
	d := &damaged{Source: c.src, read: make(map[uint64]bool)}
	k, err := openHostile(d)
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range hostileLines(t) {
		hostileRun(t, k, line, c.name+" undamaged", time.Minute)
	}
	for pfn := range d.read {
		c.pages = append(c.pages, pfn)
	}
	slices.Sort(c.pages)
}

// harm makes a damaged dump out of a seed.
func (c *clean) harm(seed uint64) (*damaged, *rand.Rand) {
	r := rand.New(rand.NewPCG(seed, 1))
	d := &damaged{Source: c.src, missing: make(map[uint64]dumpfmt.PageState), change: make(map[uint64]func(uint64, []byte))}
	states := []dumpfmt.PageState{dumpfmt.Excluded, dumpfmt.Unreadable, dumpfmt.Absent}
	// From a single page to a good part of those that commands read.
	n := 1 + r.IntN(1+len(c.pages)>>(1+r.IntN(9)))
	base := r.IntN(len(c.pages)) // half the seeds damage neighbours, so that one structure is hit often
	near := r.IntN(2) == 0
	kind := r.IntN(8)
	for range n {
		i := r.IntN(len(c.pages))
		if near {
			i = (base + r.IntN(min(len(c.pages), 2*n))) % len(c.pages)
		}
		pfn := c.pages[i]
		how := kind
		if kind == 7 {
			how = r.IntN(7)
		}
		s := r.Uint64()
		switch how {
		case 0, 1:
			d.missing[pfn] = states[r.IntN(len(states))]
		default:
			d.change[pfn] = func(pfn uint64, page []byte) { spoil(rand.New(rand.NewPCG(s, pfn)), how, page) }
		}
	}
	return d, r
}

// spoil changes a page in one of several ways.
func spoil(r *rand.Rand, how int, page []byte) {
	words := len(page) / 8
	word := func(i int) uint64 {
		var v uint64
		for b := 7; b >= 0; b-- {
			v = v<<8 | uint64(page[i*8+b])
		}
		return v
	}
	set := func(i int, v uint64) {
		for b := range 8 {
			page[i*8+b] = byte(v >> (8 * b))
		}
	}
	switch how {
	case 2: // a few bits
		for range 1 + r.IntN(40) {
			page[r.IntN(len(page))] ^= 1 << r.IntN(8)
		}
	case 3: // noise
		for i := range words {
			set(i, r.Uint64())
		}
	case 4: // pointers become other pointers of the page: loops, shared ends, crossed lists
		var at []int
		for i := range words {
			if word(i)>>47 == 1<<17-1 {
				at = append(at, i)
			}
		}
		for _, i := range at {
			if r.IntN(3) == 0 {
				set(i, word(at[r.IntN(len(at))]))
			}
		}
	case 5: // small numbers (counts, lengths, indexes) become large or negative ones
		for i := range words {
			if v := word(i); v < 1<<20 && r.IntN(8) == 0 {
				set(i, []uint64{1<<64 - 1, 1 << 63, 1<<31 - 1, 1 << 31, 1<<32 - 1, 1 << 40, v + 1, 7}[r.IntN(8)])
			}
		}
	case 6: // looks like pointers to anything
		for i := range words {
			if r.IntN(4) == 0 {
				set(i, 0xffff888000000000|r.Uint64N(512<<20)&^7)
			}
		}
	}
}

// seedsAsked are those of KDX_HOSTILE_SEEDS; without, all up to a number.
func seedsAsked(t testing.TB, otherwise uint64) (from, to uint64, asked bool) {
	t.Helper()
	s := os.Getenv("KDX_HOSTILE_SEEDS")
	if s == "" {
		return 0, otherwise, false
	}
	a, b, _ := strings.Cut(s, "-")
	from, err1 := strconv.ParseUint(a, 10, 64)
	to, err2 := strconv.ParseUint(b, 10, 64)
	if err := errors.Join(err1, err2); err != nil {
		t.Fatal(err)
	}
	return from, to, true
}

// TestHostile damages the dumps that ship with kdx and runs some of the commands on each. KDX_HOSTILE_SEEDS=FROM-TO runs these
// seeds with all lines; KDX_HOSTILE_DUMPS names other dumps.
func TestHostile(t *testing.T) {
	to, share := uint64(24), 12
	switch {
	case raceDetector:
		to, share = 2, 60
	case testing.Short():
		to = 6
	}
	from, to, asked := seedsAsked(t, to)
	if asked {
		share = 1
	}
	dumps := hostileDumps(t)
	for seed := from; seed < to; seed++ {
		dumps[seed%uint64(len(dumps))].hostile(t, seed, share)
	}
}

// hostile runs one in share of the lines on a dump that is damaged by seed.
func (c *clean) hostile(t testing.TB, seed uint64, share int) {
	t.Helper()
	d, r := c.harm(seed)
	k, err := openHostile(d)
	if err != nil {
		return // a kernel that can't be opened is an answer
	}
	for _, line := range hostileLines(t) {
		if r.IntN(share) == 0 {
			hostileRun(t, k, line, fmt.Sprintf("%s seed %d", c.name, seed), 10*time.Second)
		}
	}
}

// FuzzCommands runs a command on a dump that is damaged by a seed.
func FuzzCommands(f *testing.F) {
	dumps, lines := hostileDumps(f), hostileLines(f)
	for i := range uint64(8) {
		f.Add(i, uint16(i*29))
	}
	f.Fuzz(func(t *testing.T, seed uint64, line uint16) {
		c := dumps[seed%uint64(len(dumps))]
		d, _ := c.harm(seed)
		k, err := openHostile(d)
		if err != nil {
			return
		}
		hostileRun(t, k, lines[int(line)%len(lines)], c.name, 10*time.Second)
	})
}

// TestConcurrent runs commands of many sessions at once on one kernel: under -race it finds what is shared unguarded.
func TestConcurrent(t *testing.T) {
	img := smallDump(t)
	k := openImage(t, img)
	lines := hostileLines(t)
	var wg sync.WaitGroup
	for g := range 4 {
		wg.Go(func() {
			for i := range len(lines) / 8 {
				hostileRun(t, k, lines[(i*17+g*3)%len(lines)], "concurrent", time.Minute)
			}
		})
	}
	wg.Wait()
}

// TestCancelled: a command whose context is already over ends without running on.
func TestCancelled(t *testing.T) {
	img := smallDump(t)
	k := openImage(t, img)
	for _, line := range oneIn(5, hostileLines(t)) {
		hostileRun(t, k, line, "cancelled", time.Nanosecond)
	}
	// In the middle of long ones.
	for _, line := range []string{"foreach bt -f", "foreach bt -S", "kmem -S", "kmem -v", "sym -l", "foreach task -R se", "foreach struct task_struct", "kmem -p", "tree -t maple sparse_irqs"} {
		for _, after := range oneIn(3, []time.Duration{5 * time.Millisecond, time.Millisecond, 25 * time.Millisecond}) {
			hostileRun(t, openImage(t, img), line, "cancelled early", after) // with nothing opened yet
		}
	}
	// Whoever was cancelled first must not have spoiled the kernel for the next.
	for _, line := range []string{"sys", "ps", "bt", "log", "mod"} {
		var out bytes.Buffer
		s := repl.New(repl.Config{Kernel: k, Commands: commands.All(), In: strings.NewReader(""), Out: &out, Err: &out})
		if st, _ := s.Line(context.Background(), line); st != repl.OK {
			t.Errorf("after a cancelled command, %s = status %v; want %v: %.500s", line, st, repl.OK, out.String())
		}
	}
}
