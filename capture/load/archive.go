package load

import "io"

// Archive is what an initrd says of itself.
type Archive struct {
	// Own: kdx built it. Release is the kernel's whose modules it holds, KernelSHA256 the hash of that kernel's image; "" if it
	// does not say.
	Own          bool
	Release      string
	KernelSHA256 string
	// Unpacked is its size in bytes when it is unpacked, 0 if that is not known.
	Unpacked int64
}

// Inspector reads an initrd of size bytes; an error says that the kernel could not unpack it, or that it is damaged.
type Inspector func(r io.ReaderAt, size int64) (*Archive, error)
