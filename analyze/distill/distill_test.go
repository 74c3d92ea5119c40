package distill

import (
	"context"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/vmcoreinfo"
)

// numbered is a machine of 64 pages: page n is filled with n, page 0 is known to be zero, pages from 60 on were
// excluded.
type numbered struct{ info dumpfmt.Info }

func (n *numbered) Info() *dumpfmt.Info { return &n.info }
func (n *numbered) Close() error        { return nil }
func (n *numbered) State(pfn uint64) dumpfmt.PageState {
	switch {
	case pfn == 0:
		return dumpfmt.Zero
	case pfn >= 64:
		return dumpfmt.Absent
	case pfn >= 60:
		return dumpfmt.Excluded
	}
	return dumpfmt.Present
}

func (n *numbered) ReadPage(dst []byte, pfn uint64) error {
	if st := n.State(pfn); !st.Readable() {
		return &dumpfmt.PageError{PFN: pfn, State: st, Level: 31}
	}
	for i := range dst {
		dst[i] = byte(pfn)
	}
	return nil
}

func source() *numbered {
	vci := "OSRELEASE=6.1.0\nPAGESIZE=4096\n"
	return &numbered{dumpfmt.Info{Format: "test", PageSize: 4096, ByteOrder: binary.LittleEndian, WordSize: 8, Machine: dumpfmt.MachineX86_64, MaxPFN: 64,
		Ranges: []dumpfmt.PhysRange{{Start: 0, End: 64 << 12}}, DumpLevel: 0, VMCoreInfo: vmcoreinfo.Parse([]byte(vci)),
		Notes: []dumpfmt.Note{{Name: "VMCOREINFO", Desc: []byte(vci)}}}}
}

func TestDistill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "small")
	out, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	rep, err := Distill(context.Background(), source(), out, Options{Commands: []string{"ask"}, Origin: "a test", Tables: map[string]uint64{"kallsyms_names": 0xffffffff82000000},
		Warnings: []string{"two kernels"},
		Ask: func(_ context.Context, img *dumpfmt.Image) error {
			if rec, ok := ReadRecord(img.Info()); !ok || rec.Tables["kallsyms_names"] != 0xffffffff82000000 || len(rec.Warnings) > 0 {
				t.Errorf("while it is asked, ReadRecord = %+v, %v; want the tables, and no warnings: they were said", rec, ok)
			}
			for _, pfn := range []uint64{0, 7, 9, 7, 61} {
				img.Page(pfn)
			}
			return nil
		}})
	if err := errors.Join(err, out.Close()); err != nil {
		t.Fatal(err)
	}
	if rep.Pages != 3 {
		t.Errorf("Distill kept %d pages; want 0, 7 and 9", rep.Pages)
	}
	img, err := formats.Open(context.Background(), []string{path}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	for pfn, want := range map[uint64]byte{0: 0, 7: 7, 9: 9} {
		if p, err := img.Page(pfn); err != nil || p[100] != want {
			t.Errorf("Page(%d) = %v; want bytes of %d", pfn, err, want)
		}
	}
	var pe *dumpfmt.PageError
	if _, err := img.Page(8); !errors.As(err, &pe) || pe.State != dumpfmt.Excluded || !strings.Contains(err.Error(), "not in this distilled dump") {
		t.Errorf("Page(8) = %v; want that it is not in this distilled dump", err)
	}
	rec, ok := ReadRecord(img.Info())
	if !ok || rec.Kdx != 1 || rec.Pages != 3 || rec.Origin != "a test" || len(rec.Commands) != 1 || rec.Tables["kallsyms_names"] != 0xffffffff82000000 || len(rec.Warnings) != 1 {
		t.Errorf("ReadRecord = %+v, %v; want what was distilled", rec, ok)
	}
}

func TestAskFails(t *testing.T) {
	out, err := os.Create(filepath.Join(t.TempDir(), "small"))
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	want := errors.New("no kernel")
	if _, err := Distill(context.Background(), source(), out, Options{Ask: func(context.Context, *dumpfmt.Image) error { return want }}); !errors.Is(err, want) {
		t.Errorf("Distill = %v; want what Ask said", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	if _, err := Distill(ctx, source(), out, Options{Ask: func(context.Context, *dumpfmt.Image) error { cancel(); return nil }}); !errors.Is(err, context.Canceled) {
		t.Errorf("Distill = %v; want that it was cancelled", err)
	}
}

func TestNoRecord(t *testing.T) {
	text := "not json"
	for _, info := range []*dumpfmt.Info{{}, {Distilled: &text}} {
		if rec, ok := ReadRecord(info); ok {
			t.Errorf("ReadRecord = %+v; want none", rec)
		}
	}
}
