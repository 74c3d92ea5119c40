package debuginfod

import (
	"io/fs"
	"syscall"
	"time"
)

func lastUse(fi fs.FileInfo) time.Time {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok {
		return time.Unix(st.Atim.Unix())
	}
	return fi.ModTime()
}
