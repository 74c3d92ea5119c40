package initrd

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"kdx/capture/kmod"
	"kdx/capture/plan"
	"kdx/internal/unpack"
)

// Contents is what is in an initrd.
type Contents struct {
	Path string `json:"path"`
	Size int64  `json:"size"` // bytes, packed
	// Maker is kdx, dracut or initramfs-tools; "" if it can't be told.
	Maker    string    `json:"maker"`
	Segments []Segment `json:"segments"`
	Unpacked int64     `json:"unpacked"` // bytes
	Entries  []Entry   `json:"entries"`
	// Modules are names of kernel modules, Releases the kernels that they are for as their paths say.
	Modules  []string `json:"modules"`
	Releases []string `json:"releases"`
	// Manifest and Plan are set for kdx's own.
	Manifest *Manifest  `json:"manifest,omitempty"`
	Plan     *plan.Plan `json:"plan,omitempty"`
	// Damaged says why the rest could not be read; "" if all was.
	Damaged string `json:"damaged,omitempty"`

	sums map[string]string // of regular files, by path
}

// Show reads an initrd: kdx's own, or any other that a kernel takes.
func Show(ctx context.Context, path string) (*Contents, error) {
	f, fi, err := unpack.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	c := &Contents{Path: path, Size: fi.Size(), Entries: []Entry{}, Modules: []string{}, Releases: []string{}, sums: map[string]string{}}
	if err := c.read(ctx, f); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if h, begin, err := ReadHead(f, fi.Size()); c.Damaged == "" && (h != nil || err != nil) {
		if err == nil {
			err = h.CheckRest(io.NewSectionReader(f, begin, fi.Size()-begin))
		}
		if err != nil {
			c.Damaged = err.Error()
		}
	}
	return c, nil
}

// read fails if there is nothing to show at all.
func (c *Contents) read(ctx context.Context, r io.Reader) error {
	k := &keeper{Contents: c, hard: map[[2]int]string{}}
	var err error
	c.Segments, err = walk(ctx, r, k.entry)
	for _, s := range c.Segments {
		c.Unpacked += s.Unpacked
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	if err != nil && len(c.Entries) == 0 {
		return err
	}
	if err != nil {
		c.Damaged = err.Error()
	}
	c.Maker = maker(c.Entries)
	slices.Sort(c.Modules)
	c.Modules = slices.Compact(c.Modules)
	slices.Sort(c.Releases)
	if k.manifest != nil {
		if c.Manifest, err = ParseManifest(k.manifest); err != nil {
			return err
		}
	}
	if k.plan != nil {
		if c.Plan, err = plan.Parse(k.plan); err != nil {
			return fmt.Errorf("the plan in it: %w", err)
		}
	}
	return nil
}

// keeper keeps what is worth keeping of each entry.
type keeper struct {
	*Contents
	manifest, plan []byte
	hard           map[[2]int]string // segment and inode
}

func (k *keeper) entry(seg int, h header, data io.Reader) error {
	e := Entry{Path: "/" + h.Name, Mode: h.Mode, Size: h.Size, Segment: seg}
	switch h.Mode & modeType {
	case modeLink:
		b, err := io.ReadAll(io.LimitReader(data, maxName))
		if err != nil {
			return err
		}
		e.Link = string(b)
	case modeFile:
		if h.Nlink > 1 { // the kernel gives the data to all names of an inode; it stands behind the last or the first
			id := [2]int{seg, int(h.Ino)}
			if first, ok := k.hard[id]; ok {
				e.Hard = first
			} else {
				k.hard[id] = e.Path
			}
		}
		if err := k.file(e, data); err != nil {
			return err
		}
	}
	k.Entries = append(k.Entries, e)
	return nil
}

func (k *keeper) file(e Entry, data io.Reader) error {
	var keep *bytes.Buffer
	s := sha256.New()
	var w io.Writer = s
	if (e.Path == ManifestPath || e.Path == plan.Path) && e.Size <= maxManifest {
		keep = &bytes.Buffer{}
		w = io.MultiWriter(s, keep)
	}
	if _, err := io.Copy(w, data); err != nil {
		return err
	}
	k.sums[e.Path] = hex.EncodeToString(s.Sum(nil))
	switch {
	case keep == nil:
	case e.Path == ManifestPath:
		k.manifest = keep.Bytes()
	default:
		k.plan = keep.Bytes()
	}
	name := kmod.NameOf(e.Path)
	if name == "" {
		return nil
	}
	k.Modules = append(k.Modules, name)
	if _, rest, ok := strings.Cut(e.Path, "lib/modules/"); ok {
		if release, _, ok := strings.Cut(rest, "/"); ok && !slices.Contains(k.Releases, release) {
			k.Releases = append(k.Releases, release)
		}
	}
	return nil
}

// maker tells who built an initrd by files that each of them puts there.
func maker(entries []Entry) string {
	for _, e := range entries {
		switch e.Path {
		case ManifestPath:
			return "kdx"
		case "/usr/lib/dracut/hooks", "/lib/dracut/hooks", "/usr/lib/dracut/build-parameter.txt", "/var/lib/dracut/hooks":
			return "dracut"
		case "/conf/initramfs.conf", "/scripts/init-top", "/conf/arch.conf":
			return "initramfs-tools"
		}
	}
	return ""
}

// damage lists files that are not what the manifest says, or not there.
func (c *Contents) damage() []string {
	var out []string
	if c.Damaged != "" {
		out = append(out, c.Damaged)
	}
	for _, f := range c.Manifest.Files {
		got, ok := c.sums[f.Path]
		switch {
		case !ok:
			out = append(out, f.Path+" is missing")
		case got != f.SHA256:
			out = append(out, f.Path+" differs from what the manifest says")
		}
	}
	want := map[string]bool{ManifestPath: true, HeadPath: true}
	for _, f := range c.Manifest.Files {
		want[f.Path] = true
	}
	for p := range c.sums {
		if !want[p] {
			out = append(out, p+" is not in the manifest")
		}
	}
	slices.Sort(out)
	return out
}

// Data reads one file out of an initrd.
func Data(ctx context.Context, path, name string) ([]byte, error) {
	f, _, err := unpack.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	var out []byte
	_, err = walk(ctx, f, func(_ int, h header, data io.Reader) error {
		if "/"+h.Name != name || h.Mode&modeType != modeFile {
			return nil
		}
		var err error
		if out, err = io.ReadAll(io.LimitReader(data, maxInput)); err != nil {
			return err
		}
		return errFound
	})
	if errors.Is(err, errFound) {
		return out, nil
	}
	if err == nil {
		err = os.ErrNotExist
	}
	return nil, fmt.Errorf("%s in %s: %w", name, path, err)
}

var errFound = errors.New("found")
