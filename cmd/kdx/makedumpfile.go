package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"kdx/analyze/exclude"
	"kdx/analyze/reduce"
	"kdx/dumpfmt/flattened"
	"kdx/repl"
)

// makedumpfileVersion is the release whose command line and messages these are.
const makedumpfileVersion = "1.7.8"

// Exit codes of makedumpfile.
const (
	makedumpfileOK       repl.Status = 0
	makedumpfileFailed   repl.Status = 1
	makedumpfileMismatch repl.Status = 2 // the vmlinux is of another kernel
)

func makedumpfileCommand(std stdio) *cobra.Command {
	return &cobra.Command{
		Use: "makedumpfile [OPTION]… IN OUT", Short: "kdx convert with makedumpfile's command line; also when kdx is called makedumpfile",
		DisableFlagParsing: true, // its options are not cobra's
		RunE:               func(_ *cobra.Command, args []string) error { return exitWith(runMakedumpfile(args, std)) },
	}
}

// makedumpfile is one run with makedumpfile's command line.
type makedumpfile struct {
	makedumpfileLine
	std stdio
}

// msg writes a message of makedumpfile's to where it writes it: with -F, stdout is the dump's.
func (m *makedumpfile) msg(level messageLevel, format string, args ...any) {
	if m.messages&level == 0 {
		return
	}
	w := m.std.out
	if m.flatten || level == msgError {
		w = m.std.err
	}
	fmt.Fprintf(w, format, args...)
}

// runMakedumpfile is kdx called as makedumpfile.
func runMakedumpfile(args []string, std stdio) repl.Status {
	m := &makedumpfile{std: std}
	m.std.terminal.Err = false // makedumpfile's own progress is the only one
	err := m.parse(args)
	m.check = m.check || len(args) > 0 && args[0] == "--check-params"
	if err == nil && !m.help && !m.version {
		err = m.conflict()
	}
	if err != nil {
		m.invalid(err)
		return m.end(makedumpfileFailed)
	}
	switch {
	case m.help:
		fmt.Fprint(std.out, makedumpfileHelp())
		return makedumpfileOK
	case m.version:
		fmt.Fprintf(std.out, "makedumpfile: version %s (taken over by kdx %s)\nlzo\tenabled\nsnappy\tenabled\nzstd\tenabled\n\n", makedumpfileVersion, version())
		return makedumpfileOK
	case m.check:
		return makedumpfileOK
	}
	m.msg(msgDebug, "makedumpfile: version %s (taken over by kdx %s)\ncommand line: makedumpfile %s\n\n", makedumpfileVersion, version(), strings.Join(args, " "))
	ctx := context.Background()
	run := m.create
	switch {
	case m.xen || m.xenSyms != "" || m.xenInfo != "" || m.xenPhysStart != "":
		run = m.xenDump
	case m.generate != "":
		run = m.writeVMCoreInfo
	case m.rearrange:
		run = m.putInOrder
	case m.reassemble:
		run = m.joinParts
	case m.dmesg:
		run = m.writeLog
	case m.memUsage:
		run = m.showMemUsage
	}
	return m.end(m.failed(run(ctx)))
}

// invalid says what is wrong with the command line.
func (m *makedumpfile) invalid(err error) {
	var getopt *getoptError
	var said *saidError
	var level *levelError
	switch {
	case errors.As(err, &level):
		m.msg(msgCommon, "%v\n", err)
		return
	case errors.As(err, &said):
		m.msg(msgCommon, "%v\n", err)
	case errors.As(err, &getopt):
		m.msg(msgError, "%v\n", err)
	default:
		m.msg(msgError, "makedumpfile: %v\n", err)
	}
	m.msg(msgCommon, "Commandline parameter is invalid.\nTry `makedumpfile --help' for more information.\n")
}

// failed prints an error and returns its exit code.
func (m *makedumpfile) failed(err error) repl.Status {
	if err == nil {
		return makedumpfileOK
	}
	st := repl.Failed
	var se *statusError
	if errors.As(err, &se) {
		st = se.status
		err = se.err
	}
	if err != nil {
		m.msg(msgError, "makedumpfile: %v\n", err)
	}
	switch st {
	case repl.Mismatch:
		return makedumpfileMismatch
	case repl.Interrupted, repl.Terminated:
		return st
	}
	return makedumpfileFailed
}

// end says how it ended.
func (m *makedumpfile) end(st repl.Status) repl.Status {
	switch {
	case m.check:
	case st == makedumpfileOK:
		m.msg(msgCommon, "\nmakedumpfile Completed.\n")
	default:
		m.msg(msgCommon, "\nmakedumpfile Failed.\n")
	}
	return st
}

