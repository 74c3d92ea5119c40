package bzimage

import "fmt"

// ElfcorehdrWord is how many bytes of the command line the kernel wants for elfcorehdr=, which it puts there when a capture
// kernel is loaded.
const ElfcorehdrWord = 30

// MaxCmdline is how many bytes a command line may have, without the NUL. For a capture kernel it is less, as the kernel adds
// a word of its own.
func (h *Header) MaxCmdline(capture bool) int {
	n := int(h.CmdlineSize) - 1 // the kernel counts the NUL, too
	if capture && h.Kind == BzImage {
		n -= ElfcorehdrWord
	}
	return max(n, 0)
}

// Check says why kexec_file_load of a kernel of the architecture arch (Go's name) would not take the image. fiveLevel: that
// kernel runs with page tables of five levels.
func (h *Header) Check(arch string, fiveLevel bool) error {
	if h.Kind == BzImage && arch == "amd64" && h.Protocol < 0x20c {
		return fmt.Errorf("its boot protocol is %d.%d; kexec_file_load wants 2.12 (Linux 3.8) or newer", h.Protocol>>8, h.Protocol&0xff)
	}
	if h.Arch != arch {
		return fmt.Errorf("the image is for %s, this host is %s", h.Arch, arch)
	}
	if h.Kind != BzImage {
		return nil
	}
	switch {
	case h.LoadFlags&LoadedHigh == 0:
		return fmt.Errorf("it is a zImage, which runs in low memory only")
	case !h.Relocatable:
		return fmt.Errorf("it is not relocatable (CONFIG_RELOCATABLE), so it can't run in the reservation")
	case h.XLoadFlags&XAbove4G == 0:
		return fmt.Errorf("it can't be loaded above 4 GiB (bit 1 of xloadflags), which kexec_file_load wants")
	case fiveLevel && h.XLoadFlags&X5Level == 0:
		return fmt.Errorf("it can't run with page tables of five levels, which the running kernel uses")
	case h.Alignment == 0 || h.Alignment&(h.Alignment-1) != 0 || h.Alignment > 1<<30:
		return fmt.Errorf("damaged: it asks for an alignment of %#x", h.Alignment)
	case h.InitSize < uint64(h.Protected) || h.InitSize > 1<<31:
		return fmt.Errorf("damaged: it has %d bytes and says that it needs %d to start", h.Protected, h.InitSize)
	case h.FileSize < h.SetupSize+h.Protected:
		return fmt.Errorf("truncated: its header speaks of %d bytes, the file has %d", h.SetupSize+h.Protected, h.FileSize)
	case h.PayloadSize > 0 && h.PayloadOffset+h.PayloadSize > h.FileSize:
		return fmt.Errorf("truncated: its kernel ends at byte %d, the file at %d", h.PayloadOffset+h.PayloadSize, h.FileSize)
	}
	return nil
}
