package dumpfmt

import (
	"errors"
	"syscall"

	"golang.org/x/sys/unix"
)

// Reserve takes the disk's blocks for bytes that are written later than those behind them, so that a disk that gets full
// does not lose them. Only no space is an error; file systems that can't reserve do without.
func Reserve(out Output, off, size int64) error {
	f, ok := out.(syscall.Conn)
	if !ok || size == 0 {
		return nil
	}
	conn, err := f.SyscallConn()
	if err != nil {
		return nil
	}
	var full error
	_ = conn.Control(func(fd uintptr) {
		if err := unix.Fallocate(int(fd), 0, off, size); errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) {
			full = err
		}
	})
	return full
}
