package verify

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"

	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/internal/dumptest"
)

func small() *dumptest.Image { return dumptest.Small(binary.LittleEndian, 8, "x86_64", 62) }

// files writes the files of a dump.
func files(t *testing.T, parts ...[]byte) []string {
	t.Helper()
	var out []string
	for _, b := range parts {
		out = append(out, dumptest.File(t, "vmcore", b))
	}
	return out
}

func check(t *testing.T, paths []string, opt Options) *Report {
	t.Helper()
	im, err := formats.Open(t.Context(), paths, formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer im.Close()
	r, err := Check(t.Context(), im, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// reference is the sum as docs/verify.md defines it, made from the logical image.
func reference(im *dumptest.Image) string {
	all := sha256.New()
	all.Write([]byte("kdx pages 1\n"))
	binary.Write(all, binary.LittleEndian, uint64(im.PageSize))
	var chunk bytes.Buffer
	last := uint64(0)
	flush := func() {
		if chunk.Len() > 0 {
			sum := sha256.Sum256(chunk.Bytes())
			all.Write(sum[:])
		}
		chunk.Reset()
	}
	for _, pfn := range im.PFNs() {
		p := im.Pages[pfn]
		if p.State == dumpfmt.Excluded {
			continue
		}
		if pfn/2048 != last {
			flush()
			last = pfn / 2048
		}
		data := p.Data
		if data == nil {
			data = make([]byte, im.PageSize)
		}
		sum := sha256.Sum256(data)
		binary.Write(&chunk, binary.LittleEndian, pfn)
		chunk.Write(sum[:])
	}
	flush()
	return hex.EncodeToString(all.Sum(nil))
}

var allCodecs = []uint32{1, 2, 4, 0x20, 0}

// TestOneSum: a dump has one sum, whatever its format.
func TestOneSum(t *testing.T) {
	filtered, plain := small(), small().Plain()
	contiguous := small().Contiguous()
	part := func(from, to uint64) []byte {
		return dumptest.Kdump{Version: 6, Codecs: allCodecs, Start: from, End: to}.Build(filtered)
	}
	state, memory := dumptest.VMware{}.Build(plain)
	for _, test := range []struct {
		name  string
		im    *dumptest.Image
		parts [][]byte
	}{
		{"kdump, all codecs", filtered, [][]byte{dumptest.Kdump{Version: 6, Codecs: allCodecs}.Build(filtered)}},
		{"kdump, raw", filtered, [][]byte{dumptest.Kdump{Version: 6, Codecs: []uint32{0}}.Build(filtered)}},
		{"split set", filtered, [][]byte{part(0, 0x20), part(0x20, 0x1fff), part(0x1fff, filtered.MaxPFN)}},
		{"flattened", filtered, [][]byte{dumptest.Flatten(dumptest.Kdump{Version: 6, Codecs: allCodecs}.Build(filtered), 5000)}},
		{"LKCD", filtered, [][]byte{dumptest.LKCD{Version: 8}.Build(filtered)}},
		{"kdump of all pages", plain, [][]byte{dumptest.Kdump{Version: 6, Codecs: allCodecs}.Build(plain)}},
		{"ELF", plain, [][]byte{dumptest.ELF{}.Build(plain)}},
		{"ELF, backward", plain, [][]byte{dumptest.ELF{Backward: true, Overlap: true, XNum: true}.Build(plain)}},
		{"flattened ELF", plain, [][]byte{dumptest.Flatten(dumptest.ELF{}.Build(plain), 7000)}},
		{"VMware", plain, slices.DeleteFunc([][]byte{state, memory}, func(b []byte) bool { return len(b) == 0 })},
		{"kdump without gaps", contiguous, [][]byte{dumptest.Kdump{Version: 6, Codecs: allCodecs}.Build(contiguous)}},
		{"QEMU", contiguous, [][]byte{dumptest.QEMUSave{Machine: "pc-i440fx-7.2"}.Build(contiguous, 0)}},
	} {
		want := reference(test.im)
		for _, workers := range []int{0, 1, 3} {
			r := check(t, files(t, test.parts...), Options{Workers: workers})
			if !r.Sound || r.SHA256 != want {
				t.Errorf("%s, %d workers: %s, sound %v; want %s", test.name, workers, r.SHA256, r.Sound, want)
			}
		}
	}
}

// TestHoles: a filtered ELF file has two sums, of which the second is that of a dump that has all its holes as zeros.
func TestHoles(t *testing.T) {
	im := small()
	r := check(t, files(t, dumptest.ELF{}.Build(im)), Options{})
	if want := reference(im.Plain()); r.SHA256Holes != want || r.Pages.Unsure == 0 || !r.Sound {
		t.Errorf("with holes as zeros: %q, %d holes; want %s", r.SHA256Holes, r.Pages.Unsure, want)
	}
	for pfn, p := range im.Pages {
		if p.State != dumpfmt.Present {
			delete(im.Pages, pfn)
		}
	}
	if want := reference(im); r.SHA256 != want {
		t.Errorf("without holes: %s; want %s", r.SHA256, want)
	}
	var b strings.Builder
	if err := r.Text(&b); err != nil || !strings.Contains(b.String(), "it can't say which were") {
		t.Errorf("%v: %s", err, b.String())
	}
}

func TestDamaged(t *testing.T) {
	im := small()
	k := dumptest.Kdump{Version: 6, Codecs: []uint32{1}}
	whole := k.Build(im)
	k.Lost = 10
	for _, test := range []struct {
		name string
		b    []byte
		want []string
	}{
		{"cut short", whole[:len(whole)-5000], []string{"pages can't be read", "the dump is incomplete", "truncated"}},
		{"never written", k.Build(im), []string{"10 pages can't be read", "never written"}},
		{"a byte of a page", flip(whole, len(whole)-20, 3), []string{"DAMAGED: 1 pages can't be read"}},
	} {
		r := check(t, files(t, test.b), Options{})
		var b strings.Builder
		if err := r.Text(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range test.want {
			if r.Sound || !strings.Contains(b.String(), want) {
				t.Errorf("%s: want %q in\n%s", test.name, want, b.String())
			}
		}
	}
}

func flip(b []byte, at, bit int) []byte {
	b = bytes.Clone(b)
	b[at] ^= 1 << bit
	return b
}

// TestFlips: a flipped bit in bitmaps and descriptors is seen, or does no harm; one in a page is seen, does no harm, or
// changes the sum, as codecs without a checksum can't see it.
func TestFlips(t *testing.T) {
	im := small()
	want := reference(im)
	rnd := rand.New(rand.NewPCG(7, 8))
	dir := t.TempDir()
	for _, codecs := range [][]uint32{{0}, {1}, {2}, {4}, {0x20}, allCodecs} {
		whole := dumptest.Kdump{Version: 6, Codecs: codecs, Erase: "erased\n"}.Build(im)
		const bitmap2, descs = 0x3000, 0x4000
		data := descs + 24*len(keptPages(im))
		for round := range 200 {
			at := rnd.IntN(len(whole))
			switch round % 4 {
			case 0:
				at = bitmap2 + rnd.IntN(int(im.MaxPFN/8))
			case 1:
				at = descs + rnd.IntN(data-descs)
			}
			bit := rnd.IntN(8)
			path := dir + "/vmcore"
			if err := os.WriteFile(path, flip(whole, at, bit), 0o600); err != nil {
				t.Fatal(err)
			}
			img, err := formats.Open(t.Context(), []string{path}, formats.Options{})
			if err != nil {
				continue
			}
			r, err := Check(t.Context(), img, Options{Workers: 1})
			img.Close()
			if err != nil {
				t.Errorf("codecs %v, bit %d of byte %#x: %v", codecs, bit, at, err)
				continue
			}
			if r.Sound && r.SHA256 != want && at >= 0x2000 && at < data {
				t.Errorf("codecs %v, bit %d of byte %#x: the dump is said to be sound", codecs, bit, at)
			}
		}
	}
}

func keptPages(im *dumptest.Image) []uint64 {
	return slices.DeleteFunc(im.PFNs(), func(pfn uint64) bool { return im.Pages[pfn].State == dumpfmt.Excluded })
}

func TestBadRanges(t *testing.T) {
	var b badRanges
	first := errors.New("first")
	for i := range uint64(100) {
		b.add(badRange{i * 10, i*10 + 5, first})
		b.add(badRange{i*10 + 5, i*10 + 7, errors.New("second")})
	}
	if b.n != 100 || len(b.first) != maxUnreadable || b.first[3] != (badRange{30, 37, first}) || b.first[maxUnreadable-1].to != (maxUnreadable-1)*10+7 {
		t.Errorf("%d ranges: %v", b.n, b.first)
	}
}

func TestCancelled(t *testing.T) {
	img, err := formats.Open(t.Context(), files(t, dumptest.ELF{}.Build(small())), formats.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer img.Close()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Check(ctx, img, Options{}); !errors.Is(err, context.Canceled) {
		t.Errorf("error = %v", err)
	}
}
