package load

import (
	"errors"
	"fmt"
	"io"

	"kdx/capture/initrd"
	"kdx/internal/unpack"
)

// Archive is what an initrd says of itself.
type Archive struct {
	// Own: kdx built it. Release is the kernel's whose modules it holds, KernelSHA256 and KernelCRC (as initrd.NewCRC) are sums of that
	// kernel's image.
	Own          bool
	Release      string
	KernelSHA256 string
	KernelCRC    string
	// SHA256 is the sum of what follows its own head, as the head says; "" for others.
	SHA256 string
	// Unpacked is its size in bytes when it is unpacked, 0 if that is not known; Modules are kernel modules of it.
	Unpacked, Modules int64
	Network           bool
}

// Inspector reads an initrd of size bytes; an error says that the kernel could not unpack it, or that it is damaged. Without whole only
// its head is looked at.
type Inspector func(r io.ReaderAt, size int64, whole bool) (*Archive, error)

// InspectInitrd knows kdx's own initrds, whose head tells all without unpacking, and those of others by how they begin.
func InspectInitrd(r io.ReaderAt, size int64, whole bool) (*Archive, error) {
	h, begin, err := initrd.ReadHead(r, size)
	if err != nil {
		return nil, err
	}
	if h != nil {
		if whole {
			if err := h.CheckDamage(io.NewSectionReader(r, begin, size-begin)); err != nil {
				return nil, err
			}
		}
		return &Archive{Own: true, SHA256: h.SHA256, Release: h.Release, KernelSHA256: h.Kernel, KernelCRC: h.KernelCRC, Unpacked: h.Unpacked, Modules: h.Modules, Network: h.Network}, nil
	}
	magic := make([]byte, unpack.HeadSize)
	n, err := r.ReadAt(magic, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	magic = magic[:n]
	if unpack.Detect(magic) == unpack.None && !(n > 6 && string(magic[:5]) == "07070") {
		return nil, fmt.Errorf("it is no initrd: it begins with % x, which is neither an archive of cpio nor packed in a way that kdx knows", magic)
	}
	return &Archive{}, nil
}
