// Package debuginfo finds the debug files of a dumped kernel and its modules: by build-id and by name in the places where
// distributions and people put them, packed or not, through .gnu_debuglink, and on debuginfod servers.
package debuginfo

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"kdx/internal/unpack"
	"kdx/symbols/debuginfo/debuginfod"
)

// Want is the kernel whose files are looked for. What is not known is left empty.
type Want struct {
	Release string // as uname -r gives it
	BuildID string // hexadecimal; "" also if the dump's is not believed
	// Sure: BuildID is from the kernel's own notes, so that a file with another one is another build whatever its banner says.
	Sure    bool
	Banner  string      // linux_banner
	Machine elf.Machine // EM_NONE for any
	Dumps   []string    // paths of the dump's files; what lies beside them is looked at
}

// Options of a Finder. The zero value looks at the host's usual places.
type Options struct {
	// Files are looked at first, whatever they are called.
	Files []string
	// Dirs are searched before all other places, as KDX_DEBUG_PATH names them.
	Dirs []string
	// Root is where the host's own places are; "" for "/".
	Root string
	// Unpack governs how compressed files are unpacked.
	Unpack unpack.Options
	// Server is debuginfod's client; nil for none. What is in its cache is taken. Download lets it ask its servers.
	Server   *debuginfod.Client
	Download bool
	// All looks at every place, also when the file is found. Otherwise the first that has all is enough.
	All bool
	Log *slog.Logger
}

// PathVariable is the environment's name for Options.Dirs, separated by colons.
const PathVariable = "KDX_DEBUG_PATH"

// Dirs reads PathVariable's value.
func Dirs(value string) []string {
	var out []string
	for _, d := range filepath.SplitList(value) {
		if d != "" {
			out = append(out, d)
		}
	}
	return out
}

// Outcome is what a candidate turned out to be.
type Outcome string

// The outcomes.
const (
	Match        Outcome = "match"
	NoDWARF      Outcome = "match without debug information" // it has symbols
	Stripped     Outcome = "match without debug information and symbols"
	Absent       Outcome = "absent"
	OtherBuild   Outcome = "of another build"
	OtherMachine Outcome = "of another machine"
	Damaged      Outcome = "damaged"
	Unreadable   Outcome = "unreadable"
	Repeated     Outcome = "looked at already"
)

// Candidate is a place that was looked at.
type Candidate struct {
	Path    string
	Outcome Outcome
	// Why is a sentence: both identities of a file of another build, the error of one that can't be read.
	Why   string
	Found Identity // of a file that could be read
	// By says what the match rests on: "build-id", "banner", "release", or "name" for a file that says nothing itself.
	By string
}

// File is the best file that was found.
type File struct {
	Candidate
	// Unpacked is the open file if it is packed; nil otherwise. Result.Close closes it.
	Unpacked *unpack.File
	// AltPath is the file that dwz made for this one and others, "" if it needs none; AltErr why it is not there.
	AltPath string
	AltErr  error
}

// Result of a search.
type Result struct {
	// Candidates in the order in which they were looked at.
	Candidates []Candidate
	// Best is a file with debug information, or one without if there is no better; nil if there is none.
	Best *File
	// Server is why debuginfod's servers did not give the file; nil if they were not asked, or gave it.
	Server error
}

// Close closes what the search unpacked.
func (r *Result) Close() error {
	if r.Best == nil || r.Best.Unpacked == nil {
		return nil
	}
	return r.Best.Unpacked.Close()
}

// ErrNone: no file was found.
var ErrNone = errors.New("no debug file found")

// Finder looks for the files of one kernel. It is safe for many goroutines.
type Finder struct {
	want Want
	opt  Options

	once    sync.Once // index
	modules map[string][]string
}

// New makes a finder. A release or build-id that can't be one, as a damaged dump may have it, counts as unknown.
func New(want Want, opt Options) *Finder {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Root == "" {
		opt.Root = "/"
	}
	const maxRelease = 64 // __NEW_UTS_LEN
	if strings.ContainsAny(want.Release, "/\x00\n") || strings.HasPrefix(want.Release, ".") || len(want.Release) > maxRelease {
		want.Release = ""
	}
	want.Banner = strings.TrimRight(want.Banner, "\n")
	want.BuildID = strings.ToLower(want.BuildID)
	if !isBuildID(want.BuildID) {
		want.BuildID, want.Sure = "", false
	}
	return &Finder{want: want, opt: opt}
}

func isBuildID(s string) bool {
	return len(s) >= 8 && len(s) <= 2*maxBuildID && len(s)%2 == 0 && strings.Trim(s, "0123456789abcdef") == ""
}

// search is one search for one file.
type search struct {
	*Finder
	ctx  context.Context
	want Want // of the file: a module's build-id is another than its kernel's
	// module is the module's name; "" for the kernel.
	module string
	res    Result
	dirs   map[string]bool // whether they exist
	seen   []fs.FileInfo
}

func (f *Finder) search(ctx context.Context) *search {
	return &search{Finder: f, ctx: ctx, want: f.want, dirs: make(map[string]bool)}
}

// done reports whether the search may end.
func (s *search) done() bool {
	if s.ctx.Err() != nil {
		return true
	}
	return !s.opt.All && s.res.Best != nil && s.res.Best.Outcome == Match
}

func (s *search) isDir(dir string) bool {
	is, known := s.dirs[dir]
	if !known {
		fi, err := os.Stat(dir)
		is = err == nil && fi.IsDir()
		s.dirs[dir] = is
	}
	return is
}

func (s *search) add(c Candidate) {
	s.res.Candidates = append(s.res.Candidates, c)
	s.opt.Log.Debug("looking for debug information", "file", c.Path, "is", c.Outcome, "why", c.Why)
}

