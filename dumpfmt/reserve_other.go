//go:build !linux

package dumpfmt

// Reserve does nothing: disk space is taken as it is written.
func Reserve(Output, int64, int64) error { return nil }
