package formats

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strconv"
	"strings"

	"kdx/dumpfmt"
	"kdx/dumpfmt/rawmem"
)

// SplitAddress takes FILE@ADDR apart: a file that holds memory as it is, from a physical address on. ok is false if path is
// not written so, or is itself the name of a file.
func SplitAddress(path string) (file string, addr uint64, ok bool) {
	i := strings.LastIndexByte(path, '@')
	if i <= 0 {
		return path, 0, false
	}
	addr, err := strconv.ParseUint(path[i+1:], 0, 63)
	if err != nil {
		return path, 0, false
	}
	if _, err := os.Lstat(path); err == nil {
		return path, 0, false
	}
	return path[:i], addr, true
}

// openRaw opens files that are memory as it is, if the paths or the options say so; found is false if they don't.
func openRaw(ctx context.Context, paths []string, opt Options) (src dumpfmt.Source, found bool, err error) {
	names, addrs := make([]string, len(paths)), make([]uint64, len(paths))
	given := 0
	for i, p := range paths {
		var ok bool
		if names[i], addrs[i], ok = SplitAddress(p); ok {
			given++
		}
	}
	switch {
	case given == 0 && !opt.Raw:
		return nil, false, nil
	case given == 0 && len(paths) == 1: // all of memory, from address 0 on
	case given < len(paths):
		return nil, true, fmt.Errorf("of %d files of memory, only %d say where it was: name each as FILE@ADDRESS", len(paths), given)
	}
	files, err := openFiles(ctx, names, opt)
	if err != nil {
		return nil, true, err
	}
	if given == 0 {
		if src, found, err := openBeside(files[0], opt); found {
			return closed(src, files, err)
		}
	}
	parts := make([]rawmem.Part, len(files))
	for i, f := range files {
		parts[i] = rawmem.Part{File: f, Addr: addrs[i]}
	}
	src, err = rawmem.Open(parts, rawmem.Config{Machine: opt.Machine, PageSize: opt.PageSize})
	return closed(src, files, err)
}

func closed(src dumpfmt.Source, files []*dumpfmt.File, err error) (dumpfmt.Source, bool, error) {
	if err != nil {
		closeAll(files)
	}
	return src, true, err
}

// mapSuffix is behind the name of an image in that of its map.
const mapSuffix = ".map"

// openBeside opens an image that has a map beside it; found is false if it has none.
func openBeside(f *dumpfmt.File, opt Options) (src dumpfmt.Source, found bool, err error) {
	text, err := os.Open(f.Name + mapSuffix)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, false, nil
	}
	if err != nil {
		return nil, true, err
	}
	defer text.Close()
	m, err := rawmem.ReadMap(text)
	if err != nil {
		return nil, true, fmt.Errorf("%s begins as no dump does, and the map beside it, %s, can't be read: %w", f.Name, text.Name(), err)
	}
	src, err = rawmem.OpenMap(f, m, rawmem.Config{Machine: opt.Machine, PageSize: opt.PageSize})
	return src, true, err
}
