package view

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"slices"
	"strconv"
	"strings"

	"kdx/analyze/vmem"
)

// VMs is vm: the mappings of tasks, one after the other. Its JSON is an array of VM.
type VMs struct {
	Tasks iter.Seq2[*VM, error] // the error ends it
}

// VM is the user memory of a task.
type VM struct {
	TaskHeader
	MM      *vmem.Addr `json:"mm"` // struct mm_struct; null for kernel threads
	PGD     *vmem.Addr `json:"pgd"`
	RSS     *uint64    `json:"rss"`      // bytes
	TotalVM *uint64    `json:"total_vm"` // bytes
	// Mappings yields them by rising address; VMAPage rows follow a mapping if pages were asked for. In JSON "mappings", each with its "pages".
	Mappings iter.Seq2[*VMAEntry, error] `json:"-"`
	One      bool                        `json:"-"` // one mapping was asked for: text leaves out what all have in common
}

// VMAEntry is a mapping and, if they were asked for, its pages.
type VMAEntry struct {
	VMALine
	Pages iter.Seq2[VMAPage, error] `json:"-"`
}

// VMAPage is a page of a mapping: in memory, in swap, or where it would be read from.
type VMAPage struct {
	Virtual  vmem.UserAddr `json:"virtual"`
	Physical *vmem.Addr    `json:"physical"` // null if the page is not in memory
	Swap     *SwapPlace    `json:"swap,omitempty"`
	File     *string       `json:"file,omitempty"`
	Offset   *uint64       `json:"offset,omitempty"`  // in File, bytes
	Unknown  bool          `json:"unknown,omitempty"` // the page tables can't be read
}

const vmHeader = "       MM               PGD          RSS    TOTAL_VM\n"

func dashOr[T any](p *T, text func(T) string) string {
	if p == nil {
		return "-"
	}
	return text(*p)
}

func hexText(a vmem.Addr) string { return fmt.Sprintf("%016x", uint64(a)) }

// Text writes crash's blocks.
func (l *VMs) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	first := true
	for t, err := range l.Tasks {
		if err != nil {
			bw.Flush()
			return err
		}
		if !first {
			fmt.Fprintln(bw)
		}
		first = false
		if err := t.text(bw); err != nil {
			bw.Flush()
			return err
		}
	}
	return bw.Flush()
}

func (t *VM) text(bw *bufio.Writer) error {
	bw.WriteString(t.line())
	if !t.One || t.MM == nil {
		bw.WriteString(vmHeader)
	}
	if t.MM == nil {
		fmt.Fprintf(bw, "%s  %s  %s  %s\n", crashCentre("0", 16), crashCentre("0", 16), crashCentre("0k", 6), crashCentre("0k", 8))
		return nil
	}
	if !t.One {
		fmt.Fprintf(bw, "%s  %s  %s  %s\n", hexText(*t.MM), crashCentre(dashOr(t.PGD, hexText), 16), crashCentre(dashOr(t.RSS, kib), 6), crashCentre(dashOr(t.TotalVM, kib), 8))
	}
	header := false
	for m, err := range t.Mappings {
		if err != nil {
			return err
		}
		if !header || m.Pages != nil {
			bw.WriteString(vmaHeader)
		}
		header = true
		m.row(bw)
		bw.WriteByte('\n')
		if m.Pages == nil {
			continue
		}
		bw.WriteString("VIRTUAL     PHYSICAL\n")
		for p, err := range m.Pages {
			if err != nil {
				return err
			}
			p.text(bw)
		}
	}
	if t.One && !header {
		bw.WriteString("(not found)\n")
	}
	return nil
}

// text is written for millions of pages: by hand what most are.
func (p *VMAPage) text(w *bufio.Writer) {
	var buf [64]byte
	b := strconv.AppendUint(buf[:0], uint64(p.Virtual), 16)
	for len(b) < 10 {
		b = append(b, ' ')
	}
	b = append(b, "  "...)
	switch {
	case p.Physical != nil:
		at := len(b)
		b = strconv.AppendUint(b, uint64(*p.Physical), 16)
		for len(b) < at+8 {
			b = slices.Insert(b, at, ' ')
		}
		w.Write(append(b, '\n'))
	case p.Swap != nil:
		w.Write(b)
		fmt.Fprintf(w, "SWAP: %s  OFFSET: %d\n", p.Swap.name(), p.Swap.Offset)
	case p.Unknown:
		w.Write(append(b, "-\n"...))
	case p.File != nil && p.Offset != nil:
		w.Write(b)
		fmt.Fprintf(w, "FILE: %s  OFFSET: %x\n", Printable(*p.File), *p.Offset)
	default:
		w.Write(append(b, "(not mapped)\n"...))
	}
}

// StreamJSON writes the array, page by page.
func (l *VMs) StreamJSON(w io.Writer) error {
	a := arrayWriter{w: w}
	for t, err := range l.Tasks {
		if err != nil {
			return err
		}
		if err := a.element(); err != nil {
			return err
		}
		if err := t.json(w); err != nil {
			return err
		}
	}
	return a.end()
}

func (t *VM) json(w io.Writer) error {
	b, err := json.Marshal(t)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, `%s,"mappings":`, b[:len(b)-1]); err != nil {
		return err
	}
	inner := arrayWriter{w: w}
	if t.Mappings != nil {
		for m, err := range t.Mappings {
			if err != nil {
				return err
			}
			if m.Pages == nil {
				if err := inner.add(m); err != nil {
					return err
				}
				continue
			}
			if err := inner.element(); err != nil {
				return err
			}
			if err := m.json(w); err != nil {
				return err
			}
		}
	}
	if err := inner.end(); err != nil {
		return err
	}
	_, err = io.WriteString(w, "}")
	return err
}

func (m *VMAEntry) json(w io.Writer) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	if _, err := fmt.Fprintf(w, `%s,"pages":`, b[:len(b)-1]); err != nil {
		return err
	}
	pages := arrayWriter{w: w}
	for p, err := range m.Pages {
		if err != nil {
			return err
		}
		if err := pages.add(p); err != nil {
			return err
		}
	}
	if err := pages.end(); err != nil {
		return err
	}
	_, err = io.WriteString(w, "}")
	return err
}

// VMAFlags is vm -f; its JSON is an array of these.
type VMAFlags []VMAFlagSet

// VMAFlagSet is a value of vm_flags taken apart.
type VMAFlagSet struct {
	Value vmem.Addr `json:"value"`
	Flags []string  `json:"flags"`
}

// Text writes crash's lines.
func (l VMAFlags) Text(w io.Writer, _ Options) error {
	for _, f := range l {
		if _, err := fmt.Fprintf(w, "%x: (%s)\n", uint64(f.Value), strings.Join(f.Flags, "|")); err != nil {
			return err
		}
	}
	return nil
}
