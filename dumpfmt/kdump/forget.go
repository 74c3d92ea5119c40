package kdump

import (
	"context"
	"errors"
	"fmt"
	"io"

	"kdx/dumpfmt"
)

// ForgetLost makes a file say which pages it lacks. f is a flattened stream that ended too early and was put in order: what never came
// (f.NextLost) are holes, which read as zeros for all who don't know. In out, the same file, it clears the descriptors of pages whose
// bytes, descriptor or place in the bitmap never came, drops notes that are not all there, and marks the dump as incomplete. Without its
// headers the file is none, and loses its signature.
//
// The error is out's, or says why the dump can't be opened: what it lacks was not marked then.
func ForgetLost(ctx context.Context, f *dumpfmt.File, out io.WriterAt) error {
	s, err := Open(ctx, []*dumpfmt.File{f})
	if errors.Is(err, errLost) {
		_, werr := out.WriteAt(make([]byte, len(sigKdump)), 0)
		return werr
	}
	if err != nil {
		return err
	}
	for _, p := range s.parts {
		if err := s.forgetPages(ctx, p, out); err != nil {
			return err
		}
	}
	if err := s.forgetNotes(f, out); err != nil {
		return err
	}
	var head [512]byte
	n, err := f.ReadFull(head[:], 0)
	if err != nil && n < layout64.size {
		return err
	}
	if MarkIncomplete(head[:n]) {
		_, err = out.WriteAt(head[:layout64.size], 0)
		return err
	}
	return nil
}

// forgetPages clears descriptors, many neighbours at once.
func (s *Source) forgetPages(ctx context.Context, p *part, out io.WriterAt) error {
	var none [1024 * descSize]byte
	from, to := uint64(0), uint64(0)
	flush := func() error {
		_, err := out.WriteAt(none[:(to-from)*descSize], p.descAt+int64(from*descSize))
		return err
	}
	var failed error
	err := s.eachDesc(ctx, p, func(n uint64, d desc) {
		came := p.first+n < s.sureRank && p.descCame(n) && p.file.Came(int64(d.offset), int64(d.size))
		if came || d == (desc{}) || failed != nil {
			return
		}
		if n != to || (to-from+1)*descSize > uint64(len(none)) {
			failed = flush()
			from = n
		}
		to = n + 1
	})
	return errors.Join(err, failed, flush())
}

// forgetNotes drops the places of what never came from the sub header.
func (s *Source) forgetNotes(f *dumpfmt.File, out io.WriterAt) error {
	h := s.h
	l := h.subLayout
	if l == nil {
		return nil
	}
	for _, x := range []struct {
		since, off int
		at         span
	}{{3, l.vmcoreinfo, h.vmcoreinfo}, {4, l.note, h.note}, {5, l.erase, h.erase}} {
		if h.version < x.since || x.at.size == 0 || f.Came(x.at.off, x.at.size) {
			continue
		}
		if _, err := out.WriteAt(make([]byte, 8+l.word), int64(h.blockSize)+int64(x.off)); err != nil {
			return fmt.Errorf("writing the sub header: %w", err)
		}
	}
	return nil
}
