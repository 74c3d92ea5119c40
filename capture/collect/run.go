package collect

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"kdx/capture/config"
	"kdx/capture/target"
)

// Report is what Run found.
type Report struct {
	// New are dumps that were not told of before.
	New []Dump `json:"new"`
	// Extracted are dumps that were taken from raw partitions.
	Extracted []target.Extracted `json:"extracted"`
	Skipped   []Skipped          `json:"skipped"`
	Problems  []string           `json:"problems"`
}

// Options of Run.
type Options struct {
	Root string
	// Mounts mounts targets that are not, to look into them; nil leaves those out.
	Mounts *Mounts
	// Open is target.Open, Extract target.Extract; nil for these.
	Open    Opener
	Extract func(ctx context.Context, device, dir string, keep bool, progress func(name string, done, total int64)) (target.Extracted, error)
	// Say is told of long work; nil for nobody.
	Say func(format string, args ...any)
}

// Run takes dumps out of raw partitions, looks for new ones on the targets of this host, checks that they are whole, and has them labelled. What
// fails is told in the report, and the rest is done.
func Run(ctx context.Context, c *config.Config, opt Options) (*Report, error) {
	if opt.Open == nil {
		opt.Open = target.Open
	}
	if opt.Extract == nil {
		opt.Extract = target.Extract
	}
	if opt.Say == nil {
		opt.Say = func(string, ...any) {}
	}
	r := &Report{New: []Dump{}, Extracted: []target.Extracted{}, Skipped: []Skipped{}, Problems: []string{}}
	r.extract(ctx, c, opt)
	seen, err := ReadSeen(opt.Root)
	if err != nil {
		return nil, err
	}
	places, skipped := Places(opt.Root, c, opt.Mounts)
	r.Skipped = append(r.Skipped, skipped...)
	var dirs []string
	for _, p := range places {
		if p.Kind != config.Dir && p.Kind != config.FS {
			continue // another host's, which tells of its own
		}
		dumps, err := Find(ctx, opt.Open, p, "")
		if err != nil {
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %v", p.Name, err))
			continue
		}
		for _, d := range dumps {
			if !seen.New(&d) {
				continue
			}
			if d.Manifest != nil && d.Manifest.Complete {
				opt.Say("checking %s", d.Path)
				if err := d.Check(ctx, opt.Open, p); err != nil && d.Problem == "" {
					d.Problem = err.Error()
				}
			}
			if err := ctx.Err(); err != nil {
				return r, err
			}
			r.New = append(r.New, d)
			if opt.Mounts == nil || !opt.Mounts.holds(d.Path) { // those are mounted read-only
				dirs = append(dirs, d.Path)
			}
		}
	}
	if err := Relabel(ctx, opt.Root, dirs); err != nil {
		r.Problems = append(r.Problems, err.Error())
	}
	return r, seen.Write()
}

func (r *Report) extract(ctx context.Context, c *config.Config, opt Options) {
	for _, t := range c.Targets {
		if t.Kind != config.Raw {
			continue
		}
		dir := filepath.Join("/", opt.Root, ExtractDir(c))
		x, err := opt.Extract(ctx, t.Device, dir, false, nil)
		switch {
		case errors.Is(err, target.ErrEmpty):
		case err != nil:
			r.Problems = append(r.Problems, fmt.Sprintf("%s: %v", t, err))
		default:
			opt.Say("extracted %s", x.Path)
			r.Extracted = append(r.Extracted, x)
		}
	}
}

// Good says that nothing is wrong with anything that was found.
func (r *Report) Good() bool {
	for _, d := range r.New {
		if !d.Whole {
			return false
		}
	}
	return len(r.Problems) == 0
}

// Text writes the report, a line for each dump.
func (r *Report) Text(w io.Writer) error {
	for _, d := range r.New {
		if _, err := fmt.Fprintln(w, d.String()); err != nil {
			return err
		}
	}
	for _, p := range r.Problems {
		if _, err := fmt.Fprintf(w, "problem: %s\n", p); err != nil {
			return err
		}
	}
	for _, s := range r.Skipped {
		if _, err := fmt.Fprintf(w, "not looked at: %s: %s\n", s.Target, s.Why); err != nil {
			return err
		}
	}
	if len(r.New)+len(r.Problems) == 0 {
		_, err := fmt.Fprintln(w, "no new dumps")
		return err
	}
	return nil
}

// String is a line that tells of a dump.
func (d *Dump) String() string {
	where := d.Path
	if where == "" {
		where = d.Target + " " + d.Dir
	}
	if d.Manifest == nil {
		return fmt.Sprintf("new crash dump, NOT WHOLE: %s: %s", where, d.Problem)
	}
	var bytes int64
	for _, f := range d.Manifest.Files {
		bytes += f.Size
	}
	state := "whole"
	if !d.Whole {
		state = "NOT WHOLE: " + d.Problem
	}
	return fmt.Sprintf("new crash dump: %s: kernel %s, %d MiB, %s", where, d.Manifest.Release, (bytes+1<<20-1)>>20, state)
}
