package dumpfmt

import "io"

// Output takes the bytes of a dump at their offsets: a file, or a stream in flattened form (flattened.NewWriter).
// Ranges that are never written must read as zeros.
type Output interface{ io.WriterAt }

// Recorder is implemented by outputs that become a stream of records. If that is cut short, what no record has can't be told from what
// was on its way: tables had better be written with their zeros.
type Recorder interface {
	Records() bool
}
