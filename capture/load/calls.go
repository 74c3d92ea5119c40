package load

import "os"

// Calls are the system calls of kexec. Tests put others in their place.
type Calls interface {
	// FileLoad is kexec_file_load. A nil file is given to the kernel as none, which the flags must allow.
	FileLoad(kernel, initrd *os.File, cmdline string, flags int) error
	// Reboot is reboot with LINUX_REBOOT_CMD_KEXEC: it does not come back if it succeeds.
	Reboot() error
	// Sync is sync.
	Sync()
	// LinkDown takes a network interface down.
	LinkDown(name string) error
}

// Flags of kexec_file_load. They are the same on all architectures.
const (
	flagUnload      = 1 << 0
	flagOnCrash     = 1 << 1
	flagNoInitramfs = 1 << 2
	flagDebug       = 1 << 3 // 6.8
)

// System are the calls of the running kernel.
func System() Calls { return system{} }

type system struct{}
