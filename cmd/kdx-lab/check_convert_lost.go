package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	dumped "kdx/analyze/kernel"
	"kdx/analyze/proof"
	"kdx/analyze/slab"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/formats"
)

// checkLost: at level 31, no page that the kernel uses is gone. On the whole dump every slab of every cache, the page tables of the
// kernel and of each process, per-CPU areas, mapped areas, stacks, modules and the map of pages are walked, and all their pages must be in
// the output, as must all bytes be right of whatever is in it.
func checkLost(ctx context.Context, s *subject, tmp string) (string, error) {
	small := filepath.Join(tmp, "small")
	if err := s.convert(ctx, s.dump, small, "--level", "31"); err != nil {
		return "", err
	}
	k, end, err := opened(ctx, s.dump)
	if err != nil {
		return "", err
	}
	defer end()
	out, err := formats.Open(ctx, []string{small}, formats.Options{})
	if err != nil {
		return "", err
	}
	defer out.Close()
	var d differences
	r, err := proof.Check(ctx, k, out, proof.Options{Every: 1, Budget: -1})
	if err != nil {
		return "", err
	}
	if err := r.Err(); err != nil {
		d.add("%v", err)
	}
	for _, c := range r.Checked {
		if c.Unfinished || c.Note != "" {
			d.add("%s: could not all be walked: %s", c.Name, c.Note)
		}
	}
	slabs, err := allSlabs(k.View(ctx), out, &d)
	if err != nil {
		return "", err
	}
	there, err := samePages(ctx, k.Image(), out)
	if err != nil {
		d.add("%v", err)
	}
	note := fmt.Sprintf("%d slabs and %d other pages of the kernel, %d pages equal", slabs, r.Pages, there)
	if n := len(r.Doubts); n > 0 {
		note += fmt.Sprintf("; %d left-over pointers, first %s", n, r.Doubts[0])
	}
	return note, d.err()
}

// allSlabs finds every slab in the map of pages, full ones too, sees that there are as many as the kernel counts, and that their pages are
// in the output.
func allSlabs(v *dumped.View, out *dumpfmt.Image, d *differences) (uint64, error) {
	s, err := slab.New(v)
	if err != nil {
		return 0, err
	}
	caches, err := s.Caches()
	if err != nil {
		return 0, err
	}
	type slabStruct struct {
		Objects uint32 `k:"objects"`
	}
	tag := "slab" // since 5.17
	if !v.HasMember(tag, "objects") {
		tag = "page"
	}
	bind, err := dumped.Bind[slabStruct](v.Kernel, tag)
	if err != nil {
		return 0, err
	}
	var found uint64
	for _, c := range caches {
		n := uint64(0)
		for at, err := range s.All(c) {
			if err != nil {
				return found, fmt.Errorf("slab cache %s: %w", c, err)
			}
			n++
			b, err := bind.Read(v, at)
			if err != nil {
				return found, err
			}
			slabThere(v, s, c, at, uint64(b.Objects), out, d)
		}
		u, err := s.Usage(c)
		if err != nil {
			return found, err
		}
		if n != u.Slabs {
			d.add("slab cache %s: %d slabs were found, the kernel counts %d", c, n, u.Slabs)
		}
		found += n
	}
	return found, nil
}

func slabThere(v *dumped.View, s *slab.Slabs, c *slab.Cache, at vmem.Addr, objects uint64, out *dumpfmt.Image, d *differences) {
	first, ok := s.Pages().PFN(at)
	if !ok {
		d.add("slab cache %s: slab %#x is in no map of pages", c, uint64(at))
		return
	}
	size := v.PageSize()
	for i := range (min(objects*c.Size, c.SlabSize) + size - 1) / size {
		if st := out.State(first + i); !st.Readable() {
			d.add("slab cache %s: page %#x of the slab %#x is %s", c, first+i, uint64(at), st)
		}
	}
}

// memoryOfOthers are lines of testdata/lines whose answers have the memory of programs in them. A dump of level 31 has none, and must say
// so; all others must be the same.
var memoryOfOthers = regexp.MustCompile(`^(ps -a .*|(struct|p|rd|dis) -u .*|search .*|vm -p .*)$`)

// ofTheFile are lines whose answers are bytes of the dump's file, which are other ones in another format.
var ofTheFile = regexp.MustCompile(`^(rd|struct) -f `)

