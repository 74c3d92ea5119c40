// Package mapfile maps files for random access. Only it and those who call Guard touch mapped bytes, as a file that
// shrinks while it is mapped would otherwise end the program.
package mapfile

import (
	"fmt"
	"os"
	"runtime"
	"runtime/debug"

	"golang.org/x/sys/unix"
)

// File is a mapped file.
type File struct {
	path string
	data []byte
}

// Open maps a regular file for reading. Whoever reads its bytes does so within Guard.
func Open(path string) (*File, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return Map(f)
}

// Map is Open for a file that is open; it may be closed afterwards.
func Map(f *os.File) (*File, error) {
	path := f.Name()
	st, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s is not a regular file", path)
	}
	if st.Size() == 0 {
		return &File{path: path}, nil
	}
	if int64(int(st.Size())) != st.Size() {
		return nil, fmt.Errorf("%s: %d bytes can't be mapped on this machine", path, st.Size())
	}
	data, err := unix.Mmap(int(f.Fd()), 0, int(st.Size()), unix.PROT_READ, unix.MAP_SHARED)
	if err != nil {
		return nil, fmt.Errorf("%s: mapping it: %w", path, err)
	}
	return &File{path, data}, nil
}

// Bytes are the file's, valid until Close.
func (f *File) Bytes() []byte { return f.data }

// Close unmaps the file.
func (f *File) Close() error {
	if f.data == nil {
		return nil
	}
	data := f.data
	f.data = nil
	return unix.Munmap(data)
}

// FaultError: mapped bytes could not be read, as the file shrank or its device failed.
type FaultError struct{ What string }

func (e *FaultError) Error() string {
	return e.What + ": the file shrank or its device failed while it was read"
}

// Guard runs f, which reads mapped bytes or decodes what may be damaged. A fault in mapped memory is a *FaultError, any other
// panic an error that names it. what says which file is read, for messages.
func Guard(what string, f func() error) (err error) {
	old := debug.SetPanicOnFault(true)
	defer debug.SetPanicOnFault(old)
	defer func() {
		p := recover()
		if p == nil {
			return
		}
		if e, ok := p.(runtime.Error); ok {
			if _, fault := e.(interface{ Addr() uintptr }); fault {
				err = &FaultError{what}
				return
			}
		}
		err = fmt.Errorf("%s: a mistake in kdx, please report it: %v", what, p)
	}()
	return f()
}
