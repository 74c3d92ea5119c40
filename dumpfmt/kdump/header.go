// Package kdump reads and writes the kdump-compressed format (makedumpfile, QEMU) and reads its ancestor diskdump.
//
//	block 0          main header: uname, block size (a page), sizes of what follows
//	block 1 …        sub header, ELF notes
//	bitmap 1         one bit a page: there is RAM
//	bitmap 2         one bit a page: the dump holds it
//	descriptors      24 bytes for each bit that is set in bitmap 2: where, how long, which compression
//	pages
//
// Pages of zeros may share one copy. A split set is several files with the same headers and bitmaps, each with the
// descriptors of its own range of pages.
package kdump

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"

	"kdx/dumpfmt"
)

const (
	sigKdump    = "KDUMP   "
	sigDiskdump = "DISKDUMP"

	// maxVersion is the newest header version whose fields are known (makedumpfile 1.5.4). Later ones only add.
	maxVersion = 6

	statusIncomplete = 0x8

	utsLen = 65
	utsOff = 12

	// maxPFNs bounds max_mapnr: 2^40 pages of 4 KiB are all that 52 physical address bits can reach.
	maxPFNs = 1 << 40
)

// Probe reports whether a file that begins with head is kdump-compressed or diskdump.
func Probe(head []byte) bool {
	return bytes.HasPrefix(head, []byte(sigKdump)) || bytes.HasPrefix(head, []byte(sigDiskdump))
}

// layout is where the main header's members are, which depends on the width of a long of the dumping system.
type layout struct {
	word         int
	sec, usec    int
	status       int
	blockSize    int
	subSize      int
	bitmapBlocks int
	maxMapnr     int
	nrCPUs       int
	size         int
}

var (
	layout32 = layout{word: 4, sec: 404, usec: 408, status: 412, blockSize: 416, subSize: 420, bitmapBlocks: 424, maxMapnr: 428, nrCPUs: 448, size: 452}
	layout64 = layout{word: 8, sec: 408, usec: 416, status: 424, blockSize: 428, subSize: 432, bitmapBlocks: 436, maxMapnr: 440, nrCPUs: 460, size: 464}
)

// subLayout is the same for the sub header. Structs of 32-bit systems differ in whether 64-bit members are aligned
// (arm, mips) or not (i386).
type subLayout struct {
	word                            int
	physBase, level, split          int
	start, end                      int
	vmcoreinfo, note, erase         int // offset i64, followed by a long: the size
	start64, end64, maxMapnr64, len int
}

var (
	sub64 = subLayout{word: 8, level: 8, split: 12, start: 16, end: 24, vmcoreinfo: 32, note: 48, erase: 64,
		start64: 80, end64: 88, maxMapnr64: 96, len: 104}
	sub32packed = subLayout{word: 4, level: 4, split: 8, start: 12, end: 16, vmcoreinfo: 20, note: 32, erase: 44,
		start64: 56, end64: 64, maxMapnr64: 72, len: 80}
	sub32padded = subLayout{word: 4, level: 4, split: 8, start: 12, end: 16, vmcoreinfo: 24, note: 40, erase: 56,
		start64: 72, end64: 80, maxMapnr64: 88, len: 96}
)

// header is what both headers say, checked and in the host's types.
type header struct {
	diskdump     bool
	order        binary.ByteOrder
	word         int
	version      int
	uts          dumpfmt.UTS
	timestamp    time.Time
	status       uint32
	blockSize    uint64
	subBlocks    uint64
	bitmapBlocks uint64
	maxMapnr     uint64
	nrCPUs       int32

	physBase         uint64
	level            int // -1 if the version doesn't have it
	split            bool
	start, end       uint64 // pfns of this part
	vmcoreinfo, note span
	erase            span
	subLayout        *subLayout // nil if there is no sub header
}

// span is a part of the file, in bytes.
type span struct{ off, size int64 }

func (h *header) bitmapAt() int64 { return int64((1 + h.subBlocks) * h.blockSize) }

func (h *header) descAt() int64 { return int64((1 + h.subBlocks + h.bitmapBlocks) * h.blockSize) }

// bitmapSize is the size in bytes that one bitmap must have.
func (h *header) bitmapSize() uint64 {
	n := (h.maxMapnr + 7) / 8
	return (n + h.blockSize - 1) / h.blockSize * h.blockSize
}

// single reports whether the file has one bitmap only, as full diskdumps do.
func (h *header) single() bool { return h.bitmapBlocks*h.blockSize < 2*h.bitmapSize() }

