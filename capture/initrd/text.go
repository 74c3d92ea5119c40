package initrd

import (
	"fmt"
	"io"
	"strings"

	"kdx/capture/config"
)

// mb is a size for people.
func mb(n int64) string {
	switch {
	case n < 10_000:
		return fmt.Sprintf("%d B", n)
	case n < 1_000_000:
		return fmt.Sprintf("%d kB", (n+500)/1000)
	}
	return fmt.Sprintf("%.1f MB", float64(n)/1e6)
}

func packing(f string) string {
	if f == "" {
		return "not packed"
	}
	return f
}

// Text writes what was built.
func (r *Result) Text(w io.Writer) error {
	var s strings.Builder
	if r.Built {
		fmt.Fprintf(&s, "%s: built, because %s\n", r.Path, r.Why)
	} else {
		fmt.Fprintf(&s, "%s: nothing changed since it was built\n", r.Path)
	}
	fmt.Fprintf(&s, "  for       kernel %s (%s)\n", r.Release, r.Kernel)
	fmt.Fprintf(&s, "  size      %s packed (%s), %s unpacked, of which kdx-init %s; %d files\n", mb(r.Packed), packing(string(r.Packing)), mb(r.Unpacked), mb(r.InitSize), r.Files)
	for _, t := range r.Targets {
		fmt.Fprintf(&s, "  target    %s\n            on %s\n", t.Target, t.On)
	}
	if len(r.Modules) == 0 {
		s.WriteString("  modules   none: all that is needed is built into the kernel\n")
	}
	for i, m := range r.Modules {
		label := "modules"
		if i > 0 {
			label = ""
		}
		fmt.Fprintf(&s, "  %-8s  %-20s %9s  for %s%s\n", label, m.Name, mb(m.Size), m.For, optional(m.Optional))
	}
	for _, n := range r.Notes {
		fmt.Fprintf(&s, "  note      %s\n", n)
	}
	if r.Built {
		s.WriteString("kdx capture load puts it in its place.\n")
	}
	_, err := io.WriteString(w, s.String())
	return err
}

func optional(o bool) string {
	if o {
		return " (goes without)"
	}
	return ""
}

// Text writes what is in an initrd: a list of files, and what can be said of them.
func (c *Contents) Text(w io.Writer) error {
	var s strings.Builder
	made := ""
	if c.Maker != "" {
		made = ", made by " + c.Maker
	}
	fmt.Fprintf(&s, "%s: %s packed, %s unpacked, %d files%s\n", c.Path, mb(c.Size), mb(c.Unpacked), len(c.Entries), made)
	for i, g := range c.Segments {
		fmt.Fprintf(&s, "  part %d    %s, %s unpacked, %d files\n", i+1, packing(string(g.Format)), mb(g.Unpacked), g.Files)
	}
	if len(c.Releases) > 0 {
		fmt.Fprintf(&s, "  kernels   %s\n", strings.Join(c.Releases, ", "))
	}
	if m := c.Manifest; m != nil {
		fmt.Fprintf(&s, "  for       kernel %s, built by kdx %s\n", m.Release, m.Kdx)
	}
	if p := c.Plan; p != nil {
		fmt.Fprintf(&s, "  host      %s\n", p.Host)
		for _, t := range p.Targets {
			fmt.Fprintf(&s, "  target    %s\n", t.Configured)
			if t.Device != nil {
				fmt.Fprintf(&s, "            on %s\n", t.Device)
			}
			if len(t.Addresses) > 0 {
				fmt.Fprintf(&s, "            at %s\n", strings.Join(t.Addresses, ", "))
			}
		}
		for _, l := range p.Links {
			fmt.Fprintf(&s, "  network   %s %s %s\n", l.Kind, l.Name, l.MAC)
		}
		fmt.Fprintf(&s, "  saves     level %d, %s; then %s, or %s if no target took it\n", p.Config.Level, p.Config.Codec, p.Config.FinalAction, p.Config.FailureAction)
		for i, m := range p.Modules {
			fmt.Fprintf(&s, "  %-8s  %s %s%s\n", map[bool]string{true: "modules"}[i == 0], m.Name, m.Params, optional(m.Optional))
		}
	} else if len(c.Modules) > 0 {
		fmt.Fprintf(&s, "  modules   %d: %s\n", len(c.Modules), strings.Join(c.Modules, " "))
	}
	for _, e := range c.Entries {
		fmt.Fprintf(&s, "%s %10d  %s%s\n", modeText(e.Mode), e.Size, e.Path, e.behind())
	}
	if c.Damaged != "" {
		fmt.Fprintf(&s, "not all of it could be read: %s\n", c.Damaged)
	}
	_, err := io.WriteString(w, s.String())
	return err
}

func (e Entry) behind() string {
	switch {
	case e.Link != "":
		return " -> " + e.Link
	case e.Hard != "":
		return " = " + e.Hard
	}
	return ""
}

// modeText is a mode as ls -l shows it.
func modeText(m uint32) string {
	kind := byte('?')
	switch m & modeType {
	case modeDir:
		kind = 'd'
	case modeFile:
		kind = '-'
	case modeLink:
		kind = 'l'
	case modeChar:
		kind = 'c'
	case modeBlk:
		kind = 'b'
	}
	out := []byte{kind}
	for i := 8; i >= 0; i-- {
		if m>>i&1 == 0 {
			out = append(out, '-')
		} else {
			out = append(out, "xwr"[i%3])
		}
	}
	return string(out)
}

// Text writes what is wrong.
func (v *Verdict) Text(w io.Writer) error {
	var s strings.Builder
	for _, p := range v.Problems {
		fmt.Fprintf(&s, "%s: %s\n", v.Path, p)
	}
	for _, c := range v.Changes {
		fmt.Fprintf(&s, "%s: since it was built: %s\n", v.Path, c)
	}
	switch {
	case len(v.Problems) > 0:
		s.WriteString("It can't be relied on. kdx capture initrd build builds it anew, kdx capture load puts it in its place.\n")
	case len(v.Changes) > 0:
		s.WriteString("It is whole, but not up to date. kdx capture initrd build builds it anew, kdx capture load puts it in its place.\n")
	default:
		fmt.Fprintf(&s, "%s: whole and up to date, for kernel %s; %d files checked\n", v.Path, v.Release, v.Files)
	}
	_, err := io.WriteString(w, s.String())
	return err
}

// DefaultPath is where the capture initrd of a configuration lies.
func DefaultPath(root, configFile string) (string, error) {
	l, err := config.Load(root, configFile)
	if err != nil {
		return "", err
	}
	return newHost(root).path(l.Config.Initrd), nil
}
