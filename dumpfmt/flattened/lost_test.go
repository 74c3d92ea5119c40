package flattened

import (
	"bytes"
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/elfcore"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/dumpfmt/kdump"
)

// orders are those in which the records of a stream come.
var orders = map[string]func(n int) []int{
	"in order":  inOrderOf,
	"backwards": func(n int) []int { o := inOrderOf(n); slices.Reverse(o); return o },
	"the start first": func(n int) []int {
		o := inOrderOf(n)
		rest := o[min(n, 10):]
		rand.New(rand.NewPCG(1, uint64(n))).Shuffle(len(rest), func(i, j int) { rest[i], rest[j] = rest[j], rest[i] })
		return o
	},
	"the end first": func(n int) []int { o := inOrderOf(n); return append(o[n/2:], o[:n/2]...) },
	"any":           func(n int) []int { return rand.New(rand.NewPCG(2, uint64(n))).Perm(n) },
	"any other":     func(n int) []int { return rand.New(rand.NewPCG(3, uint64(n))).Perm(n) },
}

func inOrderOf(n int) []int {
	o := make([]int, n)
	for i := range o {
		o[i] = i
	}
	return o
}

// cutStream flattens a file in records of the size that come in the order, and ends behind the first few of them.
func cutStream(t *testing.T, file []byte, size int, order []int, few int) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	for _, i := range order[:few] {
		if _, err := w.WriteAt(file[i*size:min((i+1)*size, len(file))], int64(i*size)); err != nil {
			t.Fatal(err)
		}
	}
	return b.Bytes()
}

// opened opens a dump of either format; nil if there is none.
func opened(f *dumpfmt.File) dumpfmt.Source {
	var head [64]byte
	n, _ := f.ReadFull(head[:], 0)
	if kdump.Probe(head[:n]) {
		if s, err := kdump.Open(context.Background(), []*dumpfmt.File{f}); err == nil {
			return s
		}
	}
	if elfcore.Probe(head[:n]) {
		if s, err := elfcore.Open(f); err == nil {
			return s
		}
	}
	return nil
}

// checkNoneWrong fails if a page reads as other bytes than it had, or as excluded or as zeros for sure if it was neither. It counts
// the pages that can be read.
func checkNoneWrong(t *testing.T, name string, im *dumptest.Image, src dumpfmt.Source) int {
	t.Helper()
	if src == nil {
		return 0
	}
	if !src.Info().Incomplete {
		t.Fatalf("%s: the dump does not say that it is incomplete", name)
	}
	n := 0
	page, zeros := make([]byte, im.PageSize), make([]byte, im.PageSize)
	for pfn := range im.MaxPFN + 10 {
		if pfn > 0x60 && pfn < 0x1fe0 {
			continue // far from any memory
		}
		p := im.Pages[pfn]
		st := src.State(pfn)
		if err := src.ReadPage(page, pfn); err != nil {
			continue
		}
		switch {
		case p.State == dumpfmt.Absent:
			t.Fatalf("%s: page %#x, where there is no memory, is %v", name, pfn, st)
		case p.Data != nil && !bytes.Equal(page, p.Data), p.Data == nil && !bytes.Equal(page, zeros):
			t.Fatalf("%s: page %#x (%v, was %v) has other bytes", name, pfn, st, p.State)
		case p.State == dumpfmt.Excluded && st != dumpfmt.ZeroOrExcluded:
			t.Fatalf("%s: page %#x, which was left out, is %v", name, pfn, st)
		}
		n++
	}
	if got := src.Info().Notes; len(got) > 3 {
		t.Fatalf("%s: %d notes", name, len(got))
	}
	for i, note := range src.Info().Notes {
		want := dumptest.Note(nil, im.Order, note.Name, note.Type, note.Desc)
		if !bytes.Contains(im.Notes, want) {
			t.Fatalf("%s: note %d, %q, has other bytes", name, i, note.Name)
		}
	}
	return n
}

