package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
)

// rounds is how often each fault that is placed at random happens. The places are the same in each run.
const rounds = 4

// faults is one leg's work.
type faults struct {
	s     *subject
	tmp   string
	small string // the dump at level 31, zlib: its pages carry check sums
	sum   string
	img   *dumpfmt.Image // the original
	rnd   *rand.Rand
	d     differences
}

// checkFaults lets things go wrong in the middle: no wrong byte may ever be given as right, and nothing unfinished under the final name
// without saying so.
func checkFaults(ctx context.Context, s *subject, tmp string) (string, error) {
	f := &faults{s: s, tmp: tmp, small: filepath.Join(tmp, "small"), rnd: rand.New(rand.NewPCG(4, 31))}
	if err := s.convert(ctx, s.dump, f.small, "--level", "31", "--codec", "zlib"); err != nil {
		return "", err
	}
	var err error
	if f.sum, err = s.sum(ctx, f.small); err != nil {
		return "", err
	}
	if f.img, err = formats.Open(ctx, []string{s.dump}, formats.Options{}); err != nil {
		return "", err
	}
	defer f.img.Close()
	var notes []string
	for _, step := range []struct {
		name string
		run  func(ctx context.Context) error
	}{{"a full disk", f.full}, {"a pipe that closes", f.pipe}, {"kill -9", f.kill}, {"inputs cut short", f.cut}, {"flipped bits", f.flip}} {
		var s skip
		switch err := step.run(ctx); {
		case errors.As(err, &s):
			notes = append(notes, step.name+" not tried: "+err.Error())
		case err != nil:
			return "", fmt.Errorf("%s: %w", step.name, err)
		default:
			notes = append(notes, step.name)
		}
	}
	return strings.Join(notes, ", "), f.d.err()
}

// command is kdx convert.
func (f *faults) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, f.s.kdx, append([]string{"convert", "--progress", "none"}, args...)...)
	cmd.Dir = f.tmp
	return cmd
}

// honest looks at what a failed or damaged conversion left: a file that opens must hold no wrong page, and must say that it is not
// whole, unless it is.
func (f *faults) honest(ctx context.Context, what, path string) {
	if !exists(path) {
		return
	}
	out, err := formats.Open(ctx, []string{path}, formats.Options{})
	if err != nil {
		return // it says that it can't be read
	}
	defer out.Close()
	if _, err := samePages(ctx, f.img, out); err != nil {
		f.d.add("%s: %v", what, err)
	}
	if _, err := f.s.sum(ctx, path); err == nil && !out.Info().Incomplete {
		if sum, _ := f.s.sum(ctx, path); sum != f.sum {
			f.d.add("%s: kdx verify calls sound what lacks pages", what)
		}
	}
}

