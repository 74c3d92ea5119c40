package reserve

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Region is a stretch of physical memory. End is the last byte.
type Region struct {
	Start uint64 `json:"start"`
	End   uint64 `json:"end"`
}

// maxCmdline is beyond the longest command line of any architecture.
const maxCmdline = 64 << 10

// Bytes is the size of the region.
func (r Region) Bytes() uint64 { return r.End - r.Start + 1 }

// Host is what a running kernel says of its reservation.
type Host struct {
	Cmdline string `json:"cmdline"`
	// Regions are the "Crash kernel" entries of /proc/iomem; HiddenWhy says why they are not known.
	Regions   []Region `json:"-"`
	HiddenWhy string   `json:"-"`
	// RAM is the sum of what /proc/iomem calls System RAM, 0 if not known.
	RAM uint64 `json:"-"`
	// RAMLow is how much of it lies below 4 GiB.
	RAMLow uint64 `json:"-"`
	// CrashSize is the kernel's crash_size in bytes; HasCrashSize is false if it has no such file.
	CrashSize    uint64 `json:"-"`
	HasCrashSize bool   `json:"-"`
	// CMA are ranges of crashkernel=…,cma; HasCMA is false if the kernel does not say (before 2025).
	CMA    []Region `json:"-"`
	HasCMA bool     `json:"-"`
}

// ReadHost reads /proc and /sys under root ("" or "/" for this host; a directory that holds another host's files, as sosreport makes).
// Only the command line must be there.
func ReadHost(root string) (*Host, error) {
	base := root
	if base == "" {
		base = "/"
	}
	read := func(names ...string) ([]byte, error) {
		var err error
		for _, n := range names {
			var b []byte
			if b, err = os.ReadFile(filepath.Join(base, n)); err == nil {
				return b, nil
			}
			if !errors.Is(err, fs.ErrNotExist) {
				return nil, err
			}
		}
		return nil, err
	}
	h := &Host{}
	b, err := read("proc/cmdline")
	if err != nil {
		return nil, fmt.Errorf("what the kernel was asked to reserve: %w", err)
	}
	if len(b) > maxCmdline {
		return nil, fmt.Errorf("/proc/cmdline has %d bytes; no kernel takes more than %d", len(b), maxCmdline)
	}
	h.Cmdline = strings.TrimSpace(string(b))
	// The files moved in 2025 and the old names are to go: new, then old.
	if b, err = read("sys/kernel/kexec/crash_size", "sys/kernel/kexec_crash_size"); err == nil {
		n, err := strconv.ParseUint(strings.TrimSpace(string(b)), 10, 64)
		if err != nil {
			return nil, fmt.Errorf("the kernel's crash_size is %q, and should be a number of bytes", b)
		}
		h.CrashSize, h.HasCrashSize = n, true
	} else if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	if b, err = read("sys/kernel/kexec/crash_cma_ranges", "sys/kernel/kexec_crash_cma_ranges"); err == nil {
		h.HasCMA = true
		for line := range strings.Lines(string(b)) {
			if r, ok := parseRegion(strings.TrimSpace(line)); ok {
				h.CMA = append(h.CMA, r)
			}
		}
	}
	if b, err = read("proc/iomem"); err != nil {
		h.HiddenWhy = fmt.Sprintf("no map of memory: %v", err)
		return h, nil
	}
	h.readIomem(b)
	return h, nil
}

// readIomem takes the map of memory: lines "start-end : name", children indented. A process without CAP_SYS_ADMIN sees zeros.
func (h *Host) readIomem(b []byte) {
	zeros := true
	sc := bufio.NewScanner(bytes.NewReader(b))
	for sc.Scan() {
		span, name, ok := strings.Cut(sc.Text(), " : ")
		if !ok {
			continue
		}
		r, ok := parseRegion(strings.TrimSpace(span))
		if !ok {
			continue
		}
		zeros = zeros && r.End == 0
		switch {
		case name == "System RAM" && !strings.HasPrefix(span, " ") && r.End > 0:
			h.RAM += r.Bytes()
			if r.Start < 4*gib {
				h.RAMLow += min(r.End, 4*gib-1) - r.Start + 1
			}
		case name == "Crash kernel" && r.End > 0:
			h.Regions = append(h.Regions, r)
		}
	}
	if zeros {
		h.HiddenWhy = "/proc/iomem shows addresses to root only"
	}
}

// parseRegion reads "start-end" in hexadecimal.
func parseRegion(text string) (Region, bool) {
	a, b, ok := strings.Cut(text, "-")
	if !ok {
		return Region{}, false
	}
	start, err := strconv.ParseUint(strings.TrimPrefix(a, "0x"), 16, 64)
	if err != nil {
		return Region{}, false
	}
	end, err := strconv.ParseUint(strings.TrimPrefix(b, "0x"), 16, 64)
	return Region{start, end}, err == nil && end >= start && (start > 0 || end < ^uint64(0))
}

// State sums up a host's reservation.
type State string

const (
	NotAsked  State = "not asked for"
	Refused   State = "asked for, nothing reserved"
	Reserved  State = "reserved as asked"
	Differs   State = "reserved, but not what the words ask for"
	Unchecked State = "reserved; whether as asked is not known"
	Hidden    State = "not known"
)