func (m *makedumpfile) xenDump(context.Context) error {
	if m.xen {
		m.msg(msgCommon, "'-X' option is disabled, because %s is not Xen's memory core image.\n", m.files[0])
	}
	return errors.New("-X and --xen-…: " + noXen)
}

// conversion is what the options ask for, without files.
func (m *makedumpfile) conversion() conversion {
	c := conversion{vmlinux: m.vmlinux, replace: m.force, limit: m.limit, rules: scrubFiles{config: m.config}}
	c.where.vmcoreinfo = m.vmcoreinfo
	c.debug = m.debug
	c.job.Codec, c.job.Vmemmap, c.job.Workers = m.codec, m.vmemmap, m.threads
	form := "kdump"
	if m.elf {
		form = "elf"
	}
	c.job.Target, _ = reduce.ParseTarget(form) // both are in the table
	return c
}

// create is makedumpfile's usual work.
func (m *makedumpfile) create(ctx context.Context) error {
	c := m.conversion()
	c.inputs, c.outputs = m.disks, m.files
	if len(m.disks) == 0 {
		c.inputs, c.outputs = m.files[:1], m.files[1:]
	}
	if m.flatten {
		c.outputs = []string{stdoutName}
	}
	names := c.outputs
	if err := m.refuseExisting(names); err != nil {
		return err
	}
	if m.vtop != nil {
		if err := m.translate(ctx, &c); err != nil {
			return err
		}
	}
	if m.dryRun {
		c.outputs = nil
	}
	levels := m.levels
	if len(levels) == 0 {
		levels = []int{0}
	}
	for i, level := range levels {
		c.job.Level = level
		c.discardIncomplete = i+1 < len(levels)
		o, err := m.convert(ctx, &c)
		if err == nil {
			m.saved(names)
			return nil
		}
		if !full(err) {
			return err
		}
		why := "No space left on device"
		if errors.Is(err, errLimit) {
			why = fmt.Sprintf("Size limit(%d) reached.", m.limit)
		}
		m.msg(msgCommon, "\nCan't write the dump file(%s). %s\n", strings.Join(names, ", "), why)
		if c.discardIncomplete {
			m.msg(msgCommon, "Retry to create a dumpfile by dump_level(%d).\n", levels[i+1])
			continue
		}
		if o.incomplete {
			m.msg(msgCommon, "This is an incomplete dumpfile, but might analyzable.\n")
		}
		return err
	}
	return nil
}

// refuseExisting is makedumpfile's own refusal.
func (m *makedumpfile) refuseExisting(names []string) error {
	for _, name := range names {
		if st, err := os.Stat(name); err == nil && st.Mode().IsRegular() && !m.force {
			m.msg(msgError, "check_dump_file: Can't open the dump file (%s). File exists\n", name)
			return exitWith(repl.Failed)
		}
	}
	return nil
}

func (m *makedumpfile) convert(ctx context.Context, c *conversion) (outcome, error) {
	var progress func(reduce.Progress)
	p := makedumpfileProgress{w: m.std.err, now: time.Now}
	if m.messages&msgProgress != 0 {
		progress = p.report
	}
	std := m.std
	if m.messages&msgError == 0 {
		std.err = io.Discard
	}
	o, err := c.run(ctx, std, progress)
	if p.spins > 0 {
		fmt.Fprintln(m.std.err)
	}
	if o.report.Stats == nil {
		return o, err
	}
	for _, line := range reportLines(&o.report) {
		m.msg(msgError, "makedumpfile: %s\n", line)
	}
	if err == nil || o.incomplete {
		m.statistics(&o)
	}
	if err == nil && o.report.Copied.Missing > 0 {
		m.msg(msgCommon, "This is an incomplete dumpfile, but might analyzable.\n")
		return o, exitWith(repl.Damaged)
	}
	return o, err
}

func (m *makedumpfile) saved(names []string) {
	switch n := len(names); {
	case m.flatten:
		m.msg(msgCommon, "\nThe dumpfile is saved to STDOUT.\n")
	case n > 1:
		m.msg(msgCommon, "\nThe dumpfiles are saved to %s, and %s.\n", strings.Join(names[:n-1], ", "), names[n-1])
	default:
		m.msg(msgCommon, "\nThe dumpfile is saved to %s.\n", names[0])
	}
}

