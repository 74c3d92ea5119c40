// Package trial crashes a host on purpose and says, after the next boot, whether the dump arrived. What was done and what was there before
// is written down first, so that nothing is taken for the dump of the test that is not.
package trial

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"kdx/capture/collect"
	"kdx/capture/config"
	"kdx/capture/manifest"
	"kdx/internal/atomicfile"
)

// Path is where the record of the last test lies.
const Path = "/var/lib/kdx/test.json"

const version = 1

// Record is a test.
type Record struct {
	Version int       `json:"version"`
	Kdx     string    `json:"kdx"`
	Host    string    `json:"host"`
	Release string    `json:"release"`
	BootID  string    `json:"boot_id"`
	Begun   time.Time `json:"begun"`
	Targets []string  `json:"targets"`
	// Before are the directories of dumps that were there, as target and directory.
	Before []string `json:"before"`
	// Outcome is what became of it, "" while nobody has looked after the boot that followed.
	Outcome string `json:"outcome"`
	Arrived bool   `json:"arrived"`
	// Dump is where it lies.
	Dump   string `json:"dump"`
	Target string `json:"target"`
	// Saving, Down are how long saving took, and how long the host was away, in seconds by its clock. 0 if not known.
	Saving float64 `json:"saving_seconds"`
	Down   float64 `json:"down_seconds"`
	Bytes  int64   `json:"bytes"`
}

// ErrNone: no test was begun on this host.
var ErrNone = errors.New("no test was begun on this host (kdx capture test)")

// ErrSameBoot: the host has not been down since.
var ErrSameBoot = errors.New("the host has not booted since the test was begun")

// ErrUnknown: a target could not be looked at, and on the others there is no whole dump of the test.
var ErrUnknown = errors.New("what became of the test is not known yet")

const maxRecord = 8 << 20

