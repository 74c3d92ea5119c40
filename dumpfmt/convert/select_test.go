package convert_test

import (
	"context"
	"errors"
	"slices"
	"sync/atomic"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/convert"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/dumpfmt/kdump"
	"kdx/internal/codec"
)

// every picks each 1000th page, and counts how often it is asked for a page for the first time and again.
type every struct{ first, again atomic.Uint64 }

func (e *every) pick(ctx context.Context, from, to uint64, keep *dumpfmt.PageSet, again bool) error {
	if again {
		e.again.Add(to - from)
	} else {
		e.first.Add(to - from)
	}
	for pfn := (from + 999) / 1000 * 1000; pfn < to; pfn += 1000 {
		keep.Add(pfn)
	}
	return ctx.Err()
}

func TestSelect(t *testing.T) {
	const page = 4096
	ranges := []dumpfmt.PhysRange{{Start: 0x1000, End: 0x1000}, {Start: 0x1000, End: 0x9fc00}, {Start: 0x9fd00, End: 1 << 30}, {Start: 5 << 30, End: 9<<30 + 1}}
	var want []uint64
	ram := uint64(0)
	for pfn := range uint64(9<<30/page + 1) {
		if pfn >= 1 && pfn < 1<<30/page || pfn >= 5<<30/page {
			ram++
			if pfn%1000 == 0 {
				want = append(want, pfn)
			}
		}
	}
	for _, memory := range []int64{0, 1000} {
		var e every
		pages, err := convert.Select(t.Context(), e.pick, ranges, page, memory)
		if err != nil {
			t.Fatal(err)
		}
		if _, set := pages.(*dumpfmt.PageSet); set != (memory == 0) {
			t.Errorf("with %d bytes of memory the pages are a %T", memory, pages)
		}
		for range 2 {
			if got := slices.Collect(pages.All()); !slices.Equal(got, want) || dumpfmt.PagesErr(pages) != nil {
				t.Errorf("memory %d: %d pages, %v; want %d", memory, len(got), dumpfmt.PagesErr(pages), len(want))
			}
		}
		if n := pages.Len(); n != uint64(len(want)) || e.first.Load() != ram || memory > 0 && e.again.Load() != ram {
			t.Errorf("memory %d: Len = %d, asked for %d pages and %d again; want %d, %d", memory, n, e.first.Load(), e.again.Load(), len(want), ram)
		}
		for range pages.All() {
			break
		}
	}
	pages, _ := convert.Select(t.Context(), new(every).pick, ranges, page, 1000)
	if n := pages.Len(); n != uint64(len(want)) {
		t.Errorf("Len before All = %d; want %d", n, len(want))
	}
}

func TestSelectFails(t *testing.T) {
	wrong := errors.New("the memory map is damaged")
	fail := func(_ context.Context, from, _ uint64, _ *dumpfmt.PageSet, _ bool) error {
		if from > 1<<19 {
			return wrong
		}
		return nil
	}
	ranges := []dumpfmt.PhysRange{{End: 1 << 33}}
	if _, err := convert.Select(t.Context(), fail, ranges, 4096, 0); !errors.Is(err, wrong) {
		t.Errorf("Select = %v; want what the selector said", err)
	}
	pages, err := convert.Select(t.Context(), fail, ranges, 4096, 1)
	if err != nil {
		t.Fatal(err)
	}
	for range pages.All() {
	}
	if err := dumpfmt.PagesErr(pages); !errors.Is(err, wrong) {
		t.Errorf("Err = %v; want what the selector said", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	pages, err = convert.Select(ctx, new(every).pick, ranges, 4096, 1)
	if err != nil {
		t.Fatal(err)
	}
	cancel()
	for range pages.All() {
	}
	if err := dumpfmt.PagesErr(pages); !errors.Is(err, context.Canceled) {
		t.Errorf("Err = %v; want that it was cancelled", err)
	}
}

// TestWindows writes pages that are chosen anew for bitmaps and pages; a selector that changes its mind is found out.
func TestWindows(t *testing.T) {
	im := image()
	want := kept(im)
	src := openKdump(t, dumptest.Kdump{Version: 6, Codecs: []uint32{1}}.Build(im))
	for _, fickle := range []bool{false, true} {
		sel := func(_ context.Context, from, to uint64, keep *dumpfmt.PageSet, again bool) error {
			for pfn := from; pfn < to; pfn++ {
				if want.Has(pfn) && !(fickle && again && pfn == 1) {
					keep.Add(pfn)
				}
			}
			if fickle && again {
				keep.Add(from + 3)
			}
			return nil
		}
		pages, err := convert.Select(t.Context(), sel, src.Info().Ranges, 4096, 1)
		if err != nil {
			t.Fatal(err)
		}
		var out disk
		w, err := kdump.NewPageWriter(&out, kdump.Config{Info: src.Info(), Pages: pages, Codec: codec.LZO, DumpLevel: 1})
		if err != nil {
			t.Fatal(err)
		}
		rep, err := convert.Run(t.Context(), convert.Job{Source: src, Pages: pages, Writer: w, ZeroPages: true, Memory: 1})
		if fickle {
			if err == nil {
				t.Error("other pages than were announced were written without error")
			}
			continue
		}
		if err != nil || rep.Pages != want.Len() {
			t.Fatalf("%+v, %v; want %d pages", rep, err, want.Len())
		}
		checkPages(t, im, openKdump(t, out.b))
	}
}
