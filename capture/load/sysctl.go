package load

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
)

// sysctlPath is the file of a sysctl. A name may be written with dots or with slashes, as sysctl(8) takes it.
func sysctlPath(name string) (string, error) {
	slash := name
	if i := strings.IndexAny(name, "./"); i >= 0 && name[i] == '.' {
		slash = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, name)
	}
	if slash == "" || !filepath.IsLocal(slash) {
		return "", fmt.Errorf("%q is no name of a sysctl", name)
	}
	return filepath.Join("proc/sys", slash), nil
}

// readSysctl is a value with single spaces between its words, as a person compares them.
func (h *Host) readSysctl(name string) (string, error) {
	p, err := sysctlPath(name)
	if err != nil {
		return "", err
	}
	s, err := h.read(p)
	return strings.Join(strings.Fields(s), " "), err
}

func (h *Host) writeSysctl(name, value string) error {
	p, err := sysctlPath(name)
	if err != nil {
		return err
	}
	f, err := os.OpenFile(h.path(p), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value + "\n")
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	return err
}

// setSysctls sets what is configured and records what was there before kdx came.
func (h *Host) setSysctls(words []string, r, earlier *Record) []Problem {
	var problems []Problem
	for _, w := range words {
		name, value, _ := strings.Cut(w, "=")
		before, err := h.readSysctl(name)
		if err == nil && before != value {
			err = h.writeSysctl(name, value)
		}
		if err != nil {
			problems = append(problems, Problem{What: fmt.Sprintf("sysctl %s could not be set: %v", w, err)})
			continue
		}
		if earlier != nil {
			for _, s := range earlier.Sysctls {
				if s.Name == name {
					before = s.Before
				}
			}
		}
		r.Sysctls = append(r.Sysctls, Sysctl{name, value, before})
	}
	return problems
}

// resetSysctls puts back what kdx set, where nobody else has changed it since: a host without a capture kernel should not panic
// for the sake of a dump.
func (h *Host) resetSysctls(r *Record) []Problem {
	var problems []Problem
	for _, s := range r.Sysctls {
		if s.Before == s.Value {
			continue
		}
		is, err := h.readSysctl(s.Name)
		if err == nil && is == s.Value {
			err = h.writeSysctl(s.Name, s.Before)
		}
		if err != nil {
			problems = append(problems, Problem{What: fmt.Sprintf("sysctl %s could not be put back to %s: %v", s.Name, s.Before, err)})
		}
	}
	return problems
}
