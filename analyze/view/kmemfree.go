package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"

	"kdx/analyze/vmem"
)

// FreePages is kmem -f and -F: {"zones": […], "free_pages", "counted", "pending", "verified"}; the sum that was counted, and whether it is
// right, are null where a list or counter could not be read.
type FreePages struct {
	PageSize uint64 // bytes
	Blocks   bool   // with each block's address (-F)
	Missing  bool   // zones could not be read: the sum is not that of all
	// Zones yields the zones in order; lists are walked as they are written.
	Zones iter.Seq[*FreeZone]
}

// FreeZone is a zone and its free pages.
type FreeZone struct {
	Node     int        `json:"node"`
	Index    int        `json:"zone"`
	Name     string     `json:"name"`
	Size     uint64     `json:"size"`     // pages that it spans
	Free     *uint64    `json:"free"`     // pages, by the zone's counter
	Pending  *int64     `json:"pending"`  // pages that CPUs have not added to that counter yet
	MemMap   *vmem.Addr `json:"mem_map"`  // its first struct page
	Start    vmem.Addr  `json:"start"`    // its first byte
	StartNr  uint64     `json:"start_nr"` // its first page within the node
	Areas    []FreeArea `json:"areas"`
	CPUs     []CPUFree  `json:"cpus"`
	Separate bool       `json:"-"` // it begins another node
}

// FreeArea are the free blocks of one order.
type FreeArea struct {
	Order  uint64     `json:"order"`
	NrFree uint64     `json:"nr_free"` // blocks, as the kernel counts them
	Lists  []FreeList `json:"lists"`
}

// FreeList is a list of free blocks. Count is nil if the list could not be walked to its end.
type FreeList struct {
	Addr   vmem.Addr   `json:"list"`
	Order  uint64      `json:"order"`
	Type   string      `json:"migrate_type"`
	Count  *uint64     `json:"blocks"`
	Pages  *uint64     `json:"pages"`
	Blocks []vmem.Addr `json:"block_pages,omitempty"` // struct pages, with -F

	// Walk counts the blocks and calls f for each; ok is false if the list has no end that can be reached.
	Walk func(f func(page vmem.Addr) bool) (n uint64, ok bool) `json:"-"`
}

// CPUFree are the free pages of a zone that a CPU keeps for itself; the zone does not count them as free.
type CPUFree struct {
	CPU    int       `json:"cpu"`
	Addr   vmem.Addr `json:"per_cpu_pages"`
	Count  int32     `json:"count"`
	High   int32     `json:"high"`
	Batch  int32     `json:"batch"`
	Listed *uint64   `json:"listed"` // pages that were found on its lists
}

const freeHeader = "ZONE  NAME        SIZE    FREE      MEM_MAP       START_PADDR  START_MAPNR\n"

func (z *FreeZone) header(w io.Writer) {
	mem := "        0        "
	if z.MemMap != nil {
		mem = fmt.Sprintf("%016x", uint64(*z.MemMap))
	}
	fmt.Fprintf(w, "%s%3d   %-9s %6d  %6s  %s  %11x  %11d\n", freeHeader, z.Index, Printable(z.Name), z.Size, orDash(z.Free), mem, uint64(z.Start), z.StartNr)
}

// sum is what all zones have together.
type freeSum struct {
	free, counted, pending uint64
	unsure                 bool // a list or a counter could not be read
	wrong                  bool // a list does not have as many blocks as its area counts
}

func (s *freeSum) add(z *FreeZone) {
	if z.Free == nil {
		s.unsure = true
	} else {
		s.free += *z.Free
	}
	if z.Pending != nil {
		s.pending += uint64(*z.Pending)
	}
	for _, a := range z.Areas {
		n := uint64(0)
		known := true
		for _, l := range a.Lists {
			if l.Count == nil {
				s.unsure, known = true, false
				continue
			}
			n += *l.Count
			s.counted += *l.Pages
		}
		if known && n != a.NrFree {
			s.wrong = true
		}
	}
}

// verified: the lists have as many pages as the counters say, with what CPUs have not added to them yet.
func (s *freeSum) verified() bool {
	return !s.unsure && !s.wrong && (s.counted == s.free || s.counted == s.free+s.pending)
}

// count walks the list, unless that was done; f may be nil.
func (l *FreeList) count(f func(vmem.Addr) bool) {
	if f == nil {
		f = func(vmem.Addr) bool { return true }
	}
	n, ok := l.Walk(f)
	if !ok {
		return
	}
	pages := n << l.Order
	l.Count, l.Pages = &n, &pages
}

// Text writes crash's tables, with a column that names the migrate types.
func (p *FreePages) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 32<<10)
	sum := freeSum{unsure: p.Missing}
	first := true
	for z := range p.Zones {
		if z.Separate {
			fmt.Fprintf(bw, "%sNODE\n %2d\n", map[bool]string{true: "", false: "\n"}[first], z.Node)
		} else if !first {
			fmt.Fprintln(bw)
		}
		first = false
		z.header(bw)
		if len(z.Areas) > 0 && !p.Blocks {
			fmt.Fprintf(bw, "AREA    SIZE  FREE_AREA_STRUCT  BLOCKS  PAGES  MIGRATE_TYPE\n")
		}
		for i := range z.Areas {
			p.area(bw, &z.Areas[i])
		}
		for i, c := range z.CPUs {
			if i == 0 {
				fmt.Fprintf(bw, "CPU   PER_CPU_PAGES      COUNT  LISTED  HIGH  BATCH\n")
			}
			fmt.Fprintf(bw, "%3d  %016x  %6d  %6s  %4d  %5d\n", c.CPU, uint64(c.Addr), c.Count, orDash(c.Listed), c.High, c.Batch)
		}
		sum.add(z)
	}
	fmt.Fprintf(bw, "\nnr_free_pages: %d  ", sum.free)
	switch {
	case sum.verified() && sum.pending != 0 && sum.counted != sum.free:
		fmt.Fprintf(bw, "(verified, with %d that CPUs have not added yet)\n", int64(sum.pending))
	case sum.verified():
		fmt.Fprintf(bw, "(verified)\n")
	case sum.unsure:
		fmt.Fprintf(bw, "(found %d; not all could be read)\n", sum.counted)
	default:
		fmt.Fprintf(bw, "(found %d)\n", sum.counted)
	}
	return bw.Flush()
}

