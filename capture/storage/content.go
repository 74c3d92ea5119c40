package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf8"
)

// super is what a superblock says, and what of it no person needs.
type super struct {
	Content
	// devices is how many devices a btrfs is spread over.
	devices uint64
	// outside says what the filesystem keeps on another device: "journal", "log" or "realtime part".
	outside string
	md      *mdSuper
}

// readContent reads the superblock on a device of so many bytes. An error is one of reading; a device on which nothing is recognised has a nil super.
// What makes a device a part of something else is looked for first: a mirror with its superblock at the end begins with a filesystem, too.
func readContent(r io.ReaderAt, size uint64) (*super, error) {
	for _, read := range []func(io.ReaderAt, uint64) (*super, error){readMD, readLUKS, readLVM, readBtrfs, readXFS, readExt, readSwap} {
		s, err := read(r, size)
		if s != nil || err != nil {
			return s, err
		}
	}
	return nil, nil
}

// readAt reads n bytes; what lies beyond the end is nil rather than an error.
func readAt(r io.ReaderAt, size, off uint64, n int) ([]byte, error) {
	if off+uint64(n) > size || off > 1<<62 {
		return nil, nil
	}
	p := make([]byte, n)
	if got, err := r.ReadAt(p, int64(off)); got < n {
		if err == nil || errors.Is(err, io.EOF) {
			return nil, nil
		}
		return nil, fmt.Errorf("reading %d bytes at %d: %w", n, off, err)
	}
	return p, nil
}

func readExt(r io.ReaderAt, size uint64) (*super, error) {
	p, err := readAt(r, size, 1024, 1024)
	if p == nil || binary.LittleEndian.Uint16(p[0x38:]) != 0xef53 {
		return nil, err
	}
	compat, incompat, rocompat := binary.LittleEndian.Uint32(p[0x5c:]), binary.LittleEndian.Uint32(p[0x60:]), binary.LittleEndian.Uint32(p[0x64:])
	const (
		compatJournal  = 0x4
		incompatIsLog  = 0x8
		incompatOfExt3 = 0x2 | 0x4 | 0x10 // filetype, needs recovery, meta_bg
		rocompatOfExt3 = 0x1 | 0x2 | 0x4  // sparse superblocks, large files, btree directories
	)
	s := &super{Content: Content{Type: "ext2", UUID: uuidText(p[0x68:0x78]), Label: text(p[0x78:0x88])}}
	switch {
	case incompat&incompatIsLog != 0:
		s.Type = "jbd"
	case incompat&^uint32(incompatOfExt3) != 0 || rocompat&^uint32(rocompatOfExt3) != 0:
		s.Type = "ext4"
	case compat&compatJournal != 0:
		s.Type = "ext3"
	}
	if journal := binary.LittleEndian.Uint32(p[0xe0:]); compat&compatJournal != 0 && journal == 0 {
		s.outside = "journal"
	}
	return s, nil
}

func readXFS(r io.ReaderAt, size uint64) (*super, error) {
	p, err := readAt(r, size, 0, 512)
	if p == nil || string(p[:4]) != "XFSB" {
		return nil, err
	}
	s := &super{Content: Content{Type: "xfs", UUID: uuidText(p[32:48]), Label: text(p[108:120])}}
	switch {
	case binary.BigEndian.Uint64(p[48:]) == 0:
		s.outside = "log"
	case binary.BigEndian.Uint64(p[16:]) != 0:
		s.outside = "realtime part"
	}
	return s, nil
}

func readBtrfs(r io.ReaderAt, size uint64) (*super, error) {
	p, err := readAt(r, size, 64<<10, 4096)
	if p == nil || string(p[64:72]) != "_BHRfS_M" {
		return nil, err
	}
	return &super{
		Content: Content{Type: "btrfs", UUID: uuidText(p[32:48]), Label: text(p[299 : 299+256])},
		devices: binary.LittleEndian.Uint64(p[136:]),
	}, nil
}

func readSwap(r io.ReaderAt, size uint64) (*super, error) {
	p, err := readAt(r, size, 0, 4096)
	if p == nil || string(p[4086:]) != "SWAPSPACE2" {
		return nil, err
	}
	return &super{Content: Content{Type: "swap", UUID: uuidText(p[1036:1052]), Label: text(p[1052:1068])}}, nil
}

func readLUKS(r io.ReaderAt, size uint64) (*super, error) {
	p, err := readAt(r, size, 0, 512)
	if p == nil || string(p[:6]) != "LUKS\xba\xbe" {
		return nil, err
	}
	s := &super{Content: Content{Type: "crypto_LUKS", UUID: text(p[168:208])}}
	if binary.BigEndian.Uint16(p[6:]) == 2 {
		s.Label = text(p[24:72])
	}
	return s, nil
}

// lvmCRC is what LVM begins its checksums with.
const lvmCRC = 0xf597a6cf

// readLVM looks for the label of a physical volume in the first four sectors.
func readLVM(r io.ReaderAt, size uint64) (*super, error) {
	p, err := readAt(r, size, 0, 4*512)
	if p == nil {
		return nil, err
	}
	for i := range uint64(4) {
		s := p[512*i:][:512]
		if string(s[:8]) != "LABELONE" || string(s[24:32]) != "LVM2 001" || binary.LittleEndian.Uint64(s[8:]) != i {
			continue
		}
		if ^crc32.Update(^uint32(lvmCRC), crc32.IEEETable, s[20:]) != binary.LittleEndian.Uint32(s[16:]) {
			continue
		}
		off := binary.LittleEndian.Uint32(s[20:])
		if off > 512-32 {
			continue
		}
		return &super{Content: Content{Type: "LVM2_member", UUID: lvmUUID(s[off : off+32])}}, nil
	}
	return nil, nil
}

// lvmUUID puts the dashes in as LVM shows them.
func lvmUUID(p []byte) string {
	s := text(p)
	if len(s) != 32 {
		return s
	}
	return strings.Join([]string{s[:6], s[6:10], s[10:14], s[14:18], s[18:22], s[22:26], s[26:]}, "-")
}

// uuidText is "" for zeros.
func uuidText(p []byte) string {
	if bytes.Count(p, []byte{0}) == len(p) {
		return ""
	}
	h := hex.EncodeToString(p)
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

// text is what stands before the NUL, without spaces around it.
func text(p []byte) string {
	p, _, _ = bytes.Cut(p, []byte{0})
	s := strings.TrimSpace(string(p))
	if !utf8.ValidString(s) {
		return strings.ToValidUTF8(s, "�")
	}
	return s
}
