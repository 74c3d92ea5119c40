package atomicfile

import (
	"os"

	"golang.org/x/sys/unix"
)

// beginWriting asks for what was written so far to go to the disk, without waiting for it. It says nothing of durability.
func beginWriting(f *os.File) error {
	conn, err := f.SyscallConn()
	if err != nil {
		return err
	}
	var said error
	if err := conn.Control(func(fd uintptr) { said = unix.SyncFileRange(int(fd), 0, 0, unix.SYNC_FILE_RANGE_WRITE) }); err != nil {
		return err
	}
	return said
}
