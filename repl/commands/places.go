package commands

import (
	"errors"
	"fmt"
	"path"
	"strconv"
	"strings"

	"kdx/symbols"
)

// places asks for source lines on behalf of one call, which goes on without what can't be told: each reason is a gap, once.
type places struct {
	c     *Call
	quiet bool // lines are a bonus: that they can't be told is no gap
	none  bool // there is nobody to ask
	said  map[string]bool
}

func (c *Call) places() *places { return &places{c: c, said: make(map[string]bool)} }

// at returns where the instruction at pc comes from, nil if that is not known.
func (p *places) at(pc uint64) []symbols.Place {
	if p.none {
		return nil
	}
	found, err := p.c.View.Debug().PlacesAt(pc)
	if err == nil {
		return found
	}
	var none *symbols.NoTableError
	switch {
	case errors.As(err, &none):
		err = none
		p.none = p.nobody()
	case errors.Is(err, symbols.ErrNotFound): // code that was compiled without debug information
		return nil
	}
	if !p.quiet && !p.said[err.Error()] {
		p.said[err.Error()] = true
		p.c.View.Gap("source lines", err)
	}
	return nil
}

// nobody is whether the kernel itself has no lines: a module without its debug file says nothing of the frames behind its own.
func (p *places) nobody() bool {
	var none *symbols.NoTableError
	_, err := p.c.View.Debug().PlacesAt(0)
	return errors.As(err, &none)
}

// sourceSuffixes are the ends of names that, with a line behind a colon, are taken for a file and not for a symbol and its CPU.
var sourceSuffixes = map[string]bool{".c": true, ".h": true, ".S": true, ".s": true, ".rs": true, ".cc": true, ".cpp": true, ".y": true, ".l": true, ".inc": true}

// fileLine takes FILE:LINE apart.
func fileLine(word string) (file string, line int, ok bool) {
	i := strings.LastIndexByte(word, ':')
	if i <= 0 {
		return "", 0, false
	}
	file = word[:i]
	line, err := strconv.Atoi(word[i+1:])
	return file, line, err == nil && line > 0 && sourceSuffixes[path.Ext(file)]
}

// lineCode is the code of FILE:LINE.
func (c *Call) lineCode(file string, line int) ([]symbols.LineCode, error) {
	found, err := c.View.Debug().LineCode(file, line)
	var none *symbols.NoTableError
	switch {
	case errors.As(err, &none):
		return nil, fmt.Errorf("code of %s:%d: %w. The kernel's vmlinux with debug information has it: kdx open VMLINUX DUMP", file, line, none)
	case errors.Is(err, symbols.ErrNotFound):
		return nil, fmt.Errorf("no code comes from %s:%d or a line behind it: either no unit of the kernel was compiled from such a file, or the file ends before", file, line)
	}
	return found, err
}

// oneFile is the error of a FILE that stands for several.
func oneFile(file string, found []symbols.LineCode) error {
	var names []string
	for _, l := range found {
		if len(names) == 0 || names[len(names)-1] != l.File {
			names = append(names, l.File)
		}
	}
	if len(names) == 1 {
		return nil
	}
	const most = 8
	more := ""
	if len(names) > most {
		names, more = names[:most], fmt.Sprintf(" and %d more", len(names)-most)
	}
	return fmt.Errorf("%s stands for %s%s: name more of the path", file, strings.Join(names, ", "), more)
}
