package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"unicode"

	"kdx/internal/nearest"
)

// Fate is what became of a setting of another configuration.
type Fate string

// Fates of settings.
const (
	Taken      Fate = "taken"        // it is in kdx's configuration now
	Changed    Fate = "changed"      // as near as kdx comes; the note says what differs
	Unneeded   Fate = "unneeded"     // kdx does so anyway, or needs no such thing
	Unset      Fate = "unset"        // it was empty, or off
	NoPlace    Fate = "no place"     // kdx has nothing of the kind
	Unknown    Fate = "unknown"      // no key of that program
	Unreadable Fate = "not readable" // its value would have to be run, or is wrong
)

// Lost says whether something that counted is gone.
func (f Fate) Lost() bool { return f == NoPlace || f == Unknown || f == Unreadable }

// Outcome is what became of one setting.
type Outcome struct {
	File  string `json:"file"`
	Line  int    `json:"line"`
	Key   string `json:"key"`
	Value string `json:"value"` // never a password
	Fate  Fate   `json:"fate"`
	// Became are lines of kdx's configuration.
	Became []string `json:"became"`
	Note   string   `json:"note"`
}

// Imported is another configuration in kdx's terms.
type Imported struct {
	Distribution string    `json:"distribution"`
	Files        []string  `json:"files"`
	Outcomes     []Outcome `json:"settings"`
	// Text is the file of kdx's own that says the same.
	Text   string  `json:"text"`
	Parsed *Parsed `json:"-"`
}

// Lost are the settings that counted and are gone.
func (im *Imported) Lost() []Outcome {
	var out []Outcome
	for _, o := range im.Outcomes {
		if o.Fate.Lost() {
			out = append(out, o)
		}
	}
	return out
}

// distribution is one program whose configuration kdx reads.
type distribution struct {
	name, title, files string
	rules              []rule
	// finish sets what several keys say together.
	finish func(*importer)
}

// rule says what becomes of a key.
type rule struct {
	key  string
	what string // for docs
	take func(im *importer, o *Outcome)
	// secret values are never shown.
	secret bool
}

func (d *distribution) find(key string) *rule {
	for i := range d.rules {
		if d.rules[i].key == key {
			return &d.rules[i]
		}
	}
	return nil
}

// distributions, in the order in which a host is searched for them.
var distributions = []*distribution{&redhat, &suse, &debian}

// Distributions are the names that Import knows.
func Distributions() []string {
	var out []string
	for _, d := range distributions {
		out = append(out, d.name)
	}
	return out
}

// ErrNoConfig is that a host has no configuration of a distribution.
var ErrNoConfig = errors.New("none of /etc/kdump.conf, /etc/sysconfig/kdump and /etc/default/kdump-tools is there")

// Find lists the files of the distribution whose configuration a host has. root is as for Load.
func Find(root string) ([]string, error) {
	there := func(names ...string) []string {
		var out []string
		for _, n := range names {
			if fi, err := os.Stat(under(root, n)); err == nil && fi.Mode().IsRegular() {
				out = append(out, under(root, n))
			}
		}
		return out
	}
	if f := there("/etc/kdump.conf", "/etc/sysconfig/kdump"); len(f) > 0 {
		return f, nil
	}
	if f := there("/etc/default/kdump-tools"); len(f) > 0 {
		return f, nil
	}
	return nil, ErrNoConfig
}

// under is a host's file: root is "" for this host.
func under(root, name string) string {
	if root == "" {
		return name
	}
	return filepath.Join(root, name)
}

// maxSettings bounds what one file may set.
const maxSettings = 2000

// file is one that is imported.
type file struct {
	name     string
	settings []setting
	// directives: of kdump.conf, not of a shell.
	directives bool
}

// Import reads files of one distribution. from is its name, "" for what the files look like. root is where hooks beside them are
// looked for.
func Import(root, from string, names []string) (*Imported, error) {
	var files []file
	for _, n := range names {
		f, err := readForeign(n)
		if err != nil {
			return nil, err
		}
		files = append(files, f)
	}
	d, err := guess(from, files)
	if err != nil {
		return nil, err
	}
	im := &importer{root: root, d: d, parsed: &Parsed{Config: Default(), Origins: map[string][]Origin{}}, values: map[string]string{}}
	for _, f := range files {
		im.read(f)
	}
	if d.finish != nil {
		d.finish(im)
	}
	return im.result(names), nil
}

func readForeign(name string) (file, error) {
	text, err := readBounded(name)
	if err != nil {
		return file{}, err
	}
	return parseForeign(name, text)
}

// readBounded reads no more of a file than tells that it is too long: a device may be named, too.
func readBounded(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(io.LimitReader(f, maxFile+1))
}

// parseForeign tells kdump.conf from a shell's file by the first line that says something.
func parseForeign(name string, text []byte) (file, error) {
	directives, err := readDirectives(name, text)
	if err != nil {
		return file{}, err
	}
	for _, s := range directives {
		if redhat.find(s.key) != nil {
			if len(directives) > maxSettings {
				return file{}, fmt.Errorf("%s: %d directives; no configuration has more than %d", name, len(directives), maxSettings)
			}
			return file{name: name, settings: directives, directives: true}, nil
		}
	}
	shell, err := readShell(name, text)
	if len(shell) > maxSettings {
		return file{}, fmt.Errorf("%s: %d settings; no configuration has more than %d", name, len(shell), maxSettings)
	}
	return file{name: name, settings: shell}, err
}

