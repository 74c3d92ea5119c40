// Package estimate says how large a reservation a host needs for its capture kernel, term by term.
package estimate

import (
	"fmt"
	"slices"

	"kdx/capture/reserve"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// Input is what the estimate is made from. Sizes are bytes.
type Input struct {
	Arch string // Go's name
	// RAM is what the host's kernel counts as memory, RAMLow how much of it lies below 4 GiB.
	RAM, RAMLow uint64
	// InitSize is what the capture kernel needs in one piece from its start on, by the header of its image.
	InitSize uint64
	Kernel   string // where InitSize is from
	// InitrdPacked is the file, InitrdUnpacked what it becomes.
	InitrdPacked, InitrdUnpacked uint64
	Initrd                       string // where they are from
	// Modules are loaded in the capture kernel: the bytes of their code and data.
	Modules uint64
	// CPUs that the capture kernel starts.
	CPUs int
	// Network says that a target lies behind it.
	Network bool
	// LUKS is what opening the target's volume takes, 0 without. LUKSFrom tells of it.
	LUKS     uint64
	LUKSFrom string
	// LUNs are the SCSI disks that the capture kernel will find.
	LUNs int
	// Memory is a configured limit for each stage, 0 for kdx's own.
	Memory uint64
	// Encrypted memory (SEV, TDX, SME) makes all devices use bounce buffers.
	Encrypted bool
	// Elfcorehdr is the size of the segment that describes the crashed kernel's memory.
	Elfcorehdr uint64
}

// Phase is when a term is needed.
type Phase string

// Phases: what is needed while the kernel starts is given back before saving begins, and the other way round.
const (
	Always Phase = "always"
	Boot   Phase = "start"
	Save   Phase = "save"
)

// Term is a part of the sum.
type Term struct {
	ID    string `json:"id"`
	Title string `json:"title"`
	Bytes uint64 `json:"bytes"`
	// Least is what it can't do with less.
	Least uint64 `json:"least"`
	Phase Phase  `json:"phase"`
	Why   string `json:"why"`
}

// Result is the estimate. Sizes are bytes.
type Result struct {
	Terms []Term `json:"terms"`
	// Boot and Save are the sums of the two phases; Peak is the larger, with which phase it is.
	Boot  uint64 `json:"start"`
	Save  uint64 `json:"save"`
	Peak  uint64 `json:"peak"`
	Phase Phase  `json:"peak_phase"`
	// Least is the larger sum of what can't be less, and LeastPhase its phase: with less memory than that the dump will not be saved.
	Least      uint64 `json:"least"`
	LeastPhase Phase  `json:"least_phase"`
	// Size is the reservation: the peak with a margin, rounded up to what the architecture aligns to.
	Size uint64 `json:"size"`
	// Low, High and their limits are as kdumptool calibrate prints them: for ,low and ,high. High is 0 if there is no memory above 4 GiB.
	Total   uint64 `json:"total"`
	Low     uint64 `json:"low"`
	High    uint64 `json:"high"`
	MinLow  uint64 `json:"min_low"`
	MaxLow  uint64 `json:"max_low"`
	MinHigh uint64 `json:"min_high"`
	MaxHigh uint64 `json:"max_high"`
	// Words ask for Size; HighWords ask for it above 4 GiB, "" if there is nothing.
	Words     string `json:"words"`
	HighWords string `json:"high_words"`
}

// What the terms are made of. The kernel's share was measured with Debian's kernels 6.1 and 6.12 (x86-64, one CPU, NVMe, ext4). Of 6.12's init_size of
// 55.9 MiB, 39 MiB are gone from MemTotal when init runs in a machine of 96 MiB, and 42 MiB in a reservation of 128 MiB, page structures apart; of 6.1's
// 51.5 MiB 34. 19 MiB are in use beyond that and the root filesystem (6.1: 26). A stage of kdx takes 11 MiB while it saves a small machine.
// While the initrd is unpacked all of init_size is still in use, and both forms of the initrd: 84 MiB do not do for 6.1 and 96 not for 7.2, which run out of memory there;
// 84 do for that on 6.12, but not to save. With 88 on 6.12 and 100 on 7.2 a dump is saved, but only when that is tried again without understanding the kernel.
const (
	residentPercent = 74
	kernelOwn       = 20 * mib // slabs, hash tables, devices, buffers of the log, page tables
	leastPercent    = 68       // of init_size that stays, at least
	leastOwn        = 15 * mib
	leastKdx        = 14 * mib // PID 1 and a stage on a small machine
	startOwn        = 16 * mib // of kernelOwn, until the initrd is unpacked, with the unpacker's window
	leastStartOwn   = 12*mib + 512*kib
	perCPU          = 1 * mib
	structPage      = 64
	pageSize        = 4 * kib
	supervisor      = 5 * mib
	stage           = 16 * mib // the limit that kdx-init gives a stage at least
	writeBack       = 4 * mib  // dirty pages and buffers of the target
	networkOwn      = 20 * mib // protocols, receive buffers, ssh's window, a driver of common size
	bitmapMost      = 32 * mib
	perLUN          = 512 * kib
	swiotlb         = 64 * mib
	lowPart         = swiotlb + 8*mib // as x86-64 and SUSE's kdump reckon
	marginPercent   = 5
	// Drivers are in the initrd, and once more in memory, linked. What remains of an ELF file without its symbols and relocations:
	moduleResident = 60
)

// UsualInitrd is reckoned with while there is none: what kdx builds for a local target, and for one over the network.
func UsualInitrd(network bool) (packed, unpacked uint64) {
	if network {
		return 6 * mib, 16 * mib
	}
	return 5 * mib, 13 * mib
}

// UsualInitSize is reckoned with if the kernel's image is not found: that of 6.12, which is 4 MiB less for 6.1 and 4 MiB more for 7.2.
const UsualInitSize = 56 * mib

// UsualElfcorehdr is the segment of kernels that update it themselves, with Debian's limits (8192 CPUs, 8192 ranges of memory).
const UsualElfcorehdr = 900 * kib

// Of makes the estimate.
func Of(in Input) Result {
	r := Result{Total: in.RAM}
	add := func(id string, phase Phase, bytes uint64, title, why string, args ...any) {
		if bytes > 0 {
			r.Terms = append(r.Terms, Term{ID: id, Title: title, Bytes: bytes, Least: bytes, Phase: phase, Why: fmt.Sprintf(why, args...)})
		}
	}
	least := func(id string, bytes uint64) {
		if n := len(r.Terms); n > 0 && r.Terms[n-1].ID == id {
			r.Terms[n-1].Least = bytes
		}
	}
	add("kernel-start", Boot, in.InitSize, "kernel while it starts", "init_size of its header, in one piece: %s", in.Kernel)
	add("kernel", Save, in.InitSize*residentPercent/100, "kernel", "%d %% of init_size stay when it runs", residentPercent)
	least("kernel", in.InitSize*leastPercent/100)
	add("initrd-packed", Boot, in.InitrdPacked, "initrd, packed", "until it is unpacked: %s", in.Initrd)
	add("initrd", Always, in.InitrdUnpacked, "initrd, unpacked", "the root filesystem, in memory: %s", in.Initrd)
	add("kernel-own-start", Boot, startOwn, "kernel's tables", "slabs, hash tables and page tables until the initrd is unpacked")
	least("kernel-own-start", leastStartOwn)
	add("kernel-own", Save, kernelOwn, "kernel's own memory", "slabs, hash tables, devices, page tables")
	least("kernel-own", leastOwn)
	add("modules", Save, in.Modules*moduleResident/100, "drivers", "%d %% of the modules' files stay, linked", moduleResident)
	add("cpus", Always, uint64(max(in.CPUs, 1))*perCPU, "CPUs", "nr_cpus=%d, %s each", max(in.CPUs, 1), reserve.Size(perCPU))
	add("elfcorehdr", Always, in.Elfcorehdr, "elfcorehdr", "the map of the crashed kernel's memory")
	add("kdx", Save, supervisor+max(in.Memory, stage), "kdx", "%s for PID 1 and %s for the stage at work", reserve.Size(supervisor), reserve.Size(max(in.Memory, stage)))
	least("kdx", leastKdx)
	bitmap := min(in.RAM/pageSize/8*2, bitmapMost)
	add("bitmap", Save, bitmap, "bitmaps", "2 bits a page of %s, %s at most", approx(in.RAM), reserve.Size(bitmapMost))
	add("write", Save, writeBack, "writing", "pages on their way to the target")
	least("write", 0)
	if in.Network {
		add("network", Save, networkOwn, "network", "protocols, buffers of the driver, SSH's window")
		least("network", networkOwn/2)
	}
	add("luks", Save, in.LUKS, "LUKS", "%s", in.LUKSFrom)
	add("luns", Save, uint64(in.LUNs)*perLUN, "SCSI disks", "%d LUNs, half a MiB each", in.LUNs)
	if in.Encrypted {
		add("swiotlb", Always, swiotlb, "bounce buffers", "memory is encrypted, so all devices go through them")
	}
	r.sum()
	a, err := reserve.ArchOf(in.Arch)
	align := uint64(16 * mib)
	if err == nil {
		align = a.Align()
	}
	r.Size = (r.Peak + align - 1) / align * align
	r.words(in)
	return r
}

// sum adds the phases up. Page structures are a share of the whole, so they and the margin come last.
func (r *Result) sum() {
	var leastBoot, leastSave uint64
	for _, t := range r.Terms {
		if t.Phase != Save {
			r.Boot, leastBoot = r.Boot+t.Bytes, leastBoot+t.Least
		}
		if t.Phase != Boot {
			r.Save, leastSave = r.Save+t.Bytes, leastSave+t.Least
		}
	}
	r.Least, r.LeastPhase = leastBoot, Boot
	if leastSave > leastBoot {
		r.Least, r.LeastPhase = leastSave, Save
	}
	r.Least += r.Least / (pageSize/structPage - 1)
	r.Phase, r.Peak = Boot, r.Boot
	if r.Save > r.Boot {
		r.Phase, r.Peak = Save, r.Save
	}
	pages := r.Peak / (pageSize/structPage - 1)
	margin := (r.Peak + pages) * marginPercent / 100
	at := slices.IndexFunc(r.Terms, func(t Term) bool { return t.ID == "cpus" })
	r.Terms = slices.Insert(r.Terms, at, Term{"pages", "page structures", pages, pages, Always, fmt.Sprintf("%d bytes a page of the reservation", structPage)})
	r.Terms = append(r.Terms, Term{"margin", "margin", margin, 0, Always, fmt.Sprintf("%d %%, for what differs between hosts", marginPercent)})
	r.Boot += pages + margin
	r.Save += pages + margin
	r.Peak += pages + margin
}

func (r *Result) words(in Input) {
	r.Words = "crashkernel=" + reserve.Size(r.Size)
	above := uint64(0)
	if in.RAM > in.RAMLow {
		above = in.RAM - in.RAMLow
	}
	if above <= r.Size {
		r.Low, r.MinLow, r.MaxLow = r.Size, r.Size, in.RAMLow
		return
	}
	r.Low, r.MinLow, r.MaxLow = lowPart, lowPart, in.RAMLow
	r.High, r.MinHigh, r.MaxHigh = r.Size, 0, above
	r.HighWords = fmt.Sprintf("crashkernel=%s,high crashkernel=%s,low", reserve.Size(r.High), reserve.Size(r.Low))
}

// Enough holds what is reserved against what can't be less.
func (r *Result) Enough(reserved uint64) bool { return reserved >= r.Least }

// Doubt says what speaks against a reservation, "" if nothing does. What can't be less is an estimate: it differs between kernels and hosts, so that some
// more than that may still be too little.
func (r *Result) Doubt(reserved uint64) string {
	what := "to save a dump"
	if r.LeastPhase == Boot {
		what = "to start and unpack its initrd"
	}
	switch {
	case !r.Enough(reserved):
		return fmt.Sprintf("the reservation is too small as kdx reckons: it has %s, and the capture kernel takes at least %s %s", reserve.Size(reserved), mebi(r.Least), what)
	case reserved < r.Least+r.Least*marginPercent/100:
		return fmt.Sprintf("the reservation may be too small: it has %s, and the capture kernel takes %s %s, or some more", reserve.Size(reserved), mebi(r.Least), what)
	}
	return ""
}

func approx(n uint64) string {
	if n >= 10*gib {
		return fmt.Sprintf("%.0f GiB", float64(n)/gib)
	}
	return mebi(n)
}

func mebi(n uint64) string { return fmt.Sprintf("%.1f MiB", float64(n)/mib) }
