package bootstrap

import (
	"bytes"
	"cmp"
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"

	"kdx/analyze/arch"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
)

const (
	// searchStep is how much memory is searched before what was found is looked at. A kernel has its text and its page
	// tables in low memory as a rule, so that little of a large machine is read.
	searchStep = 4 << 30
	// maxTexts bounds what is kept of a dump that is full of them.
	maxTexts = 256
	// maxTables bounds the places that look like a kernel's page table; each is followed, which is quick.
	maxTables = 4096
)

var noteStart = []byte("VMCOREINFO\x00")

// hit is a page that begins like a VMCOREINFO, or looks like level3_kernel_pgt.
type hit struct {
	pfn  uint64
	text []byte // nil for a page table
}

// search looks through all memory for kernels, best first. It stops at the first stretch of memory that has one.
func (f *finder) search(ctx context.Context) ([]*candidate, error) {
	info := f.img.Info()
	total := int64(0)
	for _, r := range info.Ranges {
		total += int64(r.End - r.Start)
	}
	var done atomic.Int64
	var texts, tables int
	step := searchStep / info.PageSize
	for from := uint64(0); from < info.MaxPFN; {
		to := min(info.MaxPFN, from+step)
		if next, ok := f.nextRAM(from); !ok {
			break
		} else if next >= to {
			from = next &^ (step - 1)
			continue
		}
		hits, err := f.scan(ctx, from, to, func(n int64) {
			if d := done.Add(n); f.Progress != nil {
				f.Progress("searching memory for the kernel", d, total)
			}
		})
		if err != nil {
			return nil, err
		}
		if out := f.weigh(hits, &texts, &tables); len(out) > 0 {
			return out, nil
		}
		from = to
	}
	return nil, nil
}

// nextRAM is the first page at or behind pfn that the dump's memory map has.
func (f *finder) nextRAM(pfn uint64) (uint64, bool) {
	size := f.img.Info().PageSize
	for _, r := range f.img.Info().Ranges {
		if end := (uint64(r.End)-1)/size + 1; end > pfn {
			return max(pfn, uint64(r.Start)/size), true
		}
	}
	return 0, false
}

// scan collects the pages of interest in [from, to). A page costs a few comparisons.
func (f *finder) scan(ctx context.Context, from, to uint64, progress func(int64)) ([]hit, error) {
	var mu sync.Mutex
	var hits []hit
	var texts, tables, pages atomic.Int64
	err := f.img.ScanRange(ctx, from, to, func(pfn uint64, _ dumpfmt.PageState, page []byte, _ error) error {
		if n := pages.Add(1); n%4096 == 0 {
			progress(4096 * int64(len(page)))
		}
		if len(page) < 64 {
			return nil
		}
		h := hit{pfn: pfn}
		switch {
		case bytes.HasPrefix(page, textStart):
			h.text = bytes.Clone(cutText(page, false))
		case bytes.HasPrefix(page[12:], noteStart):
			h.text = bytes.Clone(cutText(page, true))
		case len(page) == 4096 && binary.LittleEndian.Uint64(page[4080:])&1 != 0 && arch.IsX86Level3(page):
			if tables.Add(1) > maxTables {
				return nil
			}
		default:
			return nil
		}
		if h.text != nil && texts.Add(1) > maxTexts {
			return nil
		}
		mu.Lock()
		hits = append(hits, h)
		mu.Unlock()
		return nil
	})
	slices.SortFunc(hits, func(a, b hit) int { return cmp.Compare(a.pfn, b.pfn) })
	return hits, err
}

// weigh makes candidates of what was found. A text that fits goes before page tables; of several texts the one goes first
// whose kernel the CPUs were in.
func (f *finder) weigh(hits []hit, texts, tables *int) []*candidate {
	var out []*candidate
	size := f.img.Info().PageSize
	for _, h := range hits {
		if h.text == nil {
			continue
		}
		if *texts++; *texts > maxTexts {
			break
		}
		info := vmcoreinfo.Parse(h.text)
		if err := f.fits(info); err != nil {
			f.Log.Debug("what looks like a VMCOREINFO is not believed", "phys", fmt.Sprintf("%#x", h.pfn*size), "err", err)
			continue
		}
		x := f.sized(info)
		if slices.ContainsFunc(out, func(c *candidate) bool { return c.image.Virt == x.Virt && c.image.Phys == x.Phys }) {
			continue // the page and the note hold the same
		}
		c := f.newCandidate(x, "a search of memory")
		c.text = info.From(fmt.Sprintf("found in memory at physical address %#x, by a search", h.pfn*size))
		c.release, _ = info.Get("OSRELEASE")
		out = append(out, c)
	}
	if len(out) > 1 {
		if out = captureFirst(out); !out[0].isCapture() {
			f.choose(out)
		}
	}
	for _, h := range hits {
		if h.text != nil || len(out) >= maxCandidates {
			continue
		}
		if *tables++; *tables > maxTables {
			break
		}
		x, err := arch.X86ImageBelow(f.img, dumpfmt.Phys(h.pfn*size))
		// The kernel's page tables are in its own image.
		if err != nil || h.pfn*size-uint64(x.Phys) >= x.Size || slices.ContainsFunc(out, func(c *candidate) bool { return c.image.Virt == x.Virt && c.image.Phys == x.Phys }) {
			continue
		}
		out = append(out, f.newCandidate(x, fmt.Sprintf("page tables found at physical address %#x", h.pfn*size)))
	}
	return out
}

// choose puts first the kernel in whose image most CPUs were, by their registers.
func (f *finder) choose(all []*candidate) {
	in := func(c *candidate) (n int) {
		for i := range f.img.Info().CPUs {
			if rip, ok := f.img.Info().CPUs[i].Reg("rip"); ok && rip-c.image.Virt < c.image.Size {
				n++
			}
		}
		return n
	}
	slices.SortStableFunc(all, func(a, b *candidate) int { return cmp.Compare(in(b), in(a)) })
	if in(all[0]) > in(all[1]) {
		return
	}
	var places []string
	for _, c := range all {
		places = append(places, fmt.Sprintf("%s at %#x", c.release, uint64(c.image.Phys)))
	}
	f.warn("memory holds several kernels and nothing tells which of them ran: %q. The first is shown; --phys-base or --vmcoreinfo chooses another", places)
}
