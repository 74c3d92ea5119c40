package load

import (
	"context"
	"fmt"
	"io"
	"strings"

	"kdx/capture/initrd"
)

// Archive is what an initrd says of itself.
type Archive struct {
	// Own: kdx built it. Release is the kernel's whose modules it holds, KernelSHA256 the hash of that kernel's image; "" if it
	// does not say.
	Own          bool
	Release      string
	KernelSHA256 string
	// Unpacked is its size in bytes when it is unpacked.
	Unpacked int64
}

// Inspector reads an initrd of size bytes; an error says that the kernel could not unpack it, or that it is damaged.
type Inspector func(ctx context.Context, r io.Reader, size int64) (*Archive, error)

// InspectInitrd knows kdx's own initrds and those of others.
func InspectInitrd(ctx context.Context, r io.Reader, size int64) (*Archive, error) {
	c, problems, err := initrd.Inspect(ctx, r, size)
	if err != nil {
		return nil, err
	}
	if len(problems) > 0 {
		return nil, fmt.Errorf("it is damaged: %s", strings.Join(problems, "; "))
	}
	a := &Archive{Unpacked: c.Unpacked}
	if c.Manifest != nil && c.Plan != nil {
		a.Own, a.Release, a.KernelSHA256 = true, c.Manifest.Release, c.Manifest.KernelSHA256()
	}
	return a, nil
}
