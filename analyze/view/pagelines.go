package view

import (
	"bufio"
	"encoding/json"
	"io"
	"iter"
)

// PageLines is kmem -p: a line a page. Its JSON is an array of PageLine.
type PageLines iter.Seq[PageLine]

// Text writes crash's table.
func (l PageLines) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriterSize(w, 64<<10)
	bw.WriteString(pageHeader)
	for p := range l {
		p.text(bw)
	}
	return bw.Flush()
}

// StreamJSON writes the array.
func (l PageLines) StreamJSON(w io.Writer) error {
	sep := "["
	for p := range l {
		b, err := json.Marshal(p)
		if err != nil {
			return err
		}
		if _, err := io.WriteString(w, sep+string(b)); err != nil {
			return err
		}
		sep = ",\n"
	}
	if sep == "[" {
		sep = "[]"
	} else {
		sep = "]"
	}
	_, err := io.WriteString(w, sep)
	return err
}
