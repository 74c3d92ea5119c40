package analyze

import (
	"context"
	"debug/elf"
	"fmt"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
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

// openVmlinux opens a given kernel file, which must be the dump's unless it is forced. own knows the kernel's own tables.
func openVmlinux(own *kernel.Kernel, opt Options) (symbols.SymbolFinder, error) {
	file, err := elfsym.Open(opt.Vmlinux)
	if err != nil {
		return nil, err
	}
	if mismatch := checkVmlinux(own, file, opt.Vmlinux); mismatch != nil {
		if !opt.Force {
			file.Close()
			return nil, mismatch
		}
		opt.Log.Warn("vmlinux is used although it does not match", "err", mismatch)
	}
	return symbols.LazySymbols("vmlinux", func() (symbols.SymbolFinder, error) {
		defer file.Close()
		shift, err := shiftOf(own, file)
		if err != nil {
			return nil, err
		}
		t, err := file.Symbols(shift)
		if err != nil {
			return nil, err
		}
		late(own, firstAddress(t.SymbolsNamed))
		return t, nil
	}), nil
}

// shiftOf is by how much the dump's kernel was moved from where the file says it is linked, modulo 2^64.
func shiftOf(own *kernel.Kernel, file *elfsym.File) (uint64, error) {
	loaded, ok := own.VMCoreInfo().Symbol("_stext")
	if !ok {
		offset, _ := own.Arch().KASLROffset()
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
func checkVmlinux(own *kernel.Kernel, f *elfsym.File, path string) error {
	if m := own.Image().Info().Machine; m == dumpfmt.MachineX86_64 && f.Machine != elf.EM_X86_64 {
		return &MismatchError{path, "machine", f.Machine.String(), string(m)}
	}
	inFile := f.BuildID()
	inDump, _ := own.VMCoreInfo().Get("BUILD-ID")
	if inFile != "" && inFile == inDump {
		return nil
	}
	banner := strings.TrimRight(dumpBanner(own), "\n")
	if b := f.Banner(); b != "" && banner != "" {
		if b == banner {
			return nil
		}
		if inFile == "" || inDump == "" {
			return &MismatchError{path, "banner", fmt.Sprintf("%q", b), fmt.Sprintf("%q", banner)}
		}
	}
	if inFile != "" && inDump != "" {
		return &MismatchError{path, "build-id", withRelease(inFile, f.Release()), withRelease(inDump, release(own))}
	}
	if r := f.Release(); r != "" && r != release(own) {
		return &MismatchError{path, "release", r, release(own)}
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

// dumpBanner is linux_banner as it stands in the dump, "" if it can't be read.
func dumpBanner(k *kernel.Kernel) string {
	s, err := k.Symbol("linux_banner")
	if err != nil {
		return ""
	}
	const limit = 1024
	text, err := k.View(context.Background()).CString(vmem.Addr(s.Addr), limit)
	if err != nil {
		return ""
	}
	return text
}
