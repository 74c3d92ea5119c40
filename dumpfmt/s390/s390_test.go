package s390_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"sync"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/internal/dumptest"
	"kdx/dumpfmt/s390"
)

// small fills memory from 0 on, with two lowcores.
func small(zero dumpfmt.PageState) *dumptest.Image {
	im := dumptest.Small(binary.BigEndian, 8, "s390x", 22).Contiguous()
	be := binary.BigEndian
	for i, pfn := range []uint64{0x11, 0x23} {
		b := make([]byte, 4096)
		be.PutUint64(b[0x300:], 0x0705000180000000)
		be.PutUint64(b[0x308:], 0x100000+uint64(i))
		for r := range 16 {
			be.PutUint64(b[0x280+8*r:], 0x100*uint64(i+1)+uint64(r))
			be.PutUint32(b[0x340+4*r:], 0x200*uint32(i+1)+uint32(r))
		}
		im.Pages[pfn] = dumptest.Page{State: dumpfmt.Present, Data: b}
	}
	first := make([]byte, 4096)
	be.PutUint64(first[0xe0c:], 0x1ff80)
	note := dumptest.Note(make([]byte, 0xf80), be, "VMCOREINFO", 0, []byte(im.Text))
	im.Pages[0] = dumptest.Page{State: dumpfmt.Present, Data: first}
	im.Pages[0x1f] = dumptest.Page{State: dumpfmt.Present, Data: note[:4096]}
	im.Pages[0x20] = dumptest.Page{State: dumpfmt.Present, Data: append(note[4096:len(note):len(note)], make([]byte, 8192-len(note))...)}
	for pfn, p := range im.Pages {
		if p.Data == nil && zero == dumpfmt.Present {
			im.Pages[pfn] = dumptest.Page{State: dumpfmt.Present, Data: make([]byte, 4096)}
		}
	}
	return im
}

var lowcores = []uint32{0x10000, 0x22000}

func open(t *testing.T, b []byte) (*dumpfmt.Image, error) {
	t.Helper()
	im, err := formats.Open(t.Context(), []string{dumptest.File(t, "dump", b)}, formats.Options{})
	if err == nil {
		t.Cleanup(func() { im.Close() })
	}
	return im, err
}

func TestKinds(t *testing.T) {
	for name, x := range map[string]struct {
		d    dumptest.S390
		zero dumpfmt.PageState
	}{
		"plain":                        {dumptest.S390{}, dumpfmt.Present},
		"segments":                     {dumptest.S390{Extended: true}, dumpfmt.Zero},
		"compressed":                   {dumptest.S390{Extended: true, Packed: true, Block: 4096}, dumpfmt.Zero},
		"compressed, in blocks of 512": {dumptest.S390{Extended: true, Packed: true, Block: 512}, dumpfmt.Zero},
	} {
		t.Run(name, func(t *testing.T) {
			im := small(x.zero)
			x.d.Lowcores = lowcores
			got, err := open(t, x.d.Build(im))
			if err != nil {
				t.Fatal(err)
			}
			dumptest.Check(t, im, got)
			info := got.Info()
			if info.Format != "s390" || info.Machine != dumpfmt.MachineS390X || info.ByteOrder != binary.BigEndian || info.MaxPFN != im.MaxPFN ||
				info.Timestamp.Unix() != 1700000001 || info.Incomplete || len(info.Warnings) > 0 {
				t.Errorf("Info = %+v", info)
			}
			if r, _ := info.VMCoreInfo.Get("OSRELEASE"); r != "6.1.0-test" {
				t.Errorf("OSRELEASE = %q", r)
			}
			if len(info.CPUs) != 2 {
				t.Fatalf("%d CPUs", len(info.CPUs))
			}
			for name, want := range map[string]uint64{"psw_mask": 0x0705000180000000, "psw_addr": 0x100001, "gpr0": 0x200, "gpr15": 0x20f, "acr3": 0x403} {
				if v, _ := info.CPUs[1].Reg(name); v != want {
					t.Errorf("%s = %#x; want %#x", name, v, want)
				}
			}
			c, err := got.Count(t.Context())
			var want dumpfmt.Counts
			for pfn := range info.MaxPFN {
				want.Add(got.State(pfn), 1)
			}
			if err != nil || c.Present != want.Present || c.Zero != want.Zero {
				t.Errorf("Count = %+v, %v; want %+v", c, err, want)
			}
		})
	}
}