// Read reads the record of the last test.
func Read(root string) (*Record, error) {
	path := filepath.Join("/", root, Path)
	fi, err := os.Stat(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxRecord {
		return nil, fmt.Errorf("%s has %d bytes, which no record has", path, fi.Size())
	}
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	var r Record
	if err := json.Unmarshal(b, &r); err != nil {
		return nil, fmt.Errorf("%s is damaged: %w", path, err)
	}
	if r.Version != version {
		return nil, fmt.Errorf("%s is of version %d, this kdx reads %d", path, r.Version, version)
	}
	return &r, nil
}

// Write keeps the record, durably.
func (r *Record) Write(root string) error {
	path := filepath.Join("/", root, Path)
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	b, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(path, append(b, '\n'), 0o600)
}

func line(root, name string) string {
	b, err := os.ReadFile(filepath.Join("/", root, name))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Begin makes the record of a test that is about to be made. Targets that can't be reached are errors: a dump there could not be told from
// others.
func Begin(ctx context.Context, root, kdx string, c *config.Config, open collect.Opener, m *collect.Mounts) (*Record, error) {
	r := &Record{Version: version, Kdx: kdx, Host: line(root, "proc/sys/kernel/hostname"), Release: line(root, "proc/sys/kernel/osrelease"), BootID: line(root, "proc/sys/kernel/random/boot_id"),
		Begun: time.Now().UTC(), Targets: []string{}, Before: []string{}}
	for _, t := range c.Targets {
		r.Targets = append(r.Targets, t.String())
	}
	places, skipped := collect.Places(root, c, m)
	for _, s := range skipped {
		return nil, fmt.Errorf("what lies on %s before the test: %s", s.Target, s.Why)
	}
	for _, p := range places {
		dumps, err := collect.Find(ctx, open, p, "")
		if err != nil {
			return nil, fmt.Errorf("what lies on %s before the test: %w", p.Name, err)
		}
		for _, d := range dumps {
			r.Before = append(r.Before, d.Target+" "+d.Dir)
		}
	}
	return r, nil
}

// Crash ends the kernel at once. It returns only if that fails.
func Crash(root string) error {
	name := filepath.Join("/", root, "proc/sysrq-trigger")
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return fmt.Errorf("the kernel can't be crashed: %w", err)
	}
	defer f.Close()
	if _, err := f.WriteString("c"); err != nil {
		return fmt.Errorf("the kernel can't be crashed: %w", err)
	}
	return nil
}

// Look finds out what became of a test and writes it down: on the targets that there were then, with the keys of c. ErrNone and ErrSameBoot if there is nothing to look for,
// ErrUnknown if it can't be told now.
func Look(ctx context.Context, root string, c *config.Config, open collect.Opener, m *collect.Mounts) (*Record, error) {
	r, err := Read(root)
	if err != nil {
		return nil, err
	}
	if r.BootID == line(root, "proc/sys/kernel/random/boot_id") {
		return r, ErrSameBoot
	}
	at := *c
	at.Targets = nil
	for _, text := range r.Targets {
		if t, err := config.ParseTarget(text); err == nil {
			at.Targets = append(at.Targets, t)
		}
	}
	before := make(map[string]bool)
	for _, b := range r.Before {
		before[b] = true
	}
	var failures, unseen []string
	places, skipped := collect.Places(root, &at, m)
	for _, s := range skipped {
		unseen = append(unseen, s.Target+": "+s.Why)
	}
	for _, p := range places {
		dumps, err := collect.Find(ctx, open, p, "")
		if err != nil {
			unseen = append(unseen, fmt.Sprintf("%s: %v", p.Name, err))
			continue
		}
		var found *collect.Dump
		for i := range dumps {
			if d := &dumps[i]; !before[d.Target+" "+d.Dir] && (d.Manifest == nil || r.made(d.Manifest)) {
				found = d
			}
		}
		if found == nil {
			failures = append(failures, p.Name+": no new dump")
			continue
		}
		if err := found.Check(ctx, open, p); err != nil {
			if ctx.Err() != nil {
				return nil, ctx.Err()
			}
			failures = append(failures, fmt.Sprintf("%s: %s: %v", p.Name, found.Dir, err))
			continue
		}
		r.arrived(root, found)
		return r, r.Write(root)
	}
	if len(unseen) > 0 {
		return r, fmt.Errorf("%w: %s", ErrUnknown, strings.Join(append(unseen, failures...), "; "))
	}
	r.Arrived, r.Outcome = false, "no whole dump has arrived: "+strings.Join(failures, "; ")
	return r, r.Write(root)
}

// made: a dump is of the crash that the test made. The id of the boot tells it from all others; without one only the host's name does, which may have changed
// since the initrd was built.
func (r *Record) made(m *manifest.Manifest) bool {
	if m.BootID != "" && r.BootID != "" {
		return m.BootID == r.BootID
	}
	return m.Host == "" || r.Host == "" || strings.EqualFold(m.Host, r.Host)
}

func (r *Record) arrived(root string, d *collect.Dump) {
	m := d.Manifest
	r.Arrived, r.Target, r.Dump = true, d.Target, d.Dir
	if d.Path != "" {
		r.Dump = d.Path
	}
	r.Bytes = 0
	for _, f := range m.Files {
		r.Bytes += f.Size
	}
	r.Saving = m.Ended.Sub(m.Begun).Seconds()
	for l := range strings.Lines(line(root, "proc/stat")) {
		if v, ok := strings.CutPrefix(l, "btime "); ok {
			if sec, err := strconv.ParseInt(strings.TrimSpace(v), 10, 64); err == nil {
				r.Down = time.Unix(sec, 0).Sub(r.Begun).Seconds()
			}
		}
	}
	r.Outcome = fmt.Sprintf("a whole dump of %d MiB arrived on %s, saved in %.0f s", (r.Bytes+1<<20-1)>>20, r.Target, r.Saving)
	if r.Down > 0 && r.Down < 24*3600 {
		r.Outcome += fmt.Sprintf("; the kernel was up again after %.0f s", r.Down)
	}
}
