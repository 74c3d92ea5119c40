package debuginfo

import (
	"context"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"kdx/internal/unpack"
)

// Module looks for the file of a loaded module, by the build-id from its notes in memory ("" if it is not known) and by its
// name. The first call walks the directories of the kernel's modules.
func (f *Finder) Module(ctx context.Context, name, buildID string) (*Result, error) {
	s := f.search(ctx)
	s.module = name
	buildID = strings.ToLower(buildID)
	if !isBuildID(buildID) {
		buildID = ""
	}
	s.want.BuildID, s.want.Sure, s.want.Banner = buildID, buildID != "", ""
	for _, dir := range s.opt.Dirs {
		s.byID(dir, filepath.Join(dir, "usr/lib/debug"))
	}
	s.byID(s.dumpDirs()...)
	s.byID(s.debugRoot())
	f.once.Do(func() { f.modules = s.index() })
	found := false
	for _, path := range f.modules[moduleKey(name)] {
		if s.done() {
			break
		}
		found = s.one(path) || found
	}
	if !found && !s.done() {
		s.add(Candidate{Path: name + ".ko", Outcome: Absent, Why: "in " + strings.Join(s.moduleDirs(), ", ")})
	}
	return s.finish()
}

// moduleKey makes names equal that differ in - and _, which the kernel does not tell apart.
func moduleKey(name string) string { return strings.ReplaceAll(name, "-", "_") }

// moduleDirs are the directories that are walked for modules, those with debug files first.
func (s *search) moduleDirs() []string {
	var out []string
	for _, d := range s.want.Dumps {
		if m := filepath.Join(filepath.Dir(d), "modules"); !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	if s.want.Release == "" {
		return out
	}
	lib := filepath.Join("lib/modules", s.want.Release)
	roots := append(slices.Clone(s.opt.Dirs), s.opt.Root)
	var under []string
	for _, r := range roots {
		under = append(under, filepath.Join(r, "usr/lib/debug", lib), filepath.Join(r, "usr/lib/debug/usr", lib), filepath.Join(r, lib))
		if r != s.opt.Root {
			under = append(under, filepath.Join(r, "usr", lib)) // an unpacked package; on a host /lib leads there
		}
	}
	return append(out, under...)
}

// index lists the module files of all directories by moduleKey.
func (s *search) index() map[string][]string {
	const limit = 200_000 // entries of all directories; the largest distributions' kernels have 7,000 modules
	out := make(map[string][]string)
	left := limit
	add := func(path string) {
		if name, ok := moduleName(filepath.Base(path)); ok {
			out[name] = append(out[name], path)
		}
	}
	var flat []string
	flat = append(flat, s.opt.Dirs...)
	for _, d := range s.want.Dumps {
		if dir := filepath.Dir(d); !slices.Contains(flat, dir) {
			flat = append(flat, dir, filepath.Join(dir, "debug"))
		}
	}
	for _, d := range flat {
		entries, err := os.ReadDir(d)
		if err != nil { // it may not be there
			continue
		}
		for _, e := range entries {
			if left--; left < 0 {
				break
			}
			if !e.IsDir() {
				add(filepath.Join(d, e.Name()))
			}
		}
	}
	for _, d := range s.moduleDirs() {
		_ = filepath.WalkDir(d, func(path string, e fs.DirEntry, err error) error {
			if left--; left < 0 {
				return fs.SkipAll
			}
			if err != nil { // not there, or not readable: others may be
				return nil
			}
			if !e.IsDir() {
				add(path)
			}
			return nil
		})
	}
	if left < 0 {
		s.opt.Log.Warn("the search for modules ends early: too many files", "limit", limit)
	}
	return out
}

// moduleName is the module that a file's name says it is of.
func moduleName(file string) (key string, ok bool) {
	for _, ext := range unpack.Extensions {
		file = strings.TrimSuffix(file, ext)
	}
	file = strings.TrimSuffix(file, ".debug")
	name, ok := strings.CutSuffix(file, ".ko")
	return moduleKey(name), ok && name != ""
}
