package symbols

// Place is a point of source that an instruction comes from.
type Place struct {
	Function string // as the source names it; "" if unknown
	File     string // as compiled, relative to the source tree's root where it can be told: "kernel/sched/core.c"
	Path     string // of File where it was compiled; absolute if the compiler said in which directory it ran
	BuildID  string // of the file that says so; "" if it has none
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
	// LineCode returns the code of a source line, sorted by file and address. file is a path as in Place, or the
	// end of one: "core.c", "sched/core.c"; more than one may end so. Where the line has no code, that of the next line of the file that has
	// some is taken, as debuggers do: LineCode says of which. ErrNotFound if no such file is known, or it has no code there
	// or behind.
	LineCode(file string, line int) ([]LineCode, error)
}

// LineCode is code that comes from one line, without a gap: [Addr, End).
type LineCode struct {
	File string // as in Place
	Line int
	Addr uint64
	End  uint64
}
