package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"kdx/analyze/proof"
	"kdx/dumpfmt/formats"
)

// trip is a form that kdx convert writes.
type trip struct {
	name string
	args []string
	// memory says that the form has room for memory alone: what the kernel says of itself is found there again.
	memory bool
	// peers that read the form.
	crash, makedumpfile, gdb, drgn bool
}

var trips = []trip{
	{name: "kdump-zstd", args: []string{"--to", "kdump", "--codec", "zstd:3"}, crash: true, makedumpfile: true, drgn: true},
	{name: "elf", args: []string{"--to", "elf"}, crash: true, makedumpfile: true, gdb: true},
	{name: "kdump-zlib", args: []string{"--to", "kdump", "--codec", "zlib"}},
	{name: "flat", args: []string{"--to", "flat"}, crash: true, makedumpfile: true},
	{name: "kdump-lzo", args: []string{"--to", "kdump", "--codec", "lzo"}, makedumpfile: true},
	{name: "lkcd-gzip", args: []string{"--to", "lkcd", "--codec", "zlib"}, crash: true},
	{name: "kdump-snappy", args: []string{"--to", "kdump", "--codec", "snappy"}},
	{name: "lime", args: []string{"--to", "lime"}, memory: true},
	{name: "kdump-raw", args: []string{"--to", "kdump", "--codec", "raw"}},
	{name: "raw", args: []string{"--to", "raw"}, memory: true},
	{name: "flat-elf", args: []string{"--to", "flat:elf"}},
	{name: "lkcd-rle", args: []string{"--to", "lkcd", "--codec", "rle"}},
	{name: "lkcd-raw", args: []string{"--to", "lkcd", "--codec", "raw", "--lkcd-version", "8"}},
}

// sum is what kdx verify computes of a dump's pages.
func (s *subject) sum(ctx context.Context, dump string) (string, error) {
	text, err := output(ctx, s.dir, s.kdx, "verify", "--json", dump)
	if err != nil {
		return "", fmt.Errorf("kdx verify %s: %w", filepath.Base(dump), err)
	}
	var said struct {
		Result struct {
			Sound bool   `json:"sound"`
			SHA   string `json:"sha256"`
		} `json:"result"`
	}
	if err := json.Unmarshal(text, &said); err != nil {
		return "", err
	}
	if !said.Result.Sound || len(said.Result.SHA) != 64 {
		return "", fmt.Errorf("kdx verify %s: not sound", filepath.Base(dump))
	}
	return said.Result.SHA, nil
}

// levels of the round trips. Zeros count as themselves in a sum, so that each pair has one sum.
var levels = []struct{ with, without string }{{"1", "0"}, {"17", "16"}, {"31", "30"}}

// checkTrips writes one crash in every form. Each is made of the one before, so that all readers and all writers take part, and
// all must have the same sum; so must dumps with and without zeros.
func (l *lab) checkTrips(ctx context.Context, s *subject, tmp string) (string, error) {
	var d differences
	var first string
	for _, level := range levels {
		var sums [2]string
		for i, args := range [][]string{{"--level", level.with, "--to", "elf"}, {"--level", level.without, "--codec", "lzo"}} {
			out := filepath.Join(tmp, "level-"+args[1])
			if err := s.convert(ctx, s.dump, out, args...); err != nil {
				return "", err
			}
			var err error
			if sums[i], err = s.sum(ctx, out); err != nil {
				return "", err
			}
			if level.with != "31" || i > 0 {
				if err := os.Remove(out); err != nil {
					return "", err
				}
			}
		}
		if sums[0] != sums[1] {
			d.add("level %s to ELF and level %s to kdump (lzo) have different pages", level.with, level.without)
		}
		if level.with == "1" {
			whole, err := s.sum(ctx, s.dump)
			if err != nil {
				return "", err
			}
			if sums[0] != whole {
				d.add("level 1 has other pages than the original")
			}
		}
		first = sums[0]
	}
	from := filepath.Join(tmp, "level-31")
	for _, t := range trips {
		to := filepath.Join(tmp, t.name)
		if err := s.convert(ctx, from, to, t.args...); err != nil {
			d.add("%s to %s: %v", filepath.Base(from), t.name, err)
			continue
		}
		sum, err := s.sum(ctx, to)
		if err != nil {
			d.add("%v", err)
			continue
		}
		if sum != first {
			d.add("%s, made of %s: other pages", t.name, filepath.Base(from))
		}
		if err := os.RemoveAll(from); err != nil {
			return "", err
		}
		from = to
	}
	return fmt.Sprintf("levels 0, 1, 16, 17, 30, 31; one sum in %d forms, each made of the last", len(trips)), d.err()
}