// putInOrder is -R.
func (m *makedumpfile) putInOrder(ctx context.Context) error {
	if err := m.refuseExisting(m.files); err != nil {
		return err
	}
	ctx, stop := catchSignals(ctx)
	defer stop()
	c := m.conversion()
	c.outputs = m.files
	w, err := c.create(m.std)
	if err != nil {
		return err
	}
	defer w.drop()
	if w.stream != nil {
		return fmt.Errorf("%s is a stream, in which nothing can be put in order", m.files[0])
	}
	if _, err := flattened.Rearrange(ctx, m.std.in, limitFile(w.files[0], m.limit), nil); err != nil {
		if ctx.Err() != nil {
			return stopped(ctx, w)
		}
		return m.keepIncomplete(w, err)
	}
	if err := w.commit(&outcome{}); err != nil {
		return err
	}
	m.saved(m.files)
	return nil
}

// keepIncomplete keeps what can be read of a stream that was cut short: nobody else may have it.
func (m *makedumpfile) keepIncomplete(w *written, err error) error {
	var o outcome
	if w.discard || !w.readable(&o) || o.readable == 0 {
		return fmt.Errorf("%w%s", firstError{err}, advice(err))
	}
	if cerr := w.commit(&o); cerr != nil {
		return errors.Join(err, cerr)
	}
	m.msg(msgCommon, "This is an incomplete dumpfile, but might analyzable.\n")
	return fmt.Errorf("%w%s\n     %s is incomplete: it is marked so, and holds %d pages that can be read", firstError{err}, advice(err), strings.Join(m.files, ", "), o.readable)
}

// joinParts is --reassemble.
func (m *makedumpfile) joinParts(ctx context.Context) error {
	c := m.conversion()
	n := len(m.files) - 1
	c.inputs, c.outputs = m.files[:n], m.files[n:]
	c.job.AsIs = true
	c.job.Codec = "zstd" // of pages that must be encoded anew, which parts have none of
	if err := m.refuseExisting(c.outputs); err != nil {
		return err
	}
	if err := c.isSplit(ctx, m.std); err != nil {
		return err
	}
	if _, err := m.convert(ctx, &c); err != nil {
		return err
	}
	m.saved(c.outputs)
	return nil
}

// isSplit refuses inputs that are not all parts of one dump.
func (c *conversion) isSplit(ctx context.Context, std stdio) error {
	x, err := c.openImage(ctx, c.inputs, std)
	if err != nil {
		return openStatus(err)
	}
	defer x.Close()
	split := x.img.Info().Split
	if split == nil {
		return fmt.Errorf("%s is no part of a split dump", strings.Join(c.inputs, ", "))
	}
	if len(split.Missing) > 0 {
		return fmt.Errorf("of the split dump the part of memory from %#x to %#x is in none of the files named", uint64(split.Missing[0].Start), uint64(split.Missing[0].End))
	}
	return nil
}

// showMemUsage is --mem-usage.
func (m *makedumpfile) showMemUsage(ctx context.Context) error {
	c := m.conversion()
	c.inputs = m.files
	c.job.Level, c.job.Codec, c.job.AsIs, c.job.NoCheck = exclude.MaxLevel, "raw", true, true
	c.job.Target, _ = reduce.ParseTarget("kdump")
	o, err := c.run(ctx, m.std, nil)
	if err != nil {
		return err
	}
	for _, line := range reportLines(&o.report) {
		m.msg(msgError, "makedumpfile: %s\n", line)
	}
	m.memUsageTable(&o)
	return nil
}

// makedumpfileProgress shows progress as makedumpfile does: on stderr, terminal or not.
type makedumpfileProgress struct {
	w     io.Writer
	now   func() time.Time
	step  string
	start time.Time
	last  time.Time
	spins int
}

// makedumpfileSteps are makedumpfile's names of what it does.
var makedumpfileSteps = map[string]string{reduce.StepSelect: "Excluding unnecessary pages", reduce.StepCopy: "Copying data"}

func (p *makedumpfileProgress) report(r reduce.Progress) {
	name := makedumpfileSteps[r.Step]
	if name == "" || r.Total == 0 {
		return
	}
	now := p.now()
	if name != p.step {
		p.step, p.start, p.last = name, now, time.Time{}
	}
	if now.Sub(p.last) < time.Second && r.Done < r.Total {
		return
	}
	p.last = now
	eta := ""
	if took := now.Sub(p.start); r.Step == reduce.StepCopy && r.Done > 0 {
		eta = fmt.Sprintf("eta: %ds", int(took.Seconds()*float64(r.Total-min(r.Done, r.Total))/float64(r.Done)))
	}
	percent := 100 * float64(r.Done) / float64(r.Total)
	fmt.Fprintf(p.w, "\r%-50s: [%5.1f %%] %c%18s", name, percent, `/|\-`[p.spins%4], eta)
	p.spins++
}
