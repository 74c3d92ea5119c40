// Package reduce makes one dump of another in one call: it chooses pages, takes out what must not leave the house, writes any
// format that kdx writes, and checks what it wrote. Convert, distill and capture differ in where the output goes.
package reduce

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"kdx/analyze/exclude"
	"kdx/analyze/kernel"
	"kdx/analyze/proof"
	"kdx/analyze/scrub"
	"kdx/analyze/sysinfo"
	"kdx/dumpfmt"
	"kdx/dumpfmt/convert"
)

// Job is a dump to be made.
type Job struct {
	// Image is the input, Kernel what it holds; nil if that can't be opened, and then WhyNot says why.
	Image  *dumpfmt.Image
	Kernel *kernel.Kernel
	WhyNot error

	Target Target
	Codec  string // of pages, one that Target.Takes; ignored by formats without
	// CodecLevel is the codec's own; 0 is its fastest.
	CodecLevel int
	// AsIs leaves pages that are compressed already as they are, whatever Codec says of the others.
	AsIs bool
	// Level says which pages go, 0 to exclude.MaxLevel. What the input already lacks is added to it.
	Level int
	// Vmemmap leaves out descriptors of pages that are left out (makedumpfile's -e).
	Vmemmap bool
	Rules   scrub.Rules
	// LKCDVersion of an lkcd output; 0 is the newest.
	LKCDVersion int

	// Outputs take the dump: one, or several for a split set. Stream takes it instead where nothing can be written twice: in
	// flattened form, if the format needs to go back. Neither is a dry run: all is done but the writing.
	Outputs []dumpfmt.Output
	Stream  io.Writer
	// Chosen is told which pages will be written, before the first one is; its error ends the Run. nil if nobody wants to know.
	Chosen func(ctx context.Context, pages dumpfmt.Pages) error
	// Map takes the list of ranges of a raw image; nil if nobody wants it.
	Map io.Writer
	// Reopen opens what was written, for the self-check. nil leaves only the choice of pages to be checked.
	Reopen  func(ctx context.Context) (*dumpfmt.Image, error)
	NoCheck bool

	Workers int   // goroutines that read and encode; 0 is one a core
	Memory  int64 // bound of buffers and compressors, bytes; 0 is convert.DefaultMemory
	// Progress is called often, by one goroutine at a time, and must be quick; nil if nobody wants to know.
	Progress func(Progress)
}

// Progress of a Run. Done and Total are pages.
type Progress struct {
	Step        string // what is being done: the name of a Step
	Done, Total uint64
	In, Out     int64 // while copying: bytes of memory done, and bytes of encoded pages
}

// The steps of a Run.
const (
	StepScrub  = "looking for what must go"
	StepSelect = "excluding pages"
	StepCopy   = "copying"
	StepCheck  = "self-check"
)

// Step is how long a part of the work took.
type Step struct {
	Name string        `json:"name"`
	Took time.Duration `json:"took_ns"`
}

// Report is what Run did.
type Report struct {
	Format   string         `json:"format"`
	Level    int            `json:"level"`      // that was asked for
	Recorded int            `json:"dump_level"` // that the output states: what was done, and what the input lacked before
	Copied   convert.Report `json:"copied"`
	// Stats are the pages of the input by class; of all levels if the kernel was looked at, otherwise only what the input says.
	Stats *exclude.Stats `json:"-"`
	// Unsure counts pages that the input can't tell from pages of zeros; they were left out.
	Unsure uint64 `json:"zero_or_excluded"`
	// Gaps say what of the kernel is not understood, or could not be read, so that pages stayed that might have gone.
	Gaps     []kernel.Gap  `json:"-"`
	Scrubbed []scrub.Done  `json:"-"`
	Bytes    int64         `json:"bytes"` // of the output; 0 if the caller must look
	Check    *proof.Report `json:"check"` // nil if there was none
	NoCheck  string        `json:"no_check,omitempty"`
	Steps    []Step        `json:"steps"`
}

