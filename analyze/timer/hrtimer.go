package timer

import (
	"errors"
	"fmt"

	"kdx/analyze/kernel"
	"kdx/analyze/sysinfo"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

// CPUBase is the high-resolution timers of a CPU.
type CPUBase struct {
	CPU    int
	Addr   vmem.Addr // its struct hrtimer_cpu_base
	Clocks []Clock
}

// Clock is one clock's queue. Times are nanoseconds on that clock.
type Clock struct {
	Index   int
	Addr    vmem.Addr
	Name    string // of the function that tells its time: "ktime_get"
	ClockID int32  // CLOCK_*
	Soft    bool   // its timers run in softirq context
	Offset  int64  // to the monotonic clock
	Now     *int64 // the time of the crash, as of the last tick; nil if unknown
	Timers  []HRTimer
	Unread  bool // nothing but its place is known
	Lost    bool // of Timers some could not be read
}

// HRTimer is a struct hrtimer that is queued.
type HRTimer struct {
	Addr     vmem.Addr
	Soft     int64 // earliest expiry
	Expires  int64 // latest expiry
	Function vmem.Addr
}

// clockNames by clockid: since 6.18 a queue no longer points to the function that tells its time.
var clockNames = map[int32]string{0: "ktime_get_real", 1: "ktime_get", 7: "ktime_get_boottime", 11: "ktime_get_clocktai"}

type clockStruct struct {
	Index   uint32    `k:"index"`
	ClockID int32     `k:"clockid"`
	Active  vmem.Addr `k:"&active"`
	Offset  int64     `k:"offset"`
}

type hrtimerStruct struct {
	Expires  int64     `k:"node.expires"`
	Soft     int64     `k:"_softexpires"`
	Function vmem.Addr `k:"function"`
}

const maxHRTimers = 1 << 24 // of one queue

// HighRes reads the high-resolution timers of the given CPUs. A queue that can't be read in part is there with what could be.
func HighRes(v *kernel.View, cpus []int) ([]CPUBase, error) {
	clock, err := kernel.Bind[clockStruct](v.Kernel, "hrtimer_clock_base")
	if err != nil {
		return nil, err
	}
	timer, err := kernel.Bind[hrtimerStruct](v.Kernel, "hrtimer")
	if err != nil {
		return nil, err
	}
	node, ok := v.OffsetOf("hrtimer", "node")
	if !ok {
		return nil, errors.New("struct hrtimer of this kernel has no member node")
	}
	now, nowErr := sysinfo.Monotonic(v)
	v.Gap("current time", nowErr)
	var out []CPUBase
	for _, cpu := range cpus {
		base := v.PerCPU("hrtimer_bases", cpu)
		clocks := base.Field("clock_base")
		if err := clocks.Err(); err != nil {
			return nil, err
		}
		n := clocks.Type().Strip().Len
		if n <= 0 || n > 4*maxBases {
			return nil, fmt.Errorf("struct hrtimer_cpu_base has %d clocks: its type is damaged", n)
		}
		b := CPUBase{CPU: cpu}
		b.Addr, _ = base.Addr()
		for i := range n {
			at, _ := clocks.Index(i).Addr()
			c := Clock{Index: int(i), Addr: at}
			what := fmt.Sprintf("hrtimers of CPU %d, clock %d", cpu, i)
			s, err := clock.Read(v, at)
			if err != nil {
				v.Gap(what, err)
				c.Unread, c.Lost = true, true
				b.Clocks = append(b.Clocks, c)
				continue
			}
			c.ClockID, c.Offset = s.ClockID, s.Offset
			c.Soft = i >= n/2 && n > 4 // HRTIMER_BASE_*_SOFT, 4.16
			c.Name = clockName(v, clocks.Index(i), s.ClockID)
			if nowErr == nil {
				t := int64(now) + s.Offset
				c.Now = &t
			}
			c.Timers, c.Lost = queue(v, what, timer, s.Active, node)
			b.Clocks = append(b.Clocks, c)
		}
		out = append(out, b)
	}
	return out, v.Context().Err()
}

func clockName(v *kernel.View, clock kernel.Value, id int32) string {
	if p, err := clock.Field("get_time").Pointer(); err == nil && p != 0 {
		if s, err := v.SymbolAt(p); err == nil {
			return s.Name
		}
	}
	return clockNames[id]
}

// queue reads a red-black tree of timers, which lie in it by expiry. Since 7.1 its nodes are linked too. lost: there may be more.
func queue(v *kernel.View, what string, bind kernel.Binding[hrtimerStruct], root vmem.Addr, node uint64) (out []HRTimer, lost bool) {
	for at, err := range walk.RBTree(v, root, node) {
		if err == nil && len(out) >= maxHRTimers {
			v.Gap(what, fmt.Errorf("more than %d: damaged", maxHRTimers))
			return out, true
		}
		if err != nil {
			v.Gap(what, err)
			lost = true
			continue
		}
		t, err := bind.Read(v, at)
		if err != nil {
			v.Gap(what, err)
			lost = true
			continue
		}
		out = append(out, HRTimer{Addr: at, Soft: t.Soft, Expires: t.Expires, Function: t.Function})
	}
	return out, lost
}
