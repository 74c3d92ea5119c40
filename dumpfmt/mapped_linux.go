package dumpfmt

import (
	"os"
	"runtime/debug"
	"sync"

	"golang.org/x/sys/unix"
)

const (
	// mapWindow is how much of a file is mapped at once, bytes: the page tables of that are one page.
	mapWindow = 1 << 20
	// mapWindows stay mapped, so that page tables take little of what a capture kernel has.
	mapWindows = 16
	// mapRefusals in a row, and a file is taken for one that can't be mapped.
	mapRefusals = 4
)

// mapped reads a file through mappings, and by pread what can't be mapped. /proc/vmcore is meant: a read of it maps, copies and unmaps
// each page by itself in the kernel. It can be mapped since Linux 3.11, for reading only.
type mapped struct {
	*os.File
	size int64 // bytes, of whole pages

	mu      sync.Mutex
	windows []*window // the one used last is the last
	refused int       // mappings in a row
	closed  bool
}

// window is a part of the file that is mapped.
type window struct {
	off  int64
	data []byte
	used int // readers that copy from it
	gone bool
}

// readerOf has files of /proc read through mappings.
func readerOf(f *os.File, size int64) readerAtCloser {
	var st unix.Statfs_t
	if err := unix.Fstatfs(int(f.Fd()), &st); err != nil || st.Type != unix.PROC_SUPER_MAGIC {
		return fileReader{f}
	}
	return newMapped(f, size)
}

func newMapped(f *os.File, size int64) *mapped {
	return &mapped{File: f, size: size &^ int64(os.Getpagesize()-1)}
}

// ReadAt reads as an *os.File does.
func (m *mapped) ReadAt(p []byte, off int64) (int, error) {
	n := 0
	for n < len(p) {
		at := off + int64(n)
		part := p[n:]
		if left := mapWindow - at%mapWindow; int64(len(part)) > left {
			part = part[:left]
		}
		if !m.copy(part, at) {
			k, err := m.File.ReadAt(part, at)
			if n += k; err != nil {
				return n, err
			}
			continue
		}
		n += len(part)
	}
	return n, nil
}

// copy fills p, which lies within one window. It is false if that part of the file can't be mapped, or its memory not be read.
func (m *mapped) copy(p []byte, at int64) bool {
	if at < 0 || at+int64(len(p)) > m.size {
		return false
	}
	w := m.take(at &^ (mapWindow - 1))
	if w == nil {
		return false
	}
	defer m.give(w)
	return copyMapped(p, w.data[at-w.off:])
}

// copyMapped is false if a page behind the mapping can't be read, as of memory that is damaged. pread then says so.
func copyMapped(dst, src []byte) (ok bool) {
	defer debug.SetPanicOnFault(debug.SetPanicOnFault(true))
	defer func() {
		if p := recover(); p != nil {
			ok = false
		}
	}()
	copy(dst, src)
	return true
}

// take returns the window at an offset, for a reader; nil if there is none.
func (m *mapped) take(off int64) *window {
	m.mu.Lock()
	defer m.mu.Unlock()
	for i, w := range m.windows {
		if w.off == off {
			copy(m.windows[i:], m.windows[i+1:])
			m.windows[len(m.windows)-1] = w
			w.used++
			return w
		}
	}
	if m.closed || m.refused >= mapRefusals {
		return nil
	}
	data, err := unix.Mmap(int(m.Fd()), off, int(min(mapWindow, m.size-off)), unix.PROT_READ, unix.MAP_PRIVATE)
	if err != nil {
		m.refused++
		return nil
	}
	m.refused = 0
	if len(m.windows) == mapWindows {
		m.drop(m.windows[0])
		m.windows = append(m.windows[:0], m.windows[1:]...)
	}
	w := &window{off: off, data: data, used: 1}
	m.windows = append(m.windows, w)
	return w
}

// give returns a window of take.
func (m *mapped) give(w *window) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if w.used--; w.gone && w.used == 0 {
		unix.Munmap(w.data)
	}
}

// drop unmaps a window that is not listed any more, when its last reader is done.
func (m *mapped) drop(w *window) {
	w.gone = true
	if w.used == 0 {
		unix.Munmap(w.data)
	}
}

// Close closes the file.
func (m *mapped) Close() error {
	m.mu.Lock()
	m.closed = true
	for _, w := range m.windows {
		m.drop(w)
	}
	m.windows = nil
	m.mu.Unlock()
	return m.File.Close()
}