// checkTripPeers lets other readers say of kdx's files what they say of the original.
func (l *lab) checkTripPeers(ctx context.Context, s *subject, tmp string) (string, error) {
	p, err := l.peers(ctx)
	if err != nil {
		return "", err
	}
	vmlinux, err := filepath.EvalSymlinks(filepath.Join(s.dir, "vmlinux"))
	if err != nil {
		return "", skip("the debug package was not fetched")
	}
	r, err := l.reference(ctx, s.dir)
	if err != nil {
		return "", err
	}
	var d differences
	var crash, drgn, gdb []string
	for _, t := range trips {
		if !t.crash && !t.drgn && !t.gdb {
			continue
		}
		out := filepath.Join(tmp, t.name)
		if err := s.convert(ctx, s.dump, out, append([]string{"--level", "31"}, t.args...)...); err != nil {
			d.add("%s: %v", t.name, err)
			continue
		}
		if t.crash && r.Crash != nil {
			crash = append(crash, t.name)
			var told []string
			if strings.HasPrefix(t.name, "lkcd") { // it has no notes that would say so
				if told, err = placeOfKernel(ctx, s.dump); err != nil {
					return "", err
				}
			}
			sameToCrash(ctx, p, vmlinux, out, r.Crash, told, &d)
		}
		if t.drgn && r.Drgn != nil {
			drgn = append(drgn, t.name)
			l.sameToDrgn(ctx, p, vmlinux, s.dump, out, r.Drgn, &d)
		}
		if t.gdb {
			gdb = append(gdb, t.name)
			if err := s.sameToGDB(ctx, p, out, &d); err != nil {
				d.add("gdb, %s: %v", t.name, err)
			}
		}
		if err := os.RemoveAll(out); err != nil {
			return "", err
		}
	}
	note := fmt.Sprintf("drgn: %s; gdb: %s; crash: %s", strings.Join(drgn, " "), strings.Join(gdb, " "), strings.Join(crash, " "))
	if r.Crash == nil {
		note += "not asked, as it can't open the original"
	}
	return note, d.err()
}

// ofFile are lines of crash that speak of the file: its name, and that it is not all of memory.
var ofFile = regexp.MustCompile(`(?m)^ *(DUMPFILE:|\[PARTIAL DUMP\]).*\n`)

// notesTold are commands in which crash uses notes: without, it begins the stacks of running tasks elsewhere, and finds no panic.
var notesTold = regexp.MustCompile(`^(sys|bt -a|foreach bt)$`)

// placeOfKernel are crash's options that say where the kernel lies.
func placeOfKernel(ctx context.Context, dump string) ([]string, error) {
	k, end, err := opened(ctx, dump)
	if err != nil {
		return nil, err
	}
	defer end()
	kaslr, _ := k.VMCoreInfo().Hex("KERNELOFFSET")
	phys, _ := k.VMCoreInfo().Number("phys_base")
	return []string{fmt.Sprintf("--kaslr=%#x", kaslr), "--machdep", fmt.Sprintf("phys_base=%#x", phys)}, nil
}

func sameToCrash(ctx context.Context, p peers, vmlinux, out string, want *crashReference, told []string, d *differences) {
	got, err := p.crash(ctx, vmlinux, out, told...)
	if err != nil {
		d.add("crash, %s: %v", filepath.Base(out), err)
		return
	}
	for _, c := range crashCommands {
		if c == "ps -a" || told != nil && notesTold.MatchString(c) {
			continue // arguments are in programs' memory
		}
		a, b := ofFile.ReplaceAllString(want.Output[c], ""), ofFile.ReplaceAllString(got.Output[c], "")
		if a != b {
			d.add("crash, %s: %s differs: %s", filepath.Base(out), c, firstDifference(a, b))
		}
	}
}

// sameToDrgn compares all stacks with those of the reference, and what slabs.py says of each slab cache.
func (l *lab) sameToDrgn(ctx context.Context, p peers, vmlinux, dump, out string, want *drgnReference, d *differences) {
	got, err := l.drgn(ctx, p, vmlinux, out)
	if err != nil {
		d.add("drgn, %s: %v", filepath.Base(out), err)
		return
	}
	a, b := tasksText(want.Tasks), tasksText(got.Tasks)
	if a != b {
		d.add("drgn, %s: stacks differ: %s", filepath.Base(out), firstDifference(a, b))
	}
	var slabs [2]string
	for i, path := range []string{dump, out} {
		text, err := l.drgnScript(ctx, p, vmlinux, path, "slabs.py")
		if err != nil {
			d.add("drgn, %s: %v", filepath.Base(path), err)
			return
		}
		slabs[i] = string(text)
	}
	if slabs[0] != slabs[1] || !strings.Contains(slabs[0], "task_struct") {
		d.add("drgn, %s: slabs differ: %s", filepath.Base(out), firstDifference(slabs[0], slabs[1]))
	}
}

