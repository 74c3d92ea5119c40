// Package reserve knows the kernel's rules of crashkernel=: what words reserve on a machine of a given size, and why. It also reads
// what a host did reserve.
package reserve

import (
	"fmt"
	"slices"
)

// Arch is an architecture by Go's name (amd64, arm64), for which the kernel has the generic reservation: with ,high ,low and ,cma.
type Arch struct {
	Name  string
	align uint64
	// defaultLow is what is reserved below when the main part lies above and nothing is said; lowWhy is where that comes from.
	defaultLow uint64
	lowWhy     string
	lowLimit   string // the end of what counts as low
}

const (
	mib = 1 << 20
	gib = 1 << 30
)

// archs: x86-64 from arch/x86/include/asm/crash_reserve.h, whose default low size is swiotlb's (64M unless swiotlb= says else) plus 8M,
// at least 256M; arm64 with the generic 128M.
var archs = []Arch{
	{Name: "amd64", align: 16 * mib, defaultLow: 256 * mib, lowWhy: "256M, or what swiotlb= asks for and 8M if that is more", lowLimit: "4G"},
	{Name: "arm64", align: 2 * mib, defaultLow: 128 * mib, lowWhy: "128M", lowLimit: "the end of what all devices reach by DMA, mostly 4G"},
}

// ArchOf finds an architecture by Go's or uname's name.
func ArchOf(name string) (Arch, error) {
	switch name {
	case "x86_64", "x86-64":
		name = "amd64"
	case "aarch64":
		name = "arm64"
	}
	for _, a := range archs {
		if a.Name == name {
			return a, nil
		}
	}
	return Arch{}, fmt.Errorf("kdx knows the rules of crashkernel= for x86_64 and arm64, not for %s", name)
}

// Result says what is reserved. Sizes are bytes.
type Result struct {
	Arch string `json:"arch"`
	RAM  uint64 `json:"ram"`
	// Words are all of the command line, in order.
	Words []Word `json:"words"`
	// Size is the main part; 0 if nothing is reserved. Why says why then.
	Size uint64 `json:"size"`
	Why  string `json:"why"`
	// Offset is where the main part must lie, 0 for anywhere.
	Offset uint64 `json:"-"`
	// At is the offset as JSON has addresses; nil for anywhere.
	At *string `json:"offset"`
	// Prefers is where it is tried first: "low", "high" or "fixed". FallsBack is where it is tried then.
	Prefers   string `json:"prefers"`
	FallsBack string `json:"falls_back"`
	// Low is the second part, reserved only if the main part lies high.
	Low uint64 `json:"low"`
	// CMA is what ordinary memory may use until a crash, in addition.
	CMA   uint64   `json:"cma"`
	Align uint64   `json:"align"`
	Steps []string `json:"steps"`
	// Traps are what may not be as it was meant.
	Traps []string `json:"traps"`
	// Others are kernels whose rules give another outcome.
	Others []Other `json:"others"`
}

// Other is the outcome on other kernels.
type Other struct {
	Kernels string `json:"kernels"`
	Outcome string `json:"outcome"`

	size, low uint64
}

// rules are what differs between kernels.
type rules struct {
	kernels string
	// cma: ,cma is known (6.17). Before that, such a word is a plain one.
	cma bool
	// own: x86-64's own reservation, before the generic one of 6.7: a bad plain word gives way to ,high; ,low counts with a
	// plain word as well; a fixed place need only be aligned to 1 MiB.
	own bool
	// round: RAM is rounded up to 128 MiB before ranges are looked at.
	round bool
}

var newest = rules{kernels: "6.17 and later", cma: true, round: true}

// olderRules: the code of 5.10 does not round, that of 6.1 does; the generic reservation came with 6.7, ,cma with 6.17.
func olderRules(arch string) []rules {
	if arch != "amd64" {
		return []rules{{kernels: "6.7 to 6.16", round: true}}
	}
	return []rules{{kernels: "6.7 to 6.16", round: true}, {kernels: "6.1 to 6.6", round: true, own: true}, {kernels: "5.10 and before", own: true}}
}

