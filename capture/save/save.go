// Package save is what happens to /proc/vmcore in the capture kernel: the kernel's log first, then the filtered dump, to the
// first target that takes it; read back, held against what was written, and listed in a manifest that comes last.
package save

import (
	"context"
	"log/slog"
	"time"

	"kdx/analyze/kernel"
	"kdx/analyze/scrub"
	"kdx/capture/manifest"
	"kdx/capture/target"
	"kdx/dumpfmt"
)

// Job is a dump to be saved.
type Job struct {
	// VMCore is the dump: /proc/vmcore, or a file.
	VMCore string
	// Places are tried in this order.
	Places []target.Place
	// More targets follow, which another Run is given: the last one here need not make do with less than the whole dump.
	More bool

	// Host that crashed, its boot's id ("" if it is not known) and the time; they name the directory.
	Host, BootID string
	Time         time.Time

	Level      int
	Codec      string
	CodecLevel int
	Rules      scrub.Rules
	// Open opens the kernel of the dump; nil is OpenKernel with Types.
	Open func(ctx context.Context, img *dumpfmt.Image) (*kernel.Kernel, error)
	// Types is the file of resolved types of the running kernel that travels in the initrd; "" is without.
	Types string

	// Memory bounds buffers and compressors, bytes; 0 is 4 MiB, and 2 more for each worker beyond the first, 10 at most. Workers read and
	// encode; 0 is one a CPU. Fewer run if memory is short.
	Memory  int64
	Workers int
	// Timeout bounds saving to one target; 0 is none.
	Timeout time.Duration
	// Keep is how many dumps stay on a target; 0 is all.
	Keep int
	// Version of kdx, for the manifest.
	Version string

	// Written is told the directory as soon as a dump lies there whole but unproven, as vmcore.incomplete, which may happen more than
	// once; nil if nobody wants to know. It is not called where the target can't be read at any place.
	Written func(dir string)
	// Progress is called often, by one goroutine at a time; nil if nobody wants to know.
	Progress func(Progress)
	// Log takes what a person should read; nil is silent.
	Log *slog.Logger
}

// Progress of a Run.
type Progress struct {
	Target string `json:"target"`
	Step   string `json:"step"`
	// Done and Total are pages, or bytes while the file is read back.
	Done  uint64 `json:"done"`
	Total uint64 `json:"total"`
	// Out is how many bytes were written.
	Out int64 `json:"out"`
}

// Result is how a Run ended.
type Result struct {
	// Saved: a whole dump lies in Dir of Place. Without, Dir is where an incomplete one lies, if there is any.
	Saved bool `json:"saved"`
	// Place is the index in Job.Places, -1 for none.
	Place int `json:"place"`
	// Dir is the directory's name on the target, Path the way to it for people.
	Dir  string `json:"dir"`
	Path string `json:"path"`
	// Manifest as it lies there.
	Manifest *manifest.Manifest `json:"manifest"`
	// Tries say what came of each target that was tried.
	Tries []Try `json:"tries"`
}

// Try is a target that was tried.
type Try struct {
	Target string        `json:"target"`
	Error  string        `json:"error,omitempty"`
	Took   time.Duration `json:"took_ns"`
}
