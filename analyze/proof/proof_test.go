package proof

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"kdx/analyze"
	"kdx/analyze/kernel"
	"kdx/analyze/task"
	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/vmcoreinfo"
)

// altered is a dump in which pages are missing or wrong.
type altered struct {
	dumpfmt.Source
	info  *dumpfmt.Info
	state map[uint64]dumpfmt.PageState
	flip  map[uint64]int // a byte of the page
}

func (a *altered) Info() *dumpfmt.Info {
	if a.info != nil {
		return a.info
	}
	return a.Source.Info()
}

func (a *altered) State(pfn uint64) dumpfmt.PageState {
	if s, ok := a.state[pfn]; ok {
		return s
	}
	return a.Source.State(pfn)
}

func (a *altered) ReadPage(dst []byte, pfn uint64) error {
	if s, ok := a.state[pfn]; ok {
		if !s.Readable() {
			return &dumpfmt.PageError{PFN: pfn, State: s, Level: 31}
		}
		clear(dst)
		return nil
	}
	if err := a.Source.ReadPage(dst, pfn); err != nil {
		return err
	}
	if at, ok := a.flip[pfn]; ok {
		dst[at] ^= 1
	}
	return nil
}

func open(t testing.TB, name string) *kernel.Kernel {
	t.Helper()
	img, err := formats.Open(context.Background(), []string{filepath.Join("../../testdata/dumps", name, "vmcore")}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	k, err := analyze.Open(context.Background(), img, analyze.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func check(t *testing.T, k *kernel.Kernel, a *altered, opt Options, of []area) Report {
	t.Helper()
	a.Source = k.Image().Source()
	opt.Budget = -1
	r, err := newChecker(k, dumpfmt.NewImage(a, dumpfmt.Options{}), opt).run(context.Background(), of)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestEqual: a dump is a proper output of itself. The small dumps hold less than kernels need; what they hold is looked at.
func TestEqual(t *testing.T) {
	for _, name := range []string{"5.10", "6.1", "6.12", "7.2"} {
		k := open(t, name)
		r := check(t, k, &altered{}, Options{}, areas)
		if !r.OK() || r.Err() != nil {
			t.Errorf("%s: %s", name, r.Text())
		}
		if r.Pages < 1000 || r.Compared < 500 || r.Compared > r.Pages {
			t.Errorf("%s: %d pages, %d compared", name, r.Pages, r.Compared)
		}
		for _, c := range r.Checked {
			if c.Unfinished || strings.Contains(c.Note, "symbol") {
				t.Errorf("%s: %+v", name, c)
			}
		}
		if name != "7.2" {
			continue
		}
		all := check(t, k, &altered{}, Options{Every: 1}, areas)
		if all.Pages != r.Pages || all.Compared != all.Pages {
			t.Errorf("%s: comparing all: %d pages, %d compared; want %d", name, all.Pages, all.Compared, r.Pages)
		}
	}
}

// initPage is the page of init's task_struct, where the direct map leads.
func initPage(t *testing.T, k *kernel.Kernel) uint64 {
	t.Helper()
	tasks, err := task.Read(k.View(context.Background()))
	if err != nil {
		t.Fatal(err)
	}
	f, err := k.Arch().Kernel().Translate(uint64(tasks.ByPID(1).Addr))
	if err != nil {
		t.Fatal(err)
	}
	return uint64(f.Phys) / k.PageSize()
}

func TestWrong(t *testing.T) {
	k := open(t, "6.12")
	pfn := initPage(t, k)
	few := slices.DeleteFunc(slices.Clone(areas), func(a area) bool { return !strings.HasPrefix(a.name, "headers") && !strings.HasPrefix(a.name, "tasks") })
	vci := k.Image().Info().VMCoreInfo
	with := func(f func(*dumpfmt.Info)) *dumpfmt.Info {
		info := *k.Image().Info()
		f(&info)
		return &info
	}
	for name, tc := range map[string]struct {
		out  altered
		opt  Options
		want string // "" if nothing is wrong
	}{
		"excluded":          {altered{state: map[uint64]dumpfmt.PageState{pfn: dumpfmt.Excluded}}, Options{}, "should be present and is excluded"},
		"absent":            {altered{state: map[uint64]dumpfmt.PageState{pfn: dumpfmt.Absent}}, Options{}, "should be present and is absent"},
		"a hole":            {altered{state: map[uint64]dumpfmt.PageState{pfn: dumpfmt.ZeroOrExcluded}}, Options{}, "is zero or excluded: byte"},
		"taken for zeros":   {altered{state: map[uint64]dumpfmt.PageState{pfn: dumpfmt.Zero}}, Options{}, "is zero: byte"},
		"damaged":           {altered{state: map[uint64]dumpfmt.PageState{pfn: dumpfmt.Unreadable}}, Options{}, "is unreadable"},
		"one bit":           {altered{flip: map[uint64]int{pfn: 100}}, Options{}, "byte 0x64 and on:"},
		"the last byte":     {altered{flip: map[uint64]int{pfn: 4095}}, Options{}, "byte 0xfff and on:"},
		"asked to go":       {altered{state: map[uint64]dumpfmt.PageState{pfn: dumpfmt.Excluded}}, Options{Waived: func(p uint64) bool { return p == pfn }}, ""},
		"scrubbed":          {altered{flip: map[uint64]int{pfn: 7}}, Options{Change: flipper(pfn, 7)}, ""},
		"scrubbed too much": {altered{flip: map[uint64]int{pfn: 8}}, Options{Change: flipper(pfn, 7)}, "byte 0x7 and on:"},
		"not scrubbed":      {altered{}, Options{Change: flipper(pfn, 7)}, "byte 0x7 and on:"},
		"untouched":         {altered{}, Options{Change: flipper(pfn, 7), Untouched: func(uint64) bool { return true }}, ""},
		"scrubbing fails": {altered{}, Options{Change: func(uint64, []byte) (bool, error) { return false, errors.New("no rule") },
			Untouched: func(p uint64) bool { return p != pfn }}, "can't be told: no rule"},
		"no notes": {altered{info: with(func(i *dumpfmt.Info) { i.Notes, i.VMCoreInfo, i.CPUs = nil, nil, nil })}, Options{}, "notes: there are none"},
		"no room for notes": {altered{info: with(func(i *dumpfmt.Info) { i.Format, i.Notes, i.VMCoreInfo, i.CPUs = "lime", nil, nil, nil })},
			Options{}, ""},
		"VMCOREINFO cut": {altered{info: with(func(i *dumpfmt.Info) { i.VMCoreInfo = vmcoreinfo.Parse([]byte(vci.Text()[:300])) })}, Options{}, "is missing"},
		"VMCOREINFO differs": {altered{info: with(func(i *dumpfmt.Info) {
			i.VMCoreInfo = vci.With(vmcoreinfo.Entry{Key: "KERNELOFFSET", Value: "0"})
		})}, Options{}, "KERNELOFFSET is"},
		"fewer registers": {altered{info: with(func(i *dumpfmt.Info) { i.CPUs = i.CPUs[:1] })}, Options{}, "of 1 processors; want 2"},
		"registers":       {altered{info: with(func(i *dumpfmt.Info) { i.CPUs = []dumpfmt.CPU{i.CPUs[1], i.CPUs[0]} })}, Options{}, "note 0 differ"},
		"a note": {altered{info: with(func(i *dumpfmt.Info) { i.Notes = append([]dumpfmt.Note{{Name: "CORE", Type: 9}}, i.Notes[1:]...) })},
			Options{}, "is missing or differs"},
		"incomplete": {altered{info: with(func(i *dumpfmt.Info) { i.Incomplete = true })}, Options{}, "incomplete"},
		"page size":  {altered{info: with(func(i *dumpfmt.Info) { i.PageSize = 8192 })}, Options{}, "page size: 8192; want 4096"},
	} {
		r := check(t, k, &tc.out, tc.opt, few)
		if tc.want == "" {
			if !r.OK() {
				t.Errorf("%s: %s", name, r.Text())
			}
			continue
		}
		if r.OK() || !errors.Is(r.Err(), ErrFailed) || !strings.Contains(r.Err().Error(), tc.want) || !strings.Contains(r.Text(), tc.want) {
			t.Errorf("%s: %v; want %q", name, r.Err(), tc.want)
		}
	}
}

func flipper(pfn uint64, at int) func(uint64, []byte) (bool, error) {
	return func(p uint64, page []byte) (bool, error) {
		if p != pfn {
			return false, nil
		}
		page[at] ^= 1
		return true, nil
	}
}

// TestAllGone: an output without any page is wrong everywhere, and what is said stays bounded.
func TestAllGone(t *testing.T) {
	k := open(t, "7.2")
	gone := make(map[uint64]dumpfmt.PageState)
	for pfn := range k.Image().Info().MaxPFN {
		gone[pfn] = dumpfmt.Excluded
	}
	r := check(t, k, &altered{state: gone}, Options{}, areas)
	if r.Pages != 0 || r.Failed < 1000 || len(r.Failures) != maxFailures {
		t.Errorf("%d pages, %d failed, %d said", r.Pages, r.Failed, len(r.Failures))
	}
	if n := len(strings.Split(r.Err().Error(), "\n")); n > 8 {
		t.Errorf("the error has %d lines", n)
	}
}

func TestBudget(t *testing.T) {
	k := open(t, "6.12")
	ctx, cancel := context.WithCancel(context.Background())
	r, err := Check(ctx, k, k.Image(), Options{Budget: 1})
	if err != nil || !r.OK() || len(r.Unchecked()) != len(areas) || !strings.Contains(r.Summary(), "no time for all of") {
		t.Errorf("Check = %v, %v; want that nothing was looked at", r.Text(), err)
	}
	cancel()
	if _, err := Check(ctx, k, k.Image(), Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("Check = %v; want that it was cancelled", err)
	}
	if d := DefaultBudget(4 << 30); d != 600*time.Millisecond {
		t.Errorf("DefaultBudget(4 GiB) = %v", d)
	}
}

func BenchmarkCheck(b *testing.B) {
	k := open(b, "6.12")
	for b.Loop() {
		if r, err := Check(context.Background(), k, k.Image(), Options{Budget: -1}); err != nil || !r.OK() {
			b.Fatal(err, r.Text())
		}
	}
}
