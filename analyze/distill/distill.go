// Package distill makes a small dump of a large one: it lets somebody ask questions, records which pages the answers
// needed, and writes a kdump-compressed dump of only those. The small dump gives the same answers to the same questions
// and says of everything else that it is not there. Pages of user space are in it only if a question read them.
package distill

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"sync"

	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/convert"
	"kdx/dumpfmt/kdump"
	"kdx/dumpfmt/vmcoreinfo"
	"kdx/internal/codec"
)

// Options of Distill.
type Options struct {
	Compression string // "raw", "zlib", "lzo", "snappy" or "zstd"; "" is zstd, which crash and makedumpfile know since 2021
	Level       int
	// Commands that Ask runs, to be recorded in the dump.
	Commands []string
	// Origin is a note on where the dump comes from and under which licence, recorded too; may be empty.
	Origin string
	// Tables are recorded for the next open, see Record.
	Tables map[string]uint64
	// Warnings of opening the whole dump, recorded for whoever opens the small one.
	Warnings []string
	// VMCoreInfo is written into the small dump; nil means the dump's own. One that had to be found in memory must be given: the
	// small dump does not hold what led to it.
	VMCoreInfo *vmcoreinfo.Info
	// Ask reads from the image all that the small dump shall answer.
	Ask func(ctx context.Context, img *dumpfmt.Image) error
}

// Record is what a distilled dump says of itself (Info.Distilled), as JSON.
type Record struct {
	Kdx      int      `json:"kdx"` // version of this form
	Commands []string `json:"commands"`
	Origin   string   `json:"origin,omitempty"`
	Pages    uint64   `json:"pages"`
	// Tables are addresses that had to be searched for in memory that the small dump does not hold.
	Tables map[string]vmem.Addr `json:"tables,omitempty"`
	// Warnings are what a person must know of the whole dump to understand which kernel this is.
	Warnings []string `json:"warnings,omitempty"`
}

// ReadRecord is what a distilled dump says of itself; ok is false for other dumps.
func ReadRecord(info *dumpfmt.Info) (rec Record, ok bool) {
	if info.Distilled == nil {
		return Record{}, false
	}
	// Addresses are hex strings, see vmem.Addr.
	var raw struct {
		Record
		Tables map[string]string `json:"tables"`
	}
	if err := json.Unmarshal([]byte(*info.Distilled), &raw); err != nil {
		return Record{}, false
	}
	rec = raw.Record
	rec.Tables = make(map[string]vmem.Addr)
	for name, text := range raw.Tables {
		if addr, err := strconv.ParseUint(text, 0, 64); err == nil {
			rec.Tables[name] = vmem.Addr(addr)
		}
	}
	return rec, true
}

// Report is what Distill wrote.
type Report struct {
	Pages uint64
	Bytes int64
}

// Distill asks the questions and writes the dump to out. It does not close src.
func Distill(ctx context.Context, src dumpfmt.Source, out dumpfmt.Output, opt Options) (Report, error) {
	info := *src.Info()
	if opt.VMCoreInfo != nil {
		info.VMCoreInfo = opt.VMCoreInfo
	}
	self := Record{Kdx: 1, Commands: opt.Commands, Origin: opt.Origin, Tables: make(map[string]vmem.Addr)}
	for name, addr := range opt.Tables {
		self.Tables[name] = vmem.Addr(addr)
	}
	// Whoever asks takes it for the small dump already, and searches for nothing that is recorded. The warnings were said.
	note, err := json.Marshal(self)
	if err != nil {
		return Report{}, err
	}
	asked, before := info, string(note)
	asked.Distilled = &before
	rec := &recorder{Source: src, info: &asked}
	if err := opt.Ask(ctx, dumpfmt.NewImage(rec, dumpfmt.Options{})); err != nil {
		return Report{}, err
	}
	if err := ctx.Err(); err != nil {
		return Report{}, err
	}
	self.Pages, self.Warnings = rec.pages.Len(), opt.Warnings
	if note, err = json.Marshal(self); err != nil {
		return Report{}, err
	}
	if opt.Compression == "" {
		opt.Compression = "zstd"
	}
	text := string(note)
	kind, err := codec.Parse(opt.Compression)
	if err != nil {
		return Report{}, err
	}
	const zeroPages, everything = 1, 31 // a reader must take what is not there as excluded
	w, err := kdump.NewPageWriter(out, kdump.Config{Info: &info, Pages: &rec.pages, Codec: kind, Level: opt.Level,
		DumpLevel: zeroPages | everything, Distilled: &text})
	if err != nil {
		return Report{}, err
	}
	rep, err := convert.Run(ctx, convert.Job{Source: src, Pages: &rec.pages, Writer: w, ZeroPages: true})
	if err == nil && rep.Missing > 0 {
		err = fmt.Errorf("%d pages that could be read before can't be read any more: %w", rep.Missing, errors.Join(rep.Errors...))
	}
	if err != nil {
		return Report{}, fmt.Errorf("distill: %w", err)
	}
	return Report{rec.pages.Len(), w.Size()}, nil
}

// recorder remembers which pages gave bytes. Pages of zeros, which Image does not ask for, count by their state.
type recorder struct {
	dumpfmt.Source
	info  *dumpfmt.Info
	mu    sync.Mutex
	pages dumpfmt.PageSet
}

func (r *recorder) add(pfn uint64) {
	r.mu.Lock()
	r.pages.Add(pfn)
	r.mu.Unlock()
}

// Info is the dump's, with the VMCOREINFO that was found.
func (r *recorder) Info() *dumpfmt.Info { return r.info }

// State records pages of zeros: their state is all that is asked of them.
func (r *recorder) State(pfn uint64) dumpfmt.PageState {
	s := r.Source.State(pfn)
	if s == dumpfmt.Zero || s == dumpfmt.ZeroOrExcluded {
		r.add(pfn)
	}
	return s
}

// ReadPage records pages that could be read.
func (r *recorder) ReadPage(dst []byte, pfn uint64) error {
	err := r.Source.ReadPage(dst, pfn)
	if err == nil {
		r.add(pfn)
	}
	return err
}

// Close leaves the source to its owner.
func (r *recorder) Close() error { return nil }
