package kmod

import (
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/sys/unix"

	"kdx/internal/unpack"
)

// Loader loads modules into the running kernel.
type Loader struct {
	// Compression is the format that the kernel unpacks itself: what /sys/module/compression says (5.17, if it was built with
	// MODULE_DECOMPRESS); "" if it unpacks none.
	Compression string
	finit       func(fd int, params string, flags int) error
	init        func(image []byte, params string) error
}

// NewLoader asks the running kernel, below root ("" for /), what it can unpack.
func NewLoader(root string) *Loader {
	b, err := os.ReadFile(root + "/sys/module/compression")
	if err != nil {
		b = nil
	}
	return &Loader{Compression: strings.TrimSpace(string(b)), finit: unix.FinitModule, init: unix.InitModule}
}

// compressionName is how the kernel names a format.
func compressionName(f unpack.Format) string {
	switch f {
	case unpack.Gzip, unpack.XZ, unpack.Zstd:
		return string(f)
	}
	return ""
}

// Load loads a module with parameters ("a=1 b=2"). It is no error if it is there already. A file that the kernel can't unpack is
// unpacked here, to memory.
func (l *Loader) Load(path, params string) error {
	name := NameOf(path)
	f, fi, err := unpack.OpenRegular(path)
	if err != nil {
		return fmt.Errorf("loading module %s: %w", name, err)
	}
	defer f.Close()
	if fi.Size() > maxModule {
		return fmt.Errorf("loading module %s: %s has %d bytes, which no module has", name, path, fi.Size())
	}
	var head [unpack.HeadSize]byte
	n, err := f.ReadAt(head[:], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return fmt.Errorf("loading module %s: %w", name, err)
	}
	format := unpack.Detect(head[:n])
	switch {
	case format == unpack.None:
		err = l.finit(int(f.Fd()), params, 0)
	case l.Compression != "" && compressionName(format) == l.Compression:
		err = l.finit(int(f.Fd()), params, unix.MODULE_INIT_COMPRESSED_FILE)
	default:
		var image []byte
		if image, err = decompress(f, head[:n], format); err != nil {
			return fmt.Errorf("loading module %s: %s: %w", name, path, err)
		}
		err = l.init(image, params)
	}
	if err == nil || errors.Is(err, unix.EEXIST) {
		return nil
	}
	return &LoadError{Name: name, Path: path, Err: err}
}

// LoadError: the kernel refused a module.
type LoadError struct {
	Name, Path string
	Err        error // a unix.Errno
}

func (e *LoadError) Unwrap() error { return e.Err }

func (e *LoadError) Error() string {
	s := fmt.Sprintf("loading module %s: the kernel says %q", e.Name, e.Err.Error())
	if why := reasons[e.Err]; why != "" {
		s += ": " + why
	}
	return s
}

// reasons are why finit_module fails (kernel/module/main.c), where that is more than the errno's own words.
var reasons = map[error]string{
	unix.ENOENT:       "it uses a symbol that neither the kernel nor a module loaded before it has",
	unix.ENOEXEC:      "it was built for another kernel or is damaged",
	unix.EKEYREJECTED: "its signature is missing or of a key that the kernel does not trust, and the kernel takes signed modules only",
	unix.ENOKEY:       "it is signed with a key that the kernel does not have, and the kernel takes signed modules only",
	unix.EBADMSG:      "its signature is damaged",
	unix.ENOPKG:       "it is signed in a way that the kernel can't check",
	unix.EPERM:        "lockdown, kernel.modules_disabled or a missing CAP_SYS_MODULE forbids it",
	unix.EINVAL:       "a parameter is wrong, or the kernel does not unpack such files",
	unix.ENODEV:       "its driver finds no device",
	unix.ENOMEM:       "there is not enough memory",
	unix.EBUSY:        "it is being loaded already, or what it drives belongs to another driver",
	unix.EOPNOTSUPP:   "the kernel does not unpack such files",
	unix.ENOSYS:       "the kernel has no loadable modules",
}
