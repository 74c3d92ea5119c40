package main

import (
	"errors"
	"fmt"
	"io"

	"kdx/dumpfmt/flattened"
)

// errLimit is wrapped by errors of outputs that are as large as they may be.
var errLimit = errors.New("the size limit is reached")

// limited is a file that must not grow beyond a size.
type limited struct {
	flattened.File
	limit int64
}

func limitFile(f flattened.File, limit int64) flattened.File {
	if limit == 0 {
		return f
	}
	return &limited{f, limit}
}

func (l *limited) WriteAt(p []byte, off int64) (int, error) {
	room := max(0, l.limit-off)
	if int64(len(p)) <= room {
		return l.File.WriteAt(p, off)
	}
	n := 0
	if room > 0 {
		var err error
		if n, err = l.File.WriteAt(p[:room], off); err != nil {
			return n, err
		}
	}
	return n, fmt.Errorf("%w (%d bytes)", errLimit, l.limit)
}

// limitedStream is a stream of which no more than a size must come.
type limitedStream struct {
	w           io.Writer
	room, limit int64
}

func limitStream(w io.Writer, limit int64) io.Writer {
	if limit == 0 {
		return w
	}
	return &limitedStream{w, limit, limit}
}

func (l *limitedStream) Write(p []byte) (int, error) {
	if int64(len(p)) > l.room {
		return 0, fmt.Errorf("%w (%d bytes)", errLimit, l.limit)
	}
	n, err := l.w.Write(p)
	l.room -= int64(n)
	return n, err
}
