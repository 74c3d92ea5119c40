package index

import (
	"context"
	"iter"
	"log/slog"
	"runtime"
	"slices"
	"sync"

	"kdx/internal/mapfile"
	"kdx/symbols/dwarfinfo"
)

// Kind is what a name stands for. Structs, unions and enums have tags; classes of C++ and Rust are structs.
type Kind uint8

const (
	Struct Kind = 1 + iota
	Union
	Enum
	Typedef
	Base
	Function
	Variable
	Enumerator
)

// Hit is a definition.
type Hit struct {
	// Off is the offset in .debug_info of the entry that defines: of a type the complete one; of a function the one with
	// code, or its abstract instance if all its code was inlined; of a variable the one with a location or value. The
	// name, type and line of functions and variables may be at the entry that its DW_AT_abstract_origin or
	// DW_AT_specification refers to.
	Off uint64
	// Alt: Off is in the .debug_info of the alt file (Data.Alt).
	Alt bool
	// Parent is the enum of an enumerator, an offset as Off.
	Parent uint64
	// Size in bytes of a type, 0 if it says none. A typedef has the size of the struct or union without a tag that it
	// names (Untagged is set then).
	Size uint64
	// Addr, as linked, is where a function begins, or where a variable is if that is a fixed address; 0 otherwise.
	Addr uint64
	// Count is how many units have this very definition.
	Count int
	// Local definitions are inside a function.
	Local bool
	// External functions and variables are seen by other units.
	External bool
	// Placed functions have code, placed variables a location or a value.
	Placed bool
	// Declared functions and variables are defined nowhere that debug information is of: in assembler, or by the linker.
	// Off is a declaration.
	Declared bool
	// Untagged: see Size.
	Untagged bool
}

// Ref names the entry that h is about.
func (h Hit) Ref(d *dwarfinfo.Data) dwarfinfo.Ref {
	if h.Alt {
		d = d.Alt
	}
	return dwarfinfo.Ref{Data: d, Off: h.Off}
}

// Options of Open. The zero value scans with as many goroutines as there are CPUs and keeps nothing.
type Options struct {
	// CacheDir is where indexes are kept as files; "" for nowhere.
	CacheDir string
	// BuildID of the file that the index is of, in hexadecimal; "" if it has none.
	BuildID string
	// Jobs is how many goroutines scan; 0 for as many as there are CPUs.
	Jobs int
	Log  *slog.Logger // may be nil
	// Progress is told from time to time how many bytes of .debug_info have been read. May be nil; it is called by one
	// goroutine at a time.
	Progress func(done, total int64)
}

// Index knows where things are defined. It is immutable and safe for many goroutines.
type Index struct {
	name   string // of the file, for messages
	image  *image
	mapped *mapfile.File
	writer sync.WaitGroup
	cached bool
}

// Open takes the index of d from the cache if a right one is there; otherwise it scans d, and writes the cache meanwhile its
// caller goes on (see Close).
func Open(ctx context.Context, d *dwarfinfo.Data, opt Options) (*Index, error) {
	opt = withDefaults(opt)
	c := newStore(d, opt)
	if x := c.load(); x != nil {
		return x, nil
	}
	b, err := build(ctx, d, opt)
	if err != nil {
		return nil, err
	}
	img, err := parseImage(b)
	if err != nil {
		return nil, err
	}
	x := &Index{name: d.Name, image: img}
	x.writer.Go(func() { c.save(b) })
	return x, nil
}

func withDefaults(opt Options) Options {
	if opt.Log == nil {
		opt.Log = slog.New(slog.DiscardHandler)
	}
	if opt.Jobs <= 0 {
		opt.Jobs = runtime.GOMAXPROCS(0)
	}
	return opt
}

// Cached reports whether the index came from the cache.
func (x *Index) Cached() bool { return x.cached }

// Wait returns when the cache has been written; it is not asked to do so in vain. Whoever ends the program calls it.
func (x *Index) Wait() { x.writer.Wait() }

// Close waits as Wait does and lets go of the index, which must not be used afterwards.
func (x *Index) Close() error {
	x.Wait()
	if x.mapped == nil {
		return nil
	}
	return x.mapped.Close()
}

// guard runs f, which reads what may be mapped. A file that fails while it is read knows nothing.
func (x *Index) guard(f func()) {
	if x.mapped == nil {
		f()
		return
	}
	_ = mapfile.Guard(x.name, func() error { f(); return nil })
}

// Find returns the definitions of a name. Several definitions of a type differ in size or line; that of most units comes
// first, those inside functions last. Functions that have code come before those that were inlined everywhere, what
// other units see before what is static. At most 256 are kept.
func (x *Index) Find(kind Kind, name string) (hits []Hit) {
	x.guard(func() {
		i, ok := x.image.find(name)
		if !ok || x.image.kinds(i)&(1<<kind) == 0 {
			return
		}
		for p := x.image.records(i); len(p) > 0; p = p[recordSize:] {
			if r := readRecord(p); r.kind == kind {
				hits = append(hits, r.hit())
			}
		}
	})
	return hits
}

// chunk is how many names an iteration reads before it yields them: nothing mapped is read while the caller works.
const chunk = 512

// Names yields the names of that kind, each once, in no special order.
func (x *Index) Names(kind Kind) iter.Seq[string] {
	return func(yield func(string) bool) {
		for from := uint32(0); from < x.image.count; from += chunk {
			var some []string
			x.guard(func() {
				for i := from; i < min(from+chunk, x.image.count); i++ {
					if x.image.kinds(i)&(1<<kind) != 0 {
						some = append(some, string(x.image.name(i)))
					}
				}
			})
			for _, s := range some {
				if !yield(s) {
					return
				}
			}
		}
	}
}

// NamesWithPrefix returns the sorted names of those kinds, or of any kind if none is given, that begin with prefix.
func (x *Index) NamesWithPrefix(prefix string, kinds ...Kind) (names []string) {
	mask := uint32(0)
	for _, k := range kinds {
		mask |= 1 << k
	}
	if len(kinds) == 0 {
		mask = ^mask
	}
	x.guard(func() {
		for i := range x.image.count {
			if text := x.image.name(i); len(text) >= len(prefix) && string(text[:len(prefix)]) == prefix && x.image.kinds(i)&mask != 0 {
				names = append(names, string(text))
			}
		}
	})
	slices.Sort(names)
	return names
}
