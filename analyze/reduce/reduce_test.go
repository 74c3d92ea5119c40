package reduce

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdx/analyze/exclude"
	"kdx/analyze/scrub"
	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
)

// numbered is a machine of 64 pages: page n is filled with n, so that page 0 is one of zeros; 56 to 59 are holes of a filtered ELF
// file, pages from 60 on were left out.
type numbered struct{ info dumpfmt.Info }

func (n *numbered) Info() *dumpfmt.Info { return &n.info }
func (n *numbered) Close() error        { return nil }
func (n *numbered) State(pfn uint64) dumpfmt.PageState {
	switch {
	case pfn >= 64:
		return dumpfmt.Absent
	case pfn >= 60:
		return dumpfmt.Excluded
	case pfn >= 56:
		return dumpfmt.ZeroOrExcluded
	}
	return dumpfmt.Present
}

func (n *numbered) ReadPage(dst []byte, pfn uint64) error {
	st := n.State(pfn)
	if !st.Readable() {
		return &dumpfmt.PageError{PFN: pfn, State: st, Level: -1}
	}
	for i := range dst {
		dst[i] = byte(pfn)
	}
	return nil
}

func job(t *testing.T, target string) Job {
	t.Helper()
	target2, err := ParseTarget(target)
	if err != nil {
		t.Fatal(err)
	}
	src := &numbered{dumpfmt.Info{Format: "elf", Filtered: true, PageSize: 4096, ByteOrder: binary.LittleEndian, WordSize: 8, Machine: dumpfmt.MachineX86_64, MaxPFN: 100,
		Ranges: []dumpfmt.PhysRange{{Start: 0, End: 64 << 12}}, DumpLevel: -1}}
	return Job{Image: dumpfmt.NewImage(src, dumpfmt.Options{}), WhyNot: errors.New("no kernel here"), Target: target2, Codec: target2.Codec()}
}

// TestFormats: every form holds the same pages.
func TestFormats(t *testing.T) {
	names, _ := Targets()
	for _, name := range names {
		path := filepath.Join(t.TempDir(), "out")
		out, err := os.Create(path)
		if err != nil {
			t.Fatal(err)
		}
		ranges, err := os.Create(path + ".map")
		if err != nil {
			t.Fatal(err)
		}
		j := job(t, name)
		j.Outputs, j.Map = []dumpfmt.Output{out}, ranges
		r, err := Run(context.Background(), j)
		if err := errors.Join(err, out.Close(), ranges.Close()); err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if r.Copied.Pages != 56 || r.Unsure != 4 || r.Kept() || r.Recorded != exclude.MaxLevel || r.NoCheck == "" || r.Check != nil {
			t.Errorf("%s: %+v; want 56 pages, 4 of which the input is unsure left out, level 31 recorded, and no check", name, r)
		}
		img, err := formats.Open(context.Background(), []string{path}, formats.Options{})
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for _, pfn := range []uint64{0, 1, 55} {
			if p, err := img.Page(pfn); err != nil || p[100] != byte(pfn) {
				t.Errorf("%s: page %d: %v", name, pfn, err)
			}
		}
		if st := img.State(57); st.Readable() {
			t.Errorf("%s: page 57, of which the input does not know whether it was zeros, is %v", name, st)
		}
		img.Close()
	}
}

func TestStreams(t *testing.T) {
	for name, want := range map[string]string{"kdump": "makedumpfile", "elf": "makedumpfile", "lkcd": "\xed\x23\x8f\x61\x73\x01\x19\xa8", "raw": strings.Repeat("\x00", 4096) + "\x01", "lime": ""} {
		var b bytes.Buffer
		j := job(t, name)
		j.Stream = &b
		r, err := Run(context.Background(), j)
		if want == "" {
			if err == nil || b.Len() > 0 {
				t.Errorf("%s: a stream of it was written: %v", name, err)
			}
			continue
		}
		if err != nil || !strings.HasPrefix(b.String(), want) || r.Bytes != int64(b.Len()) {
			t.Errorf("%s: %v, %d bytes reported, %d written", name, err, r.Bytes, b.Len())
		}
	}
}

