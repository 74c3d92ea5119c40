// Package kcore reads the memory of the running kernel through /proc/kcore, an ELF core file that the kernel makes up as it
// is read. Its segments are virtual; those of RAM and of the kernel's image say where they are physically (since 4.11).
package kcore

import (
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"strings"

	"kdx/dumpfmt"
	"kdx/dumpfmt/elfcore"
)

// Path is where the kernel's memory is.
const Path = "/proc/kcore"

const lockdownPath = "/sys/kernel/security/lockdown"

// Source is the running kernel's memory.
type Source struct {
	*elfcore.Source
	info *dumpfmt.Info
}

// Open opens /proc/kcore for reading. The error says what keeps it from being read.
func Open() (*Source, error) {
	f, err := os.Open(Path)
	if err != nil {
		lockdown, _ := os.ReadFile(lockdownPath)
		return nil, explain(err, os.Geteuid(), string(lockdown))
	}
	s, err := open(f)
	if err != nil {
		f.Close()
		return nil, err
	}
	return s, nil
}

// open takes over f only if it succeeds.
func open(f interface {
	ReadAt(p []byte, off int64) (int, error)
	Close() error
}) (*Source, error) {
	// What stat gives for its size counts some segments only; reads behind the last one fail by themselves.
	core, err := elfcore.Open(&dumpfmt.File{Name: Path, Size: math.MaxInt64, ReaderAt: f, Closer: f})
	if err != nil {
		return nil, err
	}
	info := *core.Info()
	info.Format, info.Live = "kcore", true
	info.CPUs = nil // one note of zeros: nobody stopped the CPUs to write their registers down
	if info.MaxPFN == 0 {
		return nil, fmt.Errorf("%s does not say where its segments are in physical memory, as kernels since 4.11 do", Path)
	}
	return &Source{core, &info}, nil
}

// Info is what the headers say; Live is set.
func (s *Source) Info() *dumpfmt.Info { return s.info }

func explain(err error, uid int, lockdown string) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fmt.Errorf("the running kernel can't be looked at: there is no %s. The kernel was built without CONFIG_PROC_KCORE, or this is a container", Path)
	case errors.Is(err, fs.ErrPermission) && strings.Contains(lockdown, "[confidentiality]"):
		return fmt.Errorf("the running kernel can't be looked at: it is locked down (%s says confidentiality), which closes %s even to root: %w", lockdownPath, Path, err)
	case errors.Is(err, fs.ErrPermission) && uid != 0:
		return fmt.Errorf("the running kernel's memory is only for root: run kdx as root: %w", err)
	case errors.Is(err, fs.ErrPermission):
		return fmt.Errorf("the running kernel can't be looked at: %s wants CAP_SYS_RAWIO, which containers take from root: %w", Path, err)
	}
	return fmt.Errorf("the running kernel can't be looked at: %w", err)
}
