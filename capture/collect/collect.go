// Package collect looks, on the running host, for dumps that a capture kernel has saved: which are new, whether they are whole, and that
// their files have the labels that the host's policy gives them.
package collect

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kdx/capture/config"
	"kdx/capture/estimate"
	"kdx/capture/manifest"
	"kdx/capture/target"
)

// Opener opens a target; target.Open outside of tests.
type Opener func(context.Context, target.Place, *slog.Logger) (target.Target, error)

// Dump is a directory of a dump on a target.
type Dump struct {
	Target string `json:"target"`
	Dir    string `json:"directory"`
	// Path is where it lies on this host, "" on another.
	Path string `json:"path"`
	// Manifest is nil if there is none, or none that can be read; Problem says why then, or what else is wrong.
	Manifest *manifest.Manifest `json:"manifest"`
	Problem  string             `json:"problem"`
	// Whole: the manifest says so, and the files are as it states.
	Whole bool `json:"whole"`
}

// Skipped is a target that can't be looked at now.
type Skipped struct {
	Target string `json:"target"`
	Why    string `json:"why"`
}

// Places are the targets that can be looked at on the running host: directories, filesystems that are mounted or, if m is not nil, can be for
// a while, and hosts. What lay on a raw partition is looked for where it is extracted to.
func Places(root string, c *config.Config, m *Mounts) (places []target.Place, skipped []Skipped) {
	for _, t := range c.Targets {
		switch t.Kind {
		case config.Raw:
			dir := filepath.Join("/", root, ExtractDir(c))
			if !slices.ContainsFunc(places, func(p target.Place) bool { return p.Dir == dir }) {
				places = append(places, target.Place{Name: dir, Kind: config.Dir, Dir: dir})
			}
			continue
		case config.FS:
			point, err := mountPoint(root, t), error(nil)
			if point == "" && m != nil {
				point, err = m.look(root, t)
			}
			if point == "" {
				why := "not mounted"
				if err != nil {
					why = err.Error()
				}
				skipped = append(skipped, Skipped{t.String(), why})
				continue
			}
			places = append(places, target.Of(t, c, point, ""))
			continue
		}
		p := target.Of(t, c, "", "")
		if t.Kind == config.Dir && root != "" {
			p.Dir = filepath.Join(root, p.Dir)
		}
		places = append(places, p)
	}
	return places, skipped
}

// ExtractDir is where dumps go that are taken from raw partitions: the first target that is a directory of the host, or the usual place.
func ExtractDir(c *config.Config) string {
	for _, t := range c.Targets {
		if t.Kind == config.Dir {
			return t.Path
		}
	}
	return "/var/crash"
}

