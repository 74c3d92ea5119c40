// Package manifest is manifest.json, which says what lies in the directory of a dump: the contract of docs/capture-manifest.md.
package manifest

import (
	"encoding/json"
	"fmt"
	"time"
)

// Name is the name of the file that comes last: who finds it finds all files that it lists.
const Name = "manifest.json"

// Version changes when a field changes its meaning; fields may be added without.
const Version = 1

// Manifest is the contract of docs/capture-manifest.md.
type Manifest struct {
	Version int    `json:"version"`
	KDX     string `json:"kdx"`
	// Complete: the dump is whole and was proven so. Otherwise Why says what is missing.
	Complete bool   `json:"complete"`
	Why      string `json:"why,omitempty"`
	// Of the kernel that crashed.
	Host    string    `json:"host"`
	BootID  string    `json:"boot_id,omitempty"`
	Release string    `json:"release,omitempty"`
	BuildID string    `json:"build_id,omitempty"`
	Machine string    `json:"machine,omitempty"`
	Crashed time.Time `json:"crashed,omitzero"`

	Target string    `json:"target"`
	Begun  time.Time `json:"begun"`
	Ended  time.Time `json:"ended"`
	Dump   Dump      `json:"dump"`
	Files  []File    `json:"files"`
	Stages []Stage   `json:"stages"`
	Notes  []string  `json:"notes,omitempty"`
}

// Dump says what is in the dump.
type Dump struct {
	File   string `json:"file"`
	Format string `json:"format"` // kdump, or flattened
	Codec  string `json:"codec"`
	// Asked is the configured dump level, Level the one that the dump states.
	Asked int `json:"asked_level"`
	Level int `json:"level"`
	// Pages written, of them zeros and those that could not be read, and pages left out.
	Pages    uint64 `json:"pages"`
	Zero     uint64 `json:"zero"`
	Missing  uint64 `json:"missing"`
	Excluded uint64 `json:"excluded"`
	PageSize uint64 `json:"page_size"`
	// Kept: pages stayed that the level asked to go, because the kernel is not understood.
	Kept  bool   `json:"kept_more"`
	Check string `json:"check"` // passed, or why there was none
}

// File is a file of the dump.
type File struct {
	Name   string `json:"name"`
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	Proof  string `json:"proof,omitempty"`
}

// Stage is how long a part of the work took, and what memory the process had at its end: resident bytes that belong to no
// file.
type Stage struct {
	Name      string        `json:"name"`
	Took      time.Duration `json:"took_ns"`
	Anonymous int64         `json:"anonymous_bytes"`
}

// MaxSize bounds the file, bytes.
const MaxSize = 1 << 20

// Encode is the text of the file.
func (m *Manifest) Encode() ([]byte, error) {
	b, err := json.MarshalIndent(m, "", "  ")
	return append(b, '\n'), err
}

// Parse reads the file.
func Parse(b []byte) (*Manifest, error) {
	if len(b) > MaxSize {
		return nil, fmt.Errorf("%s has %d bytes: kdx did not write it", Name, len(b))
	}
	var m Manifest
	if err := json.Unmarshal(b, &m); err != nil {
		return nil, fmt.Errorf("%s: %w", Name, err)
	}
	if m.Version < 1 || m.KDX == "" || m.Begun.IsZero() {
		return nil, fmt.Errorf("%s is not of kdx: it has no version, kdx or begun", Name)
	}
	return &m, nil
}

// Put adds a file, or replaces what is known of it.
func (m *Manifest) Put(f File) {
	for i := range m.Files {
		if m.Files[i].Name == f.Name {
			m.Files[i] = f
			return
		}
	}
	m.Files = append(m.Files, f)
}