// Explain applies the rules of the newest kernels to a command line (or its crashkernel= words) on a machine where the kernel counts
// ram bytes of memory, and tells where other kernels differ.
func Explain(cmdline string, ram uint64, arch Arch) Result {
	r := explain(cmdline, ram, arch, newest)
	if r.Offset != 0 {
		at := fmt.Sprintf("%#x", r.Offset)
		r.At = &at
	}
	for _, old := range olderRules(arch.Name) {
		o := explain(cmdline, ram, arch, old)
		if o.outcome() != r.outcome() {
			r.Others = append(r.Others, Other{old.kernels, o.Outcome(), o.Size, o.Low})
		}
	}
	return r
}

// outcome is what two results are compared by.
func (r *Result) outcome() [6]any {
	return [6]any{r.Size, r.Offset, r.Prefers, r.Low, r.CMA, r.Size == 0 && r.Why == ""}
}

// Outcome is the result in a line.
func (r *Result) Outcome() string {
	if r.Size == 0 {
		return "nothing is reserved: " + r.Why
	}
	s := Size(r.Size)
	switch r.Prefers {
	case "fixed":
		s += fmt.Sprintf(" at %#x", r.Offset)
	case "high":
		s += " above 4G"
	default:
		s += " below 4G"
	}
	if r.Low > 0 {
		if r.Prefers == "high" {
			s += " and " + Size(r.Low) + " below it"
		} else {
			s += " (if there is no room, above it, and " + Size(r.Low) + " below)"
		}
	}
	if r.CMA > 0 {
		s += ", and " + Size(r.CMA) + " of CMA"
	}
	return s
}

func (r *Result) step(format string, args ...any) {
	r.Steps = append(r.Steps, fmt.Sprintf(format, args...))
}
func (r *Result) trap(format string, args ...any) {
	r.Traps = append(r.Traps, fmt.Sprintf(format, args...))
}

func (r *Result) nothing(format string, args ...any) {
	r.Size, r.Offset, r.Low, r.CMA, r.Prefers, r.FallsBack = 0, 0, 0, 0, "", ""
	r.Why = fmt.Sprintf(format, args...)
	r.step("nothing is reserved: %s", r.Why)
}

func explain(cmdline string, ram uint64, arch Arch, ru rules) Result {
	r := Result{Arch: arch.Name, RAM: ram, Align: arch.align, Words: findWords(cmdline), Steps: []string{}, Traps: []string{}, Others: []Other{}}
	known := []string{"high", "low"}
	if ru.cma {
		known = append(known, "cma")
	}
	for i := range r.Words {
		r.Words[i].Suffix = suffixOf(r.Words[i].Text, known)
		if r.Words[i].inside {
			r.trap("the kernel looks for %q anywhere, so %s%s within another word counts as well", name, name, r.Words[i].Text)
		}
	}
	if len(r.Words) == 0 {
		r.Words = []Word{}
		r.nothing("the command line has no crashkernel=")
		return r
	}
	p, h := last(r.Words, ""), last(r.Words, "high")
	if p >= 0 {
		if r.plain(p, ru, arch) {
			r.finish(arch, ru)
			return r
		}
		// Up to 6.6 x86-64 tried ,high whenever the plain word gave nothing. Now only if there is none.
		if !ru.own || h < 0 {
			r.others(p)
			return r
		}
		r.step("it gives nothing, so the word with ,high is taken (up to 6.6)")
	} else {
		r.step("there is no plain word (one without ,high ,low ,cma), so ,high and ,low count")
	}
	if r.high(h, ru, arch) {
		r.finish(arch, ru)
		return r
	}
	r.others(-1)
	return r
}

