package collect

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"kdx/internal/atomicfile"
)

// StatePath remembers which dumps were told of.
const StatePath = "/var/lib/kdx/seen.json"

// Seen are dumps that were told of, as target and directory.
type Seen struct {
	path  string
	Dumps map[string]bool `json:"dumps"`
}

const maxState = 8 << 20

// ReadSeen reads what is remembered; nothing if there is no file.
func ReadSeen(root string) (*Seen, error) {
	s := &Seen{path: filepath.Join("/", root, StatePath), Dumps: map[string]bool{}}
	fi, err := os.Stat(s.path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err != nil {
		return nil, err
	}
	if fi.Size() > maxState {
		return nil, fmt.Errorf("%s has %d bytes, which is too much", s.path, fi.Size())
	}
	b, err := os.ReadFile(s.path)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, s); err != nil {
		return nil, fmt.Errorf("%s is damaged; remove it, and all dumps count as new: %w", s.path, err)
	}
	if s.Dumps == nil {
		s.Dumps = map[string]bool{}
	}
	return s, nil
}

// New says whether a dump was not told of before, and remembers it.
func (s *Seen) New(d *Dump) bool {
	key := d.Target + " " + d.Dir
	known := s.Dumps[key]
	s.Dumps[key] = true
	return !known
}

// Write keeps what is remembered.
func (s *Seen) Write() error {
	if err := os.MkdirAll(filepath.Dir(s.path), 0o755); err != nil {
		return err
	}
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(s.path, append(b, '\n'), 0o600)
}
