//go:build !linux

package dumpfmt

import "os"

type fileReader struct{ *os.File }

func readerOf(f *os.File, _ int64) readerAtCloser { return fileReader{f} }
