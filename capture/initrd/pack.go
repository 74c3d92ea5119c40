package initrd

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"kdx/internal/unpack"
)

// choice are the ways to pack, the best first. All write what the kernel's own decompressors read.
var choice = []unpack.Format{unpack.Zstd, unpack.XZ, unpack.Gzip, unpack.None}

// window of what is packed, in bytes. While the kernel unpacks, it holds that much beside both forms of the initrd, early in a small
// reservation.
const window = 2 << 20

// pack compresses an archive. The result depends on the archive alone.
func pack(format unpack.Format, archive []byte) ([]byte, error) {
	var out bytes.Buffer
	var z io.WriteCloser
	var err error
	switch format {
	case unpack.None:
		return archive, nil
	case unpack.Zstd:
		z, err = zstd.NewWriter(&out, zstd.WithEncoderLevel(zstd.SpeedBestCompression), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithSingleSegment(false))
	case unpack.XZ: // the kernel checks CRC32 and nothing else
		z, err = xz.WriterConfig{DictCap: window, CheckSum: xz.CRC32}.NewWriter(&out)
	case unpack.Gzip:
		z, err = gzip.NewWriterLevel(&out, gzip.BestCompression)
	default:
		return nil, fmt.Errorf("kdx does not pack initrds with %s", format)
	}
	if err != nil {
		return nil, err
	}
	if _, err := z.Write(archive); err != nil {
		return nil, err
	}
	if err := z.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}

// packFrom is from how many bytes on a module is packed by itself. Two of three bytes of one are symbols and relocations, and the initrd lies in
// memory as long as the capture kernel runs; kdx-init unpacks what that kernel can't.
const packFrom = 128 << 10

// packModule packs a module that is not packed; nil if that is not worth while. The result depends on the module alone.
func packModule(data []byte) []byte {
	if len(data) < packFrom || unpack.Detect(data[:unpack.HeadSize]) != unpack.None {
		return nil
	}
	z, err := zstd.NewWriter(nil, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window))
	if err != nil {
		return nil
	}
	if packed := z.EncodeAll(data, nil); len(packed) < len(data)/2 {
		return packed
	}
	return nil
}
