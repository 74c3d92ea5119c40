// Package flattened unfolds makedumpfile's flattened format, the form of a dump that was written to a pipe.
//
//	4096-byte header: "makedumpfile", type 1, version 1
//	records: offset, size (big endian, 64 bits), then size bytes that belong at that offset
//	end mark: offset and size -1
//
// Records come in any order and may overlap: the later one wins. What no record covers reads as zeros. The records are
// indexed once, without reading their data; a file that ends too early unfolds to what it holds, and then formats take pages that
// no record covers for lost (dumpfmt.File.NextLost).
package flattened

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"sort"

	"kdx/dumpfmt"
)

const (
	signature  = "makedumpfile\x00\x00\x00\x00"
	headerSize = 4096
	recordSize = 16
	typeFlat   = 1
	versionMax = 1

	// maxEnd bounds offsets: no file system holds more.
	maxEnd = 1 << 60
	// maxRecords bounds the index (5 bytes each, and 24 where they don't follow one another). A file of 1 TiB in records of
	// 16 KiB has 2^26.
	maxRecords = 1 << 27
)

// Probe reports whether a file that begins with head is flattened.
func Probe(head []byte) bool { return len(head) >= 32 && string(head[:16]) == signature }

// reader is the unfolded file.
type reader struct {
	src    io.ReaderAt
	pieces []piece
	places places
	size   int64
}

// piece is a stretch of the unfolded file [at, at+size); data is the place of its bytes among those of all records. Pieces
// of a reader are sorted and don't overlap.
type piece struct {
	at, size, data int64
}

// Open indexes f and returns the unfolded file, which takes f over if there was no error. progress, if not nil, is called
// now and then with the bytes done and in all.
func Open(ctx context.Context, f *dumpfmt.File, progress func(done, total int64)) (*dumpfmt.File, error) {
	var head [32]byte
	if _, err := f.ReadFull(head[:], 0); err != nil || !Probe(head[:]) {
		return nil, &dumpfmt.FormatError{File: f.Name, Msg: "not a flattened dump", Err: err}
	}
	typ, version := binary.BigEndian.Uint64(head[16:]), binary.BigEndian.Uint64(head[24:])
	if typ != typeFlat {
		return nil, &dumpfmt.FormatError{File: f.Name, Offset: 16, Msg: fmt.Sprintf("flattened dump of type %d; only type %d is known", typ, typeFlat)}
	}
	out := &dumpfmt.File{Name: f.Name, Closer: f, Flattened: true}
	if version > versionMax {
		out.Warnings = append(out.Warnings, fmt.Sprintf("flattened format of version %d; it is read as version %d", version, versionMax))
	}
	x := indexer{file: f, out: out}
	if err := x.run(ctx, progress); err != nil {
		return nil, err
	}
	r := &reader{src: f.ReaderAt, pieces: resolve(x.pieces), places: x.places}
	for _, p := range r.pieces {
		r.size = max(r.size, p.at+p.size)
	}
	out.ReaderAt, out.Size = r, r.size
	return out, nil
}

// indexer walks the records.
type indexer struct {
	file   *dumpfmt.File
	out    *dumpfmt.File
	pieces []piece // in the order of the file
	places places
	buf    []byte // a window of the file
	bufAt  int64
	back   []byte
}

// Windows: records that are larger than one page of the reader's are skipped by seeking, smaller ones by reading on.
const (
	smallWindow = recordSize
	largeWindow = 128 << 10
	smallRecord = 4 << 10
)

