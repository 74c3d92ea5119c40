package filecache

import (
	"cmp"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// leftover is the age at which a temporary file, or one without its meta, is nobody's any more.
const leftover = 24 * time.Hour

type used struct {
	base string
	size int64
	at   time.Time
}

// prune removes what was not used for longest until the rest fits, sparing keep; and what killed processes left behind.
// It does what it can: a file that can't be removed now goes another time.
func (c *Cache) prune(keep string) {
	entries, err := os.ReadDir(c.dir)
	if err != nil {
		return
	}
	var all []used
	var total int64
	metas := make(map[string]fs.FileInfo)
	for _, e := range entries {
		if base, ok := strings.CutSuffix(e.Name(), metaSuffix); ok {
			if fi, err := e.Info(); err == nil {
				metas[base] = fi
			}
		}
	}
	for _, e := range entries {
		fi, err := e.Info()
		if err != nil || !fi.Mode().IsRegular() {
			continue
		}
		path := filepath.Join(c.dir, e.Name())
		base, isData := strings.CutSuffix(e.Name(), dataSuffix)
		m, hasMeta := metas[base]
		switch {
		case isData && hasMeta:
			all = append(all, used{filepath.Join(c.dir, base), fi.Size(), m.ModTime()})
			total += fi.Size()
		case (isData || strings.HasSuffix(e.Name(), ".tmp")) && time.Since(fi.ModTime()) > leftover:
			os.Remove(path)
		}
	}
	slices.SortFunc(all, func(a, b used) int { return cmp.Or(a.at.Compare(b.at), strings.Compare(a.base, b.base)) })
	for _, u := range all {
		if total <= c.max {
			return
		}
		if u.base == keep {
			continue
		}
		os.Remove(u.base + metaSuffix)
		if os.Remove(u.base+dataSuffix) == nil {
			total -= u.size
		}
	}
}
