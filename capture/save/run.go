package save

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"kdx/analyze/reduce"
	"kdx/capture/manifest"
	"kdx/capture/target"
)

// ErrNotSaved is wrapped by Run's error if no target took a whole dump.
var ErrNotSaved = errors.New("no target took the dump")

// Run saves a dump. The Result says what lies where, whatever the error. The error wraps ErrNoVMCore (and nothing was
// touched), or ErrNotSaved.
func Run(ctx context.Context, job Job) (Result, error) {
	o, err := Open(ctx, job)
	if err != nil {
		return Result{Place: -1}, err
	}
	defer o.Close()
	return o.Run(ctx, job)
}

// Opened is the dump of a Job before any target is.
type Opened struct {
	src  *source
	took time.Duration
}

// Open opens the dump, for which the Job's Places need not be known. The error wraps ErrNoVMCore: what can't be understood of a
// dump is no error, as it is saved all the same.
func Open(ctx context.Context, job Job) (*Opened, error) {
	begin := time.Now()
	src, err := job.open(ctx)
	if err != nil {
		return nil, err
	}
	return &Opened{src, time.Since(begin)}, nil
}

// Close closes the dump.
func (o *Opened) Close() { o.src.Close() }

// Run saves the dump, as the function Run does.
func (o *Opened) Run(ctx context.Context, job Job) (Result, error) {
	if job.Log == nil {
		job.Log = slog.New(slog.DiscardHandler)
	}
	if job.Time.IsZero() {
		job.Time = time.Now()
	}
	begin := time.Now()
	r := &runner{Job: job, src: o.src}
	r.askDump(ctx)
	r.name = DirName(r.Host, r.Time, r.BootID)
	r.stage("opening the dump", begin.Add(-o.took))
	if o.src.whyNot != nil {
		r.note("the kernel can't be opened, so that no page is left out but those of zeros: %v", o.src.whyNot)
	}
	return r.run(ctx)
}

// runner is a Job on its way.
type runner struct {
	Job
	src    *source
	name   string
	stages []manifest.Stage
	notes  []string
	target string
	shift  time.Duration // of a clock that stands before the crash
}

func (r *runner) note(format string, args ...any) {
	text := fmt.Sprintf(format, args...)
	r.notes = append(r.notes, text)
	r.Log.Warn(text)
}

func (r *runner) stage(name string, begin time.Time) {
	r.stages = append(r.stages, manifest.Stage{Name: name, Took: time.Since(begin), Anonymous: anonymous()})
}

func (r *runner) run(ctx context.Context) (Result, error) {
	res := Result{Place: -1}
	opened, notes := r.stages, r.notes
	var failures []string
	for i, p := range r.Places {
		r.stages, r.notes, r.target = append([]manifest.Stage{}, opened...), append([]string{}, notes...), p.Name
		begin := time.Now()
		a, err := r.try(ctx, p, i == len(r.Places)-1 && !r.More)
		t := Try{Target: p.Name, Took: time.Since(begin)}
		if err != nil {
			t.Error = strings.TrimPrefix(oneLine(err), p.Name+": ")
			failures = append(failures, p.Name+": "+t.Error)
			r.Log.Error("this target did not take the dump", "target", p.Name, "err", t.Error)
		}
		res.Tries = append(res.Tries, t)
		if a != nil && (err == nil || a.m != nil && res.Manifest == nil) {
			res.Place, res.Dir, res.Path, res.Manifest = i, a.name, a.dir.Path(), a.m
		}
		if a != nil {
			a.close()
		}
		if err == nil {
			res.Saved = true
			return res, nil
		}
		if ctx.Err() != nil {
			return res, fmt.Errorf("%w: %w", ErrNotSaved, context.Cause(ctx))
		}
	}
	if len(failures) == 0 {
		return res, fmt.Errorf("%w: none is configured", ErrNotSaved)
	}
	return res, fmt.Errorf("%w: %s", ErrNotSaved, strings.Join(failures, "; "))
}

func oneLine(err error) string { return strings.ReplaceAll(err.Error(), "\n", "; ") }

// attempt is a target that is being tried.
type attempt struct {
	*runner
	place  target.Place
	t      target.Target
	dir    target.Dir
	name   string
	begun  time.Time
	last   bool
	level  int
	files  []manifest.File
	m      *manifest.Manifest
	report reduce.Report
	flat   bool
}

func (a *attempt) close() {
	if a.dir != nil {
		a.dir.Close()
	}
	a.t.Close()
}

func (r *runner) try(ctx context.Context, p target.Place, last bool) (*attempt, error) {
	if r.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.Timeout, fmt.Errorf("saving to one target may take %v (save-timeout)", r.Timeout))
		defer cancel()
	}
	r.tell(Progress{Step: "opening the target"})
	begin := time.Now()
	t, err := target.Open(ctx, p, r.Log)
	if err != nil {
		return nil, err
	}
	a := &attempt{runner: r, place: p, t: t, begun: r.now(), last: last, level: r.Level}
	if err := a.create(ctx); err != nil {
		t.Close()
		return nil, err
	}
	r.stage("opening the target", begin)
	if r.Rules.Empty() {
		a.first(ctx, r.src)
	}
	if err = a.dump(ctx); err == nil {
		err = a.finish(ctx)
	}
	if err != nil && context.Cause(ctx) != nil {
		err = context.Cause(ctx)
	}
	if err == nil {
		return a, nil
	}
	a.incomplete(err)
	return a, err
}

// create makes the directory. A host whose clock stands still, or that crashes twice in a second, finds its name taken.
func (a *attempt) create(ctx context.Context) error {
	for n := 1; ; n++ {
		a.name = a.runner.name
		if n > 1 {
			a.name = fmt.Sprintf("%s-%d", a.runner.name, n)
		}
		d, err := a.t.Create(ctx, a.name)
		if err == nil {
			a.dir = d
			return nil
		}
		if !errors.Is(err, target.ErrExists) || n == 100 {
			return err
		}
	}
}

// first saves what is small and matters most. That it fails does not cost the dump.
func (a *attempt) first(ctx context.Context, s *source) {
	begin := time.Now()
	a.tell(Progress{Step: "the kernel's log"})
	if err := a.text(ctx, "dmesg.txt", func(w io.Writer) error { return a.writeLog(ctx, s, w) }); err != nil {
		a.note("the kernel's log is not beside the dump: %s", oneLine(err))
	}
	if err := a.text(ctx, "registers.txt", func(w io.Writer) error { return writeRegisters(s, w) }); err != nil {
		a.note("the CPUs' registers are not beside the dump: %s", oneLine(err))
	}
	a.stage("log and registers", begin)
}

// finish proves and describes the dump.
func (a *attempt) finish(ctx context.Context) error {
	if !a.Rules.Empty() {
		a.afterwards(ctx)
	}
	a.m = a.manifest("")
	if err := a.putManifest(ctx); err != nil {
		return err
	}
	if a.Keep > 0 {
		a.prune(ctx)
	}
	return nil
}

// incomplete says what lies there, if it still can.
func (a *attempt) incomplete(why error) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	a.m = a.manifest(oneLine(why))
	if err := a.putManifest(ctx); err != nil {
		a.Log.Warn("what lies there can't be listed", "target", a.place.Name, "err", oneLine(err))
	}
}

func (r *runner) tell(p Progress) {
	if r.Progress == nil {
		return
	}
	p.Target = r.target
	r.Progress(p)
}
