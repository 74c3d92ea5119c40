package describe

import (
	"bytes"
	"context"
	"errors"
	"strings"

	"kdx/dumpfmt"
)

// found is what memory told.
type found struct {
	banner string // the kernel's own
	weak   string // a banner without a build number, see look
	uts    *dumpfmt.UTS
	config bool
}

const (
	// imageSize bounds a kernel image: its banner lies in the read-only data, less than this behind its start.
	imageSize = 64 << 20
	// fullScan bounds the search in a dump that does not say where its kernel is. Kernels are loaded low.
	fullScan = 4 << 30
	// tail is what is kept of a page in case something begins there and ends in the next one.
	tail = 1024
)

// startKernelMap is where x86-64 maps the kernel image (__START_KERNEL_map).
const startKernelMap = 0xffffffff80000000

// search looks for the kernel's banner where its image should be and, if everything is wanted, in all low memory.
func search(ctx context.Context, im *dumpfmt.Image, everywhere bool) (found, error) {
	var f found
	for _, start := range imageStarts(im.Info()) {
		if err := f.scan(ctx, im, start, start+imageSize, everywhere); err != nil {
			return f, err
		}
		if f.enough(everywhere) {
			return f, nil
		}
	}
	if !everywhere {
		return f, nil
	}
	return f, f.scan(ctx, im, 0, fullScan, true)
}

// imageStarts lists physical addresses at which the kernel image may begin.
func imageStarts(info *dumpfmt.Info) []dumpfmt.Phys {
	var starts []dumpfmt.Phys
	if stext, ok := info.VMCoreInfo.Symbol("_stext"); ok {
		if base, ok := info.VMCoreInfo.Number("phys_base"); ok && info.Machine == dumpfmt.MachineX86_64 {
			starts = append(starts, dumpfmt.Phys(stext-startKernelMap+uint64(base)))
		}
		if off, ok := info.VMCoreInfo.Number("kimage_voffset"); ok {
			starts = append(starts, dumpfmt.Phys(stext-uint64(off)))
		}
	}
	for _, s := range info.Segments {
		if s.HasPhys && s.Virt >= startKernelMap && info.Machine == dumpfmt.MachineX86_64 {
			starts = append(starts, s.Phys)
		}
	}
	if len(starts) == 0 && len(info.Ranges) > 0 && info.Machine != dumpfmt.MachineX86_64 {
		// Without address randomization (ppc64, s390x, riscv64) kernels begin near the start of RAM.
		starts = append(starts, info.Ranges[0].Start)
	}
	return starts
}

// enough: unless all is wanted, the banner is.
func (f *found) enough(all bool) bool { return f.banner != "" && (!all || f.uts != nil) }

// scan goes over the pages that can be read in [start, end) until there is enough.
func (f *found) scan(ctx context.Context, im *dumpfmt.Image, start, end dumpfmt.Phys, all bool) error {
	size := im.Info().PageSize
	last := min(im.Info().MaxPFN, uint64(end)/size)
	page := make([]byte, size)
	var buf []byte
	gap := true
	for pfn := uint64(start) / size; pfn < last; pfn++ {
		if pfn%1024 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		st := im.State(pfn)
		if st != dumpfmt.Present {
			gap = true
			continue
		}
		if err := im.Source().ReadPage(page, pfn); err != nil {
			var pe *dumpfmt.PageError
			if !errors.As(err, &pe) {
				return err
			}
			gap = true
			continue
		}
		if gap {
			buf = buf[:0]
		} else if len(buf) > tail {
			buf = append(buf[:0], buf[len(buf)-tail:]...)
		}
		gap = false
		buf = append(buf, page...)
		before := f.banner
		f.look(buf)
		if before == "" && f.banner != "" {
			last = min(last, pfn+imageSize/size) // the uname is in the same image
		}
		if f.enough(all) {
			return nil
		}
	}
	return nil
}

func (f *found) look(b []byte) {
	if f.banner == "" {
		f.findBanner(b)
	}
	if f.uts == nil {
		f.uts = findUTS(b)
	}
	if !f.config {
		f.config = bytes.Contains(b, []byte("IKCFG_ST\x1f\x8b"))
	}
}

var bannerStart = []byte("Linux version ")

// findBanner finds linux_banner, which ends in a newline and so differs from the log's copy and from format strings.
// Since Linux 6.1 the image also holds a weak one that the linker left behind, whose build number is empty ("# SMP"); it
// serves if there is no other.
func (f *found) findBanner(b []byte) {
	for {
		i := bytes.Index(b, bannerStart)
		if i < 0 {
			return
		}
		b = b[i:]
		n := printable(b[:min(len(b), tail)])
		rest := b[len(bannerStart):]
		if n < len(b) && b[n] == '\n' && len(rest) > 0 && rest[0] >= '0' && rest[0] <= '9' && bytes.Contains(b[:n], []byte(" (")) {
			if !bytes.Contains(b[:n], []byte(" # ")) {
				f.banner = string(b[:n])
				return
			}
			f.weak = or(f.weak, string(b[:n]))
		}
		b = rest
	}
}

func printable(b []byte) int {
	for i, c := range b {
		if c < 0x20 || c > 0x7e {
			return i
		}
	}
	return len(b)
}

const utsField = 65

// findUTS finds a struct new_utsname: six fields of 65 bytes, the first "Linux", the third a release.
func findUTS(b []byte) *dumpfmt.UTS {
	want := append([]byte("Linux"), make([]byte, utsField-5)...)
	for {
		i := bytes.Index(b, want)
		if i < 0 || len(b)-i < 6*utsField {
			return nil
		}
		if uts := parseUTS(b[i:]); uts != nil {
			return uts
		}
		b = b[i+utsField:]
	}
}

func parseUTS(b []byte) *dumpfmt.UTS {
	var uts dumpfmt.UTS
	for i, s := range []*string{&uts.Sysname, &uts.Nodename, &uts.Release, &uts.Version, &uts.Machine, &uts.Domainname} {
		field := b[i*utsField:][:utsField]
		n := printable(field)
		if n == utsField || len(bytes.Trim(field[n:], "\x00")) > 0 {
			return nil
		}
		*s = string(field[:n])
	}
	// The copy without a build number is of the weak symbol that findBanner knows, too.
	if strings.HasPrefix(uts.Version, "# ") {
		return nil
	}
	if uts.Release == "" || uts.Release[0] < '0' || uts.Release[0] > '9' || uts.Machine == "" {
		return nil
	}
	return &uts
}

// merge fills what headers and notes left open.
func (d *Description) merge(f found) {
	f.banner = or(f.banner, f.weak)
	d.Banner = f.banner
	d.EmbeddedConfig = f.config
	if f.uts != nil {
		d.Nodename = or(d.Nodename, f.uts.Nodename)
		d.Version = or(d.Version, f.uts.Version)
		d.Machine = or(d.Machine, f.uts.Machine)
		if d.Release == "" {
			d.Release, d.ReleaseFrom = f.uts.Release, "uname in memory"
		}
	}
	if d.Release == "" && f.banner != "" {
		release, _, _ := bytes.Cut([]byte(f.banner)[len(bannerStart):], []byte(" "))
		d.Release, d.ReleaseFrom = string(release), "banner in memory"
	}
}

func or(a, b string) string {
	if a != "" {
		return a
	}
	return b
}
