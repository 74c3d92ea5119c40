package collect

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"kdx/capture/config"
	"kdx/capture/estimate"
)

// Mounts are filesystems of targets that are mounted only to look into them: read-only, below /run/kdx.
type Mounts struct {
	dir  string // below which they are mounted
	done []string
	// mount and unmount are the system calls.
	mount   func(device, at, kind string, flags uintptr, data string) error
	unmount func(at string) error
}

// NewMounts mounts nothing yet. Close takes away what was mounted.
func NewMounts() *Mounts {
	return &Mounts{dir: "/run/kdx/look", mount: unix.Mount, unmount: func(at string) error { return unix.Unmount(at, 0) }}
}

// look mounts a target's filesystem and says where.
func (m *Mounts) look(root string, t config.Target) (string, error) {
	name := estimate.DeviceName(root, t.Device)
	if name == "" {
		return "", fmt.Errorf("no device %s is found", t.Device)
	}
	at := filepath.Join(m.dir, fmt.Sprint(len(m.done)))
	if err := os.MkdirAll(at, 0o700); err != nil {
		return "", err
	}
	data := ""
	if t.Subvol != "" {
		data = "subvol=" + t.Subvol
	}
	if err := m.mount(filepath.Join("/", root, "dev", name), at, t.FS, unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, data); err != nil {
		os.Remove(at)
		return "", fmt.Errorf("mounting /dev/%s (%s) to look into it: %w", name, t.FS, err)
	}
	m.done = append(m.done, at)
	return at, nil
}

// holds says whether a path lies on one of them.
func (m *Mounts) holds(path string) bool {
	for _, at := range m.done {
		if strings.HasPrefix(path, at+"/") {
			return true
		}
	}
	return false
}

// Close unmounts everything.
func (m *Mounts) Close() error {
	var errs []error
	for _, at := range m.done {
		if err := m.unmount(at); err != nil {
			errs = append(errs, fmt.Errorf("unmounting %s: %w", at, err))
			continue
		}
		errs = append(errs, os.Remove(at))
	}
	m.done = nil
	return errors.Join(errs...)
}
