// Package sysinfo says what machine and kernel crashed, when and of what: the facts of a dump's first page.
package sysinfo

import (
	"fmt"
	"math"
	"strings"
	"time"

	"kdx/analyze/kernel"
	"kdx/analyze/printk"
	"kdx/analyze/vmem"
)

// UTS is the kernel's uname.
type UTS struct{ Sysname, Nodename, Release, Version, Machine, Domainname string }

// utsLength is that of each string of struct new_utsname, with its NUL, in bytes; user space knows it.
const utsLength = 65

// ReadUTS reads init_uts_ns.
func ReadUTS(v *kernel.View) (UTS, error) {
	var u UTS
	at, ok := v.VMCoreInfo().Symbol("init_uts_ns")
	name, known := v.VMCoreInfo().Offset("uts_namespace.name")
	if !ok || !known {
		return readUTSByTypes(v)
	}
	for i, into := range []*string{&u.Sysname, &u.Nodename, &u.Release, &u.Version, &u.Machine, &u.Domainname} {
		var err error
		if *into, err = v.CString(vmem.Addr(at+name+uint64(i)*utsLength), utsLength); err != nil {
			return UTS{}, fmt.Errorf("uname: %w", err)
		}
	}
	return u, nil
}

func readUTSByTypes(v *kernel.View) (UTS, error) {
	sym, err := v.Symbol("init_uts_ns")
	if err != nil {
		return UTS{}, err
	}
	name := v.ObjectOf("uts_namespace", vmem.Addr(sym.Addr)).Field("name")
	var u UTS
	for member, into := range map[string]*string{"sysname": &u.Sysname, "nodename": &u.Nodename, "release": &u.Release,
		"version": &u.Version, "machine": &u.Machine, "domainname": &u.Domainname} {
		if *into, err = name.Field(member).CString(utsLength); err != nil {
			return UTS{}, fmt.Errorf("uname: %w", err)
		}
	}
	return u, nil
}

// HZ is the kernel's tick rate, from the length of a tick that the kernel itself computed.
func HZ(v *kernel.View) (uint64, error) {
	ns, err := tickNs(v)
	if err != nil {
		return 0, err
	}
	if ns < 100_000 || ns > 100_000_000 {
		return 0, fmt.Errorf("a tick of %d ns is none: tick_nsec or ntp_data is damaged", ns)
	}
	return uint64(math.Round(1e9 / float64(ns))), nil
}

// tickNs is the length of a tick in nanoseconds: since 6.13 the first clock's ntp_data has it, shifted left by 32; before, tick_nsec.
func tickNs(v *kernel.View) (uint64, error) {
	if !v.HasSymbol("tk_ntp_data") {
		return v.UintAt("tick_nsec", v.WordSize())
	}
	sym, err := v.Symbol("tk_ntp_data")
	if err != nil {
		return 0, err
	}
	base, err := v.ObjectOf("ntp_data", vmem.Addr(sym.Addr)).Field("tick_length_base").Uint()
	if err != nil {
		return 0, fmt.Errorf("tk_ntp_data: %w", err)
	}
	return base >> 32, nil
}

// Uptime is how long the kernel had run: its jiffies, which start 5 minutes before their 32-bit overflow.
func Uptime(v *kernel.View) (time.Duration, error) {
	hz, err := HZ(v)
	if err != nil {
		return 0, err
	}
	jiffies, err := v.UintAt("jiffies_64", 8)
	if err != nil {
		return 0, err
	}
	initial := uint64(uint32(-int64(300 * hz)))
	ticks := jiffies - initial
	if ticks > uint64(math.MaxInt64)/(1e9/hz) {
		return 0, fmt.Errorf("jiffies_64 is %#x, before the kernel's start", jiffies)
	}
	return time.Duration(ticks) * (time.Second / time.Duration(hz)), nil
}

// Load is the load average over 1, 5 and 15 minutes.
func Load(v *kernel.View) ([3]float64, error) {
	var out [3]float64
	sym, err := v.Symbol("avenrun")
	if err != nil {
		return out, err
	}
	const fixed1 = 1 << 11 // FIXED_1
	for i := range out {
		w, err := v.Word(vmem.Addr(sym.Addr + uint64(i)*v.WordSize()))
		if err != nil {
			return out, fmt.Errorf("avenrun: %w", err)
		}
		out[i] = float64(w) / fixed1
	}
	return out, nil
}