func (x *indexer) run(ctx context.Context, progress func(done, total int64)) error {
	window := int64(largeWindow)
	for pos, n := int64(headerSize), 0; ; n++ {
		if n%4096 == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if progress != nil {
				progress(min(pos, x.file.Size), x.file.Size)
			}
		}
		head, err := x.header(pos, window)
		if err != nil {
			if errors.Is(err, io.ErrUnexpectedEOF) {
				x.cut("the file ends at byte %#x without the end mark of a flattened dump", x.file.Size)
				return nil
			}
			return &dumpfmt.FormatError{File: x.file.Name, Offset: pos, Msg: "reading a record of the flattened dump", Err: err}
		}
		at, size := int64(binary.BigEndian.Uint64(head)), int64(binary.BigEndian.Uint64(head[8:]))
		if at == -1 && size == -1 {
			if progress != nil {
				progress(x.file.Size, x.file.Size)
			}
			return nil
		}
		if at < 0 || size <= 0 || at > maxEnd || size > maxEnd {
			x.cut("the record at byte %#x says %d bytes for offset %#x, which can't be: what follows was left out", pos, size, at)
			return nil
		}
		if n == maxRecords {
			x.cut("more than %d records: what follows was left out", n)
			return nil
		}
		pos += recordSize
		have := min(size, x.file.Size-pos)
		if have > 0 {
			x.add(at, have)
		}
		pos += size
		window = smallWindow
		if size < smallRecord {
			window = largeWindow
		}
	}
}

// add notes a record, as part of the piece before if it goes on there.
func (x *indexer) add(at, size int64) {
	data := x.places.add(size)
	if n := len(x.pieces); n > 0 && x.pieces[n-1].at+x.pieces[n-1].size == at {
		x.pieces[n-1].size += size
		return
	}
	x.pieces = append(x.pieces, piece{at: at, size: size, data: data})
}

// cut notes that the stream ended too early. What was indexed stays good.
func (x *indexer) cut(format string, args ...any) {
	x.out.Incomplete = true
	x.out.Warnings = append(x.out.Warnings, fmt.Sprintf(format, args...))
}

func (x *indexer) header(pos, window int64) ([]byte, error) {
	if pos >= x.bufAt && pos+recordSize <= x.bufAt+int64(len(x.buf)) {
		return x.buf[pos-x.bufAt:], nil
	}
	if x.back == nil {
		x.back = make([]byte, largeWindow)
	}
	n, err := x.file.ReadFull(x.back[:window], pos)
	x.buf, x.bufAt = x.back[:n], pos
	if n < recordSize {
		return nil, err
	}
	return x.buf, nil
}

// ReadAt reads the unfolded file.
func (r *reader) ReadAt(p []byte, off int64) (int, error) {
	if off < 0 {
		return 0, errors.New("negative offset")
	}
	n := 0
	i := r.find(off)
	for n < len(p) {
		at := off + int64(n)
		if at >= r.size {
			return n, io.EOF
		}
		rest := p[n:]
		next := r.pieces[i] // there is one, as at < size
		if at < next.at {
			gap := min(int64(len(rest)), next.at-at)
			clear(rest[:gap])
			n += int(gap)
			continue
		}
		skip := at - next.at
		pos, left := r.places.find(next.data + skip)
		want := min(int64(len(rest)), next.size-skip, left)
		m, err := r.src.ReadAt(rest[:want], pos)
		n += m
		if int64(m) < want {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return n, err
		}
		if skip+want == next.size {
			i++
		}
	}
	return n, nil
}

// find returns the index of the first piece that ends behind off.
func (r *reader) find(off int64) int {
	return sort.Search(len(r.pieces), func(i int) bool { return r.pieces[i].at+r.pieces[i].size > off })
}

// NextData returns the offset of the first byte at or behind off that a record covers, or size.
func (r *reader) NextData(off, size int64) int64 {
	i := r.find(off)
	if i == len(r.pieces) {
		return size
	}
	return max(off, r.pieces[i].at)
}

// NextGap returns the offset of the first byte at or behind off that no record covers, or size.
func (r *reader) NextGap(off, size int64) int64 {
	for i := r.find(off); i < len(r.pieces) && r.pieces[i].at <= off; i++ {
		off = r.pieces[i].at + r.pieces[i].size
	}
	return min(off, size)
}
