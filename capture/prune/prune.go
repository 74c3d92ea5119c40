// Package prune takes older dumps away from a target: only directories that kdx made, never the newest whole dump.
package prune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"kdx/capture/manifest"
	"kdx/capture/target"
)

// Options of Run.
type Options struct {
	// Keep is how many whole dumps stay; less than 1 is 1.
	Keep int
	// Host takes only dumps of that host; "" takes all.
	Host string
	// Saved is the directory of the dump that was saved just now: it is the newest, whatever the clock says. "" is none.
	Saved string
	// DryRun removes nothing.
	DryRun bool
}

// Report is what Run did, or would do.
type Report struct {
	Kept    []Dump `json:"kept"`
	Removed []Dump `json:"removed"`
	// Others are directories without a manifest of kdx, which are left alone.
	Others []string `json:"others"`
}

// Dump is a directory with a manifest.
type Dump struct {
	Dir      string    `json:"dir"`
	Host     string    `json:"host"`
	Begun    time.Time `json:"begun"`
	Complete bool      `json:"complete"`
	Bytes    int64     `json:"bytes"`
	Why      string    `json:"why"` // it stays, or goes
}

// Run removes what is beyond Keep. What can't be removed is an error, and the rest goes all the same.
func Run(ctx context.Context, t target.Target, opt Options) (Report, error) {
	rep := Report{Kept: []Dump{}, Removed: []Dump{}, Others: []string{}}
	names, err := t.List(ctx)
	if err != nil {
		return rep, err
	}
	var dumps []Dump
	for _, name := range names {
		d, ok, err := read(ctx, t, name)
		if err != nil {
			return rep, err
		}
		if !ok {
			rep.Others = append(rep.Others, name)
			continue
		}
		if opt.Host == "" || d.Host == opt.Host {
			dumps = append(dumps, d)
		}
	}
	// The newest first. A clock that was wrong sorts a dump wrongly, but the newest whole one of a wrong order stays, too.
	slices.SortFunc(dumps, func(a, b Dump) int {
		if (a.Dir == opt.Saved) != (b.Dir == opt.Saved) {
			if a.Dir == opt.Saved {
				return -1
			}
			return 1
		}
		return cmp.Or(b.Begun.Compare(a.Begun), cmp.Compare(b.Dir, a.Dir))
	})
	whole := 0
	for _, d := range dumps {
		stays := true
		switch keep := max(1, opt.Keep); {
		case d.Complete && whole == 0:
			d.Why = "the newest whole dump"
		case d.Complete && whole < keep:
			d.Why = fmt.Sprintf("one of the %d newest whole dumps", keep)
		case d.Complete:
			d.Why, stays = fmt.Sprintf("%d whole dumps are newer", whole), false
		case whole == 0:
			d.Why = "incomplete, but no whole dump is newer"
		default:
			d.Why, stays = "incomplete, and a whole dump is newer", false
		}
		if d.Complete {
			whole++
		}
		if stays {
			rep.Kept = append(rep.Kept, d)
			continue
		}
		if !opt.DryRun {
			if rerr := t.Remove(ctx, d.Dir); rerr != nil {
				err = errors.Join(err, fmt.Errorf("removing %s: %w", d.Dir, rerr))
				continue
			}
		}
		rep.Removed = append(rep.Removed, d)
	}
	return rep, err
}

// read is a directory with a manifest; ok is false for all others.
func read(ctx context.Context, t target.Target, name string) (out Dump, ok bool, err error) {
	d, err := t.Open(ctx, name)
	if err != nil {
		return out, false, ctx.Err()
	}
	defer d.Close()
	text, err := d.Read(ctx, manifest.Name, manifest.MaxSize)
	if err != nil {
		return out, false, ctx.Err()
	}
	m, err := manifest.Parse(text)
	if err != nil {
		return out, false, ctx.Err()
	}
	out = Dump{Dir: name, Host: m.Host, Begun: m.Begun, Complete: m.Complete}
	entries, err := d.List(ctx)
	for _, e := range entries {
		out.Bytes += e.Size
		// A manifest that lists a dump that is not there lists nothing.
		if e.Name == m.Dump.File {
			ok = true
		}
	}
	if err != nil {
		return out, false, ctx.Err()
	}
	out.Complete = out.Complete && ok
	return out, true, nil
}
