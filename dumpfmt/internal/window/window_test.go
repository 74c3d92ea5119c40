package window

import (
	"bytes"
	"errors"
	"io"
	"testing"

	"kdx/dumpfmt"
)

func TestReader(t *testing.T) {
	data := []byte("0123456789")
	r := New(&dumpfmt.File{Name: "f", Size: int64(len(data)), ReaderAt: bytes.NewReader(data)}, 2, 4)
	for _, want := range []string{"23", "45", "678"} {
		if b, err := r.Take(len(want)); err != nil || string(b) != want {
			t.Errorf("Take(%d) = %q, %v; want %q", len(want), b, err, want)
		}
	}
	if b, err := r.Peek(1); err != nil || string(b) != "9" || r.Pos != 9 {
		t.Errorf("Peek(1) = %q, %v at %d; want 9 at 9", b, err, r.Pos)
	}
	if _, err := r.Take(2); !errors.Is(err, io.ErrUnexpectedEOF) || r.Pos != 9 {
		t.Errorf("behind the end: %v at %d; want that the file ends, and to stay", err, r.Pos)
	}
	r.Pos = 0
	if b, err := r.Take(3); err != nil || string(b) != "012" {
		t.Errorf("back at the start: %q, %v", b, err)
	}
}
