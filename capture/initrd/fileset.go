package initrd

import (
	"bytes"
	"fmt"
	"maps"
	"path"
	"slices"
	"strings"
)

// file is one of the initrd to be.
type file struct {
	header
	data []byte
}

// fileset is what the initrd will hold, by path without a slash at its beginning.
type fileset map[string]file

// dir adds a directory and those above it. One that is there keeps its mode.
func (s fileset) dir(name string, perm uint32) error {
	name = strings.Trim(path.Clean("/"+name), "/")
	if name == "" {
		return nil
	}
	if old, ok := s[name]; ok {
		if old.Mode&modeType != modeDir {
			return fmt.Errorf("/%s would be a file and a directory in the initrd", name)
		}
		return nil
	}
	if err := s.dir(path.Dir("/"+name), 0o755); err != nil {
		return err
	}
	s[name] = file{header: header{Name: name, Mode: modeDir | perm}}
	return nil
}

// add adds a regular file. The same file may be added twice.
func (s fileset) add(name string, perm uint32, data []byte) error {
	name = strings.TrimPrefix(path.Clean("/"+name), "/")
	if len(name) >= maxName {
		return fmt.Errorf("a name of %d bytes: %.40s…", len(name), name)
	}
	if old, ok := s[name]; ok {
		if old.Mode&modeType != modeFile || !bytes.Equal(old.data, data) {
			return fmt.Errorf("/%s would be two things in the initrd", name)
		}
		return nil
	}
	if err := s.dir(path.Dir("/"+name), 0o755); err != nil {
		return err
	}
	s[name] = file{header{Name: name, Mode: modeFile | perm}, data}
	return nil
}

func (s fileset) node(name string, perm, major, minor uint32) error {
	if err := s.dir(path.Dir("/"+name), 0o755); err != nil {
		return err
	}
	s[name] = file{header: header{Name: name, Mode: modeChar | perm, Dev: [2]uint32{major, minor}}}
	return nil
}

// has says whether a regular file is there.
func (s fileset) has(name string) bool {
	f, ok := s[strings.TrimPrefix(path.Clean("/"+name), "/")]
	return ok && f.Mode&modeType == modeFile
}

// archive writes all files in the order of their names, in which directories come before what is in them.
func (s fileset) archive() ([]byte, error) {
	var out bytes.Buffer
	size := 1024
	for name, f := range s {
		size += headerSize + len(name) + 8 + len(f.data)
	}
	out.Grow(size)
	w := &writer{w: &out}
	for _, name := range slices.Sorted(maps.Keys(s)) {
		if err := w.file(s[name].header, s[name].data); err != nil {
			return nil, err
		}
	}
	if err := w.end(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
