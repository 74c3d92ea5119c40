package symbols

// Place is a point of source that an instruction comes from.
type Place struct {
	Function string // as the source names it; "" if unknown
	File     string // as compiled, relative to the source tree's root where it can be told: "kernel/sched/core.c"
	Dir      string // directory that a relative File refers to; "" if unknown
	Line     int    // from 1; 0 if the code belongs to no line
	Column   int    // from 1; 0 if unknown
	Inlined  bool   // Function's body was put into the function of the next Place
}

// SourceFinder knows source lines. Addresses are of the running kernel. Methods are safe for many goroutines.
type SourceFinder interface {
	Name() string
	// PlacesAt returns where the instruction at pc comes from: the innermost inlined function first, the function that
	// has code of its own last. For return addresses the caller passes pc-1. ErrNotFound where nothing is known.
	PlacesAt(pc uint64) ([]Place, error)
	// LineAddrs returns the addresses, sorted, at which code of that line begins. file is the end of a path:
	// "core.c", "sched/core.c". ErrNotFound if no such file is known or the line has no code.
	LineAddrs(file string, line int) ([]uint64, error)
}
