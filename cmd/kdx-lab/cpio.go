package main

import (
	"bufio"
	"fmt"
	"io"
	"os"
	"path"
	"strings"
)

// cpioWriter writes the "newc" archive that the kernel unpacks as its first root file system: for each entry "070701", thirteen
// fields of eight hex digits, the name with its NUL and the data, both padded to four bytes.
type cpioWriter struct {
	w    *bufio.Writer
	off  int64
	ino  uint32
	dirs map[string]bool
	err  error
}

func newCpioWriter(w io.Writer) *cpioWriter {
	return &cpioWriter{w: bufio.NewWriterSize(w, 1<<20), dirs: map[string]bool{"": true, ".": true}}
}

func (c *cpioWriter) write(p []byte) {
	if c.err != nil {
		return
	}
	n, err := c.w.Write(p)
	c.off, c.err = c.off+int64(n), err
}

func (c *cpioWriter) pad() {
	c.write(make([]byte, -c.off&3))
}

func (c *cpioWriter) header(name string, mode uint32, size int64) {
	c.ino++
	links := 1
	c.write(fmt.Appendf(nil, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.ino, mode, 0, 0, links, 0, size, 0, 0, 0, 0, len(name)+1, 0))
	c.write(append([]byte(name), 0))
	c.pad()
}

// dir adds a directory and those above it.
func (c *cpioWriter) dir(name string) {
	name = strings.Trim(name, "/")
	if c.dirs[name] {
		return
	}
	c.dir(path.Dir(name))
	c.dirs[name] = true
	c.header(name, 0o040755, 0)
}

// bytes adds a file.
func (c *cpioWriter) bytes(name string, perm os.FileMode, data []byte) {
	name = strings.Trim(name, "/")
	c.dir(path.Dir(name))
	c.header(name, 0o100000|uint32(perm.Perm()), int64(len(data)))
	c.write(data)
	c.pad()
}

// file adds a file of this machine.
func (c *cpioWriter) file(name string, perm os.FileMode, from string) {
	if c.err != nil {
		return
	}
	data, err := os.ReadFile(from)
	if err != nil {
		c.err = err
		return
	}
	c.bytes(name, perm, data)
}

func (c *cpioWriter) symlink(name, target string) {
	name = strings.Trim(name, "/")
	c.dir(path.Dir(name))
	c.header(name, 0o120777, int64(len(target)))
	c.write([]byte(target))
	c.pad()
}

// close ends the archive.
func (c *cpioWriter) close() error {
	c.header("TRAILER!!!", 0, 0)
	if c.err != nil {
		return c.err
	}
	return c.w.Flush()
}
