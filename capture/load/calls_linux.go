package load

import (
	"os"

	"golang.org/x/sys/unix"
)

func fdOf(f *os.File) int {
	if f == nil {
		return -1
	}
	return int(f.Fd())
}

func (system) FileLoad(kernel, initrd *os.File, cmdline string, flags int) error {
	return fileLoad(fdOf(kernel), fdOf(initrd), cmdline, flags)
}

func (system) Reboot() error { return unix.Reboot(unix.LINUX_REBOOT_CMD_KEXEC) }

func (system) Sync() { unix.Sync() }