func (p *FreePages) area(bw *bufio.Writer, a *FreeArea) {
	total, known := uint64(0), true
	size := fmt.Sprintf("%dk", p.PageSize<<a.Order>>10)
	for i := range a.Lists {
		l := &a.Lists[i]
		if p.Blocks {
			fmt.Fprintf(bw, "AREA    SIZE  FREE_AREA_STRUCT  MIGRATE_TYPE\n%3d  %7s  %016x  %s\n", a.Order, size, uint64(l.Addr), Printable(l.Type))
			l.count(func(page vmem.Addr) bool {
				_, err := fmt.Fprintf(bw, "%016x\n", uint64(page))
				return err == nil
			})
		} else {
			l.count(nil)
			fmt.Fprintf(bw, "%3d  %7s  %016x  %6s %6s  %s\n", a.Order, size, uint64(l.Addr), orDash(l.Count), orDash(l.Pages), Printable(l.Type))
		}
		if l.Count == nil {
			known = false
			continue
		}
		total += *l.Count
	}
	if known && total != a.NrFree {
		fmt.Fprintf(bw, "     the area counts %d blocks, its lists have %d\n", a.NrFree, total)
	}
}

// StreamJSON writes the object, zone by zone.
func (p *FreePages) StreamJSON(w io.Writer) error {
	if _, err := io.WriteString(w, `{"zones":`); err != nil {
		return err
	}
	out := arrayWriter{w: w}
	sum := freeSum{unsure: p.Missing}
	for z := range p.Zones {
		for i := range z.Areas {
			for j := range z.Areas[i].Lists {
				l := &z.Areas[i].Lists[j]
				l.count(func(page vmem.Addr) bool {
					if p.Blocks {
						l.Blocks = append(l.Blocks, page)
					}
					return true
				})
			}
		}
		sum.add(z)
		if err := out.add(z); err != nil {
			return err
		}
	}
	if err := out.end(); err != nil {
		return err
	}
	end := struct {
		Free     uint64  `json:"free_pages"`
		Counted  *uint64 `json:"counted"`
		Pending  int64   `json:"pending"`
		Verified *bool   `json:"verified"`
	}{Free: sum.free, Pending: int64(sum.pending)}
	if verified := sum.verified(); !sum.unsure {
		end.Counted, end.Verified = &sum.counted, &verified
	}
	tail, err := json.Marshal(end)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(w, ",%s", tail[1:])
	return err
}

// FreePlace is where a page lies among the free ones: in a block of a zone's list, or on a list that a CPU keeps.
type FreePlace struct {
	Zone     FreeZone   `json:"zone"`
	Order    *uint64    `json:"order,omitempty"`
	PageSize uint64     `json:"-"`
	Type     *string    `json:"migrate_type,omitempty"` // absent if the block is on no list
	List     *vmem.Addr `json:"list,omitempty"`
	Page     vmem.Addr  `json:"page"`
	Block    *vmem.Addr `json:"block,omitempty"` // its first struct page
	Index    uint64     `json:"index"`           // of the page in the block
	CPU      *int       `json:"cpu,omitempty"`   // on a list of this CPU
}

func (p *FreePlace) text(w io.Writer) {
	p.Zone.header(w)
	if p.CPU != nil {
		fmt.Fprintf(w, "%016x  (on a list of free pages that CPU %d keeps)\n", uint64(p.Page), *p.CPU)
		return
	}
	list, typ := "        -       ", "(on no list that could be read)"
	if p.List != nil && p.Type != nil {
		list, typ = fmt.Sprintf("%016x", uint64(*p.List)), Printable(*p.Type)
	}
	fmt.Fprintf(w, "AREA    SIZE  FREE_AREA_STRUCT  MIGRATE_TYPE\n%3d  %7s  %s  %s\n", *p.Order, fmt.Sprintf("%dk", p.PageSize<<*p.Order>>10), list, typ)
	fmt.Fprintf(w, "%016x  (%x is %s of %d pages)\n", uint64(*p.Block), uint64(p.Page), ordinal(p.Index+1), uint64(1)<<*p.Order)
}

func ordinal(n uint64) string {
	suffix := "th"
	if tens := n / 10 % 10; tens != 1 {
		switch n % 10 {
		case 1:
			suffix = "st"
		case 2:
			suffix = "nd"
		case 3:
			suffix = "rd"
		}
	}
	return fmt.Sprintf("%d%s", n, suffix)
}

// FreePlaces is kmem -f ADDRESS….
type FreePlaces []FreePlace

// Text writes crash's blocks.
func (l FreePlaces) Text(w io.Writer, _ Options) error {
	return blocks(w, l, func(bw *bufio.Writer, x FreePlace) {
		x.text(bw)
	})
}
