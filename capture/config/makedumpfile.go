package config

import (
	"fmt"
	"path"
	"slices"
	"strings"
)

// dumpOptions carries makedumpfile's options over: level, codec, erase configuration. codec is that of pages if no option
// says another; "" leaves it.
func (im *importer) dumpOptions(o *Outcome, words []string, codec string) {
	var notes, lost []string
	for i := 0; i < len(words); i++ {
		w := words[i]
		name, value, has := strings.Cut(w, "=")
		next := func() string {
			if !has && i+1 < len(words) {
				i++
				value = words[i]
			}
			return value
		}
		switch {
		case w == "-F", w == "-f", w == "-D", w == "--split", w == "-R":
			if w != "-f" && w != "-D" {
				notes = append(notes, w+" is not needed: kdx writes each target in the form that it can take")
			}
		case name == "--message-level", name == "--num-threads", name == "--num-buffers", name == "--cyclic-buffer", name == "--bind-cpu":
			next()
			notes = append(notes, name+" is not needed")
		case name == "--non-cyclic", name == "--non-mmap", name == "--no-mmap", name == "--work-dir":
			if name == "--work-dir" {
				next()
			}
			notes = append(notes, name+" is not needed")
		case w == "-E":
			notes = append(notes, "-E (ELF): kdx saves kdump-compressed dumps; kdx convert --to elf makes an ELF file of one")
			codec = ""
		case w == "-d", w == "--dump-level":
			level, _, more := strings.Cut(next(), ",")
			im.set(o, "level", level)
			if more {
				notes = append(notes, "only the first level is tried; targets that are full give way to the next")
			}
		case strings.HasPrefix(w, "-d") && !strings.HasPrefix(w, "--"):
			im.set(o, "level", w[2:])
		case name == "--config":
			im.set(o, "erase-config", next())
		case len(w) > 1 && w[0] == '-' && strings.Trim(w[1:], "clpzF") == "":
			for _, c := range w[1:] {
				if name, ok := map[rune]string{'c': "zlib", 'l': "lzo", 'p': "snappy", 'z': "zstd"}[c]; ok {
					codec = name
				}
			}
		default:
			lost = append(lost, w)
		}
	}
	if o.Fate == Unreadable {
		return
	}
	if codec != "" {
		im.set(o, "codec", codec)
	}
	switch {
	case len(notes) > 0 && o.Fate == Taken:
		o.Fate = Changed
	case len(notes) > 0 && o.Fate == "":
		o.Fate = Unneeded
	}
	o.Note = strings.Join(notes, "; ")
	if len(lost) > 0 {
		o.Fate = NoPlace
		o.Note = strings.Join(append(notes, "makedumpfile's "+strings.Join(lost, " ")+" has no place"), "; ")
	}
}

// appended carries words of a command line over. What speaks to systemd and udev finds neither in kdx's initrd.
func (im *importer) appended(o *Outcome, value string) {
	var keep, gone []string
	for _, w := range strings.Fields(value) {
		name, v, _ := strings.Cut(w, "=")
		switch {
		case name == "nr_cpus", name == "maxcpus":
			im.set(o, "cpus", v)
		case strings.HasPrefix(name, "systemd."), strings.HasPrefix(name, "udev."), strings.HasPrefix(name, "rd."), name == "root", name == "rootflags":
			gone = append(gone, w)
		default:
			keep = append(keep, w)
		}
	}
	if len(keep) > 0 {
		im.set(o, "cmdline-append", strings.Join(keep, " "))
	}
	if len(gone) == 0 {
		return
	}
	if o.Fate == Taken {
		o.Fate = Changed
	} else if o.Fate == "" {
		o.Fate = Unneeded
	}
	if o.Note == "" {
		o.Note = strings.Join(gone, " ") + ": there is no systemd, udev or root filesystem in kdx's initrd"
	}
}

// Ready-made rules.

func taken(key string) func(*importer, *Outcome) {
	return func(im *importer, o *Outcome) {
		if v := strings.TrimSpace(im.values[o.Key]); v != "" {
			im.set(o, key, v)
		}
	}
}

func unneeded(note string) func(*importer, *Outcome) {
	return func(im *importer, o *Outcome) { o.Fate, o.Note = Unneeded, note }
}

// noPlace: a value that is empty or off counts for nothing.
func noPlace(note string) func(*importer, *Outcome) {
	return func(im *importer, o *Outcome) {
		if !off(im.values[o.Key]) {
			o.Fate, o.Note = NoPlace, note
		}
	}
}

// later: finish says what became of it.
func later(*importer, *Outcome) {}

func off(v string) bool {
	return slices.Contains([]string{"", "0", "no", "false", "off"}, strings.ToLower(strings.TrimSpace(v)))
}

// onOff is what SUSE's and others' booleans mean.
func onOff(v string) (on, ok bool) {
	switch strings.ToLower(strings.TrimSpace(v)) {
	case "yes", "true", "on", "1":
		return true, true
	case "no", "false", "off", "0":
		return false, true
	}
	return false, false
}

// choose sets a key by a boolean.
func choose(key, yes, no string) func(*importer, *Outcome) {
	return func(im *importer, o *Outcome) {
		v := im.values[o.Key]
		on, ok := onOff(v)
		switch {
		case strings.TrimSpace(v) == "":
		case !ok:
			o.Fate, o.Note = Unreadable, fmt.Sprintf("%q is neither true nor false", v)
		case on:
			im.set(o, key, yes)
		default:
			im.set(o, key, no)
		}
	}
}

// kernelImage takes a version or a path.
func kernelImage(im *importer, o *Outcome) {
	v := strings.TrimSpace(im.values[o.Key])
	switch {
	case v == "":
	case path.IsAbs(v):
		im.set(o, "kernel", v)
	default:
		im.set(o, "kernel", "/boot/vmlinuz-"+v)
	}
}

// command carries a hook over.
func command(key, note string) func(*importer, *Outcome) {
	return func(im *importer, o *Outcome) {
		if v := strings.TrimSpace(im.values[o.Key]); v != "" {
			im.change(o, key, v, note)
		}
	}
}
