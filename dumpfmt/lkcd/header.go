// Package lkcd reads and writes the dumps of the Linux Kernel Crash Dumps project (LKCD), of kernels 2.2 to 2.6 and of tools
// that kept its format: versions 1 to 10, raw or compressed by page with run lengths or gzip.
//
//	header | what the architecture adds: registers | … | page header, page | page header, page | … | end mark
//
// Nothing says where a page is: opening a dump reads all page headers once.
package lkcd

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"math"
	"strings"
	"time"

	"kdx/dumpfmt"
)

const (
	magic     = 0xa8190173618f23ed
	magicLive = 0xa8190173618f23cd // of a system that went on running

	// Bits of the version that a maker of dumps (Mission Critical Linux) added.
	versionMCLX = 0xc0000000

	levelAll = 8 // dump level: all memory

	compressNone = 0
	compressRLE  = 1
	compressGzip = 2

	// dataStart is where pages begin up to version 8: behind the first buffer of the kernel that wrote them.
	dataStart = 64 << 10
	// maxDataStart bounds the buffer that version 9 and later name.
	maxDataStart = 1 << 30
)

// Offsets of header members that all versions share.
const (
	offVersion    = 8
	offHeaderSize = 12
	offLevel      = 16
	offPageSize   = 20
	offMemorySize = 24 // pages
	offMemoryEnd  = 40
	commonSize    = 48
	panicLen      = 256
	utsLen        = 65
)

// layout is where a version keeps the rest.
type layout struct {
	word                    int // of time, and of the task's address
	pages, panic, time, uts int
	task, compress          int // 0 if the version has none
	buffer                  int // 0 if the version has none
	size                    int
}

var (
	v1w32 = layout{word: 4, pages: 56, panic: 60, time: 316, uts: 324, size: 716}
	v1w64 = layout{word: 8, pages: 56, panic: 60, time: 320, uts: 336, size: 728}
	v2w32 = layout{word: 4, pages: 48, panic: 52, time: 308, uts: 316, task: 708, size: 712}
	v2w64 = layout{word: 8, pages: 48, panic: 52, time: 312, uts: 328, task: 720, size: 728}
	v5w32 = layout{word: 4, pages: 48, panic: 52, time: 308, uts: 316, task: 708, compress: 712, size: 724}
	v5w64 = layout{word: 8, pages: 48, panic: 52, time: 312, uts: 328, task: 720, compress: 728, size: 740}
	v8    = layout{word: 8, pages: 48, panic: 52, time: 308, uts: 324, task: 714, compress: 722, size: 734}
	v9    = layout{word: 8, pages: 48, panic: 52, time: 308, uts: 324, task: 714, compress: 722, buffer: 734, size: 742}
)

// header is a decoded dump header.
type header struct {
	order      binary.ByteOrder
	layout     *layout
	version    int
	size       int64 // of the header; what the architecture adds follows
	level      uint32
	pageSize   uint64
	pages      uint64 // as the header counts them
	compress   uint32
	bufferSize uint64
	time       time.Time
	uts        dumpfmt.UTS
	live       bool
}

// Probe reports whether a file that begins with head is an LKCD dump.
func Probe(head []byte) bool {
	_, _, ok := byteOrder(head)
	return ok
}

func byteOrder(head []byte) (order binary.ByteOrder, live, ok bool) {
	if len(head) < commonSize {
		return nil, false, false
	}
	for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
		switch order.Uint64(head) {
		case magic:
			return order, false, true
		case magicLive:
			return order, true, true
		}
	}
	return nil, false, false
}

