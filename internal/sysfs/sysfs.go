// Package sysfs reads what several rooms need of a /sys, this machine's or one that lies below another root.
package sysfs

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// Text is what a file says up to a NUL, without spaces around it; "" if there is none.
func Text(name ...string) string {
	p, err := Bytes(filepath.Join(name...))
	if err != nil {
		return ""
	}
	p, _, _ = bytes.Cut(p, []byte{0})
	return strings.ToValidUTF8(string(bytes.TrimSpace(p)), "�")
}

// Bytes reads a file of sysfs or procfs; none is longer than a page or two, and what is longer is cut.
func Bytes(name string) ([]byte, error) {
	f, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	buf := make([]byte, 16<<10)
	n, err := f.Read(buf)
	if n == 0 && err != nil {
		return nil, err
	}
	return buf[:n], nil
}

// Dir is /sys below a root, without links on the way to it.
func Dir(root string) string {
	p := filepath.Join(root, "/sys")
	if real, err := filepath.EvalSymlinks(p); err == nil {
		return real
	}
	return p
}

// Drivers are the modules that drive a device (its directory, without links) and all that it hangs on, nearest first. For a device without a known module it
// is the modalias: what is built into this kernel may be a module of another.
func Drivers(root, dir string) []string {
	var out []string
	top := Dir(root) + "/devices/"
	for ; strings.HasPrefix(dir, top); dir = filepath.Dir(dir) {
		if m := driver(dir); m != "" && !slices.Contains(out, m) {
			out = append(out, m)
		}
	}
	return out
}

func driver(dir string) string {
	if module, err := os.Readlink(filepath.Join(dir, "driver/module")); err == nil {
		return filepath.Base(module)
	}
	return Text(dir, "modalias")
}