// full writes to a disk of 8 MiB.
func (f *faults) full(ctx context.Context) error {
	disk := filepath.Join(f.tmp, "disk")
	if err := os.Mkdir(disk, 0o755); err != nil {
		return err
	}
	if err := syscall.Mount("tmpfs", disk, "tmpfs", 0, "size=8m"); err != nil {
		return skip("no small disk can be mounted: " + err.Error())
	}
	defer syscall.Unmount(disk, 0)
	for _, to := range []string{"kdump", "elf", "flat", "lkcd", "lime", "raw"} {
		out := filepath.Join(disk, "out")
		said, err := f.command(ctx, "--level", "31", "--to", to, f.s.dump, out).CombinedOutput()
		if code := exitCode(err); code != 9 || !bytes.Contains(said, []byte("space")) {
			f.d.add("a full disk, %s: exit status %d: %s", to, code, tail(string(said), 1))
		}
		f.honest(ctx, "a full disk, "+to, out)
		left, err := os.ReadDir(disk)
		if err != nil {
			return err
		}
		for _, e := range left {
			if e.Name() != "out" && e.Name() != "out.map" {
				f.d.add("a full disk, %s: %s was left", to, e.Name())
			}
			if err := os.Remove(filepath.Join(disk, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// pipe closes what kdx writes to after the first megabyte.
func (f *faults) pipe(ctx context.Context) error {
	r, w, err := os.Pipe()
	if err != nil {
		return err
	}
	cmd := f.command(ctx, "--level", "31", f.s.dump, "-")
	var said bytes.Buffer
	cmd.Stdout, cmd.Stderr = w, &said
	if err := cmd.Start(); err != nil {
		return errors.Join(err, r.Close(), w.Close())
	}
	w.Close()
	_, err = r.Read(make([]byte, 1<<20))
	r.Close()
	if code := exitCode(cmd.Wait()); code == 0 {
		f.d.add("a pipe that closes: exit status 0: %s", tail(said.String(), 1))
	}
	return err
}

// kill ends kdx at moments between its start and its end.
func (f *faults) kill(ctx context.Context) error {
	begin := time.Now()
	if err := f.s.convert(ctx, f.s.dump, filepath.Join(f.tmp, "whole"), "--level", "31", "--codec", "zlib"); err != nil {
		return err
	}
	took := time.Since(begin)
	if err := os.Remove(filepath.Join(f.tmp, "whole")); err != nil {
		return err
	}
	for range rounds {
		out := filepath.Join(f.tmp, "killed")
		cmd := f.command(ctx, "--level", "31", "--codec", "zlib", f.s.dump, out)
		if err := cmd.Start(); err != nil {
			return err
		}
		after := time.Duration(f.rnd.Int64N(int64(took)))
		timer := time.AfterFunc(after, func() { cmd.Process.Kill() })
		err := cmd.Wait()
		timer.Stop()
		if exists(out) {
			if sum, sumErr := f.s.sum(ctx, out); sumErr != nil || sum != f.sum {
				f.d.add("kill -9 after %v: a file under the final name, and %v (%v)", after, sumErr, err)
			}
			if err := os.Remove(out); err != nil {
				return err
			}
		}
		left, err := filepath.Glob(filepath.Join(f.tmp, "*killed*"))
		if err != nil {
			return err
		}
		for _, path := range left { // under a temporary name
			if err := os.Remove(path); err != nil {
				return err
			}
		}
	}
	return nil
}

// cut gives kdx dumps that end too early.
func (f *faults) cut(ctx context.Context) error {
	whole, err := os.ReadFile(f.small)
	if err != nil {
		return err
	}
	in, out := filepath.Join(f.tmp, "cut"), filepath.Join(f.tmp, "of-cut")
	for range rounds {
		n := f.rnd.IntN(len(whole))
		if err := f.damaged(ctx, fmt.Sprintf("cut at byte %d of %d", n, len(whole)), in, out, whole[:n]); err != nil {
			return err
		}
	}
	return nil
}

// flip flips one bit of a dump whose pages carry check sums: every other time where headers and tables are.
func (f *faults) flip(ctx context.Context) error {
	whole, err := os.ReadFile(f.small)
	if err != nil {
		return err
	}
	in, out := filepath.Join(f.tmp, "flipped"), filepath.Join(f.tmp, "of-flipped")
	for i := range rounds {
		bit := f.rnd.IntN(len(whole) * 8)
		if i%2 == 0 {
			bit /= 50
		}
		whole[bit/8] ^= 1 << (bit % 8)
		if err := f.damaged(ctx, fmt.Sprintf("bit %d of byte %d flipped", bit%8, bit/8), in, out, whole); err != nil {
			return err
		}
		whole[bit/8] ^= 1 << (bit % 8)
	}
	return nil
}

// damaged converts a dump with a fault. kdx verify must see the fault, unless no page has other bytes; and what becomes of it must be
// honest.
func (f *faults) damaged(ctx context.Context, what, in, out string, b []byte) error {
	if err := os.WriteFile(in, b, 0o600); err != nil {
		return err
	}
	if sum, err := f.s.sum(ctx, in); err == nil && sum != f.sum {
		f.wrongUnlessRaw(ctx, what+": kdx verify calls it sound", in)
	}
	said, err := f.command(ctx, "--force", in, out).CombinedOutput()
	if code := exitCode(err); code < 0 || bytes.Contains(said, []byte("panic:")) {
		f.d.add("%s: kdx convert: exit status %d: %s", what, code, tail(string(said), 1))
	}
	f.wrongUnlessRaw(ctx, what+", converted", out)
	for _, path := range []string{in, out} {
		if err := os.Remove(path); err != nil && !os.IsNotExist(err) {
			return err
		}
	}
	return nil
}

// wrongUnlessRaw compares pages with the original's. A page that did not become smaller is stored as it is, without a check sum: there
// one bit may differ, and no reader can know.
func (f *faults) wrongUnlessRaw(ctx context.Context, what, path string) {
	if !exists(path) {
		return
	}
	img, err := formats.Open(ctx, []string{path}, formats.Options{})
	if err != nil {
		return
	}
	defer img.Close()
	var wrong atomic.Int64
	err = img.Scan(ctx, func(pfn uint64, st dumpfmt.PageState, page []byte, _ error) error {
		want, err := f.img.Page(pfn)
		if page == nil || err == nil && bytes.Equal(want, page) {
			return nil
		}
		if err == nil && bitsThatDiffer(want, page) == 1 {
			wrong.Add(1)
			return nil
		}
		return fmt.Errorf("page %#x (%s) has other bytes than in the original", pfn, st)
	})
	if err != nil || wrong.Load() > 1 {
		f.d.add("%s: %v, %d pages with one wrong bit", what, err, wrong.Load())
	}
}

func bitsThatDiffer(a, b []byte) int {
	n := 0
	for i := range a {
		for x := a[i] ^ b[i]; x != 0; x &= x - 1 {
			n++
		}
	}
	return n
}