// numbered is the place of a value among those of a session, which shifts behind an answer that is not there.
var numbered = regexp.MustCompile(`(?m)(^|= )\$\d+ = `)

// checkSameLines runs every line of testdata/lines on the dump and on its kernel's part.
func (l *lab) checkSameLines(ctx context.Context, s *subject, tmp string) (string, error) {
	small := filepath.Join(tmp, "small")
	if err := s.convert(ctx, s.dump, small, "--level", "31"); err != nil {
		return "", err
	}
	lines, err := l.lines()
	if err != nil {
		return "", err
	}
	var said [2][]string
	for i, dump := range []string{s.dump, small} {
		at := *s
		at.dump = dump
		if at.cache, err = os.MkdirTemp(tmp, "cache"); err != nil {
			return "", err
		}
		if said[i], err = at.sayWith(ctx, dumpAlone, lines); err != nil {
			return "", fmt.Errorf("%s: %w", filepath.Base(dump), err)
		}
	}
	var d differences
	without := 0
	for i, line := range lines {
		want, got := numbered.ReplaceAllString(said[0][i], ""), numbered.ReplaceAllString(said[1][i], "")
		switch {
		case want == got, ofTheFile.MatchString(line):
		case memoryOfOthers.MatchString(line) && (strings.Contains(got, "excluded (dump level 31)") || strings.Contains(got, "pages are not in the dump (excluded)")):
			without++
		default:
			d.add("%s differs: %s", line, firstDifference(want, got))
		}
	}
	return fmt.Sprintf("%d of %d lines equal; programs' memory in %d", len(lines)-without-d.n, len(lines), without), d.err()
}

// checkKept: at level 31 at least 98 of 100 pages are gone that the kernel counted as free, as cache and as programs' own. Its counters are
// those of the dump, which the leg "memory" holds against the guest's word.
func checkKept(ctx context.Context, s *subject, tmp string) (string, error) {
	var mem struct {
		Pages map[string]uint64 `json:"pages"`
	}
	if err := s.ask(ctx, []string{"kmem -i"}, &mem); err != nil {
		return "", err
	}
	small := filepath.Join(tmp, "small")
	if err := s.convert(ctx, s.dump, small, "--level", "31"); err != nil {
		return "", err
	}
	in, err := formats.Open(ctx, []string{s.dump}, formats.Options{})
	if err != nil {
		return "", err
	}
	defer in.Close()
	out, err := formats.Open(ctx, []string{small}, formats.Options{})
	if err != nil {
		return "", err
	}
	defer out.Close()
	gone := uint64(0)
	for pfn := range in.Info().MaxPFN {
		if in.State(pfn).Readable() && !out.State(pfn).Readable() {
			gone++
		}
	}
	classes, err := s.classes(ctx)
	if err != nil {
		return "", err
	}
	p := mem.Pages
	var d differences
	var sum uint64
	var note []string
	for _, c := range []struct {
		name       string
		want, gone uint64
	}{
		{"free", p["free"], classes["free"]},
		{"cache", p["cached"] + p["buffers"], classes["cache"] + classes["cache with private data"]},
		{"programs' own", p["anon_pages"] + p["huge_total"], classes["user data"]},
	} {
		sum += c.want
		if c.gone*100 < c.want*98 {
			d.add("%s: %d pages are gone of %d", c.name, c.gone, c.want)
		}
		note = append(note, fmt.Sprintf("%s %d of %d", c.name, c.gone, c.want))
	}
	if gone*100 < sum*98 {
		d.add("%d pages are gone of %d", gone, sum)
	}
	return fmt.Sprintf("gone: %s; in all %d of %d", strings.Join(note, ", "), gone, in.Info().MaxPFN), d.err()
}

// classes are the pages by class, as kdx convert --mem-usage counts them.
func (s *subject) classes(ctx context.Context) (map[string]uint64, error) {
	text, err := output(ctx, s.dir, s.kdx, "convert", "--json", "--mem-usage", "--progress", "none", s.dump)
	if err != nil {
		return nil, err
	}
	var said struct {
		Classes []struct {
			Class string `json:"class"`
			Pages uint64 `json:"pages"`
		} `json:"classes"`
	}
	if err := decodeAnswer(json.NewDecoder(bytes.NewReader(text)), &said); err != nil {
		return nil, err
	}
	out := make(map[string]uint64)
	for _, c := range said.Classes {
		out[c.Class] = c.Pages
	}
	return out, nil
}
