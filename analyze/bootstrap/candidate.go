package bootstrap

import (
	"bytes"
	"encoding/hex"
	"errors"
	"fmt"

	"kdx/analyze/arch"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
	"kdx/internal/elfnote"
)

// candidate is a kernel image that may be the dump's kernel.
type candidate struct {
	f     *finder
	image arch.X86Image
	how   string           // "CR3 of CPU 0", for people
	text  *vmcoreinfo.Info // its VMCOREINFO, once found
	names *names

	verified bool
	err      error
	banner   string
	release  string
	space    vmem.Space
}

func (f *finder) newCandidate(image arch.X86Image, how string) *candidate {
	c := &candidate{f: f, image: image, how: how}
	c.names = &names{c: c}
	return c
}

// kaslr is by how much the kernel was moved from where it was linked.
func (c *candidate) kaslr() uint64 { return c.image.Virt - c.f.linkedText() }

// linkedText is where the kernel was linked to begin.
func (f *finder) linkedText() uint64 {
	if f.Linked != nil {
		for _, name := range []string{"_text", "_stext"} {
			if a, ok := f.Linked(name); ok {
				return a
			}
		}
	}
	return arch.X86LinkedText
}

// verify reports whether the image holds a kernel: it has a banner, and page tables that map it.
func (c *candidate) verify() bool {
	if !c.verified {
		c.verified = true
		c.err = c.look()
	}
	return c.err == nil
}

var bannerStart = []byte("Linux version ")

func (c *candidate) look() error {
	if c.text != nil { // it fits, see weigh
		return c.translate(c.text)
	}
	if err := c.findBanner(); err != nil {
		return fmt.Errorf("%s (%s): %w", c.image, c.how, err)
	}
	if err := c.findRoot(); err != nil {
		return fmt.Errorf("%s (%s): %w", c.image, c.how, err)
	}
	if err := c.translate(c.basics()); err != nil {
		return err
	}
	c.findText()
	return nil
}

// translate makes the kernel's address space readable.
func (c *candidate) translate(info *vmcoreinfo.Info) error {
	a, err := arch.New(env{c.f.img, info})
	if err == nil {
		c.space = a.Kernel()
	}
	return err
}

// imageLimit bounds the search of an image; distributions' kernels end within 64 MiB.
const imageLimit = 256 << 20

// findBanner reads linux_banner, at its symbol or wherever it is in the image.
func (c *candidate) findBanner() error {
	if at, ok := c.names.address("linux_banner"); ok {
		b := make([]byte, 512)
		n, _ := c.ReadMemory(b, at)
		if c.setBanner(b[:n]) {
			return nil
		}
	}
	first := uint64(c.image.Phys) / c.f.img.Info().PageSize
	last := first + min(c.image.Size, imageLimit)/c.f.img.Info().PageSize
	page := make([]byte, c.f.img.Info().PageSize)
	var buf []byte
	for pfn := first; pfn < last; pfn++ {
		if !c.f.img.State(pfn).Readable() || c.f.img.Source().ReadPage(page, pfn) != nil {
			buf = buf[:0]
			continue
		}
		// A banner that began at the end of the page before ends in this one.
		buf = append(append(buf[:0], buf[max(0, len(buf)-512):]...), page...)
		for b := buf; ; {
			i := bytes.Index(b, bannerStart)
			if i < 0 {
				break
			}
			if c.setBanner(b[i:]) {
				return nil
			}
			b = b[i+1:]
		}
	}
	return errors.New("no banner \"Linux version …\" is in it")
}

