package analyze

import (
	"context"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
)

// missingPages is a dump that lacks pages.
type missingPages struct {
	dumpfmt.Source
	pfns map[uint64]bool
}

func (m missingPages) State(pfn uint64) dumpfmt.PageState {
	if m.pfns[pfn] {
		return dumpfmt.Excluded
	}
	return m.Source.State(pfn)
}

func (m missingPages) ReadPage(dst []byte, pfn uint64) error {
	if m.pfns[pfn] {
		return &dumpfmt.PageError{Addr: dumpfmt.Phys(pfn * m.Info().PageSize), PFN: pfn, State: dumpfmt.Excluded, Level: 31}
	}
	return m.Source.ReadPage(dst, pfn)
}

// TestDirectMapUnknown: a page_offset_base that can't be read says nothing about where the direct map is.
func TestDirectMapUnknown(t *testing.T) {
	ctx := context.Background()
	img, err := formats.Open(ctx, []string{"../testdata/dumps/6.12/vmcore"}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	k, err := Open(ctx, img, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, ok := k.Arch().DirectMap(); !ok {
		t.Fatal("DirectMap of the whole dump is unknown")
	}
	sym, err := k.Symbol("page_offset_base")
	if err != nil {
		t.Fatal(err)
	}
	f, err := k.Arch().Kernel().Translate(sym.Addr)
	if err != nil {
		t.Fatal(err)
	}
	page := uint64(f.Phys) / k.PageSize()
	k, err = Open(ctx, dumpfmt.NewImage(missingPages{img.Source(), map[uint64]bool{page: true}}, dumpfmt.Options{}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if a, ok := k.Arch().DirectMap(); ok {
		t.Errorf("DirectMap without page_offset_base = %#x; want that it is unknown", uint64(a))
	}
}

// TestKallsymsGone: without kallsyms nobody knows whether the kernel carries BTF.
func TestKallsymsGone(t *testing.T) {
	ctx := context.Background()
	img, err := formats.Open(ctx, []string{"../testdata/dumps/6.12/vmcore"}, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	k, err := Open(ctx, img, Options{})
	if err != nil {
		t.Fatal(err)
	}
	addr, ok := k.VMCoreInfo().Symbol("kallsyms_num_syms")
	if !ok {
		t.Fatal("VMCOREINFO has no kallsyms_num_syms")
	}
	f, err := k.Arch().Kernel().Translate(addr)
	if err != nil {
		t.Fatal(err)
	}
	gone := map[uint64]bool{uint64(f.Phys) / k.PageSize(): true}
	k, err = Open(ctx, dumpfmt.NewImage(missingPages{img.Source(), gone}, dumpfmt.Options{}), Options{})
	if err != nil {
		t.Fatal(err)
	}
	_, err = k.Struct("task_struct")
	if err == nil || strings.Contains(err.Error(), "carries none") || !strings.Contains(err.Error(), "excluded") {
		t.Errorf("Struct(task_struct) without kallsyms = %v; want that a page is excluded, not that the kernel carries no BTF", err)
	}
}
