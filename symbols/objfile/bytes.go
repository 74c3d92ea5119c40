package objfile

import (
	"io"

	"kdx/internal/mapfile"
)

// Size of the file in bytes.
func (f *File) Size() int64 { return int64(len(f.data)) }

// ReadAt reads the file's bytes as they stand; it implements io.ReaderAt.
func (f *File) ReadAt(p []byte, off int64) (n int, err error) {
	if off < 0 || off >= int64(len(f.data)) {
		return 0, io.EOF
	}
	err = mapfile.Guard(f.Path, func() error {
		n = copy(p, f.data[off:])
		return nil
	})
	if err == nil && n < len(p) {
		err = io.EOF
	}
	return n, err
}
