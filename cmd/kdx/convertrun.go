package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"kdx/analyze"
	"kdx/analyze/reduce"
	"kdx/analyze/scrub"
	"kdx/dumpfmt"
	"kdx/dumpfmt/convert"
	"kdx/dumpfmt/formats"
	"kdx/dumpfmt/kcore"
	"kdx/internal/atomicfile"
	"kdx/repl"
)

// conversion is one dump made of another, for kdx convert and for makedumpfile's command line.
type conversion struct {
	options
	job     reduce.Job // what to do; files, kernel and progress are put in here
	inputs  []string
	vmlinux string
	outputs []string // none for a dry run; "-" is stdout
	flatten bool     // the flattened form also in a file
	replace bool     // outputs that are there already
	limit   int64    // of each output's size, bytes; 0 for none
	// discardIncomplete drops what was written before there was no more room.
	discardIncomplete bool
	rules             scrubFiles
}

// stdoutName is how a person names stdout as the output.
const stdoutName = "-"

// scrubFiles are rules as they were given on the command line.
type scrubFiles struct {
	config string
	redact []string
}

func (s scrubFiles) read() (scrub.Rules, error) {
	var rules scrub.Rules
	if s.config != "" {
		f, err := os.Open(s.config)
		if err != nil {
			return rules, err
		}
		defer f.Close()
		if rules, err = scrub.ParseConfig(f); err != nil {
			return rules, fmt.Errorf("%s: %w", s.config, err)
		}
	}
	for _, text := range s.redact {
		r, err := scrub.ParseRedact(text)
		if err != nil {
			return rules, err
		}
		rules.Redact = append(rules.Redact, r)
	}
	return rules, nil
}

// outcome is how a conversion ended, beside its error.
type outcome struct {
	report     reduce.Report
	incomplete bool   // what was written is kept, although it is not all
	readable   uint64 // pages of such an output
	streamed   bool   // to something that can't be written twice
	pageSize   uint64
	took       time.Duration
}

// errExists wraps the refusal of an output that is there.
var errExists = errors.New("exists already")

// checkOutputs refuses outputs that must not be written, before anything is read.
func (c *conversion) checkOutputs(std stdio) error {
	outputs := c.outputs
	if c.job.Target.HasMap() && len(outputs) == 1 && outputs[0] != stdoutName {
		outputs = append(slices.Clone(outputs), outputs[0]+mapSuffix)
	}
	for i, out := range outputs {
		if out == stdoutName {
			if std.terminal.Out {
				return usagef("a dump is not for a terminal: redirect stdout, or name a file")
			}
			continue
		}
		if slices.Contains(outputs[:i], out) {
			return usagef("%s is named twice as an output", out)
		}
		st, err := os.Stat(out)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return &statusError{repl.Failed, err}
		}
		for _, in := range c.inputs {
			if other, err := statFile(in); err == nil && os.SameFile(st, other) {
				return usagef("%s is the input, too: it would be overwritten while it is read", out)
			}
		}
		if st.IsDir() {
			return usagef("%s is a directory; name the file to be written", out)
		}
		if st.Mode().IsRegular() && !c.replace {
			return &statusError{repl.Failed, fmt.Errorf("%s %w (--force replaces it)", out, errExists)}
		}
	}
	return nil
}

// openInput opens dump and kernel. That there is no kernel to be opened is no error here: whyNot says it.
func (c *conversion) openInput(ctx context.Context, std stdio) (x *opened, whyNot, err error) {
	c.live = slices.Equal(c.inputs, []string{kcore.Path})
	c.cacheBytes = divide(c.job.Memory).cache
	if x, err = c.openImage(ctx, c.inputs, std); err != nil {
		return nil, nil, err
	}
	opt, err := c.analyze(x, c.vmlinux)
	if err == nil {
		x.progress.Begin("opening the kernel")
		x.kernel, err = analyze.Open(ctx, x.img, opt)
		x.progress.End()
	}
	if err == nil {
		return x, nil, nil
	}
	if ctx.Err() != nil || c.where.vmcoreinfo != "" || c.vmlinux != "" && c.opensWithout(ctx, x, opt) {
		x.img.Close()
		return nil, nil, err
	}
	return x, err, nil
}

// opensWithout reports whether the vmlinux is at fault, not the dump.
func (c *conversion) opensWithout(ctx context.Context, x *opened, opt analyze.Options) bool {
	opt.Vmlinux = ""
	k, err := analyze.Open(ctx, x.img, opt)
	if err != nil {
		return false
	}
	k.Close()
	return true
}

// share is how a conversion divides its memory, bytes.
type share struct {
	cache   int64 // of pages that the kernel is looked at through; half as much again when what was written is looked at
	buffers int64 // and compressors; 0 is convert.DefaultMemory
	heap    int64 // all that Go's runtime is told to keep to, beside a bit a page: by itself it lets twice of what is needed pile up
}

