package save

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"kdx/analyze/kernel"
	"kdx/analyze/triage"
	"kdx/capture/target"
	"kdx/dumpfmt"
)

// TriageJob is the first page of a case, to be put beside a dump.
type TriageJob struct {
	Place target.Place
	Dir   string // as in Result
	// VMCore is looked at where the saved dump can't be read at any place (targets ssh://); "" is not: set it only if nothing
	// had to be erased of the dump.
	VMCore string
	// Types and Open are those of Job.
	Types string
	Open  func(ctx context.Context, img *dumpfmt.Image) (*kernel.Kernel, error)
	// Whole, if it is not nil, waits until the dump is proven, and until then it is looked at as the file that is to become it. Nothing is
	// written before; its error is returned.
	Whole func() error
	// Timeout ends the looking; what is known by then is written. 0 is none.
	Timeout time.Duration
	Log     *slog.Logger
}

// Triage writes triage.txt and triage.json beside a dump, from the dump that was saved. It is a call of its own, so that a
// process of its own can make it: it can't cost the dump.
func Triage(ctx context.Context, job TriageJob) (*triage.Report, error) {
	if job.Log == nil {
		job.Log = slog.New(slog.DiscardHandler)
	}
	t, err := target.Open(ctx, job.Place, job.Log)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	d, err := t.Open(ctx, job.Dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	file := dumpName
	if job.Whole != nil {
		file += target.Incomplete
	}
	rep, files, err := job.look(ctx, d, file)
	if err != nil {
		return rep, err
	}
	if job.Whole != nil {
		if err := job.Whole(); err != nil {
			return rep, err
		}
	}
	return rep, attach(ctx, d, files)
}

// look makes the report of the dump in the directory's file, and its files.
func (j *TriageJob) look(ctx context.Context, d target.Dir, file string) (*triage.Report, map[string][]byte, error) {
	img, err := j.image(ctx, d, file)
	if err != nil {
		return nil, nil, err
	}
	defer img.Close()
	open := j.Open
	if open == nil {
		open = func(ctx context.Context, img *dumpfmt.Image) (*kernel.Kernel, error) {
			return OpenKernel(ctx, img, j.Types, j.Log)
		}
	}
	k, err := open(ctx, img)
	if err != nil {
		return nil, nil, fmt.Errorf("opening the kernel of the saved dump: %w", err)
	}
	defer k.Close()
	if j.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, j.Timeout, fmt.Errorf("it took longer than %v (triage-timeout)", j.Timeout))
		defer cancel()
	}
	rep := triage.Make(ctx, k.Core()) // names that the kernel lacks are not sought in all its modules
	var text bytes.Buffer
	if err := rep.Text(&text); err != nil {
		return rep, nil, err
	}
	js, err := json.MarshalIndent(rep, "", " ")
	if err != nil {
		return rep, nil, err
	}
	return rep, map[string][]byte{"triage.txt": text.Bytes(), "triage.json": append(js, '\n')}, nil
}

func (j *TriageJob) image(ctx context.Context, d target.Dir, file string) (*dumpfmt.Image, error) {
	img, err := openSaved(ctx, d, file)
	if !errors.Is(err, target.ErrNoRandom) {
		return img, err
	}
	if j.VMCore == "" {
		return nil, err
	}
	if err := CheckVMCore(j.VMCore); err != nil {
		return nil, err
	}
	f, err := dumpfmt.OpenFile(j.VMCore)
	if err != nil {
		return nil, err
	}
	if img, err = openDump(ctx, f, imageCache); err != nil {
		f.Close()
	}
	return img, err
}