// TestTogether reads pages of compressed entries on several goroutines.
func TestTogether(t *testing.T) {
	im := small(dumpfmt.Zero)
	got, err := open(t, dumptest.S390{Extended: true, Packed: true, Block: 512}.Build(im))
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	for i := range uint64(4) {
		wg.Go(func() {
			page := make([]byte, 4096)
			for n := range im.MaxPFN {
				pfn := (n*(i+1)*37 + i) % im.MaxPFN
				want := im.Pages[pfn].Data
				if want == nil {
					want = make([]byte, 4096)
				}
				if err := got.Source().ReadPage(page, pfn); err != nil || !bytes.Equal(page, want) {
					t.Errorf("page %#x: %v", pfn, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestRefused(t *testing.T) {
	im := small(dumpfmt.Zero)
	big := dumptest.S390{}.Build(im)
	big[24] = 0xff
	for want, b := range map[string][]byte{
		"zgetdump":       dumptest.S390{Multi: true}.Build(im),
		"architecture 7": dumptest.S390{Arch: 7}.Build(im),
		"memory of":      big,
		"ends there":     dumptest.S390{}.Build(im)[:100],
	} {
		if _, err := open(t, b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v; want one with %q", err, want)
		}
	}
	got, err := open(t, dumptest.S390{Arch: 1, Lowcores: lowcores}.Build(im))
	if err != nil || got.Info().Machine != dumpfmt.MachineS390 || len(got.Info().CPUs) != 0 {
		t.Errorf("31 bits: %v", err)
	}
	for _, d := range []dumptest.S390{{NoEnd: true}, {NoEnd: true, Extended: true}} {
		if got, err := open(t, d.Build(im)); err != nil || !got.Info().Incomplete {
			t.Errorf("without an end mark: %v", err)
		}
	}
}

func TestCut(t *testing.T) {
	for _, d := range []dumptest.S390{{}, {Extended: true}, {Extended: true, Packed: true, Block: 512}} {
		im := small(dumpfmt.Zero)
		b := d.Build(im)
		opened := 0
		for n := 4000; n < len(b)-5000; n += 1 + n/2 {
			got, err := open(t, b[:n])
			if err != nil {
				continue
			}
			opened++
			if !got.Info().Incomplete {
				t.Errorf("%+v, %d of %d bytes: not incomplete", d, n, len(b))
			}
			missing := 0
			for pfn := range im.MaxPFN {
				page, err := got.Page(pfn)
				want := im.Pages[pfn].Data
				if want == nil {
					want = make([]byte, 4096)
				}
				if err != nil {
					missing++
				} else if !bytes.Equal(page, want) {
					t.Fatalf("%d of %d bytes: page %#x is wrong", n, len(b), pfn)
				}
			}
			if missing == 0 {
				t.Errorf("%+v, %d of %d bytes: no page is missing", d, n, len(b))
			}
		}
		if opened == 0 {
			t.Errorf("%+v: none could be opened", d)
		}
	}
}

func FuzzS390(f *testing.F) {
	im := &dumptest.Image{PageSize: 4096, Order: binary.BigEndian, Word: 8, MaxPFN: 20, Pages: map[uint64]dumptest.Page{
		2: {State: dumpfmt.Present, Data: make([]byte, 4096)}, 17: {State: dumpfmt.Present, Data: bytes.Repeat([]byte("ab"), 2048)}}}
	for _, d := range []dumptest.S390{{Lowcores: []uint32{0x1000}}, {Extended: true}, {Extended: true, Packed: true, Block: 512}} {
		f.Add(d.Build(im))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		src, err := s390.Open([]*dumpfmt.File{{Name: "x", Size: int64(len(b)), ReaderAt: bytes.NewReader(b)}})
		if err != nil {
			return
		}
		page := make([]byte, 4096)
		for _, pfn := range []uint64{0, 1, 2, 3, 16, 17, 18, src.Info().MaxPFN - 1, src.Info().MaxPFN} {
			if st := src.State(pfn); !st.Readable() && src.ReadPage(page, pfn) == nil {
				t.Errorf("page %#x is %v, but was read", pfn, st)
			}
			src.ReadPage(page, pfn)
		}
		if _, err := src.(dumpfmt.Counter).Count(t.Context()); err != nil {
			t.Error(err)
		}
	})
}