// mountPoint is where a target's filesystem is mounted as a whole (of btrfs: its subvolume), "" if it is not.
func mountPoint(root string, t config.Target) string {
	name := estimate.DeviceName(root, t.Device)
	b, err := os.ReadFile(filepath.Join("/", root, "proc/self/mountinfo"))
	if err != nil || name == "" {
		return ""
	}
	for line := range strings.Lines(string(b)) {
		left, right, _ := strings.Cut(line, " - ")
		a, s := strings.Fields(left), strings.Fields(right)
		if len(a) < 6 || len(s) < 2 || estimate.DeviceName(root, s[1]) != name {
			continue
		}
		if inside := strings.TrimPrefix(a[3], "/"); inside == strings.TrimPrefix(t.Subvol, "/") && !strings.Contains(a[4], `\`) {
			return filepath.Join("/", root, a[4])
		}
	}
	return ""
}

// Find lists the dumps on a place, those of one host if it is named. Their files are not read.
func Find(ctx context.Context, open Opener, p target.Place, host string) ([]Dump, error) {
	if p.Kind == config.Dir || p.Kind == config.FS {
		if _, err := os.Stat(p.Dir); errors.Is(err, os.ErrNotExist) {
			return nil, nil // no dump was ever saved there
		}
	}
	t, err := open(ctx, p, nil)
	if err != nil {
		return nil, err
	}
	defer t.Close()
	names, err := t.List(ctx)
	if err != nil {
		return nil, err
	}
	var out []Dump
	for _, name := range names {
		if err := ctx.Err(); err != nil {
			return out, err
		}
		d := Dump{Target: p.Name, Dir: name}
		if p.Kind == config.Dir || p.Kind == config.FS {
			d.Path = filepath.Join(p.Dir, name)
		}
		ours := d.read(ctx, t)
		if ours && (host == "" || d.Manifest == nil || d.Manifest.Host == host) {
			out = append(out, d)
		}
	}
	return out, nil
}

// read takes the manifest; false if the directory is not of kdx.
func (d *Dump) read(ctx context.Context, t target.Target) bool {
	dir, err := t.Open(ctx, d.Dir)
	if err != nil {
		return false
	}
	defer dir.Close()
	b, err := dir.Read(ctx, manifest.Name, manifest.MaxSize)
	if err != nil {
		d.Problem = "it has no manifest, so the save did not come to its end"
		entries, err := dir.List(ctx)
		if err != nil {
			return false
		}
		for _, e := range entries {
			if strings.HasSuffix(e.Name, target.Incomplete) {
				return true
			}
		}
		return false
	}
	if d.Manifest, err = manifest.Parse(b); err != nil {
		d.Problem = err.Error()
		return true
	}
	if !d.Manifest.Complete {
		d.Problem = d.Manifest.Why
	}
	return true
}

// Check reads all files of a dump and holds them against the manifest. Where a target can't read them, their sizes must do.
func (d *Dump) Check(ctx context.Context, open Opener, p target.Place) error {
	if d.Manifest == nil {
		return errors.New(d.Problem)
	}
	t, err := open(ctx, p, nil)
	if err != nil {
		return err
	}
	defer t.Close()
	dir, err := t.Open(ctx, d.Dir)
	if err != nil {
		return err
	}
	defer dir.Close()
	entries, err := dir.List(ctx)
	if err != nil {
		return err
	}
	size := make(map[string]int64)
	for _, e := range entries {
		size[e.Name] = e.Size
	}
	for _, f := range d.Manifest.Files {
		n, there := size[f.Name]
		switch {
		case !there:
			d.Problem = f.Name + " is gone"
		case n != f.Size:
			d.Problem = fmt.Sprintf("%s has %d bytes, the manifest says %d", f.Name, n, f.Size)
		default:
			sum, err := sumOf(ctx, dir, f)
			if errors.Is(err, target.ErrNoRandom) {
				continue
			}
			if err != nil {
				return err
			}
			if sum != f.SHA256 {
				d.Problem = fmt.Sprintf("%s is not what was saved: its SHA-256 is %s, the manifest says %s", f.Name, sum, f.SHA256)
			}
		}
		if d.Problem != "" {
			return errors.New(d.Problem)
		}
	}
	d.Whole = d.Manifest.Complete
	if !d.Whole {
		return errors.New(d.Problem)
	}
	return nil
}

func sumOf(ctx context.Context, dir target.Dir, f manifest.File) (string, error) {
	r, err := dir.File(ctx, f.Name)
	if err != nil {
		return "", err
	}
	defer r.Close()
	h := sha256.New()
	buf := make([]byte, 1<<20)
	for at := int64(0); at < f.Size; {
		if err := ctx.Err(); err != nil {
			return "", err
		}
		n, err := r.ReadFull(buf[:min(int64(len(buf)), f.Size-at)], at)
		if err != nil && !errors.Is(err, io.EOF) {
			return "", err
		}
		if n == 0 {
			break
		}
		h.Write(buf[:n])
		at += int64(n)
	}
	return hex.EncodeToString(h.Sum(nil)), nil
}
