package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"kdx/internal/atomicfile"
)

const (
	recordName    = runDir + "/loaded.json"
	recordVersion = 1
	// copyDir holds kernel and initrd as they were loaded: what is loaded must be had again though the files have been replaced.
	copyDir = "/var/lib/kdx/loaded"
)

// Record is what kdx loaded, as /run/kdx/loaded.json has it.
type Record struct {
	Version int    `json:"version"`
	Kdx     string `json:"kdx"`
	By      string `json:"by"`
	// BootID is that of the boot in which it was loaded: a record that outlived it is worth nothing.
	BootID string    `json:"boot_id"`
	Loaded time.Time `json:"loaded"`
	// Armed is false once it was dropped by a load that failed, and could not be loaded again.
	Armed bool `json:"armed"`
	// Release is the capture kernel's, "" if its image does not say.
	Release string `json:"release"`
	Kernel  File   `json:"kernel"`
	Initrd  File   `json:"initrd"`
	// Foreign: the initrd is not kdx's.
	Foreign bool   `json:"foreign"`
	Cmdline string `json:"cmdline"`
	// Reserved is the reservation in bytes, Placed what of it the segments take.
	Reserved uint64 `json:"reserved"`
	Placed   uint64 `json:"placed"`
	// RAM is what the kernel counted as memory then, in bytes; 0 if it did not show that. Memory that came or went since is not in
	// the map that the capture kernel has, unless the kernel keeps that itself.
	RAM     uint64   `json:"ram"`
	Sysctls []Sysctl `json:"sysctls"`
}

// Sysctl is one that was set, with what it was before.
type Sysctl struct {
	Name   string `json:"name"`
	Value  string `json:"value"`
	Before string `json:"before"`
}

// Title names it for people.
func (r *Record) Title() string {
	s := r.Kernel.Path
	if r.Initrd.Path != "" {
		s += " with " + r.Initrd.Path
	}
	return s + ", loaded " + r.Loaded.Format(time.DateTime+"Z")
}

func newRecord(h *Host, k *Kernel, c *checked, job Job) *Record {
	r := &Record{
		Version: recordVersion, Kdx: h.Kdx, By: h.By, BootID: k.BootID, Loaded: now(), Armed: true, Release: c.header.Release, Kernel: c.kernel.File, Foreign: job.Foreign,
		Cmdline: job.Cmdline, Reserved: c.reserved, Placed: c.placed, RAM: c.ram, Sysctls: []Sysctl{},
	}
	if c.initrd != nil {
		r.Initrd = c.initrd.File
	}
	return r
}

// readRecord is what was loaded in this boot; fs.ErrNotExist if nothing was.
func (h *Host) readRecord(k *Kernel) (*Record, error) {
	f, err := os.Open(h.path(recordName))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxSmall))
	if err != nil {
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", recordName, err)
	}
	if r.Version != recordVersion {
		return nil, fmt.Errorf("%s has version %d, this kdx knows %d", recordName, r.Version, recordVersion)
	}
	if r.BootID != k.BootID {
		return nil, fmt.Errorf("%s is of an earlier boot: %w", recordName, fs.ErrNotExist)
	}
	return &r, nil
}

func (h *Host) writeRecord(r *Record) error {
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	name := h.path(recordName)
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return atomicfile.WriteFile(name, append(b, '\n'), 0o644)
}

// keep writes the record and copies of what was loaded. The host is armed by now, so whatever fails is told, no more.
func (h *Host) keep(r *Record, c *checked) []Problem {
	var problems []Problem
	files := []*File{&r.Kernel}
	in := []*opened{c.kernel}
	if c.initrd != nil {
		files, in = append(files, &r.Initrd), append(in, c.initrd)
	}
	for i, f := range files {
		name, err := h.copyOf(in[i])
		if err != nil {
			problems = append(problems, Problem{What: fmt.Sprintf("no copy of %s could be kept (%v): if a later load fails, this one can only come back if the file is unchanged then", f.Path, err)})
		}
		f.Copy = name
	}
	if err := h.writeRecord(r); err != nil {
		return append(problems, Problem{What: fmt.Sprintf("the host is armed, but what was loaded could not be written down: %v", err)})
	}
	h.dropCopies(r)
	return problems
}

// copyOf keeps the bytes under a name made of their hash. It is not synced: after a crash nothing is loaded, and the copies are
// worth nothing.
func (h *Host) copyOf(o *opened) (string, error) {
	name := filepath.Join(copyDir, o.SHA256[:32])
	if fi, err := os.Stat(h.path(name)); err == nil && fi.Size() == o.Size {
		return name, nil
	}
	if err := os.MkdirAll(h.path(copyDir), 0o700); err != nil {
		return "", err
	}
	out, err := os.CreateTemp(h.path(copyDir), ".new-*")
	if err != nil {
		return "", err
	}
	defer os.Remove(out.Name())
	defer out.Close()
	if _, err := o.file.Seek(0, io.SeekStart); err != nil {
		return "", err
	}
	if _, err := io.Copy(out, o.file); err != nil {
		return "", err
	}
	if err := out.Close(); err != nil {
		return "", err
	}
	return name, os.Rename(out.Name(), h.path(name))
}

// dropCopies removes copies of what is not loaded any more.
func (h *Host) dropCopies(r *Record) {
	entries, err := os.ReadDir(h.path(copyDir))
	if err != nil {
		return
	}
	for _, e := range entries {
		name := filepath.Join(copyDir, e.Name())
		if r != nil && (name == r.Kernel.Copy || name == r.Initrd.Copy) || !ours(e.Name()) {
			continue
		}
		if err := os.Remove(h.path(name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			h.say("%v", err)
		}
	}
}

// ours: a name as copyOf makes them.
func ours(name string) bool {
	return strings.HasPrefix(name, ".new-") || len(name) == 32 && strings.Trim(name, "0123456789abcdef") == ""
}
