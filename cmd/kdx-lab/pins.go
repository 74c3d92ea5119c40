package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// pin is one line of testdata/lab/kernels.
type pin struct {
	name    string // short name: 6.12
	suite   string // Debian suite
	release string // exact release: 6.12.117+deb12-cloud-amd64
	series  string // pattern for releases to fall back on
}

// parsePins reads the table of kernels.
func parsePins(r io.Reader) ([]pin, error) {
	var pins []pin
	sc := bufio.NewScanner(r)
	for n := 1; sc.Scan(); n++ {
		line, _, _ := strings.Cut(sc.Text(), "#")
		f := strings.Fields(line)
		if len(f) == 0 {
			continue
		}
		if len(f) != 4 {
			return nil, fmt.Errorf("line %d: %d columns, want name, suite, pin, series", n, len(f))
		}
		if _, err := path.Match(f[3], ""); err != nil {
			return nil, fmt.Errorf("line %d: series %q: %w", n, f[3], err)
		}
		pins = append(pins, pin{f[0], f[1], f[2], f[3]})
	}
	return pins, sc.Err()
}

func (l *lab) pins() ([]pin, error) {
	if err := l.checkout(); err != nil {
		return nil, err
	}
	f, err := os.Open(l.data("kernels"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	pins, err := parsePins(f)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", f.Name(), err)
	}
	return pins, nil
}

// pin finds a kernel by its short name or by its whole release.
func (l *lab) pin(name string) (pin, error) {
	pins, err := l.pins()
	if err != nil {
		return pin{}, err
	}
	var names []string
	for _, p := range pins {
		if p.name == name || p.release == name {
			return p, nil
		}
		names = append(names, p.name)
	}
	return pin{}, fmt.Errorf("no kernel %q; there are %s", name, strings.Join(names, " "))
}

// natural orders releases as people do: runs of digits by their value, the rest by character.
func natural(a, b string) int {
	for a != "" && b != "" {
		da, db := digits(a), digits(b)
		if da > 0 && db > 0 {
			na, nb := strings.TrimLeft(a[:da], "0"), strings.TrimLeft(b[:db], "0")
			if len(na) != len(nb) {
				return len(na) - len(nb)
			}
			if c := strings.Compare(na, nb); c != 0 {
				return c
			}
			a, b = a[da:], b[db:]
			continue
		}
		if a[0] != b[0] {
			return int(a[0]) - int(b[0])
		}
		a, b = a[1:], b[1:]
	}
	return len(a) - len(b)
}

func digits(s string) int {
	n := 0
	for n < len(s) && s[n] >= '0' && s[n] <= '9' {
		n++
	}
	return n
}
