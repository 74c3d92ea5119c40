package qemusave

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/window"
	"kdx/dumpfmt/internal/x86cpu"
	"kdx/internal/codec"
)

// Probe reports whether a file that begins with head is a migration stream.
func Probe(head []byte) bool {
	return len(head) >= 8 && binary.BigEndian.Uint32(head) == magic && binary.BigEndian.Uint32(head[4:]) < 16
}

// Open opens a migration stream ("migrate file:…"). It takes over f only if it succeeds.
func Open(ctx context.Context, f *dumpfmt.File, progress func(what string, done, total int64)) (dumpfmt.Source, error) {
	return open(ctx, f, f, 0, "", newInfo(f, "qemu"), progress)
}

func newInfo(f *dumpfmt.File, format string) *dumpfmt.Info {
	return &dumpfmt.Info{Format: format, Files: []string{f.Name}, PageSize: 1 << minPageBits, WordSize: 8, DumpLevel: -1,
		Flattened: f.Flattened, Incomplete: f.Incomplete, Warnings: f.Warnings}
}

// Source is an open stream.
type Source struct {
	files  []io.Closer
	stream *dumpfmt.File
	info   *dumpfmt.Info
	runs   []run
	pieces []piece
	shift  uint

	decoder *codec.Decoder
	cut     bool // the stream ends early: pages that are in no run were lost; otherwise QEMU left them out
}

// open reads the stream that begins at start of in, which holds what f does.
func open(ctx context.Context, f, in *dumpfmt.File, start int64, machine string, info *dumpfmt.Info, progress func(what string, done, total int64)) (dumpfmt.Source, error) {
	s := &stream{ctx: ctx, c: cursor{window.New(in, start, cursorWindow)}, info: info, pageSize: info.PageSize, machine: machine}
	s.index.pageSize = s.pageSize
	if in != f {
		info.Warnings = append(info.Warnings, in.Warnings[len(f.Warnings):]...)
		info.Incomplete = info.Incomplete || in.Incomplete
	}
	s.progress = func(done, total int64) {
		if progress != nil {
			progress("indexing the pages of "+f.Name, done, total)
		}
	}
	err := s.read()
	cut := errors.Is(err, errCut)
	if err != nil && !cut {
		return nil, err
	}
	if !s.placed {
		return nil, s.fail(start, err, "the migration stream holds no memory")
	}
	out := &Source{files: []io.Closer{f}, stream: in, info: info, cut: cut, decoder: codec.NewDecoder()}
	if in != f {
		out.files = append(out.files, in)
	}
	if cut {
		info.Truncated, info.Incomplete = true, true
		info.Warn("%v: pages that were to come behind are missing", err)
	}
	out.index(s)
	if info.Machine == dumpfmt.MachineX86_64 {
		s.addCPUs()
	}
	return out, nil
}

func (s *stream) addCPUs() {
	states := s.cpus()
	if len(states) == 0 {
		s.info.Warn("no CPU's registers were found behind the memory")
	}
	x86cpu.Add(s.info, states)
}

// index lays the machine's memory out.
func (x *Source) index(s *stream) {
	k := s.kind()
	info := x.info
	info.PageSize, info.Machine, info.ByteOrder = s.pageSize, k.machine, k.order
	for 1<<x.shift < info.PageSize {
		x.shift++
	}
	x.runs = s.index.finish()
	size := uint64(0)
	for _, b := range s.blocks {
		if b.main {
			size += b.size
		}
	}
	x.pieces = s.layout(k, size)
	for _, p := range x.pieces {
		info.Ranges = append(info.Ranges, dumpfmt.PhysRange{Start: dumpfmt.Phys(p.phys), End: dumpfmt.Phys(p.phys + p.size)})
		info.MaxPFN = (p.phys + p.size) >> x.shift
	}
	held := uint64(0)
	for _, r := range x.runs {
		held += uint64(r.n)
	}
	if n := size>>x.shift - held; n > 0 && !x.cut {
		info.Filtered = true
		info.Warn("%d pages were never sent: QEMU leaves out what the guest said was free", n)
	}
}

// Info is what the stream says.
func (x *Source) Info() *dumpfmt.Info { return x.info }

// Close closes the file, and the unpacked one.
func (x *Source) Close() error {
	var errs []error
	for _, f := range x.files {
		errs = append(errs, f.Close())
	}
	return errors.Join(errs...)
}

// find returns where the page is; ok is false for one that the machine doesn't have, form is then meaningless.
func (x *Source) find(pfn uint64) (r run, sent, ok bool) {
	i := sort.Search(len(x.pieces), func(i int) bool { return (x.pieces[i].phys+x.pieces[i].size)>>x.shift > pfn })
	if i == len(x.pieces) || pfn < x.pieces[i].phys>>x.shift {
		return run{}, false, false
	}
	page := x.pieces[i].page + pfn - x.pieces[i].phys>>x.shift
	if r, sent = find(x.runs, page); sent {
		r = r.from(page, x.info.PageSize)
	}
	return r, sent, true
}

// State of one page.
func (x *Source) State(pfn uint64) dumpfmt.PageState {
	r, sent, ok := x.find(pfn)
	if !ok {
		return dumpfmt.Absent
	}
	return x.state(r, sent)
}

func (x *Source) state(r run, sent bool) dumpfmt.PageState {
	switch {
	case !sent && x.cut:
		return dumpfmt.Unreadable
	case !sent:
		return dumpfmt.Excluded
	case r.form.kind() == zero:
		return dumpfmt.Zero
	}
	return dumpfmt.Present
}

// ReadPage reads one page.
func (x *Source) ReadPage(dst []byte, pfn uint64) error {
	r, sent, ok := x.find(pfn)
	pe := &dumpfmt.PageError{Addr: dumpfmt.Phys(pfn << x.shift), PFN: pfn, State: dumpfmt.Absent, Level: -1}
	if !ok {
		return pe
	}
	switch pe.State = x.state(r, sent); pe.State {
	case dumpfmt.Zero:
		clear(dst)
		return nil
	case dumpfmt.Excluded:
		return pe
	case dumpfmt.Unreadable:
		pe.Err = errors.New("the stream ends before it (truncated dump)")
		return pe
	}
	if err := x.decode(dst[:x.info.PageSize], r); err != nil {
		pe.State = dumpfmt.Unreadable
		pe.Err = fmt.Errorf("reading %s at byte %#x of the stream: %w", x.stream.Name, r.off, err)
		return pe
	}
	return nil
}

func (x *Source) decode(dst []byte, r run) error {
	switch r.form.kind() {
	case filled:
		for i := range dst {
			dst[i] = byte(r.form.number())
		}
		return nil
	case packed:
		b := make([]byte, r.form.number())
		if _, err := x.stream.ReadFull(b, r.off); err != nil {
			return err
		}
		return x.decoder.Decode(codec.Zlib, dst, b)
	}
	_, err := x.stream.ReadFull(dst, r.off)
	return err
}