// Kept says whether pages stayed that the level asked to go, because the kernel is not understood.
func (r *Report) Kept() bool { return len(r.Gaps) > 0 }

// CheckFailed is the error of a Run whose output is not what the kernel needs. The output is complete otherwise.
type CheckFailed struct{ Report proof.Report }

func (e *CheckFailed) Error() string { return e.Report.Err().Error() }
func (e *CheckFailed) Unwrap() error { return proof.ErrFailed }

// Run makes the dump. It closes neither image nor outputs. After an error of writing the output was told to mark itself as
// incomplete, and the Report says how far it came. A *CheckFailed is about a dump that was written as a whole.
func Run(ctx context.Context, job Job) (Report, error) {
	r := &run{Job: job, report: Report{Format: job.Target.String(), Level: job.Level}}
	err := r.run(ctx)
	return r.report, err
}

// run is a Job on its way.
type run struct {
	Job
	info    *dumpfmt.Info // what the output will say
	scrub   *scrub.Scrubber
	pages   dumpfmt.Pages
	waived  func(pfn uint64) bool // pages that are left out although the kernel needs them; nil for none
	report  Report
	counter *counter // what counts bytes where the caller can't
}

func (r *run) run(ctx context.Context) error {
	if err := r.valid(); err != nil {
		return err
	}
	r.info = r.outputInfo(ctx)
	for _, s := range []struct {
		name string
		do   func(context.Context) error
	}{{StepScrub, r.compile}, {StepSelect, r.choose}, {StepCopy, r.copy}, {StepCheck, r.check}} {
		if s.name == StepScrub && r.Rules.Empty() {
			continue
		}
		begin := time.Now()
		if err := s.do(ctx); err != nil {
			return err
		}
		r.report.Steps = append(r.report.Steps, Step{s.name, time.Since(begin)})
	}
	return nil
}

// outputInfo is the input's, with what had to be found in memory.
func (r *run) outputInfo(ctx context.Context) *dumpfmt.Info {
	info := *r.Image.Info()
	if info.UTS.Version == "" && r.Kernel != nil {
		// ELF has no uname in its headers; those of other formats do, and drgn wants it there.
		if uts, err := sysinfo.ReadUTS(r.Kernel.Core().View(ctx)); err == nil {
			info.UTS = dumpfmt.UTS(uts)
		}
	}
	if info.VMCoreInfo == nil && r.Kernel != nil && r.Kernel.VMCoreInfo() != nil {
		info.VMCoreInfo = r.Kernel.VMCoreInfo()
		info.Notes = append(append([]dumpfmt.Note{}, info.Notes...), dumpfmt.Note{Name: "VMCOREINFO", Desc: []byte(info.VMCoreInfo.Text())})
	}
	return &info
}

func (r *run) compile(ctx context.Context) error {
	if r.Kernel == nil {
		return fmt.Errorf("what must be taken out can't be looked for, and nothing was written: %w", r.WhyNot)
	}
	r.tell(Progress{Step: StepScrub})
	s, err := scrub.Compile(r.Kernel.View(ctx), r.Rules)
	if err != nil {
		return fmt.Errorf("what must be taken out is not all found, and nothing was written: %w", err)
	}
	r.scrub, r.info = s, s.Info(r.info)
	r.report.Scrubbed = s.Done()
	return nil
}

func (r *run) tell(p Progress) {
	if r.Progress != nil {
		r.Progress(p)
	}
}

// level that the output states.
func (r *run) level() int {
	level := r.Level
	switch in := r.Image.Info(); {
	case in.DumpLevel > 0:
		level |= in.DumpLevel
	case in.DumpLevel < 0 && in.Filtered:
		// The input does not say what it was filtered of; readers must expect anything.
		level |= exclude.MaxLevel
	}
	return level
}

