package dumpfmt

import "context"

// Fault says what in a dump's tables contradicts itself. Pages that can't be read are no faults of this kind: reading them
// tells.
type Fault struct {
	File   string
	Offset int64 // of what is wrong, in bytes; -1 if it is at no one place
	Msg    string
}

// Checker is implemented by formats whose tables say more than reading the pages shows: that two pages lie in the same
// bytes, that bitmaps contradict each other, that a table goes on behind its end.
type Checker interface {
	// Check reads the dump's tables and tells report of each fault, in no order and from one goroutine. It reads as little
	// of the pages as it can. The error is the context's, or says what could not be read.
	Check(ctx context.Context, report func(Fault)) error
}
