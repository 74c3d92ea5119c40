package save

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"kdx/analyze/kernel"
	"kdx/dumpfmt"
)

// ProcVMCore is where a capture kernel shows the memory of the kernel that crashed.
const ProcVMCore = "/proc/vmcore"

// ErrNoVMCore: there is nothing to be saved. Nothing was touched.
var ErrNoVMCore = errors.New("there is no dump to be saved")

// CheckVMCore refuses a /proc/vmcore that is absent or empty: this is no capture kernel then.
func CheckVMCore(path string) error {
	st, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("%w: %s does not exist: this kernel was not started by a crash (or lacks CONFIG_PROC_VMCORE)", ErrNoVMCore, path)
	case err != nil:
		return fmt.Errorf("%w: %w", ErrNoVMCore, err)
	case st.IsDir():
		return fmt.Errorf("%w: %s is a directory", ErrNoVMCore, path)
	case st.Mode().IsRegular() && st.Size() == 0:
		return fmt.Errorf("%w: %s is empty: this kernel was not started by a crash (or elfcorehdr= is missing on its command line)", ErrNoVMCore, path)
	}
	return nil
}

// source is the dump as far as it is understood.
type source struct {
	file   *dumpfmt.File
	img    *dumpfmt.Image // nil if its headers make no sense
	imgErr error
	kernel *kernel.Kernel // nil if it can't be opened
	whyNot error
}

// imageCache bounds the cache of pages through which the kernel is looked at, bytes.
const imageCache = 2 << 20

func (j *Job) open(ctx context.Context) (*source, error) {
	if err := CheckVMCore(j.VMCore); err != nil {
		return nil, err
	}
	f, err := dumpfmt.OpenFile(j.VMCore)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNoVMCore, err)
	}
	s := &source{file: f}
	if s.img, s.imgErr = openDump(ctx, f, imageCache); s.imgErr != nil {
		s.whyNot = s.imgErr
		return s, nil
	}
	open := j.Open
	if open == nil {
		open = func(ctx context.Context, img *dumpfmt.Image) (*kernel.Kernel, error) {
			return OpenKernel(ctx, img, j.Types, j.Log)
		}
	}
	s.kernel, s.whyNot = open(ctx, s.img)
	return s, nil
}

func (s *source) Close() {
	if s.kernel != nil {
		s.kernel.Close()
	}
	if s.img != nil {
		s.img.Close()
	}
	s.file.Close()
}
