package storage

import (
	"encoding/binary"
	"fmt"
	"io"
	"slices"
)

// mdSuper is an md superblock (include/uapi/linux/raid/md_p.h).
type mdSuper struct {
	Array
	// events counts changes: the member with the highest number is the freshest.
	events uint64
	dirty  bool
}

const mdMagic = 0xa92b4efc

var mdLevels = map[int32]string{-1: "linear", 0: "raid0", 1: "raid1", 4: "raid4", 5: "raid5", 6: "raid6", 10: "raid10"}

// readMD looks for the superblock of an md member at the four places where it may be.
func readMD(r io.ReaderAt, size uint64) (*super, error) {
	type place struct {
		version string
		off     uint64
	}
	places := []place{{"1.2", 4096}, {"1.1", 0}}
	if sectors := size / 512; sectors >= 128*2 {
		places = append(places, place{"1.0", (sectors - 16) &^ 7 * 512}, place{"0.90", (sectors&^127 - 128) * 512})
	}
	for _, pl := range places {
		p, err := readAt(r, size, pl.off, 4096)
		if err != nil {
			return nil, err
		}
		if p == nil {
			continue
		}
		parse := parseMD1
		if pl.version == "0.90" {
			parse = parseMD0
		}
		if s := parse(p, pl.version, pl.off); s != nil {
			return s, nil
		}
	}
	return nil, nil
}

func parseMD1(p []byte, version string, off uint64) *super {
	le := binary.LittleEndian
	if le.Uint32(p) != mdMagic || le.Uint32(p[4:]) != 1 || le.Uint64(p[144:]) != off/512 {
		return nil
	}
	roles := le.Uint32(p[220:])
	if roles > (4096-256)/2 || md1Sum(p[:256+2*roles]) != le.Uint32(p[216:]) {
		return nil
	}
	m := &mdSuper{
		Array: Array{
			UUID:  mdUUID([4]uint32{binary.BigEndian.Uint32(p[16:]), binary.BigEndian.Uint32(p[20:]), binary.BigEndian.Uint32(p[24:]), binary.BigEndian.Uint32(p[28:])}),
			Level: mdLevels[int32(le.Uint32(p[72:]))], Metadata: version,
			Disks: int(le.Uint32(p[92:])), Layout: int(int32(le.Uint32(p[76:]))), Chunk: uint64(le.Uint32(p[88:])) * 512,
		},
		events: le.Uint64(p[200:]),
		dirty:  le.Uint64(p[208:]) != ^uint64(0),
	}
	return &super{Content: Content{Type: "linux_raid_member", UUID: uuidText(p[168:184]), Label: text(p[32:64]), Array: m.UUID}, md: m}
}

// md1Sum adds up a 1.x superblock as if its checksum were zero.
func md1Sum(p []byte) uint32 {
	var sum uint64
	for i := 0; i+4 <= len(p); i += 4 {
		if i != 216 {
			sum += uint64(binary.LittleEndian.Uint32(p[i:]))
		}
	}
	if len(p)%4 == 2 {
		sum += uint64(binary.LittleEndian.Uint16(p[len(p)-2:]))
	}
	return uint32(sum) + uint32(sum>>32)
}

// parseMD0 reads a 0.90 superblock, which is in the byte order of the machine that made it: words of 32 bits.
func parseMD0(p []byte, version string, _ uint64) *super {
	w := make([]uint32, 1024)
	for i := range w {
		w[i] = binary.NativeEndian.Uint32(p[4*i:])
	}
	if w[0] != mdMagic || w[1] != 0 || w[2] < 90 || w[2] > 91 {
		return nil
	}
	var sum uint64
	for i, v := range w {
		if i != 38 {
			sum += uint64(v)
		}
	}
	if uint32(sum)+uint32(sum>>32) != w[38] {
		return nil
	}
	m := &mdSuper{
		Array: Array{
			UUID: mdUUID([4]uint32{w[5], w[13], w[14], w[15]}), Level: mdLevels[int32(w[7])], Metadata: version,
			Disks: int(w[10]), Layout: int(int32(w[64])), Chunk: uint64(w[65]),
		},
		dirty: w[33]&1 == 0,
	}
	// The event counter is one number of 64 bits, whose halves lie as the machine has them.
	if binary.NativeEndian.Uint16([]byte{1, 0}) == 1 {
		m.events = uint64(w[40])<<32 | uint64(w[39])
	} else {
		m.events = uint64(w[39])<<32 | uint64(w[40])
	}
	const thisDisk = 992 // the member's own descriptor, which begins with its number
	return &super{Content: Content{Type: "linux_raid_member", UUID: fmt.Sprintf("%s:%d", m.UUID, w[thisDisk]), Array: m.UUID}, md: m}
}

// mdUUID is as mdadm shows it.
func mdUUID(w [4]uint32) string {
	if slices.Max(w[:]) == 0 {
		return ""
	}
	return fmt.Sprintf("%08x:%08x:%08x:%08x", w[0], w[1], w[2], w[3])
}
