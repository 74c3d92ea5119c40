package elfcore

import (
	"context"

	"kdx/dumpfmt"
)

// rangeWindow is how many bytes ReadRange reads at a time.
const rangeWindow = 512 << 10

// ReadRange reads runs of whole pages with large reads, and the rest page by page.
func (s *Source) ReadRange(ctx context.Context, from, to uint64, each dumpfmt.PageFunc) error {
	buf := make([]byte, min(max(rangeWindow, s.info.PageSize), max(to-from, 1)*s.info.PageSize))
	for pfn := from; pfn < to; {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		n, err := s.readRun(buf, pfn, to, each)
		if err != nil {
			return err
		}
		if n > 0 {
			pfn += n
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

// readRun reads the pages at pfn that lie wholly in one extent of the file, as many as fit. None, if there is no such
// extent or it can't be read.
func (s *Source) readRun(buf []byte, pfn, to uint64, each dumpfmt.PageFunc) (uint64, error) {
	parts := s.find(pfn)
	start := pfn << s.shift
	if len(parts) != 1 || parts[0].kind != backed || parts[0].start > start {
		return 0, nil
	}
	e := parts[0]
	n := min(uint64(len(buf))>>s.shift, (e.end-start)>>s.shift, to-pfn)
	if _, err := s.file.ReadFull(buf[:n<<s.shift], e.offset+int64(start-e.start)); err != nil {
		return 0, nil // page by page, each with its own error
	}
	for i := range n {
		if err := each(pfn+i, dumpfmt.Present, buf[i<<s.shift:][:s.info.PageSize], nil); err != nil {
			return 0, err
		}
	}
	return n, nil
}
