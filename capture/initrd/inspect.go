package initrd

import (
	"context"
	"io"
)

// Inspect reads an initrd of size bytes from its beginning, and says what makes it useless as a capture initrd of kdx: damage, and what its
// plan needs and it lacks. It looks at nothing else of the host, so it is much cheaper than Verify. Of an initrd of others it finds damage only.
func Inspect(ctx context.Context, r io.Reader, size int64) (*Contents, []string, error) {
	c := &Contents{Size: size, Entries: []Entry{}, Modules: []string{}, Releases: []string{}, sums: map[string]string{}}
	if err := c.read(ctx, r); err != nil {
		return nil, nil, err
	}
	if c.Manifest == nil || c.Plan == nil {
		if c.Damaged != "" {
			return c, []string{c.Damaged}, nil
		}
		return c, nil, nil
	}
	return c, append(c.damage(), c.lacks()...), nil
}

// KernelSHA256 is the sum of the kernel's image that the initrd was built for; "" if it does not say.
func (m *Manifest) KernelSHA256() string {
	for _, in := range m.Inputs {
		if in.What == "kernel" {
			return in.SHA256
		}
	}
	return ""
}
