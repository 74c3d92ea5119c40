package symbols

import "errors"

// ErrNotFound is a finder's answer for a name or address that it does not know.
var ErrNotFound = errors.New("not found")

// Memory is the target's kernel memory. ReadMemory fills p from the virtual address addr; where a byte is missing it
// returns the count of bytes before it and an error that says why. io.ReaderAt does not serve, as kernel addresses
// don't fit an int64 offset.
type Memory interface {
	ReadMemory(p []byte, addr uint64) (int, error)
}
