package view

import (
	"bufio"
	"io"
)

// blocks writes a block of text an item, with an empty line between two.
func blocks[T any](w io.Writer, items []T, block func(*bufio.Writer, T)) error {
	bw := bufio.NewWriter(w)
	for i, item := range items {
		if i > 0 {
			bw.WriteByte('\n')
		}
		block(bw, item)
	}
	return bw.Flush()
}
