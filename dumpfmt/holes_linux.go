package dumpfmt

import (
	"os"

	"golang.org/x/sys/unix"
)

// fileReader is an *os.File that knows where a sparse file has data.
type fileReader struct{ *os.File }

// NextData returns the offset of the first byte at or behind off that isn't in a hole of the file. Moving the file's own
// position does no harm: everything here reads at offsets.
func (f fileReader) NextData(off, size int64) int64 {
	at, err := unix.Seek(int(f.Fd()), off, unix.SEEK_DATA)
	switch {
	case err == unix.ENXIO:
		return size
	case err != nil:
		return off
	}
	return at
}