func readHeader(f *dumpfmt.File) (*header, error) {
	fail := func(off int64, err error, format string, args ...any) error {
		return &dumpfmt.FormatError{File: f.Name, Offset: off, Msg: fmt.Sprintf(format, args...), Err: err}
	}
	b := make([]byte, 1024)
	n, err := f.ReadFull(b, 0)
	order, live, ok := byteOrder(b[:n])
	if !ok {
		return nil, fail(0, err, "not an LKCD dump")
	}
	h := &header{order: order, live: live, level: order.Uint32(b[offLevel:]), pageSize: uint64(order.Uint32(b[offPageSize:])),
		size: int64(order.Uint32(b[offHeaderSize:])), version: int(order.Uint32(b[offVersion:]) &^ versionMCLX)}
	if !dumpfmt.ValidPageSize(h.pageSize) {
		return nil, fail(offPageSize, nil, "pages of %d bytes, which no machine has", h.pageSize)
	}
	if h.layout = chooseLayout(h.version, order, b); h.layout == nil {
		return nil, fail(offVersion, nil, "version %d of LKCD's format is not known; there are 1 to 10", h.version)
	}
	l := h.layout
	if n < l.size {
		return nil, fail(int64(n), err, "the file ends inside its header")
	}
	h.pages = uint64(order.Uint32(b[l.pages:]))
	h.compress = compressRLE // the only one of versions 1 to 3
	if l.compress != 0 {
		h.compress = order.Uint32(b[l.compress:])
	}
	if l.buffer != 0 {
		h.bufferSize = order.Uint64(b[l.buffer:])
	}
	sec, usec := l.get(order, b[l.time:]), l.get(order, b[l.time+l.word:])
	if sec != 0 && sec < math.MaxInt32*4 {
		h.time = time.Unix(int64(sec), int64(usec%1e6)*1000)
	}
	h.uts = readUTS(b[l.uts:])
	return h, nil
}

func (l *layout) get(order binary.ByteOrder, b []byte) uint64 {
	if l.word == 8 {
		return order.Uint64(b)
	}
	return uint64(order.Uint32(b))
}

// chooseLayout by version. Versions before 8 depend on the word size, which nothing says: the names of the machine and its
// kernel are where they make sense.
func chooseLayout(version int, order binary.ByteOrder, b []byte) *layout {
	var narrow, wide *layout
	switch version {
	case 1:
		narrow, wide = &v1w32, &v1w64
	case 2, 3:
		narrow, wide = &v2w32, &v2w64
	case 4, 5, 6, 7:
		narrow, wide = &v5w32, &v5w64
	case 8:
		return &v8
	case 9, 10:
		return &v9
	default:
		return nil
	}
	if !sane(b[narrow.uts:]) && sane(b[wide.uts:]) {
		return wide
	}
	return narrow
}

// sane reports whether six names of a struct new_utsname stand at b: printable, and filled up with zeros.
func sane(b []byte) bool {
	for i := range 6 {
		name, rest, ended := bytes.Cut(b[i*utsLen:(i+1)*utsLen], []byte{0})
		if !ended || len(bytes.Trim(rest, "\x00")) > 0 || i != 5 && i != 1 && len(name) == 0 {
			return false
		}
		for _, c := range name {
			if c < ' ' || c > '~' {
				return false
			}
		}
	}
	return true
}

func readUTS(b []byte) dumpfmt.UTS {
	name := func(i int) string {
		s, _, _ := bytes.Cut(b[i*utsLen:(i+1)*utsLen], []byte{0})
		return strings.ToValidUTF8(string(s), "?")
	}
	return dumpfmt.UTS{Sysname: name(0), Nodename: name(1), Release: name(2), Version: name(3), Machine: name(4), Domainname: name(5)}
}

// target is the machine by its name, and the bytes of its long.
func (h *header) target() (dumpfmt.Machine, int) {
	switch m := h.uts.Machine; {
	case m == "x86_64":
		return dumpfmt.MachineX86_64, 8
	case len(m) == 4 && m[0] == 'i' && m[2:] == "86":
		return dumpfmt.MachineI386, 4
	case m == "ppc64" && h.order == binary.LittleEndian, m == "ppc64le":
		return dumpfmt.MachinePPC64LE, 8
	case m == "ppc64":
		return dumpfmt.MachinePPC64, 8
	case m == "ppc":
		return dumpfmt.MachinePPC, 4
	case m == "s390x":
		return dumpfmt.MachineS390X, 8
	case m == "s390":
		return dumpfmt.MachineS390, 4
	case m == "ia64":
		return dumpfmt.MachineIA64, 8
	case m == "alpha":
		return dumpfmt.MachineAlpha, 8
	case m == "aarch64":
		return dumpfmt.MachineAArch64, 8
	case strings.HasPrefix(m, "arm"):
		return dumpfmt.MachineARM, 4
	case strings.HasPrefix(m, "mips"):
		return dumpfmt.MachineMIPS, h.layout.word
	case m == "riscv64":
		return dumpfmt.MachineRISCV64, 8
	case m == "loongarch64":
		return dumpfmt.MachineLoongArch, 8
	}
	return dumpfmt.MachineUnknown, h.layout.word
}