// TestLost cuts streams whose records come in all sorts of orders, and reads them as they are and put in order: what never came must
// not read as zeros, nor as another page.
func TestLost(t *testing.T) {
	im := image()
	for form, whole := range map[string][]byte{
		"kdump, raw":     dumptest.Kdump{Version: 6, Codecs: []uint32{0}}.Build(im),
		"kdump, zlib":    dumptest.Kdump{Version: 6, Codecs: []uint32{1, 0}, Erase: "erased something"}.Build(im),
		"kdump, a part":  dumptest.Kdump{Version: 6, Codecs: []uint32{0}, Start: 0x20, End: 0x1ff8}.Build(im),
		"ELF":            dumptest.ELF{}.Build(im),
		"ELF, overlap":   dumptest.ELF{Overlap: true}.Build(im),
		"ELF of 32 bits": dumptest.ELF{Class: 32}.Build(im),
		"ELF, many":      dumptest.ELF{XNum: true, Backward: true}.Build(im),
	} {
		for order, shuffled := range orders {
			for _, size := range []int{700, 5000} {
				n := (len(whole) + size - 1) / size
				all := shuffled(n)
				read := 0
				for few := 1; few < n; few += 1 + n/7 {
					flat := cutStream(t, whole, size, all, few)
					name := fmt.Sprintf("%s, %s, %d of %d records of %d", form, order, few, n, size)
					f, err := Open(t.Context(), &dumpfmt.File{Name: "flat", Size: int64(len(flat)), ReaderAt: bytes.NewReader(flat)}, nil)
					if err != nil {
						t.Fatalf("%s: %v", name, err)
					}
					read = checkNoneWrong(t, name+", as it is", im, opened(f))
					var out memory
					if _, err := Rearrange(t.Context(), bytes.NewReader(flat), &out, nil); err == nil {
						t.Fatalf("%s: no error", name)
					}
					got := checkNoneWrong(t, name+", put in order", im, opened(&dumpfmt.File{Name: "vmcore", Size: int64(len(out.b)), ReaderAt: bytes.NewReader(out.b)}))
					if got > read || got < read && form[:3] != "ELF" {
						t.Fatalf("%s: %d pages can be read as it is, put in order %d", name, read, got)
					}
				}
				if order == "in order" && read < len(im.PFNs())/3 {
					t.Errorf("%s, %s: before the last records come only %d pages can be read", form, order, read)
				}
			}
		}
	}
}

// TestLostOnDisk: what a full disk did not take is as lost as what did not come.
func TestLostOnDisk(t *testing.T) {
	im := image()
	whole := dumptest.Kdump{Version: 6, Codecs: []uint32{0}}.Build(im)
	const size = 5000
	order := orders["the start first"]((len(whole) + size - 1) / size)
	flat := cutStream(t, whole, size, order, len(order))
	for room := int64(10000); room < int64(len(whole)); room += 7777 {
		out := memory{room: room}
		if _, err := Rearrange(t.Context(), bytes.NewReader(flat), &out, nil); err == nil {
			t.Fatal("no error")
		}
		checkNoneWrong(t, fmt.Sprint("room for ", room), im, opened(&dumpfmt.File{Name: "vmcore", Size: int64(len(out.b)), ReaderAt: bytes.NewReader(out.b)}))
	}
}

func TestCovered(t *testing.T) {
	rnd := rand.New(rand.NewPCG(9, 9))
	for range 200 {
		var c covered
		var want [300]bool
		for range rnd.IntN(40) {
			at := rnd.IntN(280)
			n := 1 + rnd.IntN(20)
			c.add(int64(at), int64(n))
			for i := at; i < at+n; i++ {
				want[i] = true
			}
		}
		next := func(from int, state bool) int64 {
			for i := from; i < len(want); i++ {
				if want[i] == state {
					return int64(i)
				}
			}
			return int64(len(want))
		}
		for i := range len(want) {
			if got := c.nextGap(int64(i), 300); got != next(i, false) {
				t.Fatalf("%v: gap behind %d at %d; want %d", c.spans, i, got, next(i, false))
			}
			if got := c.nextData(int64(i), 300); got != next(i, true) {
				t.Fatalf("%v: bytes behind %d at %d; want %d", c.spans, i, got, next(i, true))
			}
		}
	}
	var c covered
	for i := range int64(maxSpans + 1000) {
		c.add(i*10, 5)
	}
	if len(c.spans) > maxSpans || c.nextGap(0, 1<<40) != 5 || c.nextData(5, 1<<40) != 10 {
		t.Errorf("%d spans", len(c.spans))
	}
}

// TestLostFarAway: memory behind a large gap is found in a stream that was cut, too: the bitmaps' zeros came.
func TestLostFarAway(t *testing.T) {
	info := image().Info()
	far := uint64(5<<21 + 7)
	info.MaxPFN, info.Ranges = far+1, []dumpfmt.PhysRange{{Start: 0, End: 4096}, {Start: dumpfmt.Phys(far << 12), End: dumpfmt.Phys((far + 1) << 12)}}
	var pages dumpfmt.PageSet
	pages.Add(0)
	pages.Add(far)
	var b bytes.Buffer
	flat, err := NewWriter(&b)
	if err != nil {
		t.Fatal(err)
	}
	w, err := kdump.NewPageWriter(flat, kdump.Config{Info: info, Pages: &pages})
	if err != nil {
		t.Fatal(err)
	}
	page := bytes.Repeat([]byte("page"), 1024)
	for pfn := range pages.All() {
		if err := w.Put(dumpfmt.Stored{PFN: pfn, Data: page}); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil { // but not the stream
		t.Fatal(err)
	}
	f, err := Open(t.Context(), &dumpfmt.File{Name: "flat", Size: int64(b.Len()), ReaderAt: bytes.NewReader(b.Bytes())}, nil)
	if err != nil {
		t.Fatal(err)
	}
	src := opened(f)
	got := make([]byte, 4096)
	if src == nil {
		t.Fatal("the stream that was cut is no dump")
	}
	if err := src.ReadPage(got, far); err != nil || !bytes.Equal(got, page) || !src.Info().Incomplete {
		t.Errorf("page %#x: other bytes, or %v", far, err)
	}
}