// CrashTime is when the kernel crashed: VMCOREINFO's CRASHTIME, else the wall clock as last updated.
func CrashTime(v *kernel.View) (time.Time, error) {
	if t, ok := v.VMCoreInfo().Decimal("CRASHTIME"); ok {
		return time.Unix(t, 0).UTC(), nil
	}
	tk, err := timekeeper(v)
	if err != nil {
		return time.Time{}, err
	}
	sec, err := tk.Field("xtime_sec").Int()
	return time.Unix(sec, 0).UTC(), err
}

// timekeeper is tk_core.timekeeper. tk_core has no named type before 6.13 (struct tk_data): a sequence counter of 4
// bytes precedes the timekeeper, which is 8-byte aligned. Since 6.18 there are several clocks: timekeeper_data[0].
func timekeeper(v *kernel.View) (kernel.Value, error) {
	off := uint64(8)
	if o, ok := v.OffsetOf("tk_data", "timekeeper"); ok {
		off = o
	}
	var err error
	for _, name := range []string{"tk_core", "timekeeper_data"} {
		sym, e := v.Symbol(name)
		if e != nil {
			err = e
			continue
		}
		tk := v.ObjectOf("timekeeper", vmem.Addr(sym.Addr+off))
		return tk, tk.Err()
	}
	return kernel.Value{}, err
}

// Monotonic is what the monotonic clock showed when the kernel last looked at its clock source, which it does at each tick, in
// nanoseconds.
func Monotonic(v *kernel.View) (time.Duration, error) {
	tk, err := timekeeper(v)
	if err != nil {
		return 0, err
	}
	mono := tk.Field("tkr_mono")
	base, err := mono.Field("base").Int()
	if err != nil {
		return 0, fmt.Errorf("timekeeper: %w", err)
	}
	nsec, err := mono.Field("xtime_nsec").Uint()
	if err != nil {
		return 0, fmt.Errorf("timekeeper: %w", err)
	}
	shift, err := mono.Field("shift").Uint()
	if err != nil {
		return 0, fmt.Errorf("timekeeper: %w", err)
	}
	if shift >= 64 || base < 0 || nsec>>shift > uint64(math.MaxInt64-base) {
		return 0, fmt.Errorf("timekeeper: tkr_mono.base is %d, xtime_nsec %d and shift %d: damaged", base, nsec, shift)
	}
	return time.Duration(base + int64(nsec>>shift)), nil
}

// BootTime is the wall-clock time at which the monotonic clock, which the log's stamps follow, stood at 0.
func BootTime(v *kernel.View) (time.Time, error) {
	tk, err := timekeeper(v)
	if err != nil {
		return time.Time{}, err
	}
	ns, err := tk.Field("offs_real").Int()
	if err != nil {
		return time.Time{}, err
	}
	return time.Unix(0, ns).UTC(), nil
}

// Taints decodes tainted_mask: a letter and its meaning for each set bit (Documentation/admin-guide/tainted-kernels.rst).
func Taints(v *kernel.View) (mask uint64, letters string, err error) {
	mask, err = v.UintAt("tainted_mask", v.WordSize())
	return mask, TaintLetters(mask), err
}

// TaintNames are the meanings by bit.
var TaintNames = []struct {
	Letter byte
	Name   string
}{{'P', "proprietary module was loaded"}, {'F', "module was force loaded"}, {'S', "kernel running on an out of specification system"},
	{'R', "module was force unloaded"}, {'M', "processor reported a machine check exception"}, {'B', "bad page referenced"},
	{'U', "taint requested by userspace"}, {'D', "kernel died recently"}, {'A', "ACPI table overridden by user"},
	{'W', "kernel issued warning"}, {'C', "staging driver was loaded"}, {'I', "workaround for bug in platform firmware applied"},
	{'O', "externally-built module was loaded"}, {'E', "unsigned module was loaded"}, {'L', "soft lockup occurred"},
	{'K', "kernel has been live patched"}, {'X', "auxiliary taint, defined by distributions"}, {'T', "kernel was built with the struct randomization plugin"},
	{'N', "an in-kernel test has been run"}, {'J', "userspace used a mutating debug operation in fwctl"}}

// TaintLetters are the letters of the set bits.
func TaintLetters(mask uint64) string {
	var b strings.Builder
	for i, t := range TaintNames {
		if mask>>i&1 != 0 {
			b.WriteByte(t.Letter)
		}
	}
	return b.String()
}