// TestNoKernel: what can be left out without a kernel goes, and the rest stays and is said.
func TestNoKernel(t *testing.T) {
	j := job(t, "kdump")
	j.Image.Info().DumpLevel, j.Level = 0, 31
	r, err := Run(context.Background(), j)
	if err != nil || r.Copied.Zero != 1 || !r.Kept() || r.Recorded != exclude.LevelZero || r.Bytes == 0 {
		t.Errorf("Run = %+v, %v; want one page of zeros, level 1 recorded, and a gap", r, err)
	}
	if !strings.Contains(r.Gaps[0].String(), "no kernel here") {
		t.Errorf("gap %q does not say why", r.Gaps[0])
	}
	s := r.Stats
	if s.RAM() != 64 || s.Pages[exclude.Missing] != 4 || s.Pages[exclude.Hole] != 36 {
		t.Errorf("counts %+v; want 64 pages of RAM, 4 missing, 36 holes", s)
	}
}

func TestMemory(t *testing.T) {
	j := job(t, "kdump")
	whole, err := Run(context.Background(), j)
	if err != nil {
		t.Fatal(err)
	}
	j.Memory = 1 // no room for a bit a page: pages are chosen again and again
	if r, err := Run(context.Background(), j); err != nil || r.Bytes != whole.Bytes || *r.Stats != *whole.Stats || r.Unsure != whole.Unsure {
		t.Errorf("Run in little memory = %+v, %v; want %+v", r, err, whole)
	}
}

func TestRefused(t *testing.T) {
	for _, tt := range []struct {
		want   string
		change func(*Job)
	}{
		{"no dump level 32", func(j *Job) { j.Level = 32 }},
		{"can't be split", func(j *Job) { j.Target, _ = ParseTarget("elf"); j.Outputs = make([]dumpfmt.Output, 2) }},
		{"without the kernel", func(j *Job) { j.Vmemmap = true }},
		{"nothing was written: no kernel here", func(j *Job) { j.Rules.Redact = []scrub.Rule{{Kind: scrub.Cache, Cache: "x"}} }},
	} {
		j := job(t, "kdump")
		tt.change(&j)
		if _, err := Run(context.Background(), j); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("Run = %v; want %q", err, tt.want)
		}
	}
	if _, err := ParseTarget("zip"); err == nil || !strings.Contains(err.Error(), "kdump, elf") {
		t.Errorf("ParseTarget(zip) = %v; want the forms that there are", err)
	}
	elf, _ := ParseTarget("elf")
	lkcd, _ := ParseTarget("lkcd")
	for target, codec := range map[Target]string{elf: "zstd", lkcd: "lzo"} {
		if target.Takes(codec) == nil {
			t.Errorf("%v takes %s", target, codec)
		}
	}
	if err := elf.Takes("raw"); err != nil {
		t.Error(err)
	}
}

func TestCancelled(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	j := job(t, "kdump")
	j.Progress = func(Progress) { cancel() }
	if _, err := Run(ctx, j); !errors.Is(err, context.Canceled) {
		t.Errorf("Run = %v; want that it was cancelled", err)
	}
}

// TestUnreadable: an output that can't be opened again fails the check.
func TestUnreadable(t *testing.T) {
	r := &run{Job: job(t, "kdump")}
	r.Reopen = func(context.Context) (*dumpfmt.Image, error) { return nil, errors.New("gone") }
	var failed *CheckFailed
	if _, err := r.reopen(context.Background()); !errors.As(err, &failed) || !strings.Contains(err.Error(), "gone") {
		t.Errorf("reopen = %v; want that the check failed", err)
	}
}

func TestStraight(t *testing.T) {
	var b bytes.Buffer
	s := &straight{w: &b}
	if _, err := s.WriteAt([]byte("ab"), 0); err != nil {
		t.Fatal(err)
	}
	if _, err := s.WriteAt([]byte("c"), 5); err != nil || b.String() != "ab\x00\x00\x00c" {
		t.Errorf("wrote %q, %v", b.String(), err)
	}
	if _, err := s.WriteAt([]byte("d"), 5); err == nil {
		t.Error("a stream went back")
	}
}

func TestMasked(t *testing.T) {
	j := job(t, "kdump")
	var keep dumpfmt.PageSet
	keep.Add(7)
	m := &masked{Source: j.Image.Source(), info: j.Image.Info(), keep: &keep}
	page := make([]byte, 4096)
	if err := m.ReadPage(page, 7); err != nil || page[0] != 7 || m.State(7) != dumpfmt.Present {
		t.Errorf("a page that stays: %v", err)
	}
	var pe *dumpfmt.PageError
	if err := m.ReadPage(page, 8); !errors.As(err, &pe) || pe.State != dumpfmt.Excluded || m.State(8) != dumpfmt.Excluded || m.State(80) != dumpfmt.Absent {
		t.Errorf("a page that goes: %v", err)
	}
}
