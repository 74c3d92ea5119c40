package convert_test

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/convert"
	"kdx/dumpfmt/elfcore"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/dumpfmt/kdump"
	"kdx/internal/codec"
)

// runs is a source whose neighbours are read together, with pages of zeros and such that can't be read among them.
type runs struct {
	pages map[uint64][]byte // nil: can't be read
	info  dumpfmt.Info
}

var errBroken = errors.New("input/output error")

func (s *runs) Info() *dumpfmt.Info { return &s.info }
func (s *runs) Close() error        { return nil }

func (s *runs) State(pfn uint64) dumpfmt.PageState {
	if _, ok := s.pages[pfn]; !ok {
		return dumpfmt.Absent
	}
	return dumpfmt.Present
}

func (s *runs) ReadPage(dst []byte, pfn uint64) error {
	if s.pages[pfn] == nil {
		return &dumpfmt.PageError{PFN: pfn, State: dumpfmt.Unreadable, Err: errBroken}
	}
	copy(dst, s.pages[pfn])
	return nil
}

func (s *runs) ReadRun(dst []byte, pfn uint64) int {
	n := 0
	for ; len(dst) >= 4096 && s.pages[pfn+uint64(n)] != nil; n++ {
		copy(dst, s.pages[pfn+uint64(n)])
		dst = dst[4096:]
	}
	return n
}

// TestPlain writes pages of each kind in every order to outputs that take them as they are.
func TestPlain(t *testing.T) {
	im := image()
	src := &runs{pages: make(map[uint64][]byte), info: *openKdump(t, dumptest.Kdump{Version: 6, Codecs: []uint32{0}}.Build(im)).Info()}
	src.info.Ranges, src.info.MaxPFN = []dumpfmt.PhysRange{{Start: 0, End: 1200 << 12}}, 1200
	var pages dumpfmt.PageSet
	rnd := rand.New(rand.NewPCG(3, 4))
	zeros, broken := uint64(0), uint64(0)
	for pfn := range uint64(1200) {
		page := make([]byte, 4096)
		switch kind := rnd.IntN(8); {
		case kind < 3:
			page[rnd.IntN(4096)] = byte(pfn) | 1
		case pfn > 600 && kind == 3:
			page = nil
			broken++
		default:
			zeros++
		}
		src.pages[pfn] = page
		pages.Add(pfn)
	}
	for _, form := range []string{"kdump", "ELF"} {
		for _, zeroPages := range []bool{false, true} {
			var out disk
			var w dumpfmt.PageWriter
			var err error
			if form == "ELF" {
				w, err = elfcore.NewPageWriter(&out, elfcore.WriterConfig{Info: &src.info, Pages: &pages, ZeroPages: zeroPages})
			} else {
				level := 0
				if zeroPages {
					level = 1
				}
				w, err = kdump.NewPageWriter(&out, kdump.Config{Info: &src.info, Pages: &pages, Codec: codec.Raw, DumpLevel: level})
			}
			if err != nil {
				t.Fatal(err)
			}
			rep, err := convert.Run(t.Context(), convert.Job{Source: src, Pages: &pages, Writer: w, ZeroPages: zeroPages})
			if err != nil || rep.Missing != broken || rep.Pages != 1200 || zeroPages && rep.Zero != zeros || !zeroPages && form == "kdump" && rep.Shared != zeros || !errors.Is(rep.Errors[0], errBroken) {
				t.Fatalf("%s: %+v, %v; want %d pages of zeros and %d missing", form, rep, err, zeros, broken)
			}
			var got dumpfmt.Source
			if form == "ELF" {
				got, err = elfcore.Open(file(out.b))
			} else {
				got = openKdump(t, out.b)
			}
			if err != nil {
				t.Fatal(err)
			}
			page := make([]byte, 4096)
			for pfn, want := range src.pages {
				if err := got.ReadPage(page, pfn); (err != nil) != (want == nil) || err == nil && !bytes.Equal(page, want) {
					t.Fatalf("%s, zeros left out %v: page %#x: error = %v, or other bytes", form, zeroPages, pfn, err)
				}
			}
		}
	}
}
