package reduce

import (
	"fmt"
	"slices"
	"strings"

	"kdx/analyze/exclude"
	"kdx/dumpfmt"
	"kdx/dumpfmt/elfcore"
	"kdx/dumpfmt/flattened"
	"kdx/dumpfmt/kdump"
	"kdx/internal/codec"
)

// Target is a form in which a dump can be written; see ParseTarget.
type Target struct{ f *targetFormat }

// targetFormat is one row of the table.
type targetFormat struct {
	name string
	what string // for people
	// codecs of pages, the usual one first; nil if pages are stored as they are.
	codecs []codec.Codec
	// flattened says that a stream of it is in makedumpfile's flattened form; otherwise it is written from front to back.
	flattened bool
	split     bool
	open      func(r *run, outs []dumpfmt.Output) (dumpfmt.PageWriter, error)
}

var targets = []targetFormat{
	{name: "kdump", what: "kdump-compressed, for crash, drgn, makedumpfile and kdx", flattened: true, split: true, open: openKdump,
		codecs: []codec.Codec{codec.Zstd, codec.Zlib, codec.LZO, codec.Snappy, codec.Raw}},
	{name: "elf", what: "ELF core, for gdb too", flattened: true, open: openELF},
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

// Codec is the usual codec of pages; ok is false if the form has none.
func (t Target) Codec() (c codec.Codec, ok bool) {
	if len(t.f.codecs) == 0 {
		return codec.Raw, false
	}
	return t.f.codecs[0], true
}

// Takes is nil if pages can be stored with the codec.
func (t Target) Takes(c codec.Codec) error {
	if slices.Contains(t.f.codecs, c) || len(t.f.codecs) == 0 && c == codec.Raw {
		return nil
	}
	if len(t.f.codecs) == 0 {
		return fmt.Errorf("%s stores pages as they are, so %v is not for it", t, c)
	}
	var names []string
	for _, c := range t.f.codecs {
		names = append(names, c.String())
	}
	return fmt.Errorf("%s has no pages in %v, only in %s", t, c, strings.Join(names, ", "))
}

// Splits reports whether the form can be split into several files.
func (t Target) Splits() bool { return t.f.split }

// Flattens reports whether a stream of it is flattened, and must be put in order before it can be read by most tools.
func (t Target) Flattens() bool { return t.f.flattened }

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
	return kdump.NewSplitWriter(outs, kdump.Config{Info: r.info, Pages: r.pages, Codec: r.Codec, Level: r.CodecLevel, AsIs: r.AsIs, DumpLevel: r.report.Recorded,
		Distilled: r.info.Distilled})
}

func openELF(r *run, outs []dumpfmt.Output) (dumpfmt.PageWriter, error) {
	return elfcore.NewPageWriter(outs[0], elfcore.WriterConfig{Info: r.info, Pages: r.pages, ZeroPages: r.report.Recorded&exclude.LevelZero != 0})
}