// guess finds the distribution whose keys the files hold most of. Red Hat's and SUSE's files of the same name differ in keys.
func guess(from string, files []file) (*distribution, error) {
	var best *distribution
	most := 0
	for _, d := range distributions {
		if from == d.name {
			return d, nil
		}
		n := 0
		for _, f := range files {
			for _, s := range f.settings {
				if d.find(s.key) != nil {
					n++
				}
				if f.directives && d == &redhat {
					n += len(files[0].settings)
				}
			}
		}
		if n > most {
			best, most = d, n
		}
	}
	if from != "" {
		return nil, fmt.Errorf("kdx does not import from %q; %s", from, oneOf(from, Distributions()))
	}
	if best == nil {
		var names []string
		for _, f := range files {
			names = append(names, f.name)
		}
		return nil, fmt.Errorf("%s: no key of kdump.conf, of SUSE's or Red Hat's sysconfig/kdump or of Debian's default/kdump-tools stands there", strings.Join(names, ", "))
	}
	return best, nil
}

// importer carries settings over.
type importer struct {
	root     string
	d        *distribution
	parsed   *Parsed
	outcomes []*Outcome
	values   map[string]string // by key, the last one
}

func (im *importer) read(f file) {
	final := map[string]int{}
	for i, s := range f.settings {
		final[s.key] = i
	}
	for i, s := range f.settings {
		o := &Outcome{File: f.name, Line: s.line, Key: plainText(s.key), Value: s.value, Became: []string{}}
		im.outcomes = append(im.outcomes, o)
		r := im.d.find(s.key)
		// In a shell the last assignment counts; directives are taken one by one.
		again := !f.directives && s.key != "" && final[s.key] > i
		if r != nil && r.secret && o.Value != "" {
			o.Value = "…"
		}
		switch {
		case s.unknown != "":
			o.Fate, o.Note = Unreadable, s.unknown
			if s.key != "" && r == nil {
				o.Fate, o.Note = Unset, "a variable of the file's own; "+s.unknown
			}
		case again:
			o.Fate, o.Note = Unneeded, "it is set again below"
		case r == nil && im.used(f, s.key):
			o.Fate, o.Note = Unneeded, "a variable of the file's own"
		case r == nil:
			o.Fate, o.Note = Unknown, im.stranger(s.key)
		default:
			im.values[s.key] = s.value
			r.take(im, o)
			if r.secret {
				o.Value = strings.Repeat("…", min(len(s.value), 1))
			}
		}
	}
}

// used says whether a variable serves others: names in small letters, or that begin with _.
func (im *importer) used(f file, key string) bool {
	return !f.directives && (strings.HasPrefix(key, "_") || strings.ToLower(key) == key)
}

func (im *importer) stranger(key string) string {
	var names []string
	for i := range im.d.rules {
		names = append(names, im.d.rules[i].key)
	}
	if n := nearest.Of(key, names); n != "" {
		return im.d.title + " has no such key; " + n + "?"
	}
	return im.d.title + " has no such key"
}

// set carries a value over.
func (im *importer) set(o *Outcome, key, value string) {
	k := findKey(key)
	if !fits(value) {
		o.Fate, o.Note = Unreadable, key+": it holds what can't stand in kdx's configuration: control characters, a shell expression, quotes around it or a #"
		return
	}
	if err := im.parsed.apply(k, value, Origin{File: o.File, Line: o.Line, Key: o.Key}); err != nil {
		o.Fate, o.Note = Unreadable, err.Error()
		return
	}
	if o.Fate == "" || o.Fate == Unset {
		o.Fate = Taken
	}
	got := k.get(im.parsed.Config)
	if k.List && key != "modules" && key != "cmdline-append" && key != "cmdline-remove" {
		got = got[max(0, len(got)-1):]
	}
	for _, v := range got {
		o.Became = append(o.Became, key+" = "+v)
	}
}

// change is set, with what differs.
func (im *importer) change(o *Outcome, key, value, note string) {
	im.set(o, key, value)
	if o.Fate == Taken {
		o.Fate, o.Note = Changed, note
	}
}

// of is the outcome of a key's last setting; nil if the files don't have it.
func (im *importer) of(key string) *Outcome {
	for _, o := range slices.Backward(im.outcomes) {
		if o.Key == key && o.Fate != Unreadable {
			return o
		}
	}
	return nil
}

func (im *importer) result(names []string) *Imported {
	r := &Imported{Distribution: im.d.name, Files: names, Outcomes: []Outcome{}, Parsed: im.parsed}
	for _, o := range im.outcomes {
		if o.Fate == "" {
			o.Fate = Unset
		}
		r.Outcomes = append(r.Outcomes, *o)
	}
	notes := []string{"", plainText("Imported from " + strings.Join(names, " and ") + " (" + im.d.title + ").")}
	for _, o := range r.Lost() {
		notes = append(notes, plainText(fmt.Sprintf("Not carried over: %s:%d %s: %s", o.File, o.Line, o.Key, o.Note)))
	}
	r.Text = render(im.parsed, notes)
	return r
}

// plainText keeps a message out of the lines below it.
func plainText(s string) string {
	s = strings.Map(func(r rune) rune {
		if odd(r) && !unicode.IsSpace(r) {
			return '?'
		}
		return r
	}, s)
	return strings.Join(strings.Fields(s), " ")
}

// fits says whether a value means the same in a line of kdx's configuration.
func fits(v string) bool {
	return strings.IndexFunc(v, odd) < 0 && !runsCommands(v) && withoutComment(v) == v && !quoted(v)
}

// ReadFile parses a configuration of kdx's own. Its Problems are not errors of reading.
func ReadFile(name string) (*Parsed, error) {
	text, err := readBounded(name)
	if err != nil {
		return nil, err
	}
	return Parse(name, text), nil
}