// Report compares what a host reserved with what its words ask for.
type Report struct {
	*Host
	State State `json:"state"`
	// Bytes are reserved in Places; nil if that is not known.
	Bytes  *uint64 `json:"reserved"`
	Places []Place `json:"regions"`
	// Memory is what the kernel counts as RAM; nil if that is not known.
	Memory *uint64 `json:"ram"`
	// CMABytes are what CMA holds for the capture kernel, in addition; nil if that is not known.
	CMABytes *uint64 `json:"cma"`
	// Asked is what the words ask for by the rules of the newest kernels; nil if RAM is not known or the architecture is not.
	Asked *Result `json:"asked"`
	// Notes say what the numbers mean.
	Notes []string `json:"notes"`
}

// Place is a Region as JSON has addresses.
type Place struct {
	Start string `json:"start"`
	End   string `json:"end"`
	Bytes uint64 `json:"bytes"`
}

// Compare makes the report of a host of an architecture by its Go name.
func (h *Host) Compare(arch string) *Report {
	r := &Report{Host: h, Places: []Place{}, Notes: []string{}}
	if h.RAM > 0 {
		r.Memory = &h.RAM
	}
	var sum uint64
	for _, g := range h.Regions {
		sum += g.Bytes()
		r.Places = append(r.Places, Place{fmt.Sprintf("%#x", g.Start), fmt.Sprintf("%#x", g.End), g.Bytes()})
	}
	if h.HasCMA {
		r.CMABytes = new(uint64)
		for _, g := range h.CMA {
			*r.CMABytes += g.Bytes()
		}
	}
	switch {
	case sum > 0:
		// Kernels before 6.6 leave the low part out of crash_size.
		r.Bytes = &sum
	case h.HasCrashSize:
		r.Bytes = &h.CrashSize
	case h.HiddenWhy == "":
		r.Bytes = new(uint64)
	}
	if h.HiddenWhy != "" {
		r.note("where it lies is not known: %s", h.HiddenWhy)
	}
	if !h.HasCrashSize {
		r.note("the kernel has no crash_size in /sys/kernel: it is built without kexec, or /sys is not mounted")
	}
	words := findWords(h.Cmdline)
	a, err := ArchOf(arch)
	switch {
	case err != nil:
		r.note("%v", err)
	case h.RAM == 0 && len(words) > 0:
		r.note("how much RAM there is is not known, so the words can't be held against it")
	default:
		asked := Explain(h.Cmdline, h.RAM, a)
		r.Asked = &asked
	}
	r.judge(len(words) > 0, sum > 0)
	return r
}

func (r *Report) note(format string, args ...any) {
	r.Notes = append(r.Notes, fmt.Sprintf(format, args...))
}

func (r *Report) judge(words, places bool) {
	if r.Bytes == nil {
		r.State = Hidden
		return
	}
	reserved := *r.Bytes
	switch {
	case !words && reserved == 0:
		r.State = NotAsked
		r.note("add crashkernel= to the kernel's command line in the boot loader's configuration and boot again")
	case reserved == 0:
		r.State = Refused
		if r.Asked != nil && r.Asked.Size == 0 {
			r.note("%s", r.Asked.Why)
		} else {
			r.note("the kernel found no free place, or the reservation was given back; its log says which: dmesg | grep -i crashkernel")
			for _, o := range r.otherwise(func(o Other) bool { return o.size == 0 }) {
				r.note("or it is one of %s: %s", o.Kernels, o.Outcome)
			}
		}
	case !words:
		r.State = Differs
		r.note("something is reserved though the command line does not ask: the kernel has a default built in, or another command line came first")
	case r.Asked == nil:
		r.State = Unchecked
	default:
		r.hold(reserved, places)
	}
}

// hold compares sizes, by the rules of the newest kernels and by those of others.
func (r *Report) hold(reserved uint64, places bool) {
	fits := func(size, low uint64) bool {
		if places {
			// The low part is there only if the main part lies high.
			return reserved == size && len(r.Places) == 1 || reserved == size+low && len(r.Places) > 1
		}
		return reserved == size || reserved == size+low
	}
	a := r.Asked
	r.State = Reserved
	if a.Size > 0 && fits(a.Size, a.Low) {
		return
	}
	if same := r.otherwise(func(o Other) bool { return o.size > 0 && fits(o.size, o.low) }); len(same) > 0 {
		r.note("as kernels %s read the words; newer ones would not", same[0].Kernels)
		return
	}
	r.State = Differs
	switch want := a.Size; {
	case want == 0:
		r.note("the words give nothing: %s", a.Why)
	case reserved < want:
		r.note("%s less than asked for: the reservation was made smaller since boot (crash_size can be written to)", Size(want-reserved))
	default:
		r.note("%s more than the main part that is asked for: this kernel takes another size for the low part", Size(reserved-want))
	}
}

// otherwise lists outcomes on older kernels.
func (r *Report) otherwise(match func(Other) bool) []Other {
	if r.Asked == nil {
		return nil
	}
	var out []Other
	for _, o := range r.Asked.Others {
		if match(o) {
			out = append(out, o)
		}
	}
	return out
}
