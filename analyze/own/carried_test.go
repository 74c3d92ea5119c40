package own_test

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"strings"
	"testing"

	"kdx/analyze/exclude"
	"kdx/analyze/kernel"
	"kdx/analyze/own"
	"kdx/analyze/proof"
	"kdx/analyze/resolved"
	"kdx/analyze/triage"
	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
)

// without is a dump some of whose pages can't be read.
type without struct {
	dumpfmt.Source
	gone dumpfmt.PageSet
}

func (w *without) State(pfn uint64) dumpfmt.PageState {
	if w.gone.Has(pfn) {
		return dumpfmt.Unreadable
	}
	return w.Source.State(pfn)
}

func (w *without) ReadPage(p []byte, pfn uint64) error {
	if w.gone.Has(pfn) {
		return &dumpfmt.PageError{Addr: dumpfmt.Phys(pfn * w.Info().PageSize), PFN: pfn, State: dumpfmt.Unreadable, Level: -1}
	}
	return w.Source.ReadPage(p, pfn)
}

// seen is what saving a dump makes of a kernel.
type seen struct {
	pages  []uint64 // that stay at level 31
	gaps   []string
	triage string
	notes  []string // of the self-check
}

func look(t *testing.T, k *kernel.Kernel) seen {
	t.Helper()
	ctx := t.Context()
	var s seen
	f, err := exclude.Open(k.Core().View(ctx))
	if err != nil {
		t.Fatal(err)
	}
	var keep dumpfmt.PageSet
	if err := f.Select(ctx, exclude.MaxLevel, 0, k.Image().Info().MaxPFN, &keep, nil); err != nil {
		t.Fatal(err)
	}
	s.pages = slices.Collect(keep.All())
	for _, g := range f.Gaps() {
		s.gaps = append(s.gaps, g.String())
	}
	rep := triage.Make(ctx, k.Core())
	text, err := json.Marshal(rep)
	if err != nil {
		t.Fatal(err)
	}
	s.triage = string(text)
	p, err := proof.Check(ctx, k, k.Image(), proof.Options{Budget: -1})
	if err != nil {
		t.Fatal(err)
	}
	if !p.OK() {
		t.Error(p.Err())
	}
	for _, c := range p.Checked {
		if c.Name != "symbols, types, unwind tables" {
			s.notes = append(s.notes, c.Name+": "+c.Note)
		}
	}
	return s
}

// TestCarried: where none of the dump's own types can be read, those that were taken along serve as well for all that saving it needs. A name that
// somebody begins to ask, and that package resolved doesn't list, shows here.
func TestCarried(t *testing.T) {
	for _, release := range []string{"5.10", "6.1", "6.12", "7.2"} {
		t.Run(release, func(t *testing.T) {
			img, err := formats.Open(context.Background(), []string{"../../testdata/dumps/" + release + "/vmcore"}, formats.Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer img.Close()
			k, err := own.Open(t.Context(), img, nil, nil)
			if err != nil {
				t.Fatal(err)
			}
			want := look(t, k)

			holed := &without{Source: img.Source()}
			start, err1 := k.Symbol("__start_BTF")
			stop, err2 := k.Symbol("__stop_BTF")
			if err1 != nil || err2 != nil {
				t.Fatal(err1, err2)
			}
			data := make([]byte, stop.Addr-start.Addr)
			if _, err := k.ReadMemory(data, start.Addr); err != nil {
				t.Fatal(err)
			}
			page := img.Info().PageSize
			for at := start.Addr &^ (page - 1); at+page <= stop.Addr; at += page {
				f, err := k.Arch().Kernel().Translate(at)
				if err != nil {
					t.Fatal(err)
				}
				holed.gone.Add(uint64(f.Phys) / page)
			}
			id, _ := k.VMCoreInfo().Get("BUILD-ID")
			file, err := resolved.Make(data, release, id)
			if err != nil {
				t.Fatal(err)
			}
			if len(file) > 512<<10 {
				t.Errorf("the types take %d bytes of the initrd", len(file))
			}
			types, err := resolved.Parse(file)
			if err != nil {
				t.Fatal(err)
			}
			var log bytes.Buffer
			k, err = own.Open(t.Context(), dumpfmt.NewImage(holed, dumpfmt.Options{}), types, slog.New(slog.NewTextHandler(&log, nil)))
			if err != nil {
				t.Fatal(err)
			}
			got := look(t, k)
			if !slices.Equal(got.pages, want.pages) {
				t.Errorf("%d pages stay; want %d", len(got.pages), len(want.pages))
			}
			if !slices.Equal(got.gaps, want.gaps) || !slices.Equal(got.notes, want.notes) {
				t.Errorf("gaps\n%s; want\n%s\nnotes\n%s; want\n%s", got.gaps, want.gaps, strings.Join(got.notes, "\n"), strings.Join(want.notes, "\n"))
			}
			if strings.Contains(log.String(), "type information") {
				t.Errorf("the dump's own types were asked: %s", log.String())
			}
			if got.triage != want.triage {
				t.Errorf("triage\n%s; want\n%s", got.triage, want.triage)
			}
		})
	}
}
