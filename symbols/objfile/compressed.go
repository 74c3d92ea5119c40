package objfile

import (
	"debug/elf"
	"encoding/binary"
	"errors"

	"github.com/klauspost/compress/zlib"
)

// decompressOld reads the form that binutils wrote before SHF_COMPRESSED (2015): ".zdebug_info", "ZLIB", the size as eight
// bytes big-endian, a zlib stream.
func decompressOld(s *elf.Section) ([]byte, error) {
	r := s.Open()
	var head [12]byte
	if _, err := r.Read(head[:]); err != nil {
		return nil, err
	}
	if string(head[:4]) != "ZLIB" {
		return nil, errors.New("its name says compressed, but it does not begin with ZLIB")
	}
	z, err := zlib.NewReader(r)
	if err != nil {
		return nil, err
	}
	return decompress(z, binary.BigEndian.Uint64(head[4:]), s.FileSize)
}
