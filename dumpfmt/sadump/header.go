// Package sadump reads the dumps of Fujitsu's stand-alone dump, which firmware writes to a partition, a set of disks or, as a
// backup, to a file.
//
//	(backup: media header) | partition header | (disk set: header of the set) | dump header | states of CPUs | bitmap of RAM |
//	bitmap of what is in the dump | pages, in ascending order, as they were
//
// All is in blocks of one size, which is the page size.
package sadump

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"time"

	"kdx/dumpfmt"
)

var signature = []byte("sadump\x00\x00")

// Members of the partition header, bytes.
const (
	partID      = 88  // of the system
	partSetID   = 104 // of the disk set
	partVolume  = 120
	partTime    = 136
	partDisk    = 152 // number of the disk in the set, from 1; 0 for a single partition
	partUsed    = 160 // bytes of the device that are in use
	partFill    = 168 // words, each made of the one before, up to the end of the block
	guidSize    = 16
	timeSize    = 16
	defaultSize = 4096
)

// Members of the dump header, bytes.
const (
	dumpVersion  = 8
	dumpTime     = 16
	dumpCompress = 36
	dumpBlock    = 40
	dumpSub      = 48 // blocks of the states of CPUs
	dumpBitmap   = 52 // blocks
	dumpDumpable = 56 // blocks
	dumpMaxPFN   = 60
	dumpCPUs     = 80
	dumpMaxPFN64 = 88 // since version 1
	dumpSize     = 120
)

// Members of the header of a disk set, bytes.
const (
	setDisks  = 4
	setVolume = 16 // of disk 2 and so on
	setEntry  = 16 + 8 + 4 + 4
	maxDisks  = 16
)

// Members of a media header, bytes.
const (
	mediaID     = 0
	mediaSetID  = 16
	mediaNumber = 48
)

// Probe reports whether a file that begins with head is one of these dumps.
func Probe(head []byte) bool {
	return isPart(head) || len(head) > defaultSize && isPart(head[defaultSize:])
}

func isPart(b []byte) bool { return bytes.HasPrefix(b, signature) }

// partition is a decoded partition header.
type partition struct {
	id, setID, volume [guidSize]byte
	disk              uint32
	used              uint64
	block             int64 // its size, and that of all blocks
}

// readPartition reads the header at off. Its filling tells the size of a block.
func readPartition(f *dumpfmt.File, off int64) (partition, error) {
	le := binary.LittleEndian
	var p partition
	b := make([]byte, dumpfmt.MaxPageSize)
	n, err := f.ReadFull(b, off)
	b = b[:n]
	if n < defaultSize {
		return p, &dumpfmt.FormatError{File: f.Name, Offset: off, Msg: "reading SADUMP's partition header", Err: err}
	}
	if !isPart(b) {
		return p, &dumpfmt.FormatError{File: f.Name, Offset: off, Msg: "no partition header of SADUMP"}
	}
	end := partFill + 4
	for end+4 <= len(b) && le.Uint32(b[end:]) == (le.Uint32(b[end-4:])+7)*11 {
		end += 4
	}
	if !dumpfmt.ValidPageSize(uint64(end)) {
		return p, &dumpfmt.FormatError{File: f.Name, Offset: off + int64(end), Msg: "the filling of SADUMP's partition header ends here, which is no size of a block"}
	}
	p.block = int64(end)
	copy(p.id[:], b[partID:])
	copy(p.setID[:], b[partSetID:])
	copy(p.volume[:], b[partVolume:])
	p.disk, p.used = le.Uint32(b[partDisk:]), le.Uint64(b[partUsed:])
	return p, nil
}

// efiTime decodes UEFI's time; the zero time if it is none.
func efiTime(b []byte) time.Time {
	le := binary.LittleEndian
	const unspecified = 2047
	year, month, day := int(le.Uint16(b)), int(b[2]), int(b[3])
	if year < 1970 || year > 9999 || month < 1 || month > 12 || day < 1 || day > 31 {
		return time.Time{}
	}
	t := time.Date(year, time.Month(month), day, int(b[4]), int(b[5]), int(b[6]), 0, time.UTC)
	if zone := int16(le.Uint16(b[12:])); zone != unspecified {
		t = t.Add(time.Duration(zone) * time.Minute) // UTC is local time plus the zone
	}
	return t
}

// dumpHeader is a decoded dump header.
type dumpHeader struct {
	version, compress      uint32
	sub, bitmap, dumpable  int64 // blocks
	pages                  uint64
	cpus                   uint32
	time                   time.Time
	offset                 int64 // where it is
	subAt, bitmapAt, endAt int64 // endAt: the first page's
}

func readDump(f *dumpfmt.File, off, block int64) (dumpHeader, error) {
	le := binary.LittleEndian
	h := dumpHeader{offset: off}
	fail := func(at int64, err error, format string, args ...any) error {
		return &dumpfmt.FormatError{File: f.Name, Offset: off + at, Msg: fmt.Sprintf(format, args...), Err: err}
	}
	var b [dumpSize]byte
	if _, err := f.ReadFull(b[:], off); err != nil {
		return h, fail(0, err, "reading SADUMP's dump header")
	}
	if !bytes.HasPrefix(b[:], signature) {
		return h, fail(0, nil, "SADUMP's dump header should begin here; the device may be prepared for a dump, but hold none")
	}
	if v := int64(le.Uint32(b[dumpBlock:])); v != block {
		return h, fail(dumpBlock, nil, "SADUMP's dump header says that a block has %d bytes, the partition header has %d", v, block)
	}
	h.version, h.compress = le.Uint32(b[dumpVersion:]), le.Uint32(b[dumpCompress:])
	h.time = efiTime(b[dumpTime : dumpTime+timeSize])
	h.sub, h.bitmap, h.dumpable = int64(le.Uint32(b[dumpSub:])), int64(le.Uint32(b[dumpBitmap:])), int64(le.Uint32(b[dumpDumpable:]))
	h.cpus = le.Uint32(b[dumpCPUs:])
	h.pages = uint64(le.Uint32(b[dumpMaxPFN:]))
	if h.version >= 1 {
		h.pages = le.Uint64(b[dumpMaxPFN64:])
	}
	h.subAt = off + block
	h.bitmapAt = h.subAt + h.sub*block
	h.endAt = h.bitmapAt + (h.bitmap+h.dumpable)*block
	bits := uint64(min(h.bitmap, h.dumpable)*block) * 8
	switch {
	case h.bitmap == 0 || h.dumpable == 0 || max(h.bitmap, h.dumpable)*block > maxBitmap:
		return h, fail(dumpBitmap, nil, "bitmaps of %d and %d blocks can't be", h.bitmap, h.dumpable)
	case h.pages == 0 || h.pages > bits:
		return h, fail(dumpMaxPFN, nil, "memory of %#x pages does not fit bitmaps of %#x", h.pages, bits)
	}
	return h, nil
}
