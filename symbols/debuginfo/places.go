package debuginfo

import (
	"context"
	"hash/crc32"
	"io"
	"os"
	"path/filepath"
	"strings"

	"kdx/internal/unpack"
)

// debugRoot is where distributions put debug files.
func (s *search) debugRoot() string { return filepath.Join(s.opt.Root, "usr/lib/debug") }

// names tries names under a directory; REL stands for the release, and what needs it is left out if it is unknown.
func (s *search) names(dir string, names ...string) {
	for _, n := range names {
		if strings.Contains(n, "REL") {
			if s.want.Release == "" {
				continue
			}
			n = strings.ReplaceAll(n, "REL", s.want.Release)
		}
		s.try(filepath.Join(dir, n))
	}
}

// byID tries the build-id's path under directories of debug files.
func (s *search) byID(dirs ...string) {
	if s.want.BuildID == "" {
		return
	}
	for _, d := range dirs {
		s.try(idPath(d, s.want.BuildID))
	}
}

func idPath(dir, id string) string { return filepath.Join(dir, ".build-id", id[:2], id[2:]+".debug") }

// dumpDirs are the directories of the dump's files, and those in them that people put debug files into.
func (s *search) dumpDirs() []string {
	var out []string
	have := make(map[string]bool)
	for _, d := range s.want.Dumps {
		dir := filepath.Dir(d)
		if have[dir] {
			continue
		}
		have[dir] = true
		out = append(out, dir, filepath.Join(dir, "debug"), filepath.Join(dir, "modules"))
	}
	return out
}

// debugDirs are directories under which files lie by the path of what they belong to, by build-id, and dwz's.
func (s *search) debugDirs() []string {
	var out []string
	for _, d := range s.opt.Dirs {
		out = append(out, d, filepath.Join(d, "usr/lib/debug"))
	}
	return append(append(out, s.dumpDirs()...), s.debugRoot())
}

// follow looks for the file that a stripped one's debug information was put into.
func (s *search) follow(c Candidate) {
	name := c.Found.Link
	if name == "" || name != filepath.Base(name) || name == ".." || name == "." {
		return
	}
	dir := filepath.Dir(c.Path)
	paths := []string{filepath.Join(dir, name), filepath.Join(dir, ".debug", name)}
	if abs, err := filepath.Abs(dir); err == nil {
		for _, d := range s.debugDirs() {
			paths = append(paths, filepath.Join(d, abs, name))
		}
	}
	for _, p := range paths {
		if s.done() {
			return
		}
		if p == c.Path || !s.isDir(filepath.Dir(p)) {
			continue
		}
		if c.Found.BuildID == "" { // nothing else tells whether they belong together
			if crc, err := checksum(p); err == nil && crc != c.Found.LinkCRC {
				s.add(Candidate{Path: p, Outcome: OtherBuild, Why: "its checksum is not that in .gnu_debuglink of " + c.Path})
				continue
			}
		}
		s.one(p)
	}
}

// checksum is the CRC-32 of a whole file, as .gnu_debuglink has it.
func checksum(path string) (uint32, error) {
	f, _, err := unpack.OpenRegular(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	h := crc32.NewIEEE()
	_, err = io.Copy(h, f)
	return h.Sum32(), err
}

// Alt finds the file of dwz that goes with a file, which was identified before; "" if it needs none. The error is an
// *AltError, or of a cancelled context.
func (f *Finder) Alt(ctx context.Context, path string, id Identity) (string, error) {
	if id.Alt == "" {
		return "", nil
	}
	alt, err := f.search(ctx).alternate(path, id)
	if ctx.Err() != nil {
		return "", ctx.Err()
	}
	return alt, err
}

// alternate finds the file that dwz put into .gnu_debugaltlink of the file at from: as its path is, from the file that names
// it, under each debug directory's .dwz, and by its build-id.
func (s *search) alternate(from string, found Identity) (string, error) {
	path, id := found.Alt, found.AltID
	var places []string
	if filepath.IsAbs(path) {
		places = append(places, path)
		if s.opt.Root != "/" {
			places = append(places, filepath.Join(s.opt.Root, path))
		}
	} else {
		real := from
		if r, err := filepath.EvalSymlinks(from); err == nil {
			real = r
		}
		places = append(places, filepath.Join(filepath.Dir(real), path))
	}
	for _, d := range s.debugDirs() {
		if i := strings.LastIndex(path, ".dwz/"); i >= 0 {
			places = append(places, filepath.Join(d, filepath.Clean("/"+path[i:])))
		}
		if isBuildID(id) {
			places = append(places, idPath(d, id))
		}
	}
	missing := &AltError{Path: path, BuildID: id}
	for _, p := range places {
		found, err := identifyPath(p)
		switch {
		case os.IsNotExist(err):
			continue
		case err != nil:
			missing.Refused = append(missing.Refused, p+": "+err.Error())
		case id != "" && found.BuildID != id:
			missing.Refused = append(missing.Refused, p+" has build-id "+found.BuildID)
		default:
			return p, nil
		}
	}
	if s.opt.Server != nil && isBuildID(id) {
		if p := s.opt.Server.Cached("debuginfo", id); p != "" && s.verifyID(id)(p) == nil {
			return p, nil
		}
		if s.opt.Download && s.opt.Server.Configured() {
			p, err := s.opt.Server.Find(s.ctx, "debuginfo", id, s.verifyID(id))
			if err == nil {
				return p, nil
			}
			missing.Refused = append(missing.Refused, err.Error())
		}
	}
	return "", missing
}

// AltError: the file that dwz made of what several files share is not found, so that a part of their debug information
// can't be read.
type AltError struct {
	Path, BuildID string
	Refused       []string // what was there and is not it
}

func (e *AltError) Error() string {
	s := "the file that dwz put a part of the debug information into is not found: " + e.Path + ", build-id " + e.BuildID
	if len(e.Refused) > 0 {
		s += " (" + strings.Join(e.Refused, "; ") + ")"
	}
	return s
}

func identifyPath(path string) (Identity, error) {
	f, fi, err := unpack.OpenRegular(path)
	if err != nil {
		return Identity{}, err
	}
	defer f.Close()
	return Identify(f, fi.Size())
}
