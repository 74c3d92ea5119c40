package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"kdx/analyze/exclude"
	"kdx/analyze/kernel"
	"kdx/analyze/printk"
	"kdx/internal/atomicfile"
	"kdx/repl"
)

// statistics is what --show-stats shows, in makedumpfile's form.
func (m *makedumpfile) statistics(o *outcome) {
	r := &o.report
	s := r.Stats
	ram := s.RAM()
	left := func(classes ...exclude.Class) (n uint64) {
		for _, c := range classes {
			n += s.Left[c]
		}
		return n
	}
	var b strings.Builder
	for _, step := range r.Steps {
		if name := makedumpfileSteps[step.Name]; name != "" {
			fmt.Fprintf(&b, "STEP [%-27s] : %f seconds\n", name, step.Took.Seconds())
		}
	}
	kept := r.Copied.Pages - min(r.Copied.Pages, r.Copied.Zero)
	gone := left(exclude.Cache, exclude.PrivateCache, exclude.User, exclude.Free, exclude.Unaccepted, exclude.HWPoison, exclude.Offline) + r.Copied.Zero
	fmt.Fprintf(&b, "\nOriginal pages  : 0x%016x\n", ram-s.Pages[exclude.Missing])
	fmt.Fprintf(&b, "  Excluded pages   : 0x%016x\n", gone)
	fmt.Fprintf(&b, "    Pages filled with zero  : 0x%016x\n", r.Copied.Zero)
	fmt.Fprintf(&b, "    Non-private cache pages : 0x%016x\n", left(exclude.Cache))
	fmt.Fprintf(&b, "    Private cache pages     : 0x%016x\n", left(exclude.PrivateCache))
	fmt.Fprintf(&b, "    User process data pages : 0x%016x\n", left(exclude.User))
	fmt.Fprintf(&b, "    Free pages              : 0x%016x\n", left(exclude.Free, exclude.Unaccepted))
	fmt.Fprintf(&b, "    Hwpoison pages          : 0x%016x\n", left(exclude.HWPoison))
	fmt.Fprintf(&b, "    Offline pages           : 0x%016x\n", left(exclude.Offline))
	fmt.Fprintf(&b, "  Remaining pages  : 0x%016x\n", kept)
	if ram > 0 {
		fmt.Fprintf(&b, "  (The number of pages is reduced to %d%%.)\n", 100*kept/ram)
	}
	fmt.Fprintf(&b, "Memory Hole     : 0x%016x\n", s.Pages[exclude.Hole])
	fmt.Fprintf(&b, "--------------------------------------------------\n")
	fmt.Fprintf(&b, "Total pages     : 0x%016x\n", ram+s.Pages[exclude.Hole])
	fmt.Fprintf(&b, "Write bytes     : %d\n\n", r.Bytes)
	m.msg(msgReport, "%s", b.String())
}

// memUsageTable is what --mem-usage shows.
func (m *makedumpfile) memUsageTable(o *outcome) {
	s, zero := o.report.Stats, o.report.Copied.Zero
	var b strings.Builder
	b.WriteString("TYPE\t\tPAGES\t\t\tEXCLUDABLE\tDESCRIPTION\n" + strings.Repeat("-", 70) + "\n")
	row := func(name string, n uint64, can, what string) {
		fmt.Fprintf(&b, "%s%-16d\t%s\t\t%s\n", name, n, can, what)
	}
	row("ZERO\t\t", zero, "yes", "Pages filled with zero")
	row("NON_PRI_CACHE\t", s.Pages[exclude.Cache], "yes", "Cache pages without private flag")
	row("PRI_CACHE\t", s.Pages[exclude.PrivateCache], "yes", "Cache pages with private flag")
	row("USER\t\t", s.Pages[exclude.User], "yes", "User process pages")
	row("FREE\t\t", s.Pages[exclude.Free]+s.Pages[exclude.Unaccepted], "yes", "Free pages")
	row("KERN_DATA\t", s.Kept()-min(s.Kept(), zero), "no", "Dumpable kernel data ")
	fmt.Fprintf(&b, "\npage size:\t\t%-16d\nTotal pages on system:\t%-16d\nTotal size on system:\t%-16d Byte\n", o.pageSize, s.RAM(), s.RAM()*o.pageSize)
	fmt.Fprint(m.std.out, b.String())
}

// openKernel opens a dump that only needs to be looked into.
func (c *conversion) openKernel(ctx context.Context, std stdio) (*opened, error) {
	x, whyNot, err := c.openInput(ctx, std)
	if err == nil && whyNot != nil {
		x.Close()
		err = whyNot
	}
	if err != nil {
		return nil, openStatus(err)
	}
	return x, nil
}

