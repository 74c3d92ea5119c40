package elfcore

import (
	"context"

	"kdx/dumpfmt"
)

// rangeWindow is how many bytes ReadRange reads at a time.
const rangeWindow = 512 << 10

// ReadRange reads runs of whole pages with large reads, and the rest page by page.
func (s *Source) ReadRange(ctx context.Context, from, to uint64, each dumpfmt.PageFunc) error {
	room, _ := s.windows.Get().(*[]byte)
	if room == nil {
		b := make([]byte, max(rangeWindow, s.info.PageSize))
		room = &b
	}
	defer s.windows.Put(room)
	buf := *room
	for pfn := from; pfn < to; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n := s.ReadRun(buf[:min(uint64(len(buf)), (to-pfn)<<s.shift)], pfn)
		for i := range uint64(n) {
			if err := each(pfn+i, dumpfmt.Present, buf[i<<s.shift:][:s.info.PageSize], nil); err != nil {
				return err
			}
		}
		if n > 0 {
			pfn += uint64(n)
			continue
		}
		if st := s.State(pfn); st != dumpfmt.Absent {
			if err := dumpfmt.ReadOne(s, buf[:s.info.PageSize], pfn, st, each); err != nil {
				return err
			}
		}
		pfn++
	}
	return nil
}

// ReadRun reads the pages at pfn that lie wholly in one extent of the file, as many as fit. None, if there is no such
// extent or it can't be read.
func (s *Source) ReadRun(dst []byte, pfn uint64) int {
	parts := s.find(pfn)
	start := pfn << s.shift
	if len(parts) != 1 || parts[0].kind != backed || parts[0].start > start {
		return 0
	}
	e := parts[0]
	n := min(uint64(len(dst))>>s.shift, (e.end-start)>>s.shift)
	if _, err := s.file.ReadFull(dst[:n<<s.shift], e.offset+int64(start-e.start)); err != nil {
		return 0 // page by page, each with its own error
	}
	return int(n)
}
