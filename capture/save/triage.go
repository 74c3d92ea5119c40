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
	img, err := job.image(ctx, d)
	if err != nil {
		return nil, err
	}
	defer img.Close()
	open := job.Open
	if open == nil {
		open = func(ctx context.Context, img *dumpfmt.Image) (*kernel.Kernel, error) {
			return OpenKernel(ctx, img, job.Types, job.Log)
		}
	}
	k, err := open(ctx, img)
	if err != nil {
		return nil, fmt.Errorf("opening the kernel of the saved dump: %w", err)
	}
	defer k.Close()
	looking := ctx
	if job.Timeout > 0 {
		var cancel context.CancelFunc
		looking, cancel = context.WithTimeoutCause(ctx, job.Timeout, fmt.Errorf("it took longer than %v (triage-timeout)", job.Timeout))
		defer cancel()
	}
	rep := triage.Make(looking, k.Core()) // names that the kernel lacks are not sought in all its modules
	var text bytes.Buffer
	if err := rep.Text(&text); err != nil {
		return rep, err
	}
	js, err := json.MarshalIndent(rep, "", " ")
	if err != nil {
		return rep, err
	}
	return rep, attach(ctx, d, map[string][]byte{"triage.txt": text.Bytes(), "triage.json": append(js, '\n')})
}

func (j *TriageJob) image(ctx context.Context, d target.Dir) (*dumpfmt.Image, error) {
	img, err := OpenSaved(ctx, d)
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