// divide divides what --memory says, 0 if it says nothing. What the process takes that is not Go's is left out of heap.
func divide(memory int64) share {
	const mib = 1 << 20
	if memory == 0 {
		return share{cache: 8 * mib, heap: 24*mib + convert.DefaultMemory}
	}
	return share{
		cache:   min(max(memory/16, mib/4), 8*mib),
		buffers: max(memory/4, memory-48*mib, mib),
		heap:    max(memory-4*mib, 6*mib),
	}
}

// run makes the dump. The error is a *statusError.
func (c *conversion) run(ctx context.Context, std stdio, progress func(reduce.Progress)) (outcome, error) {
	if err := c.checkOutputs(std); err != nil {
		return outcome{}, err
	}
	rules, err := c.rules.read()
	if err != nil {
		return outcome{}, &statusError{repl.Usage, err}
	}
	ctx, stop := catchSignals(ctx)
	defer stop()
	x, whyNot, err := c.openInput(ctx, std)
	if ctx.Err() != nil {
		return outcome{}, stopped(ctx, nil)
	}
	if err != nil {
		return outcome{}, openStatus(err)
	}
	defer x.Close()
	mem := divide(c.job.Memory)
	debug.SetMemoryLimit(mem.heap + int64(x.img.Info().MaxPFN/8))
	job := c.job
	job.Memory = mem.buffers
	job.Image, job.Kernel, job.WhyNot, job.Rules, job.Progress = x.img, x.kernel, whyNot, rules, progress
	w, err := c.create(std)
	if err != nil {
		return outcome{}, &statusError{repl.Failed, err}
	}
	defer w.drop()
	w.into(&job)
	o := outcome{streamed: job.Stream != nil, pageSize: x.img.Info().PageSize}
	begin := time.Now()
	o.report, err = reduce.Run(ctx, job)
	o.took = time.Since(begin)
	return w.finish(ctx, o, err)
}

// written are the outputs of a conversion while they are written.
type written struct {
	names  []string
	files  []*atomicfile.File
	stream io.Writer
	device *os.File // a stream other than stdout
	limit  int64
	cache  int64 // of what was written while it is looked at, bytes
	flat   bool
	// discard drops what is not whole.
	discard bool
	// ranges is the map of a raw image; nil for others.
	ranges *atomicfile.File
}

func (c *conversion) create(std stdio) (*written, error) {
	w := &written{names: c.outputs, limit: c.limit, cache: divide(c.job.Memory).cache / 2, flat: c.flatten, discard: c.discardIncomplete || !c.job.Target.Marks()}
	for _, out := range c.outputs {
		if out == stdoutName {
			w.stream = std.out
			continue
		}
		if st, err := os.Stat(out); err == nil && !st.Mode().IsRegular() {
			if w.device, err = os.OpenFile(out, os.O_WRONLY, 0); err != nil {
				w.drop()
				return nil, err
			}
			w.stream = w.device
			continue
		}
		// A dump holds whatever secrets the machine held.
		f, err := atomicfile.Create(out, 0o600)
		if err != nil {
			w.drop()
			return nil, err
		}
		w.files = append(w.files, f)
	}
	if c.job.Target.HasMap() && len(w.files) == 1 {
		f, err := atomicfile.Create(c.outputs[0]+mapSuffix, 0o600)
		if err != nil {
			w.drop()
			return nil, err
		}
		w.ranges = f
	}
	if w.stream != nil && len(w.names) > 1 {
		w.drop()
		return nil, errors.New("a split dump goes into files, not into a stream")
	}
	return w, nil
}

// mapSuffix is what the map of a raw image has behind the image's name.
const mapSuffix = ".map"

// into gives the outputs to a job.
func (w *written) into(job *reduce.Job) {
	if w.stream != nil {
		job.Stream = limitStream(w.stream, w.limit)
		return
	}
	if len(w.files) == 0 {
		return
	}
	if w.flat {
		job.Stream = limitStream(w.files[0], w.limit)
	} else {
		for _, f := range w.files {
			job.Outputs = append(job.Outputs, limitFile(f, w.limit))
		}
	}
	if w.ranges != nil {
		job.Map = w.ranges
	}
	job.Reopen = func(ctx context.Context) (*dumpfmt.Image, error) { return w.reopen(ctx) }
}

func (w *written) reopen(ctx context.Context) (*dumpfmt.Image, error) {
	if w.ranges != nil {
		// The image has not its name yet, so its map has a copy that goes with the present one.
		copied := w.files[0].Name() + mapSuffix
		defer os.Remove(copied)
		text, err := os.ReadFile(w.ranges.Name())
		if err == nil {
			err = os.WriteFile(copied, text, 0o600)
		}
		if err != nil {
			return nil, err
		}
	}
	var paths []string
	for _, f := range w.files {
		// All is written; the disk can go on with it while it is checked.
		f.StartSync()
		paths = append(paths, f.Name())
	}
	return formats.Open(ctx, paths, formats.Options{CacheBytes: w.cache})
}

