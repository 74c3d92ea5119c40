// Package atomicfile writes files that appear whole or not at all: under a temporary name in the same directory, synced,
// then renamed.
package atomicfile

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
)

// File is a file that is not there yet.
type File struct {
	*os.File
	path  string
	done  bool
	early early
}

// Create makes a temporary file beside path. perm is what Commit gives it.
func Create(path string, perm os.FileMode) (*File, error) {
	if st, err := os.Stat(path); err == nil && !st.Mode().IsRegular() {
		return nil, fmt.Errorf("%s exists and is no regular file, so it can't be replaced", path)
	}
	f, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, fmt.Errorf("making a temporary file for %s: %w", path, err)
	}
	const made = 0o600 // by CreateTemp; FAT, as some have on /boot, refuses to be told so
	if perm != made {
		if err := f.Chmod(perm); err != nil {
			f.Close()
			os.Remove(f.Name())
			return nil, err
		}
	}
	return &File{File: f, path: path, early: early{begin: beginWriting, sync: (*os.File).Sync}}, nil
}

// WriteFile makes path a file of data, which is durable when it returns.
func WriteFile(path string, data []byte, perm os.FileMode) error {
	f, err := Create(path, perm)
	if err != nil {
		return err
	}
	defer f.Close()
	if _, err := f.Write(data); err != nil {
		return err
	}
	return f.Commit()
}

// WriteAt writes to the temporary file. Of large files, the disk begins to write before the end.
func (f *File) WriteAt(p []byte, off int64) (int, error) {
	n, err := f.File.WriteAt(p, off)
	f.early.wrote(f.File, n)
	return n, err
}

// Write is WriteAt where the last Write ended.
func (f *File) Write(p []byte) (int, error) {
	n, err := f.File.Write(p)
	f.early.wrote(f.File, n)
	return n, err
}

// StartSync begins to make durable what was written, beside what the caller does before Commit, such as reading it again.
func (f *File) StartSync() { f.early.start(f.File) }

// Commit makes the file durable and gives it its name, replacing what had it. After an error nothing is left behind.
func (f *File) Commit() error {
	if f.done {
		return errors.New("file was committed or dropped before")
	}
	if err := f.early.finish(f.File); err != nil {
		f.Close()
		return err
	}
	f.done = true
	err := f.File.Close()
	if err == nil {
		err = os.Rename(f.Name(), f.path)
	}
	if err != nil {
		os.Remove(f.Name())
		return err
	}
	return syncDir(filepath.Dir(f.path))
}

// Close drops the file if it was not committed; otherwise it does nothing. Defer it.
func (f *File) Close() error {
	if f.done {
		return nil
	}
	f.done = true
	return errors.Join(f.File.Close(), os.Remove(f.Name()))
}

// syncDir makes the rename durable. Some file systems can't sync a directory; the file itself is safe then.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return nil
	}
	defer d.Close()
	_ = d.Sync()
	return nil
}
