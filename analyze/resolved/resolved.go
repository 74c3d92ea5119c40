// Package resolved is what saving a dump needs to know of a kernel's types, taken from that kernel while it runs
// (/sys/kernel/btf/vmlinux) and carried into its capture kernel. There it answers in place of the dump's own BTF, so that a crash that damaged or filtered
// that, or a capture kernel that is short of memory, costs no knowledge. Whatever was not taken along is still looked for in the dump.
package resolved

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"kdx/dumpfmt/vmcoreinfo"
	"kdx/internal/elfnote"
	"kdx/symbols"
	"kdx/symbols/btf"
)

// Types are of one kernel, which BuildID names.
type Types struct {
	Release string // uname -r
	BuildID string // in hexadecimal
	asked   []string
	data    []byte
}

// header is the first line of the file, in JSON; BTF follows.
type header struct {
	Format  string `json:"format"`
	Version int    `json:"version"`
	Release string `json:"release"`
	BuildID string `json:"build_id"`
	// Asked are the names of types and constants that were looked for: one that is not there is one that the kernel lacks.
	Asked []string `json:"asked"`
}

const (
	format  = "kdx-types"
	version = 1

	maxHeader = 1 << 20
	maxFile   = 64 << 20
)

// ErrNone: the running kernel does not say its types (CONFIG_DEBUG_INFO_BTF).
var ErrNone = errors.New("the running kernel has no /sys/kernel/btf/vmlinux")

// FromHost resolves the types of the kernel that runs and returns the contents of the file to carry. root is where its /sys and /proc
// lie, "/" but in tests. The error is ErrNone where the kernel has no BTF: then nothing is to be carried, and the dump is asked.
func FromHost(root string) ([]byte, error) {
	data, err := readBounded(filepath.Join(root, "sys/kernel/btf/vmlinux"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil, ErrNone
	}
	if err != nil {
		return nil, fmt.Errorf("types of the running kernel: %w", err)
	}
	notes, err := readBounded(filepath.Join(root, "sys/kernel/notes"))
	if err != nil {
		return nil, fmt.Errorf("build-id of the running kernel: %w", err)
	}
	id := elfnote.BuildID(notes, binary.NativeEndian)
	if id == "" {
		return nil, fmt.Errorf("%s has no build-id: types can't be told to be of this kernel", filepath.Join(root, "sys/kernel/notes"))
	}
	release, err := os.ReadFile(filepath.Join(root, "proc/sys/kernel/osrelease"))
	if err != nil {
		return nil, fmt.Errorf("release of the running kernel: %w", err)
	}
	return Make(data, strings.TrimSpace(string(release)), id)
}

func readBounded(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	if err == nil && len(data) > maxFile {
		err = fmt.Errorf("%s is larger than %d MiB", path, maxFile>>20)
	}
	return data, err
}

// Make resolves the types of a kernel from its BTF and returns the contents of the file to carry.
func Make(data []byte, release, buildID string) ([]byte, error) {
	f, err := btf.Parse(data, nil, "btf", btf.Options{})
	if err != nil {
		return nil, err
	}
	types, err := f.Prune(wanted)
	if err != nil {
		return nil, err
	}
	h := header{Format: format, Version: version, Release: release, BuildID: buildID}
	for _, n := range wanted.Types {
		h.Asked = append(h.Asked, asked(n.Kind, n.Name))
	}
	for _, name := range wanted.Constants {
		h.Asked = append(h.Asked, askedConstant(name))
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	return append(append(head, '\n'), types...), nil
}

func asked(kind symbols.Kind, name string) string { return kind.String() + " " + name }

func askedConstant(name string) string { return "constant " + name }

// Read reads a file that Make made.
func Read(path string) (*Types, error) {
	data, err := readBounded(path)
	if err != nil {
		return nil, fmt.Errorf("resolved types: %w", err)
	}
	t, err := Parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return t, nil
}

// Parse reads what Make made. The slice is kept.
func Parse(data []byte) (*Types, error) {
	line, rest, ok := bytes.Cut(data, []byte{'\n'})
	var h header
	if !ok || len(line) > maxHeader || json.Unmarshal(line, &h) != nil || h.Format != format {
		return nil, errors.New("this is no file of resolved types")
	}
	if h.Version != version {
		return nil, fmt.Errorf("resolved types of version %d, of which this kdx knows only %d", h.Version, version)
	}
	t := &Types{Release: h.Release, BuildID: h.BuildID, asked: h.Asked, data: rest}
	if _, err := t.open(btf.Options{}); err != nil {
		return nil, err
	}
	return t, nil
}

func (t *Types) open(opt btf.Options) (*btf.Finder, error) {
	return btf.Parse(t.data, nil, finderName, opt)
}

// Fits is nil if the types are those of the kernel that a dump is of, by its VMCOREINFO.
func (t *Types) Fits(vci *vmcoreinfo.Info) error {
	id, ok := vci.Get("BUILD-ID") // since 5.9
	switch {
	case !ok || id == "":
		return errors.New("the dump does not say its kernel's build-id")
	case !strings.EqualFold(id, t.BuildID):
		return fmt.Errorf("resolved types are of build-id %s (%s), the dump is of %s", t.BuildID, t.Release, id)
	}
	return nil
}