// PanicMessage is the line of the log that says why the kernel crashed, "" if none does. "Fatal exception" only follows
// from an oops, whose own line is taken then. The error is that of records that can't be read, if what was found may not be all.
func PanicMessage(v *kernel.View) (string, error) {
	var panicLine, oops string
	var lost error
	for rec, err := range printk.Records(v) {
		if err != nil {
			lost = err
			continue
		}
		line, _, _ := strings.Cut(string(rec.Text), "\n")
		switch {
		case strings.HasPrefix(line, "Kernel panic - not syncing"):
			panicLine = line
		case oops == "" && isOops(line):
			oops = line
		}
	}
	switch {
	case panicLine == "":
		return oops, lost
	case strings.Contains(panicLine, "Fatal exception"):
		if oops != "" {
			return oops, nil
		}
		return panicLine, lost
	}
	return panicLine, nil
}

func isOops(line string) bool {
	for _, s := range []string{"BUG: unable to handle", "BUG: kernel NULL pointer", "kernel BUG at", "Unable to handle kernel", "general protection fault", "Oops: ",
		"divide error:", "invalid opcode:", "stack segment:", "double fault:", "traps: PANIC", "watchdog: BUG:", "Watchdog detected hard LOCKUP", "sysrq: Trigger a crash", "sysrq: SysRq : Trigger a crash"} {
		if strings.Contains(line, s) {
			return true
		}
	}
	return false
}

// Memory is the RAM of all nodes in bytes.
func Memory(v *kernel.View) (uint64, error) {
	sym, err := v.Symbol("node_data")
	if err != nil {
		if sym, err = v.Symbol("contig_page_data"); err != nil { // no NUMA
			return 0, err
		}
		n, err := v.ObjectOf("pglist_data", vmem.Addr(sym.Addr)).Field("node_present_pages").Uint()
		return n * v.PageSize(), err
	}
	nodes, ok := v.VMCoreInfo().Length("node_data")
	if !ok { // a VMCOREINFO that was derived; nr_node_ids is a constant where there can be but one node
		if nodes, err = v.UintAt("nr_node_ids", 4); err != nil {
			nodes = 1
		}
	}
	if nodes > 4096 {
		nodes = 1
	}
	var pages uint64
	for i := range nodes {
		p, err := v.Word(vmem.Addr(sym.Addr + i*v.WordSize()))
		if err != nil {
			return 0, fmt.Errorf("node_data: %w", err)
		}
		if p == 0 {
			continue
		}
		n, err := v.ObjectOf("pglist_data", vmem.Addr(p)).Field("node_present_pages").Uint()
		if err != nil {
			return 0, fmt.Errorf("node %d: %w", i, err)
		}
		pages += n
	}
	return pages * v.PageSize(), nil
}

// OfflineCPUs are the present CPUs that were offline before the crash. The online mask does not tell: a panic stops the
// other CPUs and takes them out of it.
func OfflineCPUs(v *kernel.View) ([]int, error) {
	cpus, err := v.PresentCPUs()
	if err != nil {
		return nil, err
	}
	sym, err := v.Symbol("cpuhp_state") // per-CPU
	if err != nil {
		return nil, err
	}
	var out []int
	for _, cpu := range cpus {
		off, err := v.PerCPUOffset(cpu)
		if err != nil {
			return nil, err
		}
		state, err := v.ObjectOf("cpuhp_cpu_state", vmem.Addr(sym.Addr+off)).Field("state").Uint()
		if err != nil {
			return nil, err
		}
		if state == 0 { // CPUHP_OFFLINE
			out = append(out, cpu)
		}
	}
	return out, nil
}

// CPUMHz is the processor's nominal speed, 0 if unknown.
func CPUMHz(v *kernel.View) uint64 {
	khz, err := v.UintAt("cpu_khz", 4)
	if err != nil {
		return 0
	}
	return khz / 1000
}

// Suspended is how long the machine slept since it booted: by so much CLOCK_BOOTTIME is ahead of the monotonic clock.
func Suspended(v *kernel.View) (time.Duration, error) {
	tk, err := timekeeper(v)
	if err != nil {
		return 0, err
	}
	ns, err := tk.Field("offs_boot").Int()
	return time.Duration(ns), err
}
