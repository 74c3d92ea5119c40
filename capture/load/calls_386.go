package load

import "golang.org/x/sys/unix"

// fileLoad: Linux has no kexec_file_load on i386.
func fileLoad(kernel, initrd int, cmdline string, flags int) error { return unix.ENOSYS }
