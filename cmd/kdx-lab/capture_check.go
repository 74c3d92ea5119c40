package main

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kdx/capture/manifest"
)

// maxAnonymous is what kdx-init may take of memory that is no file's, bytes, in the stages up to the manifest.
const maxAnonymous = 16 << 20

// savedOnFirst: the first disk holds the dump under /dumps.
func savedOnFirst(ctx context.Context, c *captured) (string, error) {
	return c.savedOn(ctx, c.disks[0], "/dumps", "saved")
}

// savedOn takes a directory of dumps off an ext4 image, and looks at the one that must be in it.
func (c *captured) savedOn(ctx context.Context, disk, dir, as string) (string, error) {
	all := filepath.Join(c.dir, "dumps")
	if err := errors.Join(os.RemoveAll(all), os.MkdirAll(all, 0o700)); err != nil {
		return "", err
	}
	if _, err := output(ctx, "", "debugfs", "-R", "rdump "+dir+" "+all, disk); err != nil {
		return "", err
	}
	return c.savedIn(ctx, filepath.Join(all, filepath.Base(dir)), as)
}

// savedIn looks at the one dump in a directory of them, and puts it where compare finds it.
func (c *captured) savedIn(ctx context.Context, dir, as string) (string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return "", err
	}
	if len(entries) != 1 {
		return "", fmt.Errorf("%d entries in the target's directory; want the dump's: %v", len(entries), entries)
	}
	to := filepath.Join(c.dir, as)
	if err := errors.Join(os.RemoveAll(to), os.Rename(filepath.Join(dir, entries[0].Name()), to)); err != nil {
		return "", err
	}
	m, err := checkManifest(to, c.sc.foreign)
	if err != nil {
		return "", err
	}
	if _, err := output(ctx, "", c.kdx, "verify", filepath.Join(to, "vmcore")); err != nil {
		return "", err
	}
	return c.summary(entries[0].Name(), m), nil
}

// checkManifest holds a saved dump against its manifest: all files are there and whole, nothing else is, and none is for others to read. Of a
// foreign initrd there is no log of kdx-init.
func checkManifest(dir string, foreign bool) (*manifest.Manifest, error) {
	text, err := os.ReadFile(filepath.Join(dir, manifest.Name))
	if err != nil {
		return nil, err
	}
	var m manifest.Manifest
	if err := json.Unmarshal(text, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", manifest.Name, err)
	}
	var d differences
	if !m.Complete || m.Version != manifest.Version {
		d.add("the manifest of version %d says complete: %v, %s", m.Version, m.Complete, m.Why)
	}
	for _, f := range m.Files {
		sum, size, err := sumFile(filepath.Join(dir, f.Name))
		switch {
		case err != nil:
			d.add("%v", err)
		case size != f.Size || f.SHA256 != "" && sum != f.SHA256:
			d.add("%s has %d bytes of %s; the manifest says %d of %s", f.Name, size, sum, f.Size, f.SHA256)
		}
	}
	for _, want := range []string{"vmcore", "dmesg.txt", "triage.txt", "triage.json", "kdx.log"} {
		if foreign && want == "kdx.log" {
			continue
		}
		if st, err := os.Stat(filepath.Join(dir, want)); err != nil || st.Size() == 0 {
			d.add("%s is missing or empty (%v)", want, err)
		}
	}
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		st, err := e.Info()
		if err == nil && st.Mode().Perm()&0o077 != 0 {
			d.add("%s is for others, too: %v", e.Name(), st.Mode())
		}
		if strings.Contains(e.Name(), "incomplete") {
			d.add("%s lies beside a whole dump", e.Name())
		}
		return err
	})
	for _, s := range m.Stages {
		if s.Anonymous > maxAnonymous {
			d.add("stage %s took %.1f MB of memory that is no file's; want at most %d", s.Name, float64(s.Anonymous)/1e6, maxAnonymous)
		}
	}
	return &m, errors.Join(err, d.err())
}