// try looks at a path and at what it is called when it is compressed.
func (s *search) try(path string) {
	if s.done() {
		return
	}
	found := false
	if s.isDir(filepath.Dir(path)) {
		found = s.one(path)
		for _, ext := range unpack.Extensions {
			if s.done() {
				return
			}
			found = s.one(path+ext) || found
		}
	}
	if !found {
		s.add(Candidate{Path: path, Outcome: Absent})
	}
}

// one looks at one path, and reports whether there is something.
func (s *search) one(path string) bool {
	fi, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if to, lerr := os.Readlink(path); lerr == nil {
			s.add(Candidate{Path: path, Outcome: Absent, Why: "a link to " + to + ", which is not there"})
			return true
		}
		return false
	case err != nil:
		s.add(Candidate{Path: path, Outcome: Unreadable, Why: err.Error()})
		return true
	case !fi.Mode().IsRegular():
		return false
	}
	for _, other := range s.seen {
		if os.SameFile(other, fi) {
			s.add(Candidate{Path: path, Outcome: Repeated})
			return true
		}
	}
	s.seen = append(s.seen, fi)
	s.examine(path)
	return true
}

// examine opens a file, and keeps it if it is the best so far.
func (s *search) examine(path string) {
	c := Candidate{Path: path}
	f, err := s.open(path, &c)
	if err != nil {
		c.Outcome, c.Why = Unreadable, err.Error()
		var damaged *DamagedError
		if errors.As(err, &damaged) || errors.Is(err, ErrNotELF) || isPackingError(err) {
			c.Outcome = Damaged
		}
		s.add(c)
		return
	}
	if f == nil { // refused by its first bytes
		s.add(c)
		return
	}
	s.judge(&c, f)
	s.add(c)
	keep := false
	switch c.Outcome {
	case Match, NoDWARF, Stripped:
		keep = s.better(c)
	}
	if keep {
		s.keep(c, f)
	} else {
		f.Close()
	}
	if c.Outcome == NoDWARF || c.Outcome == Stripped {
		s.follow(c)
	}
}

func isPackingError(err error) bool {
	var path *fs.PathError
	return !errors.As(err, &path) && !errors.Is(err, context.Canceled)
}

// open opens and identifies a file. One whose first part shows that it is another's is not unpacked whole: nil then, and c
// is complete.
func (s *search) open(path string, c *Candidate) (*unpack.File, error) {
	if err := s.peek(path, c); err != nil || c.Outcome != "" {
		return nil, err
	}
	f, err := unpack.Open(s.ctx, path, s.opt.Unpack)
	if err != nil {
		return nil, err
	}
	if c.Found, err = Identify(f, f.Size); err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// judge compares a file with what is wanted.
func (s *search) judge(c *Candidate, f *unpack.File) {
	w := s.want
	if w.Machine != elf.EM_NONE && c.Found.Machine != w.Machine {
		c.Outcome, c.Why = OtherMachine, fmt.Sprintf("it is of %v, the dump of %v", c.Found.Machine, w.Machine)
		return
	}
	if s.compare(c, f) {
		switch {
		case c.Found.DWARF:
			c.Outcome = Match
		case c.Found.Symbols:
			c.Outcome = NoDWARF
		default:
			c.Outcome = Stripped
		}
		return
	}
	c.Outcome = OtherBuild
	dump := Identity{BuildID: w.BuildID, Release: w.Release}
	c.Why = fmt.Sprintf("it is %v; the dump has %v", c.Found, dump)
	if c.By == "banner" {
		c.Why = fmt.Sprintf("its banner is %q, the dump's %q", c.Found.Banner, w.Banner)
	}
}

func (s *search) compare(c *Candidate, f *unpack.File) bool {
	w, found := s.want, &c.Found
	bothID := w.BuildID != "" && found.BuildID != ""
	if bothID && w.BuildID == found.BuildID {
		c.By = "build-id"
		return true
	}
	if s.module == "" {
		found.readBanner(f, f.Size)
	}
	if bothID && w.Sure {
		return false
	}
	if w.Banner != "" && found.Banner != "" && (!bothID || found.Banner == w.Banner) {
		c.By = "banner"
		return found.Banner == w.Banner
	}
	if bothID {
		return false
	}
	if found.Release != "" && w.Release != "" {
		c.By = "release"
		return found.Release == w.Release
	}
	c.By = "name"
	return w.Release != "" && strings.Contains(c.Path, w.Release) || s.module != "" && w.BuildID == ""
}

var strength = map[string]int{"build-id": 3, "banner": 2, "release": 1}

// better prefers debug information, then symbols, then what the match rests on.
func (s *search) better(c Candidate) bool {
	if s.res.Best == nil {
		return true
	}
	rank := map[Outcome]int{Match: 20, NoDWARF: 10}
	return rank[c.Outcome]+strength[c.By] > rank[s.res.Best.Outcome]+strength[s.res.Best.By]
}

func (s *search) keep(c Candidate, f *unpack.File) {
	s.res.Close()
	best := &File{Candidate: c}
	if f.Packing != "" {
		best.Unpacked = f
	} else {
		f.Close()
	}
	s.res.Best = best
}

// finish completes the result: the servers, then dwz's file.
func (s *search) finish() (*Result, error) {
	if err := s.ctx.Err(); err != nil {
		s.res.Close()
		return nil, err
	}
	s.fromServer()
	if err := s.ctx.Err(); err != nil {
		s.res.Close()
		return nil, err
	}
	if b := s.res.Best; b != nil && b.Found.Alt != "" {
		b.AltPath, b.AltErr = s.alternate(b.Path, b.Found)
	}
	return &s.res, nil
}
