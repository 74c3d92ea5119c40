package debuginfo

import "strings"

// Hint says how the debug file of a kernel is come by on a distribution.
type Hint struct {
	Distribution string `json:"distribution"`
	Package      string `json:"package"`
	Do           string `json:"do"` // a command, or where it is explained
}

// Hints are those for a kernel release: of its distribution if the release tells, otherwise all.
func Hints(release, banner string) []Hint {
	all := []struct {
		Hint
		of []string // parts of release or banner that tell
	}{
		{Hint{"Debian", "linux-image-" + release + "-dbg", "apt install linux-image-" + release + "-dbg"}, []string{"+deb", " Debian ", "debian-kernel@"}},
		{Hint{"Ubuntu", "linux-image-unsigned-" + release + "-dbgsym (or without unsigned-), of ddebs.ubuntu.com", "apt install linux-image-unsigned-" + release + "-dbgsym"}, []string{"-Ubuntu ", "(Ubuntu ", "buildd@lcy"}},
		{Hint{"Fedora, RHEL, CentOS Stream", "kernel-debuginfo-" + release, "dnf --enablerepo='*debug*' install kernel-debuginfo-" + release}, []string{".el7", ".el8", ".el9", ".el10", ".fc", "(Red Hat"}},
		{Hint{"SUSE", "kernel-default-debuginfo (kernel-FLAVOUR-debuginfo)", "zypper --plus-content debug install kernel-default-debuginfo"}, []string{"-default ", "(SUSE Linux)", "geeko@"}},
		{Hint{"your own build", "the file vmlinux at the top of the build directory", "keep it beside the dump, or name its directory in KDX_DEBUG_PATH"}, nil},
	}
	text := release + " " + banner + " "
	var out []Hint
	for _, h := range all {
		for _, part := range h.of {
			if strings.Contains(text, part) {
				return []Hint{h.Hint}
			}
		}
		out = append(out, h.Hint)
	}
	return out
}
