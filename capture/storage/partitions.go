package storage

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"hash/crc32"
	"io"
	"strings"
	"unicode/utf16"
)

const maxPartitions = 256 // as many as the kernel makes

// readPartitions reads the partition table of a disk: GPT, else MBR. Sizes are not told: the kernel's are used.
func readPartitions(r io.ReaderAt, size uint64) ([]Part, error) {
	mbr, err := readAt(r, size, 0, 512)
	if mbr == nil || mbr[510] != 0x55 || mbr[511] != 0xaa {
		return nil, err
	}
	for i := range 4 {
		if mbr[446+16*i+4] != 0xee { // a GPT lies behind it
			continue
		}
		for _, sector := range []uint64{512, 4096} {
			if parts, err := readGPT(r, size, sector); parts != nil || err != nil {
				return parts, err
			}
		}
	}
	return readMBR(r, size, mbr)
}

// readGPT reads the first table. Where that is damaged the kernel makes no partitions either, unless told to by "gpt" on its command line.
func readGPT(r io.ReaderAt, size, sector uint64) ([]Part, error) {
	h, err := readAt(r, size, sector, 512)
	if h == nil || string(h[:8]) != "EFI PART" {
		return nil, err
	}
	le := binary.LittleEndian
	length, sum := le.Uint32(h[12:]), le.Uint32(h[16:])
	if length < 92 || length > 512 {
		return nil, nil
	}
	clear(h[16:20])
	if crc32.ChecksumIEEE(h[:length]) != sum {
		return nil, nil
	}
	lba, count, each := le.Uint64(h[72:]), uint64(le.Uint32(h[80:])), uint64(le.Uint32(h[84:]))
	const maxTable = 1 << 20
	if each < 128 || each > 4096 || count == 0 || count > maxTable/each || lba > size/sector {
		return nil, nil
	}
	table, err := readAt(r, size, lba*sector, int(count*each))
	if table == nil || crc32.ChecksumIEEE(table) != le.Uint32(h[88:]) {
		return nil, err
	}
	parts := []Part{}
	for i := range min(count, maxPartitions) {
		e := table[i*each:][:128]
		if bytes.Count(e[:16], []byte{0}) == 16 || le.Uint64(e[32:]) > size/sector {
			continue
		}
		parts = append(parts, Part{Number: int(i) + 1, Start: le.Uint64(e[32:]) * sector, UUID: guidText(e[16:32]), Label: utf16Text(e[56:128])})
	}
	return parts, nil
}

// readMBR follows the chain of extended partitions, too. Sectors are of 512 bytes: tables of disks with others are GPT in practice.
func readMBR(r io.ReaderAt, size uint64, mbr []byte) ([]Part, error) {
	signature := binary.LittleEndian.Uint32(mbr[440:])
	var parts []Part
	add := func(number int, start uint64) {
		p := Part{Number: number, Start: start * 512}
		if signature != 0 {
			p.UUID = fmt.Sprintf("%08x-%02x", signature, number)
		}
		parts = append(parts, p)
	}
	var extended uint64
	for i := range 4 {
		e := mbr[446+16*i:][:16]
		start := uint64(binary.LittleEndian.Uint32(e[8:]))
		if e[4] == 0 || binary.LittleEndian.Uint32(e[12:]) == 0 {
			continue
		}
		add(i+1, start)
		if isExtended(e[4]) && extended == 0 {
			extended = start
		}
	}
	seen := map[uint64]bool{}
	for at, number := extended, 5; at != 0 && !seen[at] && number < maxPartitions; {
		seen[at] = true
		ebr, err := readAt(r, size, at*512, 512)
		if err != nil {
			return parts, err
		}
		if ebr == nil || ebr[510] != 0x55 || ebr[511] != 0xaa {
			break
		}
		var next uint64
		for i := range 4 {
			e := ebr[446+16*i:][:16]
			start := uint64(binary.LittleEndian.Uint32(e[8:]))
			switch {
			case e[4] == 0 || binary.LittleEndian.Uint32(e[12:]) == 0:
			case isExtended(e[4]):
				if next == 0 {
					next = extended + start
				}
			case i < 2: // the kernel looks at others with doubts
				add(number, at+start)
				number++
			}
		}
		at = next
	}
	return parts, nil
}

func isExtended(kind byte) bool { return kind == 0x05 || kind == 0x0f || kind == 0x85 }

// guidText is a GUID, whose first three numbers are little-endian.
func guidText(p []byte) string {
	g := []byte{p[3], p[2], p[1], p[0], p[5], p[4], p[7], p[6]}
	h := hex.EncodeToString(append(g, p[8:16]...))
	return h[:8] + "-" + h[8:12] + "-" + h[12:16] + "-" + h[16:20] + "-" + h[20:]
}

func utf16Text(p []byte) string {
	var u []uint16
	for i := 0; i+2 <= len(p); i += 2 {
		c := binary.LittleEndian.Uint16(p[i:])
		if c == 0 {
			break
		}
		u = append(u, c)
	}
	return strings.TrimSpace(string(utf16.Decode(u)))
}
