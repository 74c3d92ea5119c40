//go:build !linux

package filecache

import "io/fs"

func owner(fs.FileInfo) (uid int, ok bool) { return 0, false }

// stamp is unknown here, so that each file is read whole before it is believed.
func stamp(fs.FileInfo) string { return "" }
