package initrd

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"

	"kdx/internal/unpack"
)

// Input is a file of the host that went into an initrd, or decided what did.
type Input struct {
	// What it is: kernel, init, module, firmware, configuration, key, hook, …
	What   string `json:"what"`
	Path   string `json:"path"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

// maxInput bounds a file that goes into the initrd.
const maxInput = 256 << 20

// host reads files of the host that the initrd is for, and remembers which. Its paths are those that the host's own programs use.
type host struct {
	root   string // "" for this one
	inputs map[string]Input
}

func newHost(root string) *host {
	if root == "/" {
		root = ""
	}
	return &host{root: root, inputs: map[string]Input{}}
}

// path is where a file of the host really lies: links are followed within the host's tree.
func (h *host) path(name string) string {
	if h.root == "" {
		return name
	}
	const mostLinks = 40
	done, rest := "/", strings.Split(path.Clean("/"+name), "/")
	for links := 0; len(rest) > 0; {
		part := rest[0]
		rest = rest[1:]
		if part == "" || part == "." {
			continue
		}
		next := path.Join(done, part)
		link, err := os.Readlink(filepath.Join(h.root, next))
		if err != nil || links == mostLinks {
			done = next
			continue
		}
		links++
		if path.IsAbs(link) {
			done = "/"
		}
		for _, p := range strings.Split(link, "/") {
			if p == ".." && done != "/" {
				done = path.Dir(done)
			}
			if p == ".." || p == "." || p == "" {
				continue
			}
			done = path.Join(done, p)
		}
	}
	return filepath.Join(h.root, done)
}

// take reads a regular file, for what, and remembers it as an input under the path on which it is read.
func (h *host) take(what, file string) ([]byte, os.FileInfo, error) {
	f, fi, err := unpack.OpenRegular(file)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	if fi.Size() > maxInput {
		return nil, nil, fmt.Errorf("%s has more than %d MiB, too much for a capture initrd", file, maxInput>>20)
	}
	b := make([]byte, fi.Size())
	if _, err := io.ReadFull(f, b); err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	h.inputs[file] = Input{What: what, Path: file, Size: int64(len(b)), SHA256: sum(b)}
	return b, fi, nil
}

// note remembers a file as an input without keeping what is in it, which also goes to others.
func (h *host) note(what, file string, others ...io.Writer) error {
	in, err := inputOf(what, file, others...)
	if err != nil {
		return err
	}
	h.inputs[file] = in
	return nil
}

func inputOf(what, file string, others ...io.Writer) (Input, error) {
	f, _, err := unpack.OpenRegular(file)
	if err != nil {
		return Input{}, err
	}
	defer f.Close()
	s := sha256.New()
	n, err := io.Copy(io.MultiWriter(append(others, s)...), f)
	return Input{What: what, Path: file, Size: n, SHA256: hex.EncodeToString(s.Sum(nil))}, err
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}
