package target

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

// TestEarly reads a file back while others read it.
func TestEarly(t *testing.T) {
	data := bytes.Repeat([]byte("a page of a dump"), 100_000) // no multiple of a block
	change := func(t *testing.T, f *localFile) {
		if _, err := f.File.WriteAt([]byte{1}, int64(len(data))-10); err != nil {
			t.Fatal(err)
		}
	}
	again := append(bytes.Clone(data), "otherwise"...)
	copy(again[100:], "otherwise")
	for _, test := range []struct {
		name   string
		before func(t *testing.T, f *localFile)
		after  func(t *testing.T, f *localFile)
		want   []byte // nil: it differs
	}{
		{name: "as it was written", want: data},
		{name: "written to afterwards", want: again, after: func(t *testing.T, f *localFile) {
			for _, at := range []int{100, len(data)} { // the front may be written again
				if _, err := f.WriteAt([]byte("otherwise"), int64(at)); err != nil {
					t.Fatal(err)
				}
			}
		}},
		{name: "damaged", before: change},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := t.TempDir()
			made, err := (&localDir{path: dir}).Create(t.Context(), "vmcore")
			if err != nil {
				t.Fatal(err)
			}
			f := made.(*localFile)
			if _, err := f.Write(data); err != nil {
				t.Fatal(err)
			}
			if test.before != nil {
				test.before(t, f)
			}
			r, err := f.Reopen(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			defer r.Close()
			if test.after != nil {
				test.after(t, f)
			}
			w, err := f.Commit(t.Context())
			if test.want == nil {
				var differ *DifferError
				if !errors.As(err, &differ) {
					t.Errorf("Commit = %v", err)
				}
				if _, err := os.Stat(filepath.Join(dir, "vmcore"+Incomplete)); err != nil {
					t.Error(err)
				}
				return
			}
			sum := sha256.Sum256(test.want)
			if err != nil || w.Size != int64(len(test.want)) || w.SHA256 != hex.EncodeToString(sum[:]) {
				t.Errorf("Commit = %+v, %v", w, err)
			}
		})
	}
}

// TestDirect reads files of all ends by blocks.
func TestDirect(t *testing.T) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 2 * compareBuffer, 2*compareBuffer + 1, 3*compareBuffer - 1} {
		want := bytes.Repeat([]byte{1, 2, 3, 4, 5, 6, 7}, size/7+1)[:size]
		path := filepath.Join(t.TempDir(), "vmcore")
		if err := os.WriteFile(path, want, 0o600); err != nil {
			t.Fatal(err)
		}
		file, err := os.Open(path)
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		var got []byte
		for p := range ahead(&direct{file: file, size: int64(size)}, compareBuffer) {
			if p.err != nil {
				t.Fatal(p.err)
			}
			got = append(got, p.data...)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%d bytes read as %d others", size, len(got))
		}
		// What ends within a block, and should not have, is read in another way.
		short := &direct{file: file, size: int64(size) + 100}
		if _, err := io.ReadAll(short); size%directAlign != 0 && err == nil {
			t.Errorf("%d bytes of %d are taken for all", size, size+100)
		}
	}
	for range ahead(bytes.NewReader(make([]byte, 100_000)), 4096) {
		break // nobody is left behind
	}
}
