package target

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"slices"
)

// A raw partition begins with two index blocks, of which the newer whole one counts: a write that the power or a watchdog
// cuts off leaves the other. Files follow, each at a multiple of 4 KiB. docs/capture-manifest.md describes the bytes.
const (
	indexBlock   = 64 << 10
	dataStart    = 2 * indexBlock
	containerPad = 4096
	indexHead    = 24
)

var indexMagic = [8]byte{'K', 'D', 'X', 'R', 'A', 'W', 0, 1}

// Index says what lies on a raw partition.
type Index struct {
	Version int `json:"version"`
	// Sequence is one more in each index that is written.
	Sequence uint64 `json:"sequence"`
	// Dump is the name of the dump's directory; "" if the partition is empty: nothing was saved, or it was extracted.
	Dump  string      `json:"dump"`
	Files []IndexFile `json:"files"`
}

// IndexFile is a file on a raw partition.
type IndexFile struct {
	Name   string `json:"name"`
	Offset int64  `json:"offset"`
	Size   int64  `json:"size"`
	// SHA256 is "" for a file that was not finished: Size is how far it came at least.
	SHA256 string `json:"sha256"`
}

// maxIndexFiles bounds what an index may list.
const maxIndexFiles = 256

// encode is an index block.
func (x *Index) encode() ([]byte, error) {
	text, err := json.Marshal(x)
	if err != nil {
		return nil, err
	}
	if len(text) > indexBlock-indexHead {
		return nil, fmt.Errorf("the index of a raw partition has %d bytes, and there is room for %d", len(text), indexBlock-indexHead)
	}
	b := make([]byte, indexBlock)
	copy(b, indexMagic[:])
	binary.LittleEndian.PutUint64(b[8:], x.Sequence)
	binary.LittleEndian.PutUint32(b[16:], uint32(len(text)))
	copy(b[indexHead:], text)
	binary.LittleEndian.PutUint32(b[20:], indexSum(b[:indexHead+len(text)]))
	return b, nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// indexSum leaves out the place of the sum.
func indexSum(b []byte) uint32 {
	s := crc32.Checksum(b[:20], castagnoli)
	return crc32.Update(s, castagnoli, b[indexHead:])
}

// parseIndex reads an index block of a device of size bytes; ok is false if it is none, or damaged.
func parseIndex(b []byte, size int64) (*Index, bool) {
	if len(b) < indexHead || [8]byte(b[:8]) != indexMagic {
		return nil, false
	}
	n := binary.LittleEndian.Uint32(b[16:])
	if uint64(n) > uint64(len(b)-indexHead) || indexSum(b[:indexHead+int(n)]) != binary.LittleEndian.Uint32(b[20:]) {
		return nil, false
	}
	var x Index
	if json.Unmarshal(b[indexHead:indexHead+int(n)], &x) != nil || x.Version != 1 || x.Sequence != binary.LittleEndian.Uint64(b[8:]) || len(x.Files) > maxIndexFiles {
		return nil, false
	}
	if x.Dump != "" && checkName(x.Dump) != nil {
		return nil, false
	}
	for _, f := range x.Files {
		if checkName(f.Name) != nil || f.Offset < dataStart || f.Size < 0 || f.Offset > size || f.Size > size-f.Offset {
			return nil, false
		}
	}
	return &x, true
}

// readIndex finds the newest whole index; nil if there is none.
func readIndex(r io.ReaderAt, size int64) (*Index, error) {
	var newest *Index
	for i := range int64(2) {
		b := make([]byte, indexBlock)
		if n, err := r.ReadAt(b, i*indexBlock); err != nil && n < indexHead {
			if size < dataStart {
				return nil, nil
			}
			return nil, err
		}
		if x, ok := parseIndex(b, size); ok && (newest == nil || x.Sequence > newest.Sequence) {
			newest = x
		}
	}
	return newest, nil
}

// file finds an entry by its name; nil if there is none.
func (x *Index) file(name string) *IndexFile {
	if i := slices.IndexFunc(x.Files, func(f IndexFile) bool { return f.Name == name }); i >= 0 {
		return &x.Files[i]
	}
	return nil
}

// end is where the next file can begin.
func (x *Index) end() int64 {
	end := int64(dataStart)
	for _, f := range x.Files {
		end = max(end, f.Offset+f.Size)
	}
	return (end + containerPad - 1) &^ (containerPad - 1)
}

// put adds an entry, or replaces the one of that name.
func (x *Index) put(f IndexFile) {
	if old := x.file(f.Name); old != nil {
		*old = f
		return
	}
	x.Files = append(x.Files, f)
}

// remove takes an entry out.
func (x *Index) remove(name string) {
	x.Files = slices.DeleteFunc(x.Files, func(f IndexFile) bool { return f.Name == name })
}
