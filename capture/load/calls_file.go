//go:build linux && !386

package load

import "golang.org/x/sys/unix"

func fileLoad(kernel, initrd int, cmdline string, flags int) error {
	return unix.KexecFileLoad(kernel, initrd, cmdline, flags)
}