// setBanner takes a banner apart. It ends in a newline, which copies in the log and formats do not; one without a build
// number ("# SMP") is a weak symbol that the linker left behind (since 6.1).
func (c *candidate) setBanner(b []byte) bool {
	line, _, ok := bytes.Cut(b[:min(len(b), 512)], []byte{'\n'})
	if !ok || !bytes.HasPrefix(line, bannerStart) || bytes.Contains(line, []byte(" # ")) || bytes.IndexByte(line, 0) >= 0 {
		return false
	}
	release, _, ok := bytes.Cut(line[len(bannerStart):], []byte{' '})
	if !ok || len(release) == 0 || len(release) > 64 || release[0] < '0' || release[0] > '9' {
		return false
	}
	c.banner, c.release = string(line), string(release)
	return true
}

// findRoot finds the kernel's own page table, if the image was not found through one.
func (c *candidate) findRoot() error {
	x := &c.image
	for _, name := range rootNames {
		at, ok := c.names.address(name)
		if !ok || at-x.Virt >= x.Size {
			continue
		}
		root := x.Phys + dumpfmt.Phys(at-x.Virt)
		if x.Levels == 0 && x.Level3 == 0 {
			if l3, ok := c.names.address("level3_kernel_pgt"); ok {
				x.Level3 = x.Phys + dumpfmt.Phys(l3-x.Virt)
			}
		}
		if levels, ok := arch.X86Levels(c.f.img, root, x.Level3); ok && (x.Levels == 0 || x.Levels == levels) {
			x.Root, x.Levels = root, levels
			return nil
		}
	}
	if x.Root != 0 && x.Levels != 0 {
		return nil
	}
	if x.Level3 == 0 {
		return errors.New("its page tables were not found")
	}
	found, ok := arch.X86RootOf(c.f.img, *x)
	if !ok {
		return errors.New("no top page table in it leads to it")
	}
	*x = found
	return nil
}

// rootNames are the kernel's top page table; renamed in 4.13.
var rootNames = []string{"init_top_pgt", "swapper_pg_dir", "init_level4_pgt"}

// place is what it takes to translate addresses.
func (c *candidate) place() []vmcoreinfo.Entry {
	five := 0
	if c.image.Levels == 5 {
		five = 1
	}
	return []vmcoreinfo.Entry{
		{Key: "NUMBER(phys_base)", Value: fmt.Sprint(int64(c.image.PhysBase()))},
		{Key: "NUMBER(pgtable_l5_enabled)", Value: fmt.Sprint(five)},
		{Key: "NUMBER(KERNEL_IMAGE_SIZE)", Value: fmt.Sprint(c.image.KernelMapEnd())},
		{Key: arch.PageTableKey, Value: fmt.Sprintf("%x", uint64(c.image.Root))},
	}
}

// basics is what is known without the kernel's symbols.
func (c *candidate) basics() *vmcoreinfo.Info {
	return vmcoreinfo.Parse(nil).With(
		vmcoreinfo.Entry{Key: "OSRELEASE", Value: c.release},
		vmcoreinfo.Entry{Key: "PAGESIZE", Value: fmt.Sprint(c.f.img.Info().PageSize)},
		vmcoreinfo.Entry{Key: "SYMBOL(_stext)", Value: fmt.Sprintf("%x", c.stext())},
		vmcoreinfo.Entry{Key: "KERNELOFFSET", Value: fmt.Sprintf("%x", c.kaslr())},
	).With(c.place()...)
}

// stext is the address of _stext, with which kernels of today begin.
func (c *candidate) stext() uint64 {
	if a, ok := c.names.address("_stext"); ok {
		return a
	}
	return c.image.Virt
}

// info is the kernel's own VMCOREINFO, else one that says what was derived.
func (c *candidate) info() *vmcoreinfo.Info {
	if c.text != nil {
		return c.text
	}
	entries := []vmcoreinfo.Entry{}
	for _, name := range []string{"swapper_pg_dir", "init_uts_ns", "node_data", "mem_section", "prb"} {
		at, ok := c.names.address(name)
		if !ok && name == "swapper_pg_dir" {
			at, ok = c.names.address("init_top_pgt")
		}
		if ok {
			entries = append(entries, vmcoreinfo.Entry{Key: "SYMBOL(" + name + ")", Value: fmt.Sprintf("%x", at)})
		}
	}
	if id := c.buildID(); id != "" {
		entries = append(entries, vmcoreinfo.Entry{Key: "BUILD-ID", Value: id})
	}
	return c.basics().With(entries...).From("derived from " + c.how)
}

