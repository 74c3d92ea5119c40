package analyze

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"

	"kdx/analyze/debugfiles"
	"kdx/analyze/kernel"
	"kdx/analyze/own"
	"kdx/dumpfmt"
	"kdx/internal/unpack"
	"kdx/symbols"
	"kdx/symbols/elfsym"
)

// MismatchError: the vmlinux that was given is of another kernel than the dump.
type MismatchError struct {
	Path           string
	What           string // "build-id", "banner", "machine"
	InFile, InDump string
}

func (e *MismatchError) Error() string {
	return fmt.Sprintf("%s is of another kernel than the dump: its %s is %s, the dump's is %s (--force takes it all the same)", e.Path, e.What, e.InFile, e.InDump)
}

// givenKernel is a kernel's file that was given, as finders. types is nil but for a boot image, which has no DWARF.
type givenKernel struct {
	syms  symbols.SymbolFinder
	types symbols.TypeFinder
}

// openVmlinux opens a given kernel file, packed or not, which must be the dump's unless it is forced. bare knows the kernel's
// own tables.
func openVmlinux(bare *kernel.Kernel, opt Options) (givenKernel, error) {
	u, err := unpack.Open(opt.Debug.context(), opt.Vmlinux, opt.Debug.Files.Unpack)
	if err != nil {
		return givenKernel{}, err
	}
	g, err := finderOf(bare, u, opt)
	if err != nil {
		u.Close()
	}
	return g, err
}

func finderOf(bare *kernel.Kernel, u *unpack.File, opt Options) (givenKernel, error) {
	file, err := elfsym.New(u, u.Size, opt.Vmlinux)
	if errors.Is(err, elfsym.ErrNoSymbols) {
		image, err := openBootImage(bare, u)
		if err != nil {
			return givenKernel{}, err
		}
		return givenKernel{symbols.LazySymbols("vmlinux", image.symbols), symbols.LazyTypes("vmlinux", image.types)}, opt.accept(bare, image)
	}
	if err != nil {
		return givenKernel{}, err
	}
	syms := symbols.LazySymbols("vmlinux", func() (symbols.SymbolFinder, error) {
		defer u.Close()
		shift, err := shiftOf(bare, file)
		if err != nil {
			return nil, err
		}
		t, err := file.Symbols(shift)
		if err != nil {
			return nil, err
		}
		own.Late(bare, own.FirstAddress(t.SymbolsNamed))
		return t, nil
	})
	return givenKernel{syms: syms}, opt.accept(bare, file)
}

// accept refuses the file of another kernel, unless it is forced.
func (opt *Options) accept(bare *kernel.Kernel, file identity) error {
	mismatch := checkVmlinux(bare, file, opt.Vmlinux)
	if mismatch == nil || !opt.Force {
		return mismatch
	}
	opt.Log.Warn("vmlinux is used although it does not match", "err", mismatch)
	return nil
}

// identity is what a kernel's file says of itself.
type identity interface {
	Arch() elf.Machine
	BuildID() string
	Banner() string
	Release() string
}

// shiftOf is by how much the dump's kernel was moved from where the file says it is linked, modulo 2^64.
func shiftOf(bare *kernel.Kernel, file *elfsym.File) (uint64, error) {
	loaded, ok := bare.VMCoreInfo().Symbol("_stext")
	if !ok {
		offset, _ := bare.Arch().KASLROffset()
		return offset, nil
	}
	linked, ok := file.Address("_stext")
	if !ok {
		return 0, fmt.Errorf("%s has no symbol _stext: it is no kernel with its symbols", file.Path)
	}
	return loaded - linked, nil
}

// checkVmlinux compares build-ids, and where these differ or lack, banners: some stable kernels put garbage in
// VMCOREINFO's BUILD-ID, and the banner has compiler and build time.
func checkVmlinux(bare *kernel.Kernel, f identity, path string) error {
	if m := bare.Image().Info().Machine; m == dumpfmt.MachineX86_64 && f.Arch() != elf.EM_X86_64 {
		return &MismatchError{path, "machine", f.Arch().String(), string(m)}
	}
	inFile := f.BuildID()
	if said, ok := bare.VMCoreInfo().Get("BUILD-ID"); ok && inFile == said {
		return nil
	}
	want, _ := debugfiles.Want(context.Background(), bare, nil)
	inDump, banner := want.BuildID, want.Banner
	if b := f.Banner(); b != "" && banner != "" {
		if b == banner {
			return nil
		}
		if inFile == "" || inDump == "" {
			return &MismatchError{path, "banner", fmt.Sprintf("%q", b), fmt.Sprintf("%q", banner)}
		}
	}
	if inFile != "" && inDump != "" {
		return &MismatchError{path, "build-id", withRelease(inFile, f.Release()), withRelease(inDump, release(bare))}
	}
	if r := f.Release(); r != "" && r != release(bare) {
		return &MismatchError{path, "release", r, release(bare)}
	}
	return nil
}

func withRelease(id, release string) string {
	if release == "" {
		return id
	}
	return id + " (" + release + ")"
}

func release(k *kernel.Kernel) string {
	r, _ := k.VMCoreInfo().Get("OSRELEASE")
	return r
}
