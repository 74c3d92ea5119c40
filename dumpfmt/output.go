package dumpfmt

import "io"

// Output takes the bytes of a dump at their offsets: a file, or a stream in flattened form (flattened.NewWriter).
// Ranges that are never written must read as zeros.
type Output interface{ io.WriterAt }
