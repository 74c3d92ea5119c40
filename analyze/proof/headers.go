package proof

import (
	"bytes"
	"fmt"
	"slices"
	"strings"

	"kdx/dumpfmt"
)

// headers compares what the two dumps say of the machine.
func (p *pass) headers() error {
	want, got := p.c.opt.Info, p.c.out.Info()
	p.header("page size", want.PageSize, got.PageSize)
	p.header("machine", want.Machine, got.Machine)
	p.header("byte order", want.ByteOrder, got.ByteOrder)
	p.header("size of a word", want.WordSize, got.WordSize)
	if (got.Incomplete || got.Truncated) && !want.Incomplete {
		p.c.fail(p, Failure{What: "the file", Detail: "it says of itself that it is incomplete"})
	}
	if !holdsNotes(got.Format) {
		return fmt.Errorf("the format %s has no room for notes, and so none for VMCOREINFO", got.Format)
	}
	if len(got.Notes) == 0 && len(want.Notes) > 0 {
		p.c.fail(p, Failure{What: "notes", Detail: "there are none"})
		return nil
	}
	if want.VMCoreInfo != nil {
		p.vmcoreinfoText(want, got)
	}
	p.processorNotes(want, got)
	return nil
}

// holdsNotes: the others are memory alone, or have fields for a few registers.
func holdsNotes(format string) bool { return format == "elf" || format == "kdump" }

func (p *pass) header(what string, want, got any) {
	if want != got {
		p.c.fail(p, Failure{What: what, Detail: fmt.Sprintf("%v; want %v", got, want)})
	}
}

// vmcoreinfoText: each line must be there. One that was found in memory, as the dump had no note, is written as a note.
func (p *pass) vmcoreinfoText(want, got *dumpfmt.Info) {
	if got.VMCoreInfo == nil {
		p.c.fail(p, Failure{What: "VMCOREINFO", Detail: "it is missing"})
		return
	}
	for _, key := range want.VMCoreInfo.Keys() {
		w, _ := want.VMCoreInfo.Get(key)
		g, ok := got.VMCoreInfo.Get(key)
		switch {
		case !ok:
			p.c.fail(p, Failure{What: "VMCOREINFO", Detail: key + " is missing"})
		case strings.TrimSpace(w) != strings.TrimSpace(g):
			p.c.fail(p, Failure{What: "VMCOREINFO", Detail: fmt.Sprintf("%s is %q; want %q", key, g, w)})
		}
	}
}

// processorNotes: the registers of each processor, and the bytes of each note but those that the output wrote itself.
func (p *pass) processorNotes(want, got *dumpfmt.Info) {
	if len(want.CPUs) != len(got.CPUs) {
		p.c.fail(p, Failure{What: "registers", Detail: fmt.Sprintf("of %d processors; want %d", len(got.CPUs), len(want.CPUs))})
		return
	}
	for i := range want.CPUs {
		w, g := &want.CPUs[i], &got.CPUs[i]
		if w.PID != g.PID || !slices.Equal(w.Regs, g.Regs) {
			p.c.fail(p, Failure{What: "registers", Detail: fmt.Sprintf("those of note %d differ", i)})
		}
	}
	for _, w := range want.Notes {
		same := func(g dumpfmt.Note) bool {
			return g.Name == w.Name && g.Type == w.Type && bytes.Equal(bytes.TrimRight(g.Desc, "\x00"), bytes.TrimRight(w.Desc, "\x00"))
		}
		if w.Name != "VMCOREINFO" && w.Name != "ERASEINFO" && !slices.ContainsFunc(got.Notes, same) {
			p.c.fail(p, Failure{What: "notes", Detail: fmt.Sprintf("note %q, type %#x, is missing or differs", w.Name, w.Type)})
		}
	}
}