func (r *run) copy(ctx context.Context) error {
	if r.Chosen != nil {
		if err := r.Chosen(ctx, r.pages); err != nil {
			return err
		}
	}
	w, finish, err := r.writer()
	if err != nil {
		return err
	}
	job := convert.Job{Source: r.Image.Source(), Pages: r.pages, Writer: w, ZeroPages: r.report.Recorded&exclude.LevelZero != 0, Workers: r.Workers, Memory: r.Memory}
	if r.scrub != nil {
		job.Change, job.Untouched = r.scrub.Change, r.scrub.Untouched
	}
	job.Progress = func(p convert.Progress) {
		r.tell(Progress{Step: StepCopy, Done: p.Pages, Total: p.Total, In: p.In, Out: p.Out})
	}
	r.report.Copied, err = convert.Run(ctx, job)
	if err == nil {
		err = finish()
	}
	if r.counter != nil {
		r.report.Bytes = r.counter.size()
	}
	return err
}

// check holds the output against the kernel.
func (r *run) check(ctx context.Context) error {
	switch {
	case r.NoCheck:
		r.report.NoCheck = "not asked for"
		return nil
	case r.Kernel == nil:
		r.report.NoCheck = "the input's kernel can't be opened"
		return nil
	case r.Kernel.Live():
		r.report.NoCheck = "the running kernel changes while it is read"
		return nil
	}
	if r.Reopen == nil {
		r.report.NoCheck = "only which pages were chosen was checked: what was written can't be read again"
		if _, ok := r.pages.(*dumpfmt.PageSet); !ok {
			r.report.NoCheck = "what was written can't be read again, and memory is too short to remember which pages were chosen"
			return nil
		}
	}
	r.tell(Progress{Step: StepCheck})
	opt := proof.Options{Workers: r.Workers, Info: r.info}
	if r.report.Copied.Missing > 0 {
		info := *r.info
		info.Incomplete = true // the output must say of the pages that the input could not give that they are missing
		opt.Info = &info
	}
	out, err := r.reopen(ctx)
	if err != nil {
		return err
	}
	defer out.Close()
	if r.scrub != nil && r.Reopen != nil {
		opt.Change, opt.Untouched = r.scrub.Change, r.scrub.Untouched
	}
	opt.Waived = r.waived
	rep, err := proof.Check(ctx, r.Kernel, out, opt)
	if err != nil {
		return err
	}
	r.report.Check = &rep
	if !rep.OK() {
		return &CheckFailed{rep}
	}
	return nil
}

// reopen opens the output, or where that can't be read again, what would be in it.
func (r *run) reopen(ctx context.Context) (*dumpfmt.Image, error) {
	if r.Reopen == nil {
		return dumpfmt.NewImage(&masked{Source: r.Image.Source(), info: r.info, keep: r.pages.(*dumpfmt.PageSet)}, dumpfmt.Options{CacheBytes: checkCache}), nil
	}
	out, err := r.Reopen(ctx)
	if err != nil {
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
		return nil, &CheckFailed{proof.Report{Failed: 1, Failures: []proof.Failure{{Check: "opening the output", What: "it can't be read again", Detail: err.Error()}}}}
	}
	return out, nil
}

// checkCache bounds the cache of the output while it is checked, bytes.
const checkCache = 4 << 20

// valid refuses what can't be done before anything is read.
func (r *run) valid() error {
	if r.Level < 0 || r.Level > exclude.MaxLevel {
		return fmt.Errorf("there is no dump level %d: levels go from 0 to %d", r.Level, exclude.MaxLevel)
	}
	if len(r.Outputs) > 1 && !r.Target.Splits() {
		return fmt.Errorf("an output in %s form can't be split: only kdump can", r.Target)
	}
	if r.Stream != nil {
		if err := r.Target.Streams(); err != nil {
			return err
		}
	}
	if r.Vmemmap && r.Kernel == nil {
		return errors.Join(errors.New("which descriptors of pages are unused can't be found without the kernel"), r.WhyNot)
	}
	return nil
}
