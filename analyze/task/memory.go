package task

import (
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Memory is what a task's address space uses, in bytes.
type Memory struct {
	Virtual  uint64 // VSZ
	Resident uint64 // RSS: file, anonymous and shared pages
}

// Indices of mm_struct.rss_stat (enum in include/linux/mm_types_task.h): swap entries are not resident.
const (
	rssFile = iota
	rssAnon
	rssSwap
	rssShmem
	rssKinds
)

// MemoryOf reads x's memory counters; kernel threads have none.
func MemoryOf(v *kernel.View, x *Task) (Memory, error) {
	if x.MM == 0 {
		return Memory{}, nil
	}
	mm := v.ObjectOf("mm_struct", x.MM)
	total, err := mm.Field("total_vm").Uint()
	if err != nil {
		return Memory{}, fmt.Errorf("PID %d: mm: %w", x.PID, err)
	}
	pages, err := rss(v, mm)
	if err != nil {
		return Memory{}, fmt.Errorf("PID %d: rss: %w", x.PID, err)
	}
	return Memory{Virtual: total * v.PageSize(), Resident: uint64(max(pages, 0)) * v.PageSize()}, nil
}

// CachedRSS is, by mm, what threads have not yet added to its counters: before 6.2 each keeps up to 64 pages of changes
// (task_struct.rss_stat). Bytes, can be negative. /proc leaves them out, so that small processes show next to nothing.
func CachedRSS(v *kernel.View, t *Table) map[vmem.Addr]int64 {
	if !v.HasMember("task_struct", "rss_stat.count") {
		return nil
	}
	out := make(map[vmem.Addr]int64)
	for _, x := range t.Tasks {
		if x.MM == 0 {
			continue
		}
		count := v.ObjectOf("task_struct", x.Addr).Field("rss_stat.count")
		for i := range int64(rssKinds) {
			n, err := count.Index(i).Int()
			if err != nil {
				v.Gap(fmt.Sprintf("PID %d: rss", x.PID), err)
				break
			}
			if i != rssSwap {
				out[x.MM] += n * int64(v.PageSize())
			}
		}
	}
	return out
}

// rss sums the counters: percpu_counters since 6.2, atomics before.
func rss(v *kernel.View, mm kernel.Value) (int64, error) {
	stat := mm.Field("rss_stat")
	if stat.Err() != nil {
		return 0, stat.Err()
	}
	var sum int64
	for i := range int64(rssKinds) {
		if i == rssSwap {
			continue
		}
		var n int64
		var err error
		if stat.Type().Strip().Kind == symbols.Array {
			n, err = PerCPUCounter(v, stat.Index(i))
		} else {
			n, err = stat.Field("count").Index(i).Field("counter").Int()
		}
		if err != nil {
			return 0, err
		}
		sum += max(n, 0)
	}
	return sum, nil
}

// PerCPUCounter is a struct percpu_counter's exact value: its count and what each CPU has not yet added.
func PerCPUCounter(v *kernel.View, c kernel.Value) (int64, error) {
	sum, err := c.Field("count").Int()
	if err != nil {
		return 0, err
	}
	p, err := c.Field("counters").Uint()
	if err != nil || p == 0 {
		return sum, err
	}
	cpus, err := v.PossibleCPUs()
	if err != nil {
		return 0, err
	}
	for _, cpu := range cpus {
		off, err := v.PerCPUOffset(cpu)
		if err != nil {
			return 0, err
		}
		var b [4]byte // s32 __percpu *counters
		if err := v.Read(b[:], vmem.Addr(p+off)); err != nil {
			return 0, err
		}
		sum += int64(int32(v.ByteOrder().Uint32(b[:])))
	}
	return sum, nil
}

// TotalRAM is the memory that the kernel manages, in bytes.
func TotalRAM(v *kernel.View) (uint64, error) {
	n, err := v.UintAt("_totalram_pages", v.WordSize())
	return n * v.PageSize(), err
}

// UserSpace is x's user address space; it fails for kernel threads.
func UserSpace(v *kernel.View, x *Task) (vmem.Space, error) {
	if x.MM == 0 {
		return nil, fmt.Errorf("PID %d (%s) is a kernel thread and has no user memory", x.PID, x.Comm)
	}
	return SpaceOf(v, x.MM)
}

// SpaceOf is the user address space of a struct mm_struct.
func SpaceOf(v *kernel.View, mm vmem.Addr) (vmem.Space, error) {
	pgd, err := v.ObjectOf("mm_struct", mm).Field("pgd").Uint()
	if err != nil {
		return nil, err
	}
	f, err := v.Arch().Kernel().Translate(pgd)
	if err != nil {
		return nil, fmt.Errorf("page table of mm %#x: %w", uint64(mm), err)
	}
	return v.Arch().User(f.Phys), nil
}

// Args are x's command line and environment as they stand in its user memory.
func Args(v *kernel.View, x *Task) (args, env []string, err error) {
	space, err := UserSpace(v, x)
	if err != nil {
		return nil, nil, err
	}
	mm := v.ObjectOf("mm_struct", x.MM)
	if args, err = userStrings(v, space, mm, "arg_start", "arg_end"); err != nil {
		return nil, nil, fmt.Errorf("PID %d: arguments: %w", x.PID, err)
	}
	if env, err = userStrings(v, space, mm, "env_start", "env_end"); err != nil {
		return args, nil, fmt.Errorf("PID %d: environment: %w", x.PID, err)
	}
	return args, env, nil
}

func userStrings(v *kernel.View, space vmem.Space, mm kernel.Value, from, to string) ([]string, error) {
	lo, err := mm.Field(from).Uint()
	if err != nil {
		return nil, err
	}
	hi, err := mm.Field(to).Uint()
	if err != nil {
		return nil, err
	}
	const limit = 2 << 20 // MAX_ARG_STRLEN times a few: a quarter of an 8 MiB stack
	if hi <= lo {
		return nil, nil
	}
	b := make([]byte, min(hi-lo, limit))
	if _, err := vmem.Read(v.Image(), space, b, lo); err != nil {
		return nil, err
	}
	var out []string
	start := 0
	for i, c := range b {
		if c == 0 {
			out = append(out, string(b[start:i]))
			start = i + 1
		}
	}
	if start < len(b) {
		out = append(out, string(b[start:]))
	}
	return out, nil
}

// Limit is a resource limit; both values are NoLimit if unlimited.
type Limit struct {
	Name      string
	Cur, Max  uint64
	Unlimited [2]bool
}

// limitNames in the order of RLIMIT_* (include/uapi/asm-generic/resource.h).
var limitNames = []string{"CPU", "FSIZE", "DATA", "STACK", "CORE", "RSS", "NPROC", "NOFILE", "MEMLOCK", "AS", "LOCKS", "SIGPENDING", "MSGQUEUE", "NICE", "RTPRIO", "RTTIME"}

// Limits of x's process.
func Limits(v *kernel.View, x *Task) ([]Limit, error) {
	rlim := v.ObjectOf("signal_struct", x.Signal).Field("rlim")
	var out []Limit
	for i, name := range limitNames {
		cur, err := rlim.Index(int64(i)).Field("rlim_cur").Uint()
		if err != nil {
			return out, fmt.Errorf("PID %d: limits: %w", x.PID, err)
		}
		hard, err := rlim.Index(int64(i)).Field("rlim_max").Uint()
		if err != nil {
			return out, fmt.Errorf("PID %d: limits: %w", x.PID, err)
		}
		const infinity = ^uint64(0)
		out = append(out, Limit{name, cur, hard, [2]bool{cur == infinity, hard == infinity}})
	}
	return out, nil
}