func sumFile(path string) (sum string, size int64, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer f.Close()
	h := sha256.New()
	size, err = io.Copy(h, f)
	return hex.EncodeToString(h.Sum(nil)), size, err
}

// summary is what a person wants to know of a capture.
func (c *captured) summary(name string, m *manifest.Manifest) string {
	var most int64
	for _, s := range m.Stages {
		most = max(most, s.Anonymous)
	}
	var vmcore int64
	for _, f := range m.Files {
		if f.Name == m.Dump.File {
			vmcore = f.Size
		}
	}
	return fmt.Sprintf("crashkernel=%s, %s: %.1f MB, saved in %.1f s, %.1f MB of memory", c.reserve(), name, float64(vmcore)/1e6,
		m.Ended.Sub(m.Begun).Round(100*time.Millisecond).Seconds(), float64(most)/1e6)
}

// and runs checks one after another; the first one's note counts.
func and(checks ...func(context.Context, *captured) (string, error)) func(context.Context, *captured) (string, error) {
	return func(ctx context.Context, c *captured) (string, error) {
		var first string
		for i, check := range checks {
			note, err := check(ctx, c)
			if err != nil {
				return "", err
			}
			if i == 0 {
				first = note
			}
		}
		return first, nil
	}
}

// tried: kdx.log of the dump that was saved has these words, such as a target that did not take it, and so has the console.
func tried(words string) func(context.Context, *captured) (string, error) {
	return func(_ context.Context, c *captured) (string, error) {
		log := readText(filepath.Join(c.dir, "saved", "kdx.log"))
		if !strings.Contains(log, words) {
			return "", fmt.Errorf("kdx.log does not speak of %s", words)
		}
		return "", c.wants(words)
	}
}

// nothingFalse: what bears a whole name, or is called whole by a manifest, is whole.
func nothingFalse(ctx context.Context, c *captured) (string, error) {
	all := filepath.Join(c.dir, "dumps")
	if err := errors.Join(os.RemoveAll(all), os.MkdirAll(all, 0o700)); err != nil {
		return "", err
	}
	if _, err := output(ctx, "", "debugfs", "-R", "rdump /dumps "+all, c.disks[0]); err != nil {
		return "", err
	}
	dirs, err := filepath.Glob(filepath.Join(all, "dumps", "*"))
	if err != nil {
		return "", err
	}
	var d differences
	whole := 0
	for _, dir := range dirs {
		var m manifest.Manifest
		complete := json.Unmarshal([]byte(readText(filepath.Join(dir, manifest.Name))), &m) == nil && m.Complete
		if vmcore := filepath.Join(dir, "vmcore"); exists(vmcore) {
			if _, err := output(ctx, "", c.kdx, "verify", vmcore); err != nil {
				d.add("%s has a whole name: %v", vmcore, err)
			}
		} else if complete {
			d.add("%s calls a dump whole that is not there", dir)
		}
		if complete {
			whole++
		}
	}
	return fmt.Sprintf("ended by itself; %d directories, %d whole dumps, none falsely", len(dirs), whole), d.err()
}

// savedRaw: the partition of the second disk holds the dump. It is taken off as at the next boot.
func savedRaw(ctx context.Context, c *captured) (string, error) {
	partition := filepath.Join(c.dir, "partition.img")
	if err := copyFrom(c.disks[1], partitionStart, partition); err != nil {
		return "", err
	}
	defer os.Remove(partition)
	all := filepath.Join(c.dir, "dumps")
	if err := os.MkdirAll(all, 0o700); err != nil {
		return "", err
	}
	if _, err := output(ctx, "", c.kdx, "capture", "extract", "--to", all, partition); err != nil {
		return "", err
	}
	return c.savedIn(ctx, all, "saved")
}

func copyFrom(path string, at int64, to string) error {
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	if _, err := in.Seek(at, io.SeekStart); err != nil {
		return err
	}
	out, err := os.Create(to)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}