// translate is --vtop.
func (m *makedumpfile) translate(ctx context.Context, c *conversion) error {
	x, err := c.openKernel(ctx, m.std)
	if err != nil {
		return err
	}
	defer x.Close()
	space := x.kernel.Arch().Kernel()
	m.msg(msgCommon, "\nTranslating virtual address %x to physical address.\n", *m.vtop)
	walk, err := space.Walk(*m.vtop)
	for _, s := range walk.Steps {
		m.msg(msgCommon, "  %s : %16x => %16x\n", s.Level, s.Addr, s.Entry)
	}
	found, terr := space.Translate(*m.vtop)
	if terr != nil {
		m.msg(msgError, "makedumpfile: %v\n", errors.Join(err, terr))
		return nil
	}
	m.msg(msgCommon, "VIRTUAL           PHYSICAL\n%16x  %x\n\n", *m.vtop, uint64(found.Phys))
	return nil
}

// writeLog is --dump-dmesg.
func (m *makedumpfile) writeLog(ctx context.Context) error {
	c := m.conversion()
	c.inputs = m.files[:1]
	names := m.files[1:]
	if err := m.refuseExisting(names); err != nil {
		return err
	}
	x, err := c.openKernel(ctx, m.std)
	if err != nil {
		return err
	}
	defer x.Close()
	v := x.kernel.View(ctx)
	text, err := m.logText(v)
	if err != nil {
		return err
	}
	gaps, _ := v.Gaps()
	for _, g := range gaps {
		m.msg(msgError, "makedumpfile: %s\n", g)
	}
	if m.flatten {
		if _, err := m.std.out.Write(text); err != nil {
			return err
		}
		m.msg(msgCommon, "\nThe dmesg log is saved to STDOUT.\n")
		return nil
	}
	if err := atomicfile.WriteFile(names[0], text, 0o600); err != nil {
		return err
	}
	m.msg(msgCommon, "\nThe dmesg log is saved to %s.\n", names[0])
	return nil
}

// logText is the log in makedumpfile's form: further lines of a message stand below its first.
func (m *makedumpfile) logText(v *kernel.View) ([]byte, error) {
	from := uint64(0)
	if m.partial {
		var err error
		if from, err = printk.Cleared(v); err != nil {
			return nil, &statusError{repl.Failed, fmt.Errorf("--partial-dmesg: %w", err)}
		}
	}
	var records []printk.Record
	callers := false // the kernel records who logged a message; the idle task and early boot are 0 there
	for r, err := range printk.Records(v) {
		if err != nil {
			v.Gap("log", err)
			continue
		}
		callers = callers || r.HasCaller
		records = append(records, r)
	}
	if len(records) == 0 {
		return nil, errors.New("the log can't be read")
	}
	var out []byte
	for _, r := range records {
		if r.Seq < from {
			continue
		}
		start := len(out)
		out = fmt.Appendf(out, "[%5d.%06d] ", r.TimeNsec/1e9, r.TimeNsec%1e9/1000)
		if callers {
			who := fmt.Sprintf("T%d", r.Caller)
			if r.CallerCPU {
				who = fmt.Sprintf("C%d", r.Caller)
			}
			out = fmt.Appendf(out, "[%8s] ", who)
		}
		out = appendLogText(out, r.Text, len(out)-start)
	}
	return out, nil
}

func appendLogText(out, text []byte, indent int) []byte {
	for _, c := range text {
		switch {
		case c == '\n':
			out = append(out, '\n')
			out = append(out, strings.Repeat(" ", indent)...)
		case c >= ' ' && c < 0x7f || c == '\t':
			out = append(out, c)
		default:
			out = fmt.Appendf(out, `\x%02x`, c)
		}
	}
	return append(out, '\n')
}

// makedumpfileHelp is made from the table of options.
func makedumpfileHelp() string {
	var b strings.Builder
	b.WriteString("\nLZO support:\n  enabled\nsnappy support:\n  enabled\nzstd support:\n  enabled\n\nkdx, called as makedumpfile, takes makedumpfile's command line:\n\n" +
		"  makedumpfile [OPTION]… IN OUT               filter and compress\n" +
		"  makedumpfile -F [OPTION]… IN                the same, flattened, to stdout\n" +
		"  makedumpfile -R OUT                         put a flattened dump from stdin in order\n" +
		"  makedumpfile --split [OPTION]… IN OUT OUT…  several parts\n" +
		"  makedumpfile --reassemble PART PART… OUT    one dump of parts\n" +
		"  makedumpfile --dump-dmesg IN LOG            the kernel's log\n" +
		"  makedumpfile --mem-usage /proc/kcore        what each level would leave out\n" +
		"  makedumpfile -g VMCOREINFO -x VMLINUX       what the kernel says of itself\n\n")
	for i := range makedumpfileOptions {
		o := &makedumpfileOptions[i]
		help := o.help
		switch o.fate {
		case idle:
			help += " (no effect: " + o.why + ")"
		case gone:
			help += " (gone: " + o.why + ")"
		}
		fmt.Fprintf(&b, "  %-26s %s\n", o.names(), help)
	}
	b.WriteString("\nExit codes: 0 done, 1 failed or incomplete, 2 the vmlinux is of another kernel. kdx convert --help tells of kdx's own form.\n")
	return b.String()
}