// buildID is from the image's notes (GNU, type 3); "" if it can't be found.
func (c *candidate) buildID() string {
	lo, ok1 := c.names.address("__start_notes")
	hi, ok2 := c.names.address("__stop_notes")
	const limit = 64 << 10
	if !ok1 || !ok2 || hi <= lo || hi-lo > limit {
		return ""
	}
	b := make([]byte, hi-lo)
	n, _ := c.ReadMemory(b, lo)
	id := ""
	const buildIDType = 3
	_ = elfnote.Scan(bytes.NewReader(b[:n]), int64(n), c.f.img.Info().ByteOrder, func(r elfnote.Record) bool {
		if r.Name == "GNU" && r.Type == buildIDType && r.Size <= 64 && r.Offset+r.Size <= int64(n) {
			id = hex.EncodeToString(b[r.Offset : r.Offset+r.Size])
		}
		return id == ""
	})
	return id
}

// findText looks where the kernel keeps the text. Without symbols there is no telling.
func (c *candidate) findText() {
	// The copy that survives a crash is made when a capture kernel is loaded (vmcoreinfo_data_safecopy, 4.13), and
	// vmcoreinfo_data is then set to it.
	for _, name := range []string{"vmcoreinfo_data", "vmcoreinfo_note"} {
		at, ok := c.names.address(name)
		if !ok {
			continue
		}
		var word [8]byte
		if _, err := vmem.Read(c.f.img, c.space, word[:], at); err != nil {
			continue
		}
		ptr := c.f.img.Info().ByteOrder.Uint64(word[:])
		page := make([]byte, c.f.img.Info().PageSize)
		n, _ := vmem.Read(c.f.img, c.space, page, ptr)
		text := cutText(page[:n], name == "vmcoreinfo_note")
		if text == nil {
			continue
		}
		frame, err := c.space.Translate(ptr)
		if err != nil {
			continue
		}
		info := vmcoreinfo.Parse(text)
		if err := c.f.fits(info); err != nil {
			c.f.Log.Debug("the VMCOREINFO of "+name+" is not believed", "err", err)
			continue
		}
		if x, ok := imageOf(info); ok && (x.Virt != c.image.Virt || x.Phys != c.image.Phys) {
			continue
		}
		c.text = info.From(fmt.Sprintf("found in memory at physical address %#x, through %s", uint64(frame.Phys), c.how))
		return
	}
}

// cutText is the text at the start of a page, or behind the header of a note.
func cutText(page []byte, note bool) []byte {
	if note {
		if len(page) < vmcoreinfo.NoteHeader {
			return nil
		}
		page = page[vmcoreinfo.NoteHeader:]
	}
	if !bytes.HasPrefix(page, textStart) {
		return nil
	}
	if end := bytes.IndexByte(page, 0); end >= 0 {
		page = page[:end]
	}
	return page
}

var textStart = []byte("OSRELEASE=")

// ReadMemory reads the image by arithmetic: page tables need not be known.
func (c *candidate) ReadMemory(p []byte, addr uint64) (int, error) {
	off := addr - c.image.Virt
	if addr < c.image.Virt || off >= c.image.Size {
		return 0, &vmem.ReadError{VA: addr, Err: &vmem.FaultError{VA: addr}}
	}
	short := uint64(len(p)) > c.image.Size-off
	if short {
		p = p[:c.image.Size-off]
	}
	n, err := c.f.img.ReadPhys(p, c.image.Phys+dumpfmt.Phys(off))
	if err == nil && short {
		err = &vmem.ReadError{VA: addr + uint64(n), Err: &vmem.FaultError{VA: addr + uint64(n)}}
	}
	return n, err
}