// plain applies the word without suffix; false if it gives nothing.
func (r *Result) plain(i int, ru rules, arch Arch) bool {
	w := &r.Words[i]
	r.step("%s%s is the last plain word, and the last one counts", name, w.Text)
	if suffixOf(w.Text, []string{"cma"}) != "" {
		r.trap("these kernels don't know ,cma and take %s%s for the plain word, as it stands last: put it before the others", name, w.Text)
	}
	rounded := r.RAM
	if ru.round && rounded <= ^uint64(0)-128*mib {
		rounded = (rounded + 128*mib - 1) / (128 * mib) * (128 * mib)
	}
	p, err := parsePlain(w.Text, r.RAM, rounded)
	r.Steps = append(r.Steps, p.steps...)
	switch {
	case err != nil && w.Text == "auto":
		w.Why = "crashkernel=auto is known to Red Hat's kernels up to RHEL 8 only"
	case err != nil:
		w.Why = err.Error()
	case p.size == 0:
		w.Why = "it asks for nothing at this size of RAM"
	case p.size >= r.RAM:
		w.Why = fmt.Sprintf("it asks for %s, and the machine has no more than %s", Size(p.size), Size(r.RAM))
	}
	if w.Why != "" {
		r.nothing("%s%s: %s", name, w.Text, w.Why)
		return false
	}
	w.Used = true
	r.Why, r.Size, r.Offset = "", p.size, p.offset
	if p.offset != 0 {
		r.Prefers = "fixed"
		align := arch.align
		if ru.own {
			align = mib
		}
		if p.offset%align != 0 {
			w.Used, w.Why = false, fmt.Sprintf("its offset %#x is no multiple of %s, and an offset allows no other place", p.offset, Size(align))
			r.nothing("%s%s: %s", name, w.Text, w.Why)
			return false
		}
		if p.offset+p.size < p.offset {
			w.Used, w.Why = false, "it ends beyond the last address"
			r.nothing("%s%s: %s", name, w.Text, w.Why)
			return false
		}
		r.step("with an offset it is there or nowhere: if any of it is in use, nothing is reserved, and the kernel says \"memory is in use\"")
		return true
	}
	r.Prefers, r.FallsBack = "low", "high"
	r.step("without an offset a free place is sought below %s, from the top; if there is none, above", arch.lowLimit)
	if h := last(r.Words, "high"); h >= 0 {
		r.Words[h].Why = "a plain word stands on the line too, so words with ,high are ignored"
		r.trap("%s%s is ignored, because %s%s stands on the line too: leave that out if ,high is meant", name, r.Words[h].Text, name, w.Text)
	}
	r.Low = arch.defaultLow
	l := last(r.Words, "low")
	switch {
	case l < 0:
		r.step("if it lies above, %s are reserved below in addition (%s)", Size(r.Low), arch.lowWhy)
	case ru.own:
		n, err := parseSuffixed(r.Words[l].Text, "low")
		if err != nil {
			r.Words[l].Why = err.Error()
			n = arch.defaultLow
		}
		r.Words[l].Used = err == nil
		r.Low = n
		r.step("if it lies above, %s are reserved below in addition (%s%s)", Size(n), name, r.Words[l].Text)
	default:
		r.Words[l].Why = "it counts only with a word with ,high and no plain one"
		r.trap("%s%s is ignored, because %s%s stands on the line too: if the main part lies above %s, it is %s", name, r.Words[l].Text, name, w.Text, "4G", Size(r.Low))
		r.step("if it lies above, %s are reserved below in addition (%s)", Size(r.Low), arch.lowWhy)
	}
	return true
}