func readHeader(f *dumpfmt.File) (*header, error) {
	var buf [512]byte
	n, err := f.ReadFull(buf[:], 0)
	if n < layout64.size {
		return nil, &dumpfmt.FormatError{File: f.Name, Msg: fmt.Sprintf("reading the first header: got %d bytes of %d", n, layout64.size), Err: err}
	}
	h := detect(buf[:])
	if !f.Came(0, int64(layout64.size)) {
		return nil, errHeaderLost(f, 0)
	}
	if h == nil {
		return nil, &dumpfmt.FormatError{File: f.Name,
			Msg: "the header makes no sense in any word size and byte order (block size, bitmap size and page count contradict each other)"}
	}
	if err := h.readSub(f); err != nil {
		return nil, err
	}
	if h.maxMapnr > maxPFNs {
		return nil, &dumpfmt.FormatError{File: f.Name, Offset: int64(h.blockSize), Msg: fmt.Sprintf("%#x pages are more than any machine has", h.maxMapnr)}
	}
	return h, nil
}

// detect finds the word size and byte order under which the main header makes sense. The machine's name breaks a tie.
func detect(b []byte) *header {
	var best *header
	bestScore := -1
	for _, l := range []*layout{&layout32, &layout64} {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			h := parseMain(b, l, order)
			score := h.plausible()
			if score > bestScore {
				best, bestScore = h, score
			}
		}
	}
	return best
}

func parseMain(b []byte, l *layout, order binary.ByteOrder) *header {
	h := &header{
		diskdump: string(b[:8]) == sigDiskdump, order: order, word: l.word,
		version:      int(int32(order.Uint32(b[8:]))),
		status:       order.Uint32(b[l.status:]),
		blockSize:    uint64(order.Uint32(b[l.blockSize:])),
		subBlocks:    uint64(order.Uint32(b[l.subSize:])),
		bitmapBlocks: uint64(order.Uint32(b[l.bitmapBlocks:])),
		maxMapnr:     uint64(order.Uint32(b[l.maxMapnr:])),
		nrCPUs:       int32(order.Uint32(b[l.nrCPUs:])),
		level:        -1,
	}
	sec, usec := int64(int32(order.Uint32(b[l.sec:]))), int64(int32(order.Uint32(b[l.usec:])))
	if l.word == 8 {
		sec, usec = int64(order.Uint64(b[l.sec:])), int64(order.Uint64(b[l.usec:]))
	}
	if sec > 0 && sec < 1<<40 && usec >= 0 && usec < 1e6 {
		h.timestamp = time.Unix(sec, usec*1000).UTC()
	}
	for i, s := range []*string{&h.uts.Sysname, &h.uts.Nodename, &h.uts.Release, &h.uts.Version, &h.uts.Machine, &h.uts.Domainname} {
		*s = cString(b[utsOff+i*utsLen:][:utsLen])
	}
	return h
}

func cString(b []byte) string {
	s, _, _ := bytes.Cut(b, []byte{0})
	return strings.ToValidUTF8(string(s), "\uFFFD")
}

// plausible is -1 for a header that can't be, otherwise the better the higher.
func (h *header) plausible() int {
	if !dumpfmt.ValidPageSize(h.blockSize) || h.subBlocks > 1<<20 || h.version < 0 || h.version > 1<<16 {
		return -1
	}
	if h.subBlocks == 0 && !h.diskdump {
		return -1
	}
	// max_mapnr is 32 bits wide here and may have been cut; what counts since version 6 is in the sub header.
	if 8*h.bitmapBlocks*h.blockSize < h.maxMapnr {
		return -1
	}
	switch _, word := machine(h.uts.Machine, h.order, h.word); {
	case h.uts.Machine == "":
		return 0
	case word == h.word:
		return 1
	}
	return 0
}

// machine maps a uname's machine to the name that kdx uses, and the size of a long.
func machine(name string, order binary.ByteOrder, word int) (dumpfmt.Machine, int) {
	switch name {
	case "x86_64", "aarch64", "s390x", "riscv64", "loongarch64", "ia64", "alpha", "ppc64le":
		return dumpfmt.Machine(name), 8
	case "ppc64":
		if order == binary.LittleEndian {
			return dumpfmt.MachinePPC64LE, 8
		}
		return dumpfmt.MachinePPC64, 8
	case "aarch64_be":
		return dumpfmt.MachineAArch64, 8
	case "ppc", "s390":
		return dumpfmt.Machine(name), 4
	case "mips", "mips64":
		return dumpfmt.MachineMIPS, word
	}
	if len(name) == 4 && name[0] == 'i' && name[2:] == "86" {
		return dumpfmt.MachineI386, 4
	}
	if strings.HasPrefix(name, "arm") {
		return dumpfmt.MachineARM, 4
	}
	return dumpfmt.MachineUnknown, word
}

