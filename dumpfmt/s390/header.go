// Package s390 reads stand-alone dumps of IBM Z: what the dump tools on a DASD or SCSI disk write, and copies of it.
//
//	header | memory, as it was | end mark
//	header | segments: place, size, memory, maybe compressed | end mark          (extended, today's DASD dump tool)
//
// All numbers are big endian.
package s390

import (
	"encoding/binary"
	"fmt"
	"time"

	"kdx/dumpfmt"
)

const (
	magicPlain    = 0xa8190173618f23fd
	magicExtended = 0xa8190173618f23fe
	endMark       = "DUMP_END"
	endSize       = 8 + 8 // with the time
	headerSize    = 0x1000
	pageSize      = 4096
	pageShift     = 12
	maxMemory     = 1 << 47 // bytes; the largest machines have 64 TiB
	maxLowcores   = 512
)

// Members of the header, bytes.
const (
	hVersion  = 8
	hSize     = 12
	hPage     = 20
	hMemory   = 24
	hTime     = 56
	hArch     = 72 // 1: 31 bits, 2: 64
	hVolume   = 76
	hMulti    = 92 // 1: part of a dump over several volumes
	hCPUs     = 93
	hEntry    = 98 // bytes of memory that are compressed together
	hLowcores = 0x800
)

// header is the decoded header.
type header struct {
	extended bool
	version  uint32
	size     int64 // of itself, bytes
	memory   uint64
	tod      uint64
	machine  dumpfmt.Machine
	word     int
	entry    uint64
	lowcores []uint64 // physical addresses, of the CPUs that were online
}

// Probe reports whether a file that begins with head is a stand-alone dump.
func Probe(head []byte) bool {
	if len(head) < 8 {
		return false
	}
	magic := binary.BigEndian.Uint64(head)
	return magic == magicPlain || magic == magicExtended
}

func readHeader(f *dumpfmt.File) (*header, error) {
	be := binary.BigEndian
	fail := func(off int64, err error, format string, args ...any) error {
		return &dumpfmt.FormatError{File: f.Name, Offset: off, Msg: fmt.Sprintf(format, args...), Err: err}
	}
	b := make([]byte, headerSize)
	if n, err := f.ReadFull(b, 0); err != nil {
		return nil, fail(int64(n), err, "reading the header of a stand-alone dump of IBM Z")
	}
	if !Probe(b) {
		return nil, fail(0, nil, "not a stand-alone dump of IBM Z")
	}
	h := &header{extended: be.Uint64(b) == magicExtended, version: be.Uint32(b[hVersion:]), size: int64(be.Uint32(b[hSize:])),
		memory: be.Uint64(b[hMemory:]), tod: be.Uint64(b[hTime:]), entry: uint64(be.Uint32(b[hEntry:]))}
	if b[hMulti] != 0 || be.Uint32(b[hVolume:]) != 0 {
		return nil, fail(hMulti, nil, "this is one volume of a dump over several (volume %d); put them together first: zgetdump of the s390-tools does",
			be.Uint32(b[hVolume:]))
	}
	switch be.Uint32(b[hArch:]) {
	case 1:
		h.machine, h.word = dumpfmt.MachineS390, 4
	case 2:
		h.machine, h.word = dumpfmt.MachineS390X, 8
	default:
		return nil, fail(hArch, nil, "architecture %d is neither that of 31 nor that of 64 bits", be.Uint32(b[hArch:]))
	}
	switch {
	case h.size < headerSize || h.size > 1<<20:
		return nil, fail(hSize, nil, "a header of %d bytes can't be", h.size)
	case be.Uint32(b[hPage:]) != pageSize:
		return nil, fail(hPage, nil, "pages of %d bytes; the machine's have 4096", be.Uint32(b[hPage:]))
	case h.memory == 0 || h.memory%pageSize != 0 || h.memory > maxMemory:
		return nil, fail(hMemory, nil, "memory of %#x bytes can't be", h.memory)
	}
	for i := range min(int(be.Uint16(b[hCPUs:])), maxLowcores) {
		if at := uint64(be.Uint32(b[hLowcores+4*i:])); at != 0 {
			h.lowcores = append(h.lowcores, at)
		}
	}
	return h, nil
}

// time is when the dump was made, from the machine's clock: microseconds since 1900 in its upper 52 bits.
func (h *header) time() time.Time {
	const epoch = 0x7d91048bca000000 // of 1970
	if h.tod < epoch {
		return time.Time{}
	}
	us := (h.tod - epoch) >> 12
	return time.Unix(int64(us/1e6), int64(us%1e6)*1000).UTC()
}

// hasEnd reports whether the end mark is at off.
func hasEnd(f *dumpfmt.File, off int64) bool {
	var b [endSize]byte
	_, err := f.ReadFull(b[:], off)
	return err == nil && string(b[:8]) == endMark
}
