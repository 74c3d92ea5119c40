package target

import (
	"bytes"
	"io"
)

// signature is how a filesystem, or whatever else owns a partition, is recognised.
type signature struct {
	name  string
	off   int64
	magic string
}

var signatures = []signature{
	{"ext2, ext3 or ext4", 0x438, "\x53\xef"},
	{"xfs", 0, "XFSB"},
	{"btrfs", 0x10040, "_BHRfS_M"},
	{"LVM", 0x218, "LVM2 001"},
	{"LVM", 0x18, "LVM2 001"},
	{"LUKS", 0, "LUKS\xba\xbe"},
	{"md (RAID)", 0, "\xfc\x4e\x2b\xa9"},
	{"md (RAID)", 4096, "\xfc\x4e\x2b\xa9"},
	{"swap", 4096 - 10, "SWAPSPACE2"},
	{"swap", 4096 - 10, "SWAP-SPACE"},
	{"a suspended machine", 4096 - 10, "S1SUSPEND"},
	{"vfat", 0x52, "FAT32"},
	{"vfat", 0x36, "FAT1"},
	{"ntfs", 3, "NTFS    "},
	{"exfat", 3, "EXFAT   "},
	{"a partition table (GPT)", 512, "EFI PART"},
	{"a partition table (GPT)", 4096, "EFI PART"},
	{"squashfs", 0, "hsqs"},
	{"erofs", 1024, "\xe2\xe1\xf5\xe0"},
	{"f2fs", 1024, "\x10\x20\xf5\xf2"},
	{"iso9660", 0x8001, "CD001"},
	{"bcachefs or bcache", 4096 + 24, "\xc6\x85\x73\xf6\x4e\x1a\x45\xca"},
	{"zfs", 0x20000 + 0, "\x0c\xb1\xba\x00\x00\x00\x00\x00"},
	{"a dump of makedumpfile", 0, "makedumpfile\x00"},
}

// owner is what a partition belongs to by its signatures; "" if nobody says that it is his.
func owner(r io.ReaderAt) string {
	for _, s := range signatures {
		b := make([]byte, len(s.magic))
		if n, _ := r.ReadAt(b, s.off); n == len(b) && bytes.Equal(b, []byte(s.magic)) {
			return s.name
		}
	}
	return ""
}