// tasksText is what drgn says of tasks. Why a stack can't be unwound it says in other words for each format.
func tasksText(tasks []drgnTask) string {
	var b strings.Builder
	for _, t := range tasks {
		if t.Error != "" {
			t.Error = "no stack"
		}
		fmt.Fprintf(&b, "%+v\n", t)
	}
	return b.String()
}

// sameToGDB reads memory and registers of two ELF files with gdb alone: it goes by the program headers' virtual addresses.
func (s *subject) sameToGDB(ctx context.Context, p peers, out string, d *differences) error {
	if !exists(filepath.Join(p.root, "usr/bin/gdb")) {
		return fmt.Errorf("it is not in %s: kdx-lab peers makes that anew once it is removed", p.root)
	}
	args := []string{"gdb", "-nx", "-batch", "-ex", "info threads", "-ex", "info registers", "-ex", "x/16gx $rsp"}
	var syms []kdxSymbol
	for _, name := range []string{"linux_banner", "init_task", "jiffies", "init_uts_ns"} {
		if err := s.ask(ctx, []string{"sym " + name}, &syms); err != nil || len(syms) == 0 {
			return fmt.Errorf("sym %s: %w", name, err)
		}
		args = append(args, "-ex", "x/256xb "+syms[0].Addr, "-ex", "x/s "+syms[0].Addr)
	}
	var said [2]string
	for i, path := range []string{s.dump, out} {
		text, err := p.run(ctx, []string{s.dir}, append(args, "--core="+path)...)
		if err != nil {
			return err
		}
		said[i] = string(text)
	}
	if said[0] != said[1] || !strings.Contains(said[0], "Linux version") {
		d.add("gdb, %s: %s", filepath.Base(out), firstDifference(said[0], said[1]))
	}
	return nil
}

// checkTripMakedumpfile lets makedumpfile filter kdx's files as it filters the original: whatever it leaves out, the pages must be the same.
// A flattened file it only puts in order.
func (l *lab) checkTripMakedumpfile(ctx context.Context, s *subject, tmp string) (string, error) {
	p, err := l.peers(ctx)
	if err != nil {
		return "", err
	}
	filter := form{name: "again", args: []string{"-l", "-d", "31"}}
	again := filepath.Join(tmp, "original")
	if err := p.makedumpfile(ctx, filter, s.dump, again); err != nil {
		return "", skip("makedumpfile can't filter the original: " + tail(err.Error(), 1))
	}
	filtered, err := s.sum(ctx, again)
	if err != nil {
		return "", err
	}
	var d differences
	lost, err := s.lostBy(ctx, again)
	if err != nil {
		return "", err
	}
	if damages := s.truth.major() >= 7; damages != (lost > 0) {
		d.add("of makedumpfile's own dump, the self-check says that %d pages are wrong", lost)
	}
	whole, err := s.sum(ctx, s.dump)
	if err != nil {
		return "", err
	}
	var names []string
	for _, t := range trips {
		if !t.makedumpfile {
			continue
		}
		names = append(names, t.name)
		in, out, want := filepath.Join(tmp, t.name), filepath.Join(tmp, t.name+".again"), filtered
		if err := s.convert(ctx, s.dump, in, append([]string{"--level", "0", "--no-check"}, t.args...)...); err != nil {
			return "", err
		}
		if t.name == "flat" {
			want = whole
			_, err = p.run(ctx, []string{tmp}, "sh", "-c", `exec makedumpfile -R "$1" <"$0"`, in, out)
		} else {
			err = p.makedumpfile(ctx, filter, in, out)
		}
		if err != nil {
			d.add("%s: %v", t.name, err)
		} else if got, err := s.sum(ctx, out); err != nil || got != want {
			d.add("%s, written by makedumpfile: other pages than of the original %v", t.name, err)
		}
		for _, f := range []string{in, out} {
			if err := os.RemoveAll(f); err != nil {
				return "", err
			}
		}
	}
	return fmt.Sprintf("reads %s as it reads the original; loses %d pages of the kernel", strings.Join(names, " "), lost), d.err()
}

// lostBy is what the self-check finds wrong in a dump that somebody else filtered: nothing, but where makedumpfile 1.7.8 takes slabs of
// kernels from 7 on for programs' memory.
func (s *subject) lostBy(ctx context.Context, path string) (uint64, error) {
	k, end, err := opened(ctx, s.dump)
	if err != nil {
		return 0, err
	}
	defer end()
	out, err := formats.Open(ctx, []string{path}, formats.Options{})
	if err != nil {
		return 0, err
	}
	defer out.Close()
	r, err := proof.Check(ctx, k, out, proof.Options{Budget: -1})
	return r.Failed, err
}
