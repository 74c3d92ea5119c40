package sweep

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"kdx/dumpfmt"
)

func info(ranges ...dumpfmt.PhysRange) *dumpfmt.Info {
	return &dumpfmt.Info{PageSize: 4096, Ranges: ranges}
}

func TestChunks(t *testing.T) {
	a := info(dumpfmt.PhysRange{Start: 0x1000, End: 0x3800}, dumpfmt.PhysRange{Start: 0x3f00, End: 0x5000}, dumpfmt.PhysRange{Start: 0x100000, End: 0x110001})
	b := info(dumpfmt.PhysRange{Start: 0x18000, End: 0x19000}, dumpfmt.PhysRange{Start: 0xff000, End: 0x101000})
	for _, test := range []struct {
		infos []*dumpfmt.Info
		want  []uint64
	}{
		{[]*dumpfmt.Info{a}, []uint64{0, 4, 0x100, 0x104, 0x108, 0x10c, 0x110}},
		{[]*dumpfmt.Info{b}, []uint64{0x18, 0xfc, 0x100}},
		{[]*dumpfmt.Info{a, b}, []uint64{0, 4, 0x18, 0xfc, 0x100, 0x104, 0x108, 0x10c, 0x110}},
		{[]*dumpfmt.Info{info()}, nil},
	} {
		var got []uint64
		for c := range Chunks(4, test.infos...) {
			if c.To != c.From+4 {
				t.Errorf("chunk %v", c)
			}
			got = append(got, c.From)
		}
		if !slices.Equal(got, test.want) {
			t.Errorf("chunks %#x; want %#x", got, test.want)
		}
	}
	for c := range Chunks(1, info(dumpfmt.PhysRange{Start: 1 << 63, End: 1<<64 - 1})) { // it ends when nobody asks on
		if c.From != 1<<51 {
			t.Errorf("chunk %#x", c.From)
		}
		break
	}
}

func TestPages(t *testing.T) {
	in := info(dumpfmt.PhysRange{Start: 0x1000, End: 0x3800}, dumpfmt.PhysRange{Start: 0x100000, End: 0x101000})
	if n := Pages(in); n != 4 || Bounded(in) != nil {
		t.Errorf("%d pages, %v; want 4", n, Bounded(in))
	}
	in = info(dumpfmt.PhysRange{Start: 0, End: 1 << 62})
	in.Files = []string{"vmcore"}
	if err := Bounded(in); err == nil {
		t.Error("4 EiB of memory are taken for true")
	}
}

func TestOrder(t *testing.T) {
	in := info(dumpfmt.PhysRange{Start: 0, End: 500 << 12})
	var got []uint64
	err := Run(t.Context(), 7, Chunks(1, in), func() int { return 0 }, func(_ context.Context, _ int, c Chunk) (uint64, error) {
		time.Sleep(time.Duration(c.From%5) * 10 * time.Microsecond)
		return c.From, nil
	}, func(c Chunk, r uint64) error {
		if c.From != r {
			t.Errorf("chunk %d has the result of %d", c.From, r)
		}
		got = append(got, r)
		return nil
	})
	if err != nil || len(got) != 500 || !slices.IsSorted(got) {
		t.Errorf("%d results, sorted: %v, error = %v", len(got), slices.IsSorted(got), err)
	}
}

func TestErrors(t *testing.T) {
	in := info(dumpfmt.PhysRange{Start: 0, End: 500 << 12})
	bad := errors.New("bad")
	run := func(ctx context.Context, do, fold error) error {
		return Run(ctx, 3, Chunks(1, in), func() int { return 0 },
			func(_ context.Context, _ int, c Chunk) (int, error) {
				if c.From == 77 {
					return 0, do
				}
				return 0, nil
			}, func(c Chunk, _ int) error {
				if c.From == 99 {
					return fold
				}
				return nil
			})
	}
	if err := run(t.Context(), bad, nil); err != bad {
		t.Errorf("error of do: %v", err)
	}
	if err := run(t.Context(), nil, bad); err != bad {
		t.Errorf("error of fold: %v", err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := run(ctx, nil, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
}
