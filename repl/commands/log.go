package commands

import (
	"iter"

	"kdx/analyze/printk"
	"kdx/analyze/sysinfo"
	"kdx/analyze/view"
	"kdx/symbols/demangle"
)

func logCommand() *Command {
	return &Command{
		Name: "log", Aliases: []string{"dmesg"}, Group: "kernel", Summary: "the kernel's log", Needs: NeedsNothing,
		Usage: []string{"[-tTmcdR]", "-a"},
		Flags: []Flag{
			{Name: "t", Help: "leave out the time stamps"},
			{Name: "T", Help: "time stamps as wall-clock time; like dmesg -T it does not know of suspends", Needs: NeedsTypes},
			{Name: "m", Help: "each message's level, as <6>"},
			{Name: "c", Help: "who logged each message: T and a thread id, or C and a CPU (kernels with CONFIG_PRINTK_CALLER)"},
			{Name: "a", Help: "the audit messages that user space had not yet fetched", Needs: NeedsTypes},
			{Name: "d", Help: "the device that a message is about"},
			{Name: "R", Help: "names of Rust's functions as they stand in the source"},
		},
		Help: "Shows the log as dmesg would have. Its place and layout come from VMCOREINFO, so that it needs neither symbols nor types, " +
			"on any kernel since 3.5.",
		Examples: []Example{{"log | tail -50", "the last messages"}, {"log -T | grep -i error", "errors, with the time of day"}},
		Run:      runLog,
	}
}

func runLog(c *Call) (view.Result, error) {
	if c.Flags.Has("a") {
		lines, err := printk.Audit(c.View)
		if err != nil {
			return nil, err
		}
		for i := range lines {
			lines[i] = view.Printable(lines[i])
		}
		if gaps, _ := c.View.Gaps(); len(lines) == 0 && len(gaps) > 0 {
			return view.Lines{}, nil // whether it is empty is not known
		}
		return view.AuditLog(append([]string{}, lines...)), nil
	}
	l := &view.Log{Records: printk.Records(c.View), NoTime: c.Flags.Has("t"), Level: c.Flags.Has("m"), Caller: c.Flags.Has("c"),
		Dict: c.Flags.Has("d"), WallClock: c.Flags.Has("T")}
	if c.Flags.Has("R") {
		l.Records = demangled(l.Records)
	}
	l.Missing = func(err error) { c.View.Gap("log", err) }
	if l.WallClock {
		boot, err := sysinfo.BootTime(c.View)
		if err != nil {
			return nil, err
		}
		l.Boot = boot.Local()
	}
	return l, nil
}

// demangled are the records with Rust's names read.
func demangled(records iter.Seq2[printk.Record, error]) iter.Seq2[printk.Record, error] {
	return func(yield func(printk.Record, error) bool) {
		for r, err := range records {
			r.Text = []byte(demangle.Text(string(r.Text)))
			if !yield(r, err) {
				return
			}
		}
	}
}
