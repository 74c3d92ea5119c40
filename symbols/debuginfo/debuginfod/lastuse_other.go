//go:build !linux

package debuginfod

import (
	"io/fs"
	"time"
)

func lastUse(fi fs.FileInfo) time.Time { return fi.ModTime() }
