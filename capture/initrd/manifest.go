package initrd

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"

	"kdx/internal/unpack"
)

// ManifestPath is where the manifest lies in the initrd.
const ManifestPath = "/kdx/manifest.json"

const manifestVersion = 1

// Manifest says what an initrd was made of. It holds no times: it changes only if something that counts does.
type Manifest struct {
	Version int    `json:"version"`
	Kdx     string `json:"kdx"`
	// Release is the kernel's that the initrd is for.
	Release string `json:"release"`
	// Spec is what was asked for.
	Spec Spec `json:"spec"`
	// Packing is how it was compressed, by what is known of the kernel from PackingBy ("" if nothing is).
	Packing   unpack.Format `json:"packing"`
	PackingBy string        `json:"packing_by"`
	Inputs    []Input       `json:"inputs"`
	Files     []Held        `json:"files"`
}

// Held is a regular file in the initrd.
type Held struct {
	Path   string `json:"path"`
	Mode   uint32 `json:"mode"` // permissions
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
}

func (m *Manifest) bytes() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", " ")
	if err != nil {
		return nil, err
	}
	return append(b, '\n'), nil
}

const maxManifest = 32 << 20

// ParseManifest reads a manifest strictly.
func ParseManifest(b []byte) (*Manifest, error) {
	if len(b) > maxManifest {
		return nil, fmt.Errorf("the manifest has %d bytes, which none has", len(b))
	}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	var m Manifest
	if err := d.Decode(&m); err != nil {
		return nil, fmt.Errorf("the manifest is damaged, or another kdx's: %w", err)
	}
	if _, err := d.Token(); !errors.Is(err, io.EOF) {
		return nil, errors.New("the manifest is damaged: something stands behind its end")
	}
	if m.Version != manifestVersion {
		return nil, fmt.Errorf("the manifest is of version %d, this kdx reads %d", m.Version, manifestVersion)
	}
	return &m, nil
}

// held lists the regular files of a set.
func (s fileset) held() []Held {
	out := []Held{}
	for name, f := range s {
		if f.Mode&modeType == modeFile {
			out = append(out, Held{"/" + name, f.Mode &^ modeType, int64(len(f.data)), sum(f.data)})
		}
	}
	slices.SortFunc(out, func(a, b Held) int { return strings.Compare(a.Path, b.Path) })
	return out
}
