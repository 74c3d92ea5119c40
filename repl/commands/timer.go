package commands

import (
	"kdx/analyze/sysinfo"
	"kdx/analyze/timer"
	"kdx/analyze/view"
)

func timerCommand() *Command {
	return &Command{
		Name: "timer", Group: "kernel", Summary: "timers that were queued", Needs: NeedsTypes,
		Usage: []string{"[-r] [-C CPUS]"},
		Flags: []Flag{
			{Name: "r", Help: "high-resolution timers"},
			{Name: "C", Arg: "CPUS", Help: "only these CPUs, e.g. 1,3-5 or a"},
		},
		Help: "Without -r: the timer wheels of each CPU. EXPIRES is in jiffies, TTE is the ticks until then, negative for a timer that was due. Since 6.9 a CPU has " +
			"three wheels: BASE_LOCAL for timers bound to it, BASE_GLOBAL for those that another CPU may run in its place, and BASE_DEF for those that need not wake it; " +
			"before, BASE_STD and BASE_DEF.\n\n" +
			"With -r: the queues of each clock, in nanoseconds on that clock; a timer may fire from SOFTEXPIRES on and must by EXPIRES. CURRENT is what the " +
			"clock showed at the kernel's last tick. Queues marked (soft) run in softirq context.",
		Examples: []Example{{"timer", "the timer wheels"}, {"timer -r -C 1", "high-resolution timers of a CPU"}},
		Run:      runTimer,
	}
}

func runTimer(c *Call) (view.Result, error) {
	if len(c.Args) > 0 {
		return nil, &UsageError{c.Cmd.Name, "it takes no arguments; -C chooses CPUs"}
	}
	cpus, err := chosenCPUs(c, "C")
	if err != nil {
		return nil, err
	}
	if c.Flags.Has("r") {
		return hrTimers(c, cpus)
	}
	jiffies, err := timer.Jiffies(c.View)
	if err != nil {
		return nil, err
	}
	bases, err := timer.Wheels(c.View, cpus)
	if err != nil {
		return nil, err
	}
	out := &view.Timers{Jiffies: jiffies, Bases: []view.TimerBase{}}
	if hz, err := sysinfo.HZ(c.View); err == nil {
		out.HZ = &hz
	} else {
		c.View.Gap("HZ", err)
	}
	for _, b := range bases {
		row := view.TimerBase{CPU: b.CPU, Index: b.Index, Name: b.Name, Addr: b.Addr, Clock: b.Clock, Lost: b.Lost}
		if !b.Lost {
			row.Timers = []view.Timer{}
		}
		for _, t := range b.Timers {
			row.Timers = append(row.Timers, view.Timer{Addr: t.Addr, Expires: t.Expires, TTE: int64(t.Expires - jiffies), Function: code(c.View, t.Function)})
		}
		out.Bases = append(out.Bases, row)
	}
	return out, nil
}

func hrTimers(c *Call, cpus []int) (view.Result, error) {
	bases, err := timer.HighRes(c.View, cpus)
	if err != nil {
		return nil, err
	}
	out := view.HRTimers{}
	for _, b := range bases {
		cpu := view.HRTimerCPU{CPU: b.CPU, Addr: b.Addr}
		for _, k := range b.Clocks {
			row := view.HRTimerClock{Index: k.Index, Addr: k.Addr, Current: k.Now, Lost: k.Lost}
			if !k.Unread {
				row.ClockID, row.Soft = &k.ClockID, &k.Soft
			}
			if k.Name != "" {
				row.Name = &k.Name
			}
			if !k.Lost {
				row.Timers = []view.HRTimer{}
			}
			for _, t := range k.Timers {
				x := view.HRTimer{Addr: t.Addr, Soft: t.Soft, Expires: t.Expires, Function: code(c.View, t.Function)}
				if k.Now != nil {
					tte := t.Expires - *k.Now
					x.TTE = &tte
				}
				row.Timers = append(row.Timers, x)
			}
			cpu.Clocks = append(cpu.Clocks, row)
		}
		out = append(out, cpu)
	}
	return out, nil
}
