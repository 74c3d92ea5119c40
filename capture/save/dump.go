package save

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"runtime/debug"
	"time"

	"kdx/analyze/exclude"
	"kdx/analyze/reduce"
	"kdx/capture/manifest"
	"kdx/capture/target"
	"kdx/dumpfmt"
)

// dumpName is the dump's file.
const dumpName = "vmcore"

// errNoRoom: what was chosen does not fit.
type errNoRoom struct{ need, room uint64 }

func (e *errNoRoom) Error() string {
	return fmt.Sprintf("the dump takes some %d MiB, and there is room for %d MiB", e.need>>20, e.room>>20)
}

// safeLevel leaves out nothing but zeros: what it takes is not in doubt.
const safeLevel = exclude.LevelZero

// dump writes the dump, once more if it turns out that it was filtered wrongly, or if it does not fit and there is no other
// target.
func (a *attempt) dump(ctx context.Context) error {
	if a.src.img == nil {
		return a.verbatim(ctx)
	}
	err := a.write(ctx, true)
	var check *reduce.CheckFailed
	var room *errNoRoom
	if errors.As(err, &check) && a.level > safeLevel {
		a.note("at level %d the dump fails its check, so that it is saved with all pages: %s", a.level, oneLine(err))
		a.level = safeLevel
		if err = a.write(ctx, true); err == nil {
			return nil
		}
	}
	if !a.last || !errors.As(err, &room) && !target.Full(err) {
		return err
	}
	if a.level != exclude.MaxLevel && !errors.As(err, &check) {
		a.note("at level %d the dump does not fit, and there is no other target, so that it is saved at level %d", a.level, exclude.MaxLevel)
		a.level = exclude.MaxLevel
		if err = a.write(ctx, true); !errors.As(err, &room) {
			return err
		}
	}
	if errors.As(err, &room) {
		a.note("what fits is saved: %s", oneLine(err))
		return a.write(ctx, false)
	}
	return err
}

// write writes the dump at the level and proves it. fit asks for room before.
func (a *attempt) write(ctx context.Context, fit bool) error {
	f, err := a.dir.Create(ctx, dumpName)
	if err != nil {
		return err
	}
	kdump, err := reduce.ParseTarget("kdump")
	if err != nil {
		return err
	}
	job := reduce.Job{Image: a.src.img, Kernel: a.src.kernel, WhyNot: a.src.whyNot, Target: kdump, Codec: a.Codec, CodecLevel: a.CodecLevel, Level: a.level,
		Rules: a.Rules, Workers: a.Workers, Memory: a.Memory}
	if job.Workers == 0 {
		job.Workers = runtime.GOMAXPROCS(0)
	}
	if job.Memory == 0 {
		job.Memory = min(defaultMemory+int64(job.Workers-1)*memoryPerWorker, mostMemory)
	}
	if out := f.Output(); out != nil {
		job.Outputs = []dumpfmt.Output{out}
		job.Reopen = func(ctx context.Context) (*dumpfmt.Image, error) {
			if a.Written != nil {
				a.Written(a.name)
			}
			// What copying took would still be there while the self-check asks for as much, and a small reservation has no room for both.
			debug.FreeOSMemory()
			return reopen(ctx, f)
		}
	} else {
		job.Stream = writer{f}
		a.flat = true
	}
	if fit {
		job.Chosen = a.fits
	}
	job.Progress = func(p reduce.Progress) {
		a.tell(Progress{Step: p.Step, Done: p.Done, Total: p.Total, Out: p.Out})
	}
	a.report, err = reduce.Run(ctx, job)
	for _, s := range a.report.Steps {
		a.stages = append(a.stages, manifest.Stage{Name: s.Name, Took: s.Took, Anonymous: anonymous()})
	}
	if err == nil {
		err = a.commit(ctx, f)
	} else if lerr := f.Leave(context.WithoutCancel(ctx)); lerr != nil {
		a.Log.Warn("what was written may not be durable", "err", oneLine(lerr))
	}
	return err
}

// What buffers and compressors may take, bytes: of one worker, what each further one takes more, and all together.
const (
	defaultMemory   = 4 << 20
	memoryPerWorker = 2 << 20
	mostMemory      = 10 << 20
)

// writer is a stream that shows nothing else of the file.
type writer struct{ io.Writer }

func (a *attempt) commit(ctx context.Context, f target.File) error {
	a.tell(Progress{Step: StepReadBack})
	begin := time.Now()
	w, err := f.Commit(ctx)
	if err != nil {
		return err
	}
	a.stage(StepReadBack, begin)
	a.files = append(a.files, manifest.File{Name: dumpName, Size: w.Size, SHA256: w.SHA256, Proof: w.Proof})
	return nil
}

// StepReadBack is the Step in which the file is made durable and read back.
const StepReadBack = "reading back"

func reopen(ctx context.Context, f target.File) (*dumpfmt.Image, error) {
	file, err := f.Reopen(ctx)
	if err != nil {
		return nil, err
	}
	img, err := openDump(ctx, file, imageCache)
	if err != nil {
		file.Close()
	}
	return img, err
}

// verbatim saves a file whose headers make no sense byte by byte: somebody else may understand it.
func (a *attempt) verbatim(ctx context.Context) error {
	if !a.Rules.Empty() {
		return fmt.Errorf("the dump can't be opened (%w), and what must not be in it (redact, erase-config) can't be taken out: nothing of it was saved", a.src.imgErr)
	}
	a.note("%s makes no sense to kdx (%s), so that it is saved as it is", a.VMCore, oneLine(a.src.imgErr))
	size := a.src.file.Size
	if room, known, err := a.dir.Room(ctx); err == nil && known && uint64(size) > room && !a.last {
		return &errNoRoom{uint64(size), room}
	}
	f, err := a.dir.Create(ctx, dumpName)
	if err != nil {
		return err
	}
	begin := time.Now()
	buf := make([]byte, 256<<10)
	for at := int64(0); at < size && err == nil; {
		if err = ctx.Err(); err != nil {
			break
		}
		n, rerr := a.src.file.ReadFull(buf[:min(int64(len(buf)), size-at)], at)
		if n == 0 && rerr != nil {
			// A hole keeps what is behind it at its place.
			n = int(min(4096, size-at))
			clear(buf[:n])
			a.report.Copied.Missing++
		}
		if _, err = f.Write(buf[:n]); err == nil {
			at += int64(n)
			a.tell(Progress{Step: reduce.StepCopy, Done: uint64(at), Total: uint64(size), Out: at})
		}
	}
	a.stage(reduce.StepCopy, begin)
	if err != nil {
		if lerr := f.Leave(context.WithoutCancel(ctx)); lerr != nil {
			a.Log.Warn("what was written may not be durable", "err", oneLine(lerr))
		}
		return err
	}
	return a.commit(ctx, f)
}
