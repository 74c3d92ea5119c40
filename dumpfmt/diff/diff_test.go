package diff

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/describe"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/internal/dumptest"
)

func small() *dumptest.Image { return dumptest.Small(binary.LittleEndian, 8, "x86_64", 62) }

var allCodecs = []uint32{1, 2, 4, 0x20, 0}

func kdump(im *dumptest.Image) []byte {
	return dumptest.Kdump{Version: 6, Codecs: allCodecs}.Build(im)
}

func open(t *testing.T, b []byte) *dumpfmt.Image {
	t.Helper()
	im, err := formats.Open(t.Context(), []string{dumptest.File(t, "vmcore", b)}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { im.Close() })
	return im
}

func diff(t *testing.T, a, b []byte, opt Options) *Report {
	t.Helper()
	r, err := Compare(t.Context(), open(t, a), open(t, b), opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func text(t *testing.T, r *Report) string {
	t.Helper()
	var b strings.Builder
	if err := r.Text(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestSame(t *testing.T) {
	im := small()
	plain := im.Plain()
	for _, test := range []struct {
		name string
		a, b []byte
	}{
		{"other codecs", kdump(im), dumptest.Kdump{Version: 6, Codecs: []uint32{0}}.Build(im)},
		{"flattened", dumptest.Flatten(kdump(im), 5000), kdump(im)},
		{"ELF and kdump", dumptest.ELF{Overlap: true}.Build(plain), kdump(plain)},
		{"filtered ELF and kdump", dumptest.ELF{}.Build(im), kdump(im)},
		{"two filtered ELF files", dumptest.ELF{}.Build(im), dumptest.ELF{Backward: true}.Build(im)},
	} {
		for _, workers := range []int{0, 1, 3} {
			if r := diff(t, test.a, test.b, Options{Workers: workers}); !r.Same || r.Pages.Same == 0 {
				t.Errorf("%s: %s", test.name, text(t, r))
			}
		}
	}
}

// TestDifferent changes one thing of the image.
func TestDifferent(t *testing.T) {
	data := func(pfn uint64) []byte { return bytes.Clone(small().Pages[pfn].Data) }
	for _, test := range []struct {
		name   string
		change func(im *dumptest.Image)
		common bool // also if only common pages count
		want   []string
	}{
		{"a byte", func(im *dumptest.Image) {
			d := data(5)
			d[4000]++
			im.Pages[5] = dumptest.Page{State: dumpfmt.Present, Data: d}
		}, true,
			[]string{"1 different", "DIFFERENT: page 0x5, at 0x5000", "DIFFERENT: pages\n"}},
		{"a zero page with bytes", func(im *dumptest.Image) { im.Pages[2] = dumptest.Page{State: dumpfmt.Present, Data: data(5)} }, true,
			[]string{"1 different", "zero in A, present in B"}},
		{"a page left out", func(im *dumptest.Image) { im.Pages[5] = dumptest.Page{State: dumpfmt.Excluded} }, false,
			[]string{"1 only in A", "present in A, excluded in B"}},
		{"a page more", func(im *dumptest.Image) { im.Pages[3] = dumptest.Page{State: dumpfmt.Zero} }, false,
			[]string{"1 only in B", "excluded in A, zero in B"}},
		{"less memory", func(im *dumptest.Image) { delete(im.Pages, 0x1ff5) }, false,
			[]string{"1 only in A", "absent in B", "4 KiB are RAM only in A", "0x1ff5000 to 0x1ff6000", "map of memory, pages"}},
		{"less memory that nobody holds", func(im *dumptest.Image) { delete(im.Pages, 3) }, false,
			[]string{"1 pages are excluded in A and absent in B", "DIFFERENT: map of memory\n"}},
		{"registers", func(im *dumptest.Image) { im.Notes[20+112] ^= 1 }, true, []string{`CPU note 0: r15: 0x1000 in A, 0x1001 in B`, "NOTES: ", "registers, notes"}},
		{"pid", func(im *dumptest.Image) { im.Notes[20+32]++ }, true, []string{"CPU note 0: pid: 0x4d in A, 0x4e in B"}},
		{"VMCOREINFO", func(im *dumptest.Image) {
			im.Text = strings.Replace(im.Text, "PAGESIZE", "PAGESIZ2", 1)
			im.Notes = bytes.Replace(im.Notes, []byte("PAGESIZE"), []byte("PAGESIZ2"), 1)
		}, true, []string{"PAGESIZE: 4096 in A, none in B", "PAGESIZ2: none in A, 4096 in B", "VMCOREINFO, notes"}},
		{"another kernel", func(im *dumptest.Image) {
			im.Notes = bytes.Replace(im.Notes, []byte("6.1.0-test"), []byte("6.1.1-test"), 1)
		}, true,
			[]string{"release: 6.1.0-test in A, 6.1.1-test in B"}},
		{"a note more", func(im *dumptest.Image) { im.Notes = dumptest.Note(im.Notes, im.Order, "CORE", 1, []byte("too short")) }, false,
			[]string{`"CORE" type 0x1, no. 3: none in A, 9 bytes in B`}},
	} {
		im := small()
		test.change(im)
		r := diff(t, kdump(small()), kdump(im), Options{})
		got := text(t, r)
		for _, want := range test.want {
			if r.Same || !strings.Contains(got, want) {
				t.Errorf("%s: want %q in\n%s", test.name, want, got)
			}
		}
		if r := diff(t, kdump(small()), kdump(im), Options{Common: true}); r.Same == test.common {
			t.Errorf("%s, common: same is %v\n%s", test.name, r.Same, text(t, r))
		}
	}
}

// TestHoles: what is known to have been left out is not taken for zeros.
func TestHoles(t *testing.T) {
	im, full := small(), small()
	full.Pages[3] = dumptest.Page{State: dumpfmt.Present, Data: small().Pages[5].Data}
	full.Pages[4] = dumptest.Page{State: dumpfmt.Zero}
	r := diff(t, dumptest.ELF{}.Build(im), kdump(full), Options{})
	if r.Same || r.Pages.OnlyB != 1 || r.Pages.NotTold == 0 || r.Pages.Different != 0 {
		t.Errorf("%s", text(t, r))
	}
}

func TestUnreadable(t *testing.T) {
	k := dumptest.Kdump{Version: 6, Codecs: allCodecs, Lost: 3}
	r := diff(t, k.Build(small()), k.Build(small()), Options{})
	if !r.Same || !r.Unsure() || r.Pages.Unreadable != 3 || !strings.Contains(text(t, r), "3 pages can be read in neither") {
		t.Errorf("%s", text(t, r))
	}
	r = diff(t, k.Build(small()), kdump(small()), Options{})
	if r.Same || r.Pages.OnlyB != 3 {
		t.Errorf("%s", text(t, r))
	}
}

func TestPageSizes(t *testing.T) {
	im := small()
	big := dumptest.Small(binary.LittleEndian, 8, "aarch64", 183)
	big.PageSize = 16384
	big.Text = strings.Replace(big.Text, "4096", "16384", 1)
	big.Notes = dumptest.Note(nil, big.Order, "VMCOREINFO", 0, []byte(big.Text))
	for pfn, p := range big.Pages {
		if p.Data != nil {
			p.Data = bytes.Repeat(p.Data, 4)
			big.Pages[pfn] = p
		}
	}
	r := diff(t, kdump(im), kdump(big), Options{})
	if got := text(t, r); r.Same || r.Pages != nil || !strings.Contains(got, "size of pages: 4096 bytes in A, 16384 bytes in B") {
		t.Errorf("%s", got)
	}
}

func TestAllPages(t *testing.T) {
	a, b := small(), small()
	for pfn, p := range b.Pages {
		if p.State == dumpfmt.Present && pfn%2 == 0 {
			p.Data = bytes.Clone(p.Data)
			p.Data[0]++
			b.Pages[pfn] = p
		}
	}
	few, all := diff(t, kdump(a), kdump(b), Options{}), diff(t, kdump(a), kdump(b), Options{AllPages: true})
	if len(few.Pages.Ranges) != fewRanges || all.Pages.RangesMore != 0 || uint64(len(all.Pages.Ranges)) != few.Pages.RangesMore+fewRanges {
		t.Errorf("%d ranges and %d more; all are %d", len(few.Pages.Ranges), few.Pages.RangesMore, len(all.Pages.Ranges))
	}
	doc, err := json.Marshal(all)
	if err != nil || !strings.Contains(string(doc), `{"kind":"different","from":"0x8","to":"0x9","a":"present","b":"present"}`) {
		t.Errorf("%v: %s", err, doc)
	}
}

// TestJoin: ranges go on over the ends of chunks.
func TestJoin(t *testing.T) {
	ta := newTally(Options{})
	for i := range uint64(5) {
		ta.add(run{from: i * 10, to: i*10 + 10, kind: onlyA, a: dumpfmt.Present, b: dumpfmt.Absent})
	}
	ta.add(run{from: 50, to: 60, kind: same, a: dumpfmt.Present, b: dumpfmt.Present})
	ta.add(run{from: 60, to: 70, kind: onlyA, a: dumpfmt.Present, b: dumpfmt.Excluded})
	p := ta.pages()
	if len(p.Ranges) != 2 || p.Ranges[0].To != 50 || p.OnlyA != 60 || len(p.States) != 2 {
		t.Errorf("%+v", p)
	}
}

func TestWithout(t *testing.T) {
	r := func(n ...dumpfmt.Phys) (out []dumpfmt.PhysRange) {
		for i := 0; i < len(n); i += 2 {
			out = append(out, dumpfmt.PhysRange{Start: n[i], End: n[i+1]})
		}
		return out
	}
	got, total := without(r(0, 100, 200, 300, 400, 500), r(10, 20, 30, 210, 220, 230, 290, 450))
	want := []describe.Range{{Start: 0, End: 10}, {Start: 20, End: 30}, {Start: 210, End: 220}, {Start: 230, End: 290}, {Start: 450, End: 500}}
	if total != 140 || len(got) != len(want) {
		t.Fatalf("%v, %d bytes", got, total)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("range %d is %v; want %v", i, got[i], want[i])
		}
	}
}

func TestCancelled(t *testing.T) {
	im := open(t, kdump(small()))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Compare(ctx, im, im, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}
