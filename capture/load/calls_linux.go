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

func (system) LinkDown(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	req, err := unix.NewIfreq(name)
	if err != nil {
		return err
	}
	if err := unix.IoctlIfreq(fd, unix.SIOCGIFFLAGS, req); err != nil {
		return err
	}
	req.SetUint16(req.Uint16() &^ unix.IFF_UP)
	return unix.IoctlIfreq(fd, unix.SIOCSIFFLAGS, req)
}
