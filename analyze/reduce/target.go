package reduce

import (
	"fmt"
	"io"
	"slices"
	"strings"

	"kdx/analyze/exclude"
	"kdx/dumpfmt"
	"kdx/dumpfmt/elfcore"
	"kdx/dumpfmt/flattened"
	"kdx/dumpfmt/kdump"
	"kdx/dumpfmt/lime"
	"kdx/dumpfmt/lkcd"
	"kdx/dumpfmt/rawmem"
	"kdx/internal/codec"
)

// Target is a form in which a dump can be written; see ParseTarget.
type Target struct{ f *targetFormat }

// targetFormat is one row of the table.
type targetFormat struct {
	name string
	what string // for people
	// codecs of pages, the usual one first; nil if pages are stored as they are.
	codecs []string
	// flattened says that a stream of it is in makedumpfile's flattened form; others are written from front to back, unless
	// they go back.
	flattened, goesBack bool
	unmarked            bool // the form can't say that more was to come
	split               bool
	open                func(r *run, outs []dumpfmt.Output) (dumpfmt.PageWriter, error)
}

var targets = []targetFormat{
	{name: "kdump", what: "kdump-compressed, for crash, drgn, makedumpfile and kdx", flattened: true, split: true, open: openKdump,
		codecs: []string{"zstd", "zlib", "lzo", "snappy", "raw"}},
	{name: "elf", what: "ELF core, for gdb too", flattened: true, open: openELF},
	{name: "lkcd", what: "LKCD, for crash, of versions 8 and 9 (zlib, rle, raw)", open: openLKCD, codecs: []string{"zlib", "rle", "raw"}},
	{name: "raw", what: "each page at its physical address, and OUT.map, which tells zeros from pages that are left out", open: openRaw},
	{name: "lime", what: "LiME, for volatility", goesBack: true, unmarked: true, open: openLiME},
}

// Targets are the names of all forms and what they are for.
func Targets() (names, what []string) {
	for i := range targets {
		names, what = append(names, targets[i].name), append(what, targets[i].what)
	}
	return names, what
}

// ParseTarget finds a form by its name.
func ParseTarget(name string) (Target, error) {
	for i := range targets {
		if targets[i].name == name {
			return Target{&targets[i]}, nil
		}
	}
	names, _ := Targets()
	return Target{}, fmt.Errorf("there is no output form %q; those that there are: %s", name, strings.Join(names, ", "))
}

func (t Target) String() string { return t.f.name }

// Codec is the usual codec of pages; "" if the form has none.
func (t Target) Codec() string {
	if len(t.f.codecs) == 0 {
		return ""
	}
	return t.f.codecs[0]
}

// Takes is nil if pages can be stored with the codec.
func (t Target) Takes(codec string) error {
	switch {
	case slices.Contains(t.f.codecs, codec):
		return nil
	case len(t.f.codecs) == 0 && codec == "raw":
		return nil
	case len(t.f.codecs) == 0:
		return fmt.Errorf("%s stores pages as they are, so %s is not for it", t, codec)
	}
	return fmt.Errorf("%s has no pages in %q, only in %s", t, codec, strings.Join(t.f.codecs, ", "))
}

// Splits reports whether the form can be split into several files.
func (t Target) Splits() bool { return t.f.split }

// Flattens reports whether a stream of it is flattened, and must be put in order before it can be read by most tools.
func (t Target) Flattens() bool { return t.f.flattened }

// Streams is nil if the form can be written to a stream.
func (t Target) Streams() error {
	if t.f.goesBack {
		return fmt.Errorf("%s must be written to a file: it says how long a range is in front of it", t)
	}
	return nil
}

// Marks reports whether the form can say of itself that it is incomplete.
func (t Target) Marks() bool { return !t.f.unmarked }

// HasMap reports whether Job.Map is written.
func (t Target) HasMap() bool { return t.f.name == "raw" }

// writer makes what the pages are put into, and what must be done behind the last of them.
func (r *run) writer() (dumpfmt.PageWriter, func() error, error) {
	outs, finish := r.Outputs, func() error { return nil }
	switch {
	case r.Stream != nil && r.Target.f.flattened:
		r.counter = &counter{w: r.Stream}
		flat, err := flattened.NewWriter(r.counter)
		if err != nil {
			return nil, nil, err
		}
		outs, finish = []dumpfmt.Output{flat}, flat.Close
	case r.Stream != nil:
		r.counter = &counter{w: r.Stream}
		outs = []dumpfmt.Output{&straight{w: r.counter}}
	case len(outs) == 0:
		r.counter = &counter{}
		outs = []dumpfmt.Output{r.counter}
	}
	w, err := r.Target.f.open(r, outs)
	return w, finish, err
}

func openKdump(r *run, outs []dumpfmt.Output) (dumpfmt.PageWriter, error) {
	c, err := codec.Parse(r.Codec)
	if err != nil {
		return nil, err
	}
	return kdump.NewSplitWriter(outs, kdump.Config{Info: r.info, Pages: r.pages, Codec: c, Level: r.CodecLevel, AsIs: r.AsIs, DumpLevel: r.report.Recorded,
		Distilled: r.info.Distilled})
}

func openELF(r *run, outs []dumpfmt.Output) (dumpfmt.PageWriter, error) {
	if keep, ok := r.pages.(*dumpfmt.PageSet); ok {
		elfcore.Coarsen(r.Image.Source(), keep)
	}
	return elfcore.NewPageWriter(outs[0], elfcore.WriterConfig{Info: r.info, Pages: r.pages, Segments: r.segments(), ZeroPages: r.report.Recorded&exclude.LevelZero != 0})
}

func openLKCD(r *run, outs []dumpfmt.Output) (dumpfmt.PageWriter, error) {
	return lkcd.NewPageWriter(outs[0], lkcd.WriterConfig{Info: r.info, Pages: r.pages, Version: r.LKCDVersion, Compression: r.Codec, Level: r.CodecLevel})
}

func openRaw(r *run, outs []dumpfmt.Output) (dumpfmt.PageWriter, error) {
	m := r.Map
	if m == nil {
		m = io.Discard
	}
	return rawmem.NewPageWriter(outs[0], rawmem.WriterConfig{Info: r.info, Pages: r.pages, Map: m})
}

func openLiME(r *run, outs []dumpfmt.Output) (dumpfmt.PageWriter, error) {
	return lime.NewPageWriter(outs[0], lime.WriterConfig{Info: r.info, Pages: r.pages})
}