// finish gives the files their names, or takes them away, and says which.
func (w *written) finish(ctx context.Context, o outcome, err error) (outcome, error) {
	var check *reduce.CheckFailed
	first := firstError{err}
	switch {
	case err == nil || errors.As(err, &check):
		if cerr := w.commit(&o); cerr != nil {
			return o, &statusError{failure(cerr), fmt.Errorf("giving the output its name: %w", cerr)}
		}
		if check != nil {
			return o, &statusError{repl.CheckFailed, err}
		}
		return o, nil
	case ctx.Err() != nil:
		return o, stopped(ctx, w)
	case len(w.files) > 0 && !w.discard && w.readable(&o):
		o.incomplete = true
		if cerr := w.commit(&o); cerr != nil {
			return o, &statusError{repl.Incomplete, errors.Join(err, cerr)}
		}
		return o, &statusError{repl.Incomplete, fmt.Errorf("%w%s\n     %s is incomplete: it is marked so, and holds %d pages that can be read", first, advice(err), strings.Join(w.names, ", "), o.readable)}
	}
	gone := ""
	if len(w.files) > 0 {
		gone = fmt.Sprintf("\n     nothing was left under the name %s", strings.Join(w.names, ", "))
	}
	return o, &statusError{failure(err), fmt.Errorf("%w%s%s", first, advice(err), gone)}
}

// firstError says only the first of several errors: those behind it are of attempts to save what could be saved, and what came
// of these is told.
type firstError struct{ err error }

func (e firstError) Error() string {
	line, _, _ := strings.Cut(e.err.Error(), "\n")
	return line
}

func (e firstError) Unwrap() error { return e.err }

// readable reports whether the outputs, which were not finished, can be opened and say themselves that they are not whole.
func (w *written) readable(o *outcome) bool {
	ctx := context.Background()
	img, err := w.reopen(ctx)
	if err != nil {
		return false
	}
	defer img.Close()
	n, err := img.Count(ctx)
	o.readable = n.Present + n.Zero
	return err == nil && img.Info().Incomplete
}

func (w *written) commit(o *outcome) error {
	for _, f := range w.files {
		if st, err := f.Stat(); err == nil && !w.flat {
			o.report.Bytes += st.Size()
		}
		if err := f.Commit(); err != nil {
			return err
		}
	}
	if w.ranges != nil {
		return w.ranges.Commit()
	}
	if w.device != nil {
		err := w.device.Close()
		w.device = nil
		return err
	}
	return nil
}

// drop takes away what was not committed.
func (w *written) drop() {
	for _, f := range w.files {
		f.Close()
	}
	if w.ranges != nil {
		w.ranges.Close()
	}
	if w.device != nil {
		w.device.Close()
	}
}

// full reports errors that say that there is no more room.
func full(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) || errors.Is(err, syscall.EFBIG) || errors.Is(err, errLimit)
}

func failure(err error) repl.Status {
	if full(err) {
		return repl.Incomplete
	}
	return repl.Failed
}

func advice(err error) string {
	if full(err) {
		return "\n     leave out more pages (level 31), compress, or write to where there is room"
	}
	return ""
}

// catchSignals ends a context when somebody presses Ctrl-C, or the machine goes down.
func catchSignals(parent context.Context) (context.Context, func()) {
	ctx, cancel := context.WithCancelCause(parent)
	caught, done := make(chan os.Signal, 1), make(chan struct{})
	signal.Notify(caught, os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		select {
		case sig := <-caught:
			// A second one ends kdx at once.
			signal.Reset(os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
			cancel(stoppedBy{sig})
		case <-done:
			signal.Stop(caught)
			cancel(nil)
		}
	}()
	return ctx, func() { close(done) }
}

// stoppedBy is the cause of a context that a signal ended.
type stoppedBy struct{ signal os.Signal }

func (s stoppedBy) Error() string { return s.signal.String() }

// stopped is what to say of a conversion that was cancelled; w is nil if nothing was written yet.
func stopped(ctx context.Context, w *written) error {
	status := repl.Interrupted
	var by stoppedBy
	if errors.As(context.Cause(ctx), &by) && by.signal != os.Interrupt {
		status = repl.Terminated
	}
	text := "stopped: nothing was left behind"
	if w != nil && len(w.files) > 0 {
		n := int64(0)
		for _, f := range w.files {
			if st, err := f.Stat(); err == nil {
				n += st.Size()
			}
		}
		text = fmt.Sprintf("stopped: the %.1f MB that were written so far were removed; there is no new %s", float64(n)/1e6, strings.Join(w.names, ", "))
	}
	return &statusError{status, errors.New(text)}
}
