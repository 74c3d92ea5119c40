package config

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"strings"
)

// Source is where a configuration comes from.
type Source string

// Sources.
const (
	Own      Source = "file"
	Foreign  Source = "import"
	Defaults Source = "defaults"
)

// Loaded is the configuration that is in force.
type Loaded struct {
	*Parsed
	Source Source
	Files  []string
	// Imported is set if Source is Foreign.
	Imported *Imported
}

// Load finds the configuration of a host: the file that is named, else kdx's own at its usual place, else the distribution's, else
// the defaults. root is "" for this host, or a directory that holds another host's files.
func Load(root, name string) (*Loaded, error) {
	own := name
	if own == "" {
		own = under(root, Path)
	}
	p, err := ReadFile(own)
	switch {
	case err == nil:
		return &Loaded{Parsed: p, Source: Own, Files: []string{own}}, nil
	case name != "" || !errors.Is(err, fs.ErrNotExist):
		return nil, err
	}
	files, err := Find(root)
	if errors.Is(err, ErrNoConfig) {
		return &Loaded{Parsed: &Parsed{Config: Default(), Origins: map[string][]Origin{}}, Source: Defaults, Files: []string{}}, nil
	}
	im, err := Import(root, "", files)
	if err != nil {
		return nil, err
	}
	return &Loaded{Parsed: im.Parsed, Source: Foreign, Files: files, Imported: im}, nil
}

// Missing lists files that the configuration names and the host does not have, or that others may read though they are secret.
func (p *Parsed) Missing(root string) []*Problem {
	var out []*Problem
	add := func(key string, i int, what, want string, args ...any) {
		pr := &Problem{Key: key, What: fmt.Sprintf(what, args...), Want: want}
		if o := p.Origins[key]; len(o) > 0 {
			at := o[min(i, len(o)-1)]
			pr.File, pr.Line = at.File, at.Line
		}
		out = append(out, pr)
	}
	look := func(key string, i int, name, want string) os.FileInfo {
		if name == "" || len(p.Origins[key]) == 0 {
			return nil
		}
		fi, err := os.Stat(under(root, name))
		if err != nil {
			add(key, i, key+": %s: %v", want, name, plainError(err))
			return nil
		}
		return fi
	}
	c := p.Config
	look("kernel", 0, c.Kernel, "auto takes the running kernel's image")
	look("erase-config", 0, c.EraseConfig, "")
	if fi := look("ssh-key", 0, c.SSHKey, "kdx needs the private key, without a passphrase"); fi != nil && fi.Mode().Perm()&0o077 != 0 {
		add("ssh-key", 0, "ssh-key: others than its owner can read %s", "chmod 600 "+c.SSHKey, c.SSHKey)
	}
	look("ssh-known-hosts", 0, c.KnownHosts, "put the host's key there")
	for i, h := range c.PreHooks {
		look("pre-hook", i, strings.Fields(h)[0], "")
	}
	for i, h := range c.PostHooks {
		look("post-hook", i, strings.Fields(h)[0], "")
	}
	for i, f := range c.HookFiles {
		look("hook-file", i, f, "")
	}
	for i, t := range c.Targets {
		if t.Kind == Dir {
			look("target", i, t.Path, "make the directory, or mount what it is on")
		}
	}
	return out
}

func plainError(err error) error {
	var pe *fs.PathError
	if errors.As(err, &pe) {
		return pe.Err
	}
	return err
}

// Setting is a key with what is in force.
type Setting struct {
	Key     string   `json:"key"`
	Values  []string `json:"values"`
	Default bool     `json:"default"`
	Origins []Origin `json:"origins"`
}

// Settings lists all keys in the order of the default file.
func (p *Parsed) Settings() []Setting {
	var out []Setting
	for i := range keys {
		k := &keys[i]
		s := Setting{Key: k.Name, Values: k.get(p.Config), Origins: p.Origins[k.Name]}
		s.Default = len(s.Origins) == 0
		if s.Values == nil {
			s.Values = []string{}
		}
		if s.Origins == nil {
			s.Origins = []Origin{}
		}
		out = append(out, s)
	}
	return out
}

// Text writes the settings as a file that says the same, each with where it comes from.
func (l *Loaded) Text(w io.Writer) error {
	b := bufio.NewWriter(w)
	switch l.Source {
	case Own:
		fmt.Fprintf(b, "# from %s\n", strings.Join(l.Files, " and "))
	case Foreign:
		fmt.Fprintf(b, "# imported from %s, as there is no %s\n", strings.Join(l.Files, " and "), Path)
	default:
		fmt.Fprintf(b, "# defaults, as there is no %s and no configuration of a distribution\n", Path)
	}
	for _, s := range l.Settings() {
		if len(s.Values) == 0 {
			fmt.Fprintf(b, "%-44s # default\n", "#"+s.Key+" =")
		}
		for i, v := range s.Values {
			fmt.Fprintf(b, "%-44s # %s\n", s.Key+" = "+v, l.from(&s, i))
		}
	}
	return b.Flush()
}

// from says where a value of a setting comes from. Words of several lines are shown in one.
func (l *Loaded) from(s *Setting, i int) string {
	if s.Default {
		return "default"
	}
	o := s.Origins[0]
	if len(s.Origins) == len(s.Values) {
		o = s.Origins[i]
	}
	if len(l.Files) > 1 {
		return plainText(o.String())
	}
	if o.Key == "" {
		return fmt.Sprintf("line %d", o.Line)
	}
	return fmt.Sprintf("line %d %s", o.Line, o.Key)
}

// Report writes what became of each setting.
func (im *Imported) Report(w io.Writer) error {
	b := bufio.NewWriter(w)
	d := "?"
	for _, x := range distributions {
		if x.name == im.Distribution {
			d = x.title
		}
	}
	fmt.Fprintf(b, "%s: %s\n", d, strings.Join(im.Files, ", "))
	for _, o := range im.Outcomes {
		name := o.Key
		if name == "" {
			name = "(no setting)"
		}
		if o.Value != "" {
			name += " = " + plainText(o.Value)
		}
		fmt.Fprintf(b, "%s:%d: %s\n", o.File, o.Line, name)
		for _, v := range o.Became {
			fmt.Fprintf(b, "    -> %s\n", v)
		}
		switch {
		case o.Fate == Taken:
		case o.Note != "":
			fmt.Fprintf(b, "    %s: %s\n", o.Fate, plainText(o.Note))
		default:
			fmt.Fprintf(b, "    %s\n", o.Fate)
		}
	}
	if lost := im.Lost(); len(lost) > 0 {
		fmt.Fprintf(b, "%d of %d settings could not be carried over, or not as a whole\n", len(lost), len(im.Outcomes))
	}
	return b.Flush()
}
