package estimate

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"kdx/capture/bzimage"
	"kdx/capture/config"
	"kdx/capture/initrd"
	"kdx/capture/reserve"
	"kdx/capture/storage"
)

// Kernel finds the capture kernel's image: the configured one, or the running one's. The path is as on the host.
func Kernel(root string, c *config.Config) (path string, h *bzimage.Header, err error) {
	path = c.Kernel
	if path == "" {
		full, err := initrd.RunningImage(root)
		if err != nil {
			return "", nil, err
		}
		path = full
		if root != "" {
			path = filepath.Join("/", strings.TrimPrefix(full, filepath.Clean(root)))
		}
	}
	h, err = bzimage.ReadFile(under(root, path))
	return path, h, err
}

// FromHost fills in what is known of a host. Notes say what had to be guessed.
func FromHost(ctx context.Context, root, arch string, c *config.Config) (in Input, notes []string) {
	in = Input{Arch: arch, CPUs: max(c.CPUs, 1), Memory: c.Memory, InitSize: UsualInitSize, Kernel: "as of 6.12, since the image is not found"}
	if h, err := reserve.ReadHost(root); err == nil {
		in.RAM, in.RAMLow = h.RAM, h.RAMLow
		if h.RAM == 0 {
			notes = append(notes, "how much memory there is is not known: "+h.HiddenWhy)
		}
	}
	if c.CPUs == 0 {
		in.CPUs = possibleCPUs(root)
	}
	if path, h, err := Kernel(root, c); err == nil && h.InitSize > 0 {
		in.InitSize, in.Kernel = h.InitSize, path
	} else if err != nil {
		notes = append(notes, fmt.Sprintf("the kernel's size is guessed: %v", err))
	}
	in.Network = slices.ContainsFunc(c.Targets, func(t config.Target) bool { return t.Kind == config.SFTP || t.Kind == config.SSH })
	in.readInitrd(ctx, root, c)
	in.readLUKS(root, c)
	in.Elfcorehdr = UsualElfcorehdr
	for _, n := range []string{"/sys/kernel/kexec/crash_elfcorehdr_size", "/sys/kernel/crash_elfcorehdr_size"} {
		if b, err := os.ReadFile(under(root, n)); err == nil {
			if v, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 32); err == nil {
				in.Elfcorehdr = v
				break
			}
		}
	}
	in.LUNs = luns(root)
	in.Encrypted = encrypted(root)
	return in, notes
}

func under(root, path string) string {
	if root == "" {
		return path
	}
	return filepath.Join(root, path)
}

// luns counts SCSI disks.
func luns(root string) int {
	found, _ := filepath.Glob(under(root, "/sys/class/scsi_disk/*"))
	return len(found)
}

func encrypted(root string) bool {
	for _, n := range []string{"/sys/class/misc/sev-guest", "/sys/class/misc/tdx_guest"} {
		if _, err := os.Stat(under(root, n)); err == nil {
			return true
		}
	}
	b, err := os.ReadFile(under(root, "/proc/cmdline"))
	return err == nil && slices.Contains(strings.Fields(string(b)), "mem_encrypt=on")
}

func possibleCPUs(root string) int {
	b, err := os.ReadFile(under(root, "/sys/devices/system/cpu/possible"))
	if err != nil {
		return 1
	}
	_, last, ok := strings.Cut(strings.TrimSpace(string(b)), "-")
	n, err := strconv.Atoi(last)
	if !ok || err != nil || n < 0 || n > 1<<16 {
		return 1
	}
	return n + 1
}

// readLUKS looks whether a local target lies on an encrypted volume, and what opening that takes.
func (in *Input) readLUKS(root string, c *config.Config) {
	for _, t := range c.Targets {
		device := t.Device
		switch t.Kind {
		case config.Dir:
			m, err := storage.MountOf(root, t.Path)
			if err != nil {
				continue
			}
			device = m.Device
		case config.SFTP, config.SSH:
			continue
		}
		for _, l := range Stack(root, DeviceName(root, device)) {
			in.addLUKS(root, l)
		}
	}
}

func (in *Input) addLUKS(root string, l Layer) {
	if !strings.HasPrefix(l.DM, "CRYPT-LUKS2-") {
		return
	}
	below, _ := filepath.Glob(under(root, "/sys/class/block/"+l.Name+"/slaves/*"))
	if len(below) != 1 {
		return
	}
	f, err := os.Open(under(root, "/dev/"+filepath.Base(below[0])))
	if err != nil {
		return
	}
	defer f.Close()
	head := make([]byte, maxLUKSHeader)
	n, _ := io.ReadFull(f, head)
	if m, err := LUKSMemory(head[:n]); err == nil && m > in.LUKS {
		in.LUKS, in.LUKSFrom = m, fmt.Sprintf("Argon2's memory for the key of %s, by its header", filepath.Base(below[0]))
	}
}

// readInitrd takes the sizes of the initrd, or the usual ones if there is none.
func (in *Input) readInitrd(ctx context.Context, root string, c *config.Config) {
	in.InitrdPacked, in.InitrdUnpacked = UsualInitrd(in.Network)
	in.Initrd = "as is usual, since there is none yet"
	shown, err := initrd.Show(ctx, under(root, c.Initrd))
	if err != nil || shown.Manifest == nil || shown.Damaged != "" {
		return
	}
	in.InitrdPacked, in.InitrdUnpacked, in.Initrd = uint64(shown.Size), uint64(shown.Unpacked), c.Initrd
	for _, f := range shown.Manifest.Files {
		switch _, suffix, is := strings.Cut(filepath.Base(f.Path), ".ko"); {
		case is && suffix == "":
			in.Modules += uint64(f.Size)
		case is:
			in.Modules += uint64(f.Size) * packedModule
		}
	}
}

// packedModule is how many times larger a module is when it is unpacked.
const packedModule = 4
