// Package rawmem reads and writes memory as it is, without a header: images of virtual machines (.vmem), ramdumps of
// embedded ones, files that are addressed by physical memory. Nothing in such a file says what it is, so that it is never
// guessed: an address is given for each file, or a Map lies beside it.
package rawmem

import (
	"encoding/binary"
	"fmt"

	"kdx/dumpfmt"
	"kdx/dumpfmt/internal/linear"
)

// Config says what nothing in the files does. What a Map says goes before.
type Config struct {
	Machine  dumpfmt.Machine // "" is x86_64
	PageSize uint64          // bytes; 0 is what is usual on the machine
}

// Part is a file and the physical address of its first byte.
type Part struct {
	File *dumpfmt.File
	Addr uint64
}

// Open makes a dump of files that hold memory from an address on. It takes over the files only if it succeeds.
func Open(parts []Part, cfg Config) (dumpfmt.Source, error) {
	info := &dumpfmt.Info{Format: "raw", DumpLevel: -1, Machine: cfg.Machine, ByteOrder: binary.LittleEndian}
	if err := info.Assume(cfg.PageSize); err != nil {
		return nil, err
	}
	var files []*dumpfmt.File
	var runs []linear.Run
	for i, p := range parts {
		files = append(files, p.File)
		info.Files = append(info.Files, p.File.Name)
		info.Incomplete = info.Incomplete || p.File.Incomplete
		info.Flattened = info.Flattened || p.File.Flattened
		info.Warnings = append(info.Warnings, p.File.Warnings...)
		size := uint64(p.File.Size)
		r := Range{Start: p.Addr, End: p.Addr + size, State: dumpfmt.Present}
		if r.End < r.Start || r.End > maxAddress {
			return nil, fmt.Errorf("%s has %#x bytes, which are more than there is memory behind address %#x", p.File.Name, size, p.Addr)
		}
		if run, ok := wholePages(info, r); ok {
			run.File = i
			runs = append(runs, run)
		}
	}
	if len(runs) == 0 {
		return nil, fmt.Errorf("%s has not a page of %d bytes", files[0].Name, info.PageSize)
	}
	return open(info, files, runs)
}

// maxAddress is beyond what machines have.
const maxAddress = 1 << 63

// OpenMap makes a dump of a file whose memory a map describes. It takes over f only if it succeeds.
func OpenMap(f *dumpfmt.File, m *Map, cfg Config) (dumpfmt.Source, error) {
	info := &dumpfmt.Info{Format: "raw", DumpLevel: -1, Machine: m.Machine, ByteOrder: binary.LittleEndian, Files: []string{f.Name},
		Incomplete: m.Incomplete || f.Incomplete, Flattened: f.Flattened, Warnings: f.Warnings}
	if info.Machine == "" {
		info.Machine = cfg.Machine
	}
	if m.BigEndian {
		info.ByteOrder = binary.BigEndian
	}
	size := m.PageSize
	if size == 0 {
		size = cfg.PageSize
	}
	if err := info.Assume(size); err != nil {
		return nil, err
	}
	var runs []linear.Run
	for _, r := range m.Ranges {
		if run, ok := wholePages(info, r); ok {
			runs = append(runs, run)
		}
	}
	if m.Incomplete {
		info.Warn("the map of %s says that the image was cut short when it was made", f.Name)
	}
	return open(info, []*dumpfmt.File{f}, runs)
}

func open(info *dumpfmt.Info, files []*dumpfmt.File, runs []linear.Run) (dumpfmt.Source, error) {
	src, err := linear.New(info, files, runs)
	if err != nil {
		return nil, err
	}
	return src, nil
}

// wholePages leaves out what is not a whole page at the ends of a range.
func wholePages(info *dumpfmt.Info, r Range) (linear.Run, bool) {
	mask := info.PageSize - 1
	start, end := (r.Start+mask)&^mask, r.End&^mask
	if r.Start != start || r.End != end {
		info.Warn("memory %#x-%#x begins or ends inside a page of %d bytes: only whole pages are read", r.Start, r.End, info.PageSize)
	}
	if start >= end {
		return linear.Run{}, false
	}
	run := linear.Run{Start: start, Size: end - start}
	switch r.State {
	case dumpfmt.Zero:
		run.Zero = true
	case dumpfmt.Present:
		run.Offset = r.Offset + int64(start-r.Start)
	default:
		run.Missing = r.State
	}
	return run, true
}