// high applies ,high and ,low.
func (r *Result) high(h int, ru rules, arch Arch) bool {
	if h < 0 {
		only := "low"
		if last(r.Words, "low") < 0 {
			only = "cma"
		}
		r.nothing(",%s needs a word that reserves the main part: a plain one%s", only, map[string]string{"low": ", or one with ,high"}[only])
		return false
	}
	w := &r.Words[h]
	r.step("%s%s is the last word with ,high, and the last one counts", name, w.Text)
	size, err := parseSuffixed(w.Text, "high")
	switch {
	case err != nil:
		w.Why = err.Error()
	case size == 0:
		w.Why = "it asks for nothing"
	case size >= r.RAM:
		w.Why = fmt.Sprintf("it asks for %s, and the machine has no more than %s", Size(size), Size(r.RAM))
	}
	if w.Why != "" {
		r.nothing("%s%s: %s", name, w.Text, w.Why)
		return false
	}
	low := arch.defaultLow
	if l := last(r.Words, "low"); l >= 0 {
		lw := &r.Words[l]
		low, err = parseSuffixed(lw.Text, "low")
		if err != nil {
			lw.Why = err.Error()
		}
		if err != nil && !ru.own {
			r.nothing("%s%s: %s. That takes the word with ,high with it", name, lw.Text, lw.Why)
			return false
		}
		lw.Used = err == nil
		if err != nil {
			low = arch.defaultLow
			r.step("%s%s: %s; %s are reserved below in addition (%s)", name, lw.Text, lw.Why, Size(low), arch.lowWhy)
		} else if low == 0 {
			r.step("%s%s: nothing is reserved below", name, lw.Text)
			r.trap("without memory below 4G, devices that reach no higher don't work in the capture kernel")
		} else {
			r.step("%s%s: %s below 4G in addition", name, lw.Text, Size(low))
		}
	} else {
		r.step("nothing is said of ,low, so %s are reserved below in addition (%s)", Size(low), arch.lowWhy)
	}
	w.Used = true
	r.Why, r.Size, r.Low, r.Prefers, r.FallsBack = "", size, low, "high", "low"
	r.step("a free place is sought above %s, from the top; if there is none, below, and then there is no second part", arch.lowLimit)
	return true
}

// finish adds what is the same for all forms that reserve something.
func (r *Result) finish(arch Arch, ru rules) {
	if c := last(r.Words, "cma"); ru.cma && c >= 0 {
		n, err := parseSuffixed(r.Words[c].Text, "cma")
		if err != nil {
			r.Words[c].Why = err.Error()
			r.trap("%s%s is ignored: %v", name, r.Words[c].Text, err)
		} else {
			r.Words[c].Used, r.CMA = true, n
			r.step("%s%s: %s more, which ordinary memory may use until a crash (kernels with CONFIG_CMA)", name, r.Words[c].Text, Size(n))
			r.trap("what user processes have in memory of CMA is lost from the dump")
		}
	}
	r.step("the place is aligned to %s; the size is not rounded", Size(arch.align))
	if r.Prefers != "fixed" {
		r.room(arch)
	}
	r.others(-1)
}

// room tells what can be said of the place without a map of memory.
func (r *Result) room(arch Arch) {
	const belowHole = 2 * gib // firmware leaves at least that below its own window under 4G
	switch {
	case arch.Name != "amd64":
	case r.Prefers == "high" && r.RAM <= belowHole:
		r.trap("a machine with %s has no memory above 4G: the main part lies below, and there is no second part", Size(r.RAM))
	case r.Prefers == "low" && r.Size >= 4*gib:
		r.trap("%s don't fit below 4G: the main part lies above, with %s below", Size(r.Size), Size(r.Low))
	}
}

// others says of each word that is not used why it is not.
func (r *Result) others(bad int) {
	for i := range r.Words {
		w := &r.Words[i]
		if w.Used || w.Why != "" || i == bad {
			continue
		}
		later := slices.ContainsFunc(r.Words[i+1:], func(o Word) bool { return o.Suffix == w.Suffix })
		switch {
		case later:
			w.Why = "a later word of its kind takes its place"
			r.trap("%s%s has no effect: the last word of its kind counts", name, w.Text)
		case r.Size == 0 && bad >= 0:
			w.Why = "the plain word counts, and it gives nothing"
			r.trap("%s%s is not tried, though %s%s gives nothing", name, w.Text, name, r.Words[bad].Text)
		default:
			w.Why = "there is nothing that it could add to"
		}
	}
}

// Align is what the kernel aligns the place of a reservation to, in bytes.
func (a Arch) Align() uint64 { return a.align }
