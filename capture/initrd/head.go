package initrd

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"hash/crc64"
	"io"
	"strings"

	"kdx/internal/unpack"
)

// HeadPath is a file in an archive of its own, which is not packed and stands before the packed one, as distributions' microcode does. Who
// loads the initrd learns from it what it is and whether it is whole without unpacking it.
const HeadPath = "/kdx/head.json"

// headVersion 2 added the CRCs.
const headVersion = 2

// maxHead bounds the first archive, bytes.
const maxHead = 64 << 10

// Head is what is in it.
type Head struct {
	Version int    `json:"version"`
	Kdx     string `json:"kdx"`
	// Release is the kernel's that the initrd is for, Kernel the SHA-256 of its image.
	Release string `json:"release"`
	Kernel  string `json:"kernel"`
	// Unpacked is how many bytes the packed archive has unpacked, Modules how many its kernel modules have when they
	// are unpacked, too.
	Unpacked int64 `json:"unpacked"`
	Modules  int64 `json:"modules"`
	// Network: a target is reached over the network.
	Network bool `json:"network"`
	// Size is how many bytes follow the head, SHA256 their sum.
	Size   int64  `json:"size"`
	SHA256 string `json:"sha256"`
	// CRC and KernelCRC are CRC-64 (ECMA) of the same bytes. They find damage at a twentieth of what SHA-256 costs where no instruction computes
	// that, and a load waits for them.
	CRC       string `json:"crc64"`
	KernelCRC string `json:"kernel_crc64"`
}

var crcTable = crc64.MakeTable(crc64.ECMA)

// NewCRC is the sum of Head.CRC and Head.KernelCRC, which hold it in hexadecimal.
func NewCRC() hash.Hash { return crc64.New(crcTable) }

// kernelSum is the sum of the kernel's image that the initrd was built for; "" if it does not say.
func (m *Manifest) kernelSum() string {
	for _, in := range m.Inputs {
		if in.What == "kernel" {
			return in.SHA256
		}
	}
	return ""
}

// seal puts the head before what was packed.
func (b *builder) seal(m *Manifest, unpacked int64, packed []byte) ([]byte, error) {
	h := Head{Version: headVersion, Kdx: m.Kdx, Release: m.Release, Kernel: m.kernelSum(), Unpacked: unpacked, Network: b.plan.NeedsNetwork(), Size: int64(len(packed)), SHA256: sum(packed)}
	crc := NewCRC()
	crc.Write(packed)
	h.CRC, h.KernelCRC = hex.EncodeToString(crc.Sum(nil)), hex.EncodeToString(b.kernelCRC.Sum(nil))
	for _, mod := range b.result.Modules {
		h.Modules += mod.Unpacked
	}
	data, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	s := fileset{}
	if err := errors.Join(s.dir("kdx", 0o700), s.add(HeadPath, 0o600, append(data, '\n'))); err != nil {
		return nil, err
	}
	head, err := s.archive()
	if err != nil {
		return nil, err
	}
	return append(head, packed...), nil
}

func parseHead(b []byte) (*Head, error) {
	var h Head
	if err := json.Unmarshal(b, &h); err != nil {
		return nil, fmt.Errorf("its head (%s) is damaged: %w", HeadPath, err)
	}
	if h.Version != headVersion {
		return nil, fmt.Errorf("its head (%s) is of version %d, this kdx reads %d", HeadPath, h.Version, headVersion)
	}
	return &h, nil
}

// ReadHead reads the head of an initrd, and the place where the rest begins. The head is nil if it has none: others' have not.
func ReadHead(r io.ReaderAt, size int64) (*Head, int64, error) {
	var magic [unpack.HeadSize]byte
	if _, err := r.ReadAt(magic[:], 0); err != nil && !errors.Is(err, io.EOF) {
		return nil, 0, err
	}
	if !isCPIO(magic[:]) {
		return nil, 0, nil
	}
	in := &reader{r: bufio.NewReader(io.NewSectionReader(r, 0, min(size, maxHead)))}
	var h *Head
	for {
		e, err := in.next()
		switch {
		case errors.Is(err, errTrailer) && h != nil:
			end := in.n + (-in.n & 511)
			if end > size {
				return nil, 0, fmt.Errorf("truncated: its head ends at byte %d, the file at %d", end, size)
			}
			return h, end, nil
		case err != nil, e.Name != strings.TrimPrefix(HeadPath, "/") && e.Mode&modeType != modeDir:
			if h != nil {
				return nil, 0, errors.New("its head is damaged: something stands behind it")
			}
			return nil, 0, nil // another archive, whose own reader says what is wrong with it
		case e.Mode&modeType == modeFile:
			var data bytes.Buffer
			if _, err := io.Copy(&data, in); err != nil {
				return nil, 0, fmt.Errorf("its head: %w", err)
			}
			if h, err = parseHead(data.Bytes()); err != nil {
				return nil, 0, err
			}
		}
	}
}

// CheckRest says whether what follows the head is as it was written, by its SHA-256.
func (h *Head) CheckRest(rest io.Reader) error { return h.check(rest, sha256.New(), h.SHA256) }

// CheckDamage says the same by the CRC.
func (h *Head) CheckDamage(rest io.Reader) error { return h.check(rest, NewCRC(), h.CRC) }

func (h *Head) check(rest io.Reader, s hash.Hash, want string) error {
	n, err := io.CopyBuffer(struct{ io.Writer }{s}, rest, make([]byte, 128<<10))
	switch {
	case err != nil:
		return err
	case n < h.Size:
		return fmt.Errorf("truncated: %d bytes should follow its head, and %d do", h.Size, n)
	case n > h.Size:
		return fmt.Errorf("%d bytes should follow its head, and %d do", h.Size, n)
	case hex.EncodeToString(s.Sum(nil)) != want:
		return errors.New("damaged: its sum is not what its head says")
	}
	return nil
}
