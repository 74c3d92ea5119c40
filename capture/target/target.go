// Package target is where dumps are saved: a directory of a mounted filesystem, a raw partition, or a host over SSH. A file
// appears under its name only when it is whole and was read back; until then it is called NAME.incomplete.
package target

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"kdx/capture/config"
	"kdx/dumpfmt"
)

// Place is a target that has been brought up: mounted, present as a device, or reachable.
type Place struct {
	// Name is the target as it is configured, for people and for the manifest. It holds no secrets.
	Name string      `json:"name"`
	Kind config.Kind `json:"kind"`
	// Dir is the directory in which dumps lie: of a mounted filesystem (config.Dir, config.FS), or of the host (config.SFTP,
	// config.SSH).
	Dir string `json:"dir,omitempty"`
	// Device is the path of a raw partition.
	Device string `json:"device,omitempty"`
	// Overwrite allows a raw partition to lose what it holds: its configuration says so.
	Overwrite bool `json:"overwrite,omitempty"`
	// Host of config.SFTP and config.SSH.
	Host Host `json:"host"`
	// KeepFree is what must stay free, bytes.
	KeepFree uint64 `json:"keep_free"`
}

// Host is a host that is reached over SSH.
type Host struct {
	User string `json:"user,omitempty"`
	Name string `json:"name,omitempty"` // as known_hosts has it
	Port int    `json:"port,omitempty"` // 0 is 22
	// Addresses are tried in this order; nil looks the name up.
	Addresses []string `json:"addresses,omitempty"`
	// Key is the file of a private key without a passphrase, KnownHosts that of the hosts' keys.
	Key        string `json:"key,omitempty"`
	KnownHosts string `json:"known_hosts,omitempty"`
	// Timeout is how long an answer is waited for; 0 is 30 s.
	Timeout time.Duration `json:"timeout_ns,omitempty"`
}

// Of is the place of a configured target whose filesystem is mounted at mount ("" for a directory of the running host) or
// whose raw partition is device.
func Of(t config.Target, c *config.Config, mount, device string) Place {
	p := Place{Name: t.String(), Kind: t.Kind, Dir: t.Path, Device: device, Overwrite: t.Kind == config.Raw, KeepFree: c.KeepFree}
	switch t.Kind {
	case config.Dir, config.FS:
		p.Dir = join(mount, t.Path)
	case config.SFTP, config.SSH:
		p.Host = Host{User: t.User, Name: t.Host, Port: t.Port, Key: c.SSHKey, KnownHosts: c.KnownHosts, Timeout: c.NetworkTimeout}
	}
	return p
}

func join(mount, dir string) string {
	if mount == "" {
		return dir
	}
	return mount + dir
}

// Target is an open place.
type Target interface {
	// Create makes the directory of a new dump.
	Create(ctx context.Context, name string) (Dir, error)
	// Open opens the directory of a dump that is there.
	Open(ctx context.Context, name string) (Dir, error)
	// List names the directories that lie there, in order.
	List(ctx context.Context) ([]string, error)
	// Remove takes a directory away, with the files in it.
	Remove(ctx context.Context, name string) error
	Close() error
}

// Dir is the directory of a dump.
type Dir interface {
	// Path is where it lies, for people.
	Path() string
	// Room is how many bytes a new file can have so that KeepFree is left; known is false if the target can't tell.
	Room(ctx context.Context) (bytes uint64, known bool, err error)
	// Put writes a small file: it is durable when Put returns, and replaces what had its name.
	Put(ctx context.Context, name string, data []byte) error
	// Create begins a large file as NAME.incomplete.
	Create(ctx context.Context, name string) (File, error)
	// Read reads a small file; one of more than limit bytes is an error.
	Read(ctx context.Context, name string, limit int64) ([]byte, error)
	// File opens a file to be read at any place; ErrNoRandom if the target can't.
	File(ctx context.Context, name string) (*dumpfmt.File, error)
	// List says what lies in it.
	List(ctx context.Context) ([]Entry, error)
	Close() error
}

// Entry is a file in the directory of a dump.
type Entry struct {
	Name string
	Size int64
}

// File is a large file that is being written.
type File interface {
	// Output takes bytes at their offsets; nil if nothing can be written twice there, and then Write takes them.
	Output() dumpfmt.Output
	Write(p []byte) (int, error)
	// Reopen opens what was written so far; ErrNoRandom if the target can't.
	Reopen(ctx context.Context) (*dumpfmt.File, error)
	// Commit makes the file durable, reads it back from where it lies, holds that against what was written, and gives it its
	// name. After an error it still is NAME.incomplete.
	Commit(ctx context.Context) (Written, error)
	// Leave makes durable what there is, as NAME.incomplete.
	Leave(ctx context.Context) error
}

// Written is a file that was proven whole.
type Written struct {
	Size   int64
	SHA256 string // hex, of the bytes as they lie on the target
	// Proof says how it was read back.
	Proof string
}

// Incomplete is what a file has behind its name until it is whole.
const Incomplete = ".incomplete"

// ErrNoRandom says that a target can't read files at any place.
var ErrNoRandom = errors.New("this target can't read at any place of a file")

// ErrExists says that a target has a directory of that name.
var ErrExists = errors.New("a directory of that name exists")

// DefaultTimeout is how long an answer of a host is waited for.
const DefaultTimeout = 30 * time.Second

// Open opens a place. The context bounds only the opening.
func Open(ctx context.Context, p Place, log *slog.Logger) (Target, error) {
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	switch p.Kind {
	case config.Dir, config.FS:
		return openLocal(p)
	case config.Raw:
		return openRaw(p)
	case config.SFTP:
		return openSFTP(ctx, p, log)
	case config.SSH:
		return openExec(ctx, p, log)
	}
	return nil, fmt.Errorf("%s: kdx does not save to a %q", p.Name, p.Kind)
}
