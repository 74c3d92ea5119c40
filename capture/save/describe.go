package save

import (
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"slices"
	"strconv"
	"time"

	"kdx/capture/manifest"
	"kdx/capture/target"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
)

// manifest says what lies in the directory. why is "" if the dump is whole.
func (a *attempt) manifest(why string) *manifest.Manifest {
	m := &manifest.Manifest{Version: manifest.Version, KDX: cmp.Or(a.Version, "unknown"), Complete: why == "", Why: why, Host: a.Host, BootID: a.BootID,
		Target: a.place.Name, Begun: a.begun.UTC(), Ended: a.now().UTC(), Files: a.files, Stages: a.stages, Notes: a.notes}
	m.Dump = manifest.Dump{File: dumpName, Format: "kdump", Codec: a.Codec, Asked: a.Level, Level: a.report.Recorded, Check: a.checked()}
	switch {
	case a.src.img == nil:
		m.Dump.Format, m.Dump.Codec = "as /proc/vmcore had it", ""
		m.Dump.Missing = a.report.Copied.Missing
		return m
	case a.flat:
		m.Dump.Format = "kdump, flattened"
	}
	if why != "" {
		m.Dump.File += target.Incomplete
	}
	info := a.src.img.Info()
	m.Machine, m.Dump.PageSize = string(info.Machine), info.PageSize
	vci := info.VMCoreInfo
	if a.src.kernel != nil {
		vci = a.src.kernel.VMCoreInfo()
	}
	m.Release, m.BuildID, m.Crashed = facts(vci)
	d, rep := &m.Dump, &a.report
	d.Pages, d.Zero, d.Missing, d.Kept = rep.Copied.Pages, rep.Copied.Zero+rep.Copied.Shared, rep.Copied.Missing, rep.Kept() && a.Level > safeLevel
	if rep.Stats != nil {
		d.Excluded = rep.Stats.RAM() - min(rep.Stats.RAM(), rep.Copied.Pages)
	}
	for _, g := range rep.Gaps {
		m.Notes = append(m.Notes, oneLine(fmt.Errorf("%s", g)))
	}
	if d.Missing > 0 {
		m.Notes = append(m.Notes, fmt.Sprintf("%d pages could not be read; the dump says so of each", d.Missing))
	}
	return m
}

func facts(vci *vmcoreinfo.Info) (release, buildID string, crashed time.Time) {
	if vci == nil {
		return "", "", time.Time{}
	}
	release, _ = vci.Get("OSRELEASE")
	buildID, _ = vci.Get("BUILD-ID")
	if sec, ok := vci.Decimal("CRASHTIME"); ok && sec > 0 {
		crashed = time.Unix(sec, 0).UTC()
	}
	return release, buildID, crashed
}

func (a *attempt) checked() string {
	switch c := a.report.Check; {
	case c == nil:
		return cmp.Or(a.report.NoCheck, "none was made")
	case !c.OK():
		return fmt.Sprintf("failed: %s", oneLine(c.Err()))
	default:
		return fmt.Sprintf("passed: %d pages that the kernel's pointers lead to", c.Pages)
	}
}

func (a *attempt) putManifest(ctx context.Context) error {
	b, err := a.m.Encode()
	if err != nil {
		return err
	}
	return a.dir.Put(ctx, manifest.Name, b)
}

// Attach puts small files beside a dump that was saved, and lists them in its manifest: what became known later, such as the
// triage and the capture kernel's own log.
func Attach(ctx context.Context, p target.Place, dir string, files map[string][]byte) error {
	t, err := target.Open(ctx, p, nil)
	if err != nil {
		return err
	}
	defer t.Close()
	d, err := t.Open(ctx, dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return attach(ctx, d, files)
}

func attach(ctx context.Context, d target.Dir, files map[string][]byte) error {
	var m *manifest.Manifest
	text, err := d.Read(ctx, manifest.Name, manifest.MaxSize)
	if err == nil {
		m, err = manifest.Parse(text)
	}
	if err != nil {
		m = nil // the files are put there all the same
	}
	for _, name := range sortedNames(files) {
		if err := d.Put(ctx, name, files[name]); err != nil {
			return err
		}
		if m != nil {
			h := sha256.Sum256(files[name])
			m.Put(manifest.File{Name: name, Size: int64(len(files[name])), SHA256: hex.EncodeToString(h[:])})
		}
	}
	if m == nil {
		return nil
	}
	if text, err = m.Encode(); err != nil {
		return err
	}
	return d.Put(ctx, manifest.Name, text)
}

// anonymous is how much memory the process has that belongs to no file, bytes; 0 if the kernel does not say.
func anonymous() int64 {
	text, err := os.ReadFile("/proc/self/status")
	if err != nil {
		return 0
	}
	for line := range bytes.Lines(text) {
		if f := bytes.Fields(line); len(f) > 1 && string(f[0]) == "RssAnon:" {
			n, _ := strconv.ParseInt(string(f[1]), 10, 64)
			return n << 10
		}
	}
	return 0
}

// OpenSaved opens the dump in a directory. The caller closes the image.
func OpenSaved(ctx context.Context, d target.Dir) (*dumpfmt.Image, error) {
	return openSaved(ctx, d, dumpName)
}

func openSaved(ctx context.Context, d target.Dir, file string) (*dumpfmt.Image, error) {
	f, err := d.File(ctx, file)
	if err != nil {
		return nil, err
	}
	img, err := openDump(ctx, f, imageCache)
	if err != nil {
		f.Close()
	}
	return img, err
}

func sortedNames(files map[string][]byte) []string { return slices.Sorted(maps.Keys(files)) }
