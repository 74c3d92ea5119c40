//go:build !linux

package dumpfmt

import "os"

type fileReader struct{ *os.File }
