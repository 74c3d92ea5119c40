package load

import (
	"context"
	"errors"
	"fmt"
	"net"
)

// ErrNoImage: there is no kernel to reboot into.
var ErrNoImage = errors.New("no kernel is loaded for a reboot: load one with kdx kexec -l")

// ExecOptions say what is left out before the machine is handed over.
type ExecOptions struct {
	// NoSync leaves dirty pages unwritten, NoLinksDown network interfaces up.
	NoSync, NoLinksDown bool
}

// Exec starts the kernel that is loaded for a reboot, at once: processes are not ended and filesystems not unmounted. It comes back
// only with an error. Interfaces are taken down first, because a device may go on writing what it receives to memory that is the
// new kernel's.
func (h *Host) Exec(ctx context.Context, opt ExecOptions) error {
	k, err := h.ReadKernel()
	if err != nil {
		return err
	}
	if k.Loaded != nil && !*k.Loaded {
		return ErrNoImage
	}
	if !opt.NoSync {
		h.Calls.Sync()
	}
	if !opt.NoLinksDown {
		links, err := net.Interfaces()
		if err != nil {
			h.say("interfaces are left as they are: %v", err)
		}
		for _, l := range links {
			if l.Flags&net.FlagUp == 0 || l.Flags&net.FlagLoopback != 0 {
				continue
			}
			if err := h.Calls.LinkDown(l.Name); err != nil {
				h.say("interface %s stays up: %v", l.Name, err)
			}
		}
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := h.Calls.Reboot(); err != nil {
		return fmt.Errorf("the kernel did not start the one that is loaded: %w", err)
	}
	return errors.New("the kernel came back from starting the one that is loaded")
}
