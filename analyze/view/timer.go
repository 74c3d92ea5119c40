package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// Timers is timer.
type Timers struct {
	Jiffies uint64      `json:"jiffies"`
	HZ      *uint64     `json:"hz"` // ticks a second; null if unknown
	Bases   []TimerBase `json:"bases"`
}

// TimerBase is a timer wheel of a CPU.
type TimerBase struct {
	CPU    int       `json:"cpu"`
	Index  int       `json:"index"`
	Name   string    `json:"name"`
	Addr   vmem.Addr `json:"address"`
	Clock  *uint64   `json:"clock"` // jiffies up to which it has run
	Timers []Timer   `json:"timers"`
	Lost   bool      `json:"-"` // of Timers some could not be read
}

// Timer is a struct timer_list that is queued.
type Timer struct {
	Addr     vmem.Addr `json:"timer_list"`
	Expires  uint64    `json:"expires"` // jiffies
	TTE      int64     `json:"tte"`     // jiffies from now
	Function Code      `json:"function"`
}

// Text writes crash's tables.
func (t *Timers) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 32<<10)
	fmt.Fprintf(bw, "JIFFIES   \n%d\n", t.Jiffies)
	last := -1
	for i := range t.Bases {
		b := &t.Bases[i]
		if b.CPU != last {
			fmt.Fprintln(bw)
			last = b.CPU
		}
		b.text(bw)
	}
	return bw.Flush()
}

func (b *TimerBase) text(w io.Writer) {
	fmt.Fprintf(w, "TIMER_BASES[%d][%s]: %016x\n", b.CPU, b.Name, uint64(b.Addr))
	expires, tte := 10, 5
	for i := range b.Timers {
		expires = max(expires, len(fmt.Sprint(b.Timers[i].Expires)))
		tte = max(tte, len(fmt.Sprint(b.Timers[i].TTE)))
	}
	tte++
	fmt.Fprintf(w, "  %-*s     TTE%*sTIMER_LIST     FUNCTION\n", expires, "EXPIRES", tte+2, "")
	if len(b.Timers) == 0 {
		fmt.Fprintf(w, "  (%s)\n", noneOr(b.Lost, "none"))
	}
	for i := range b.Timers {
		x := &b.Timers[i]
		fmt.Fprintf(w, "  %*d  %*d  %016x  %016x  <%s>\n", expires, x.Expires, tte, x.TTE, uint64(x.Addr), uint64(x.Function.Addr), x.Function.label())
	}
}

// noneOr is the word for no timers; "-" if there may be some that could not be read.
func noneOr(lost bool, word string) string {
	if lost {
		return "-"
	}
	return word
}

// HRTimers is timer -r.
type HRTimers []HRTimerCPU

// HRTimerCPU is the high-resolution timers of a CPU.
type HRTimerCPU struct {
	CPU    int            `json:"cpu"`
	Addr   vmem.Addr      `json:"hrtimer_cpu_base"`
	Clocks []HRTimerClock `json:"clocks"`
}

// HRTimerClock is a clock's queue. Times are nanoseconds on that clock.
type HRTimerClock struct {
	Index   int       `json:"index"`
	Addr    vmem.Addr `json:"hrtimer_clock_base"`
	Name    *string   `json:"name"` // of the function that tells its time
	ClockID *int32    `json:"clockid"`
	Soft    *bool     `json:"soft"`    // its timers run in softirq context
	Current *int64    `json:"current"` // as of the last tick; null if unknown
	Timers  []HRTimer `json:"timers"`
	Lost    bool      `json:"-"` // of Timers some could not be read
}

// HRTimer is a struct hrtimer that is queued.
type HRTimer struct {
	Addr     vmem.Addr `json:"hrtimer"`
	Soft     int64     `json:"softexpires"`
	Expires  int64     `json:"expires"`
	TTE      *int64    `json:"tte"` // to expires
	Function Code      `json:"function"`
}

// Text writes crash's tables.
func (t HRTimers) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 32<<10)
	for i := range t {
		c := &t[i]
		if i > 0 {
			fmt.Fprintln(bw)
		}
		fmt.Fprintf(bw, "CPU: %d  HRTIMER_CPU_BASE: %016x\n", c.CPU, uint64(c.Addr))
		for j := range c.Clocks {
			if j > 0 {
				fmt.Fprintln(bw)
			}
			c.Clocks[j].text(bw)
		}
	}
	return bw.Flush()
}

func (c *HRTimerClock) text(w io.Writer) {
	soft := ""
	if c.Soft != nil && *c.Soft {
		soft = "  (soft)"
	}
	fmt.Fprintf(w, "  CLOCK: %d  HRTIMER_CLOCK_BASE: %016x  [%s]%s\n", c.Index, uint64(c.Addr), nameOrDash(c.Name), soft)
	if len(c.Timers) == 0 {
		fmt.Fprintf(w, "  (%s)\n", noneOr(c.Lost, "empty"))
		return
	}
	current := "-"
	if c.Current != nil {
		current = fmt.Sprint(*c.Current)
	}
	tte := func(x *HRTimer) string {
		if x.TTE == nil {
			return "-"
		}
		return fmt.Sprint(*x.TTE)
	}
	width := max(len("SOFTEXPIRES"), len(current))
	for i := range c.Timers {
		x := &c.Timers[i]
		width = max(width, len(fmt.Sprint(x.Soft)), len(fmt.Sprint(x.Expires)), len(tte(x)))
	}
	fmt.Fprintf(w, "  %s\n  %s\n", center("CURRENT", width), center(current, width))
	fmt.Fprintf(w, "  %s  %s  %s  %s  %s\n", center("SOFTEXPIRES", width), center("EXPIRES", width), center("TTE", width), center("HRTIMER", 16), center("FUNCTION", 16))
	for i := range c.Timers {
		x := &c.Timers[i]
		fmt.Fprintf(w, "  %*d  %*d  %*s  %016x  %016x  <%s>\n", width, x.Soft, width, x.Expires, width, tte(x), uint64(x.Addr), uint64(x.Function.Addr), x.Function.label())
	}
}