func (h *header) readSub(f *dumpfmt.File) error {
	h.end = math.MaxUint64
	if h.diskdump || h.version < 1 {
		return nil
	}
	var buf [128]byte
	if n, err := f.ReadFull(buf[:], int64(h.blockSize)); n < sub64.len {
		return &dumpfmt.FormatError{File: f.Name, Offset: int64(h.blockSize), Msg: fmt.Sprintf("reading the sub header: got %d bytes of %d", n, sub64.len), Err: err}
	}
	if !f.Came(int64(h.blockSize), int64(h.subLen())) {
		return errHeaderLost(f, int64(h.blockSize))
	}
	l := &sub64
	if h.word == 4 {
		l = &sub32packed
		if h.version >= 3 && !h.spanFits(l.span(h.order, buf[:], l.vmcoreinfo)) {
			l = &sub32padded
		}
	}
	h.subLayout = l
	long := func(off int) uint64 { return l.long(h.order, buf[off:]) }
	h.physBase = long(l.physBase)
	h.level = int(int32(h.order.Uint32(buf[l.level:])))
	if h.version >= 2 {
		h.split = h.order.Uint32(buf[l.split:]) != 0
		h.start, h.end = long(l.start), long(l.end)
	}
	if h.version >= 3 {
		h.vmcoreinfo = l.span(h.order, buf[:], l.vmcoreinfo)
	}
	if h.version >= 4 {
		h.note = l.span(h.order, buf[:], l.note)
	}
	if h.version >= 5 {
		h.erase = l.span(h.order, buf[:], l.erase)
	}
	if h.version >= 6 {
		h.start, h.end = h.order.Uint64(buf[l.start64:]), h.order.Uint64(buf[l.end64:])
		if v := h.order.Uint64(buf[l.maxMapnr64:]); v != 0 {
			h.maxMapnr = v
		}
	}
	if !h.split {
		h.start, h.end = 0, math.MaxUint64
	}
	return nil
}

// subLen is how much of the sub header says something in the header's version.
func (h *header) subLen() int {
	l := &sub32padded // the longer one
	if h.word == 8 {
		l = &sub64
	}
	switch {
	case h.version >= 6:
		return l.len
	case h.version >= 5:
		return l.start64
	case h.version >= 4:
		return l.erase
	case h.version >= 3:
		return l.note
	case h.version >= 2:
		return l.vmcoreinfo
	}
	return l.split
}

// errLost is wrapped by errors of headers that did not come.
var errLost = errors.New("the flattened stream ended before the headers came")

func errHeaderLost(f *dumpfmt.File, at int64) error {
	return &dumpfmt.FormatError{File: f.Name, Offset: at, Msg: "reading the headers", Err: errLost}
}

func (l *subLayout) long(order binary.ByteOrder, b []byte) uint64 {
	if l.word == 8 {
		return order.Uint64(b)
	}
	return uint64(order.Uint32(b))
}

// span reads an offset and the size behind it.
func (l *subLayout) span(order binary.ByteOrder, b []byte, off int) span {
	return span{off: int64(order.Uint64(b[off:])), size: int64(l.long(order, b[off+8:]))}
}

// spanFits reports whether the VMCOREINFO lies where it must, behind the sub header's block's start and in front of the
// bitmaps. It tells packed sub headers from padded ones.
func (h *header) spanFits(s span) bool {
	if s == (span{}) {
		return true
	}
	end := h.bitmapAt()
	return s.off > int64(h.blockSize) && s.size >= 0 && s.off <= end && s.size <= end-s.off
}

// MarkIncomplete sets the status of a main header, the first bytes of a file, to that of an incomplete dump. It reports
// whether head is such a header.
func MarkIncomplete(head []byte) bool {
	if !bytes.HasPrefix(head, []byte(sigKdump)) || len(head) < layout64.size {
		return false
	}
	h := detect(head)
	if h == nil {
		return false
	}
	l := &layout64
	if h.word == 4 {
		l = &layout32
	}
	h.order.PutUint32(head[l.status:], h.status|statusIncomplete)
	return true
}