type env struct {
	img *dumpfmt.Image
	vci *vmcoreinfo.Info
}

func (e env) Image() *dumpfmt.Image        { return e.img }
func (e env) VMCoreInfo() *vmcoreinfo.Info { return e.vci }

// imageOf is where a VMCOREINFO says that its kernel is; the size of the image is not known then.
func imageOf(info *vmcoreinfo.Info) (arch.X86Image, bool) {
	stext, ok1 := info.Symbol("_stext")
	base, ok2 := info.Number("phys_base")
	const startKernelMap = 0xffffffff80000000
	if !ok1 || !ok2 || stext < startKernelMap {
		return arch.X86Image{}, false
	}
	return arch.X86Image{Virt: stext, Phys: dumpfmt.Phys(stext - startKernelMap + uint64(base))}, true
}

// fits checks that the kernel which a VMCOREINFO describes stands where it says: its uname is the release. That tells the
// kernel's own from copies in files and user programs, and from what an earlier boot left behind.
func (f *finder) fits(info *vmcoreinfo.Info) error {
	release, _ := info.Get("OSRELEASE")
	if release == "" || len(release) > 64 {
		return errors.New("it gives no OSRELEASE")
	}
	if size, ok := info.Decimal("PAGESIZE"); !ok || uint64(size) != f.img.Info().PageSize {
		return fmt.Errorf("its PAGESIZE is %d, the dump's %d", size, f.img.Info().PageSize)
	}
	if f.img.Info().Machine != dumpfmt.MachineX86_64 {
		return nil
	}
	x, ok := imageOf(info)
	if !ok {
		return errors.New("it has no SYMBOL(_stext) and NUMBER(phys_base), which kernels since 4.10 give: it can't be checked")
	}
	uts, ok := info.Symbol("init_uts_ns")
	if !ok || uts < x.Virt {
		return errors.New("it has no SYMBOL(init_uts_ns), so that it can't be checked")
	}
	b := make([]byte, 512)
	n, err := f.img.ReadPhys(b, x.Phys+dumpfmt.Phys(uts-x.Virt))
	if !bytes.Contains(b[:n], append([]byte(release), 0)) {
		if err != nil {
			return fmt.Errorf("init_uts_ns, where it says it is (physical %#x): %w", uint64(x.Phys)+uts-x.Virt, err)
		}
		return fmt.Errorf("no release %s is at physical address %#x, where it says that init_uts_ns is", release, uint64(x.Phys)+uts-x.Virt)
	}
	return f.mapped(info, x)
}

// mapped checks that the page tables which a VMCOREINFO names map the kernel where it says. Tables that are not in the dump
// say nothing.
func (f *finder) mapped(info *vmcoreinfo.Info, x arch.X86Image) error {
	a, err := arch.New(env{f.img, info})
	if err != nil {
		return err
	}
	w, err := a.Kernel().Walk(x.Virt)
	if err == nil && (!w.Present || w.Frame.Phys != x.Phys) {
		return fmt.Errorf("its page tables do not map _stext (%#x) to physical address %#x", x.Virt, uint64(x.Phys))
	}
	return nil
}

// sized is the image that a VMCOREINFO describes, with its size by the page tables, or at most what kernels have.
func (f *finder) sized(info *vmcoreinfo.Info) arch.X86Image {
	x, _ := imageOf(info)
	x.Size = min(imageLimit, -x.Virt)
	for _, name := range rootNames {
		if root, ok := info.Symbol(name); ok {
			levels := 4
			if five, _ := info.Number("pgtable_l5_enabled"); five != 0 {
				levels = 5
			}
			if y, err := arch.X86ImageOf(f.img, x.Phys+dumpfmt.Phys(root-x.Virt), levels); err == nil && y.Virt == x.Virt && y.Phys == x.Phys {
				return y
			}
		}
	}
	return x
}
