package commands

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"strings"

	"kdx/symbols"
)

// Sources serves the text of source files, as debuginfod does.
type Sources interface {
	// Source returns the text of p's file and where it came from. The error says what was asked.
	Source(ctx context.Context, p symbols.Place) (text []byte, from string, err error)
}

// sourceText is a file of source, in lines.
type sourceText struct {
	from  string
	lines []string
}

const (
	maxSource    = 32 << 20 // bytes of a file; the kernel's largest generated headers have 15 MB
	keptSources  = 16       // files that a session remembers
	maxComponent = 32       // of a path whose ends are tried
)

// errNoText says where a file's text was looked for.
type errNoText struct {
	file  string
	tried []string
}

func (e *errNoText) Error() string {
	text := "the text of " + e.file + " was not found"
	if len(e.tried) > 0 {
		text += ": " + strings.Join(e.tried, "; ")
	}
	return text + ". kdx --src DIR, or set src DIR, names a source tree of this kernel"
}

// sourceText finds the text of p's file: in the tree that was named, then where the session's Sources have it.
func (c *Call) sourceText(p symbols.Place) (*sourceText, error) {
	s := c.State
	key := s.Src + "\x00" + p.BuildID + "\x00" + p.File
	if t := s.texts[key]; t != nil {
		return t, nil
	}
	if p.File == "" {
		return nil, errors.New("debug information does not name the source file")
	}
	failure := &errNoText{file: p.File}
	text, from, err := readTree(s.Src, p.File)
	if err != nil && s.Src != "" {
		failure.tried = append(failure.tried, err.Error())
	}
	if text == nil && s.Sources != nil && p.Path != "" {
		if text, from, err = s.Sources.Source(c.View.Context(), p); err != nil {
			if errors.Is(err, context.Canceled) {
				return nil, err
			}
			failure.tried = append(failure.tried, err.Error())
		}
	}
	if text == nil {
		return nil, failure
	}
	t := &sourceText{from: from, lines: strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")}
	if s.texts == nil || len(s.texts) >= keptSources {
		s.texts = make(map[string]*sourceText)
	}
	s.texts[key] = t
	return t, nil
}

// readTree reads a file of the tree at dir: by its path, or, as dir may be a part of the tree, by the longest end of its path
// that is there. It never leaves dir: names come from the dump's debug information.
func readTree(dir, file string) (text []byte, from string, err error) {
	if dir == "" {
		return nil, "", fs.ErrNotExist
	}
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, "", err
	}
	defer root.Close()
	parts := strings.Split(strings.TrimPrefix(path.Clean("/"+file), "/"), "/")
	first := max(0, len(parts)-maxComponent)
	for i := first; i < len(parts); i++ {
		if i == len(parts)-1 && i > 0 && filepath.Base(dir) != parts[i-1] {
			break // any file of that name would do
		}
		name := filepath.Join(parts[i:]...)
		if text, err = readSource(root, name); err == nil {
			return text, filepath.Join(dir, name), nil
		}
		if !errors.Is(err, fs.ErrNotExist) {
			return nil, "", err
		}
	}
	return nil, "", fmt.Errorf("%s has neither %s nor an end of that path", dir, file)
}

func readSource(root *os.Root, name string) ([]byte, error) {
	fi, err := root.Stat(name)
	switch {
	case err != nil:
		return nil, err
	case !fi.Mode().IsRegular():
		return nil, &fs.PathError{Op: "read", Path: name, Err: errors.New("not a regular file")}
	case fi.Size() > maxSource:
		return nil, &fs.PathError{Op: "read", Path: name, Err: fmt.Errorf("%d bytes are no source file", fi.Size())}
	}
	f, err := root.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, maxSource))
	if err == nil && text == nil {
		text = []byte{}
	}
	return text, err
}
