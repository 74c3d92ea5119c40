// Package bzimage reads what a kernel's boot image says of itself: x86's setup header (Documentation/arch/x86/boot.rst) and
// arm64's (Documentation/arch/arm64/booting.rst), and who signed it.
package bzimage

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"strings"

	"kdx/internal/unpack"
)

// Kind is a kind of boot image.
type Kind string

const (
	// BzImage is x86's, Image arm64's without compression.
	BzImage Kind = "bzImage"
	Image   Kind = "arm64 Image"
)

// Bits of Header.LoadFlags and Header.XLoadFlags.
const (
	LoadedHigh = 1 << 0 // not a zImage of old

	XKernel64     = 1 << 0 // has a 64-bit entry
	XAbove4G      = 1 << 1 // may lie above 4 GiB
	XEFIHandover  = 1<<2 | 1<<3
	XEFIKexec     = 1 << 4
	X5Level       = 1 << 5 // runs with page tables of 5 levels
	X5LevelEnable = 1 << 6 // and turns them on
)

// Header is what a boot image says. What an arm64 Image doesn't say is zero.
type Header struct {
	Kind Kind `json:"kind"`
	// Arch is Go's name of the architecture.
	Arch string `json:"arch"`
	// FileSize is the length of the file in bytes.
	FileSize int64 `json:"file_size"`
	// Version is the whole line of uname -rv with who built it; Release its first word. "" if the image does not say (arm64).
	Version string `json:"version"`
	Release string `json:"release"`
	// Protocol is the version of the boot protocol, major<<8 | minor.
	Protocol   uint16 `json:"protocol"`
	LoadFlags  uint8  `json:"loadflags"`
	XLoadFlags uint16 `json:"xloadflags"`
	// Relocatable kernels run where the loader puts them, at a multiple of Alignment bytes.
	Relocatable bool   `json:"relocatable"`
	Alignment   uint64 `json:"alignment"`
	// SetupSize is how many bytes at the beginning are for real mode. kexec loads what is behind them.
	SetupSize int64 `json:"setup_size"`
	// Protected is how many bytes behind SetupSize the header says there are. Signatures may follow.
	Protected int64 `json:"protected"`
	// CmdlineSize is the longest command line in bytes, without the NUL at its end.
	CmdlineSize uint32 `json:"cmdline_size"`
	// InitSize is the memory in bytes, from where it is loaded, that the kernel writes to before it knows what memory there is.
	InitSize uint64 `json:"init_size"`
	// PrefAddress is where it would like to lie.
	PrefAddress uint64 `json:"pref_address"`
	// PayloadFormat is how the kernel is compressed, "" if it is not or the header does not say where it is. PayloadOffset and
	// PayloadSize say where it stands in the file.
	PayloadFormat unpack.Format `json:"payload_format"`
	PayloadOffset int64         `json:"payload_offset"`
	PayloadSize   int64         `json:"payload_size"`
	// Signed is true if the image bears a signature, as for Secure Boot. Whether the running kernel trusts a signer is another
	// question: see Signers.
	Signed bool `json:"signed"`
	// Signers are the certificates in the signature, the signer's first. SignatureProblem says why they can't be read.
	Signers          []Signer `json:"signers"`
	SignatureProblem string   `json:"signature_problem,omitempty"`
}

// ErrNotImage: a file is no boot image that this package knows.
var ErrNotImage = errors.New("not a boot image of a kernel")

const headSize = 0x270

// ReadFile reads the header of the image at path.
func ReadFile(path string) (*Header, error) {
	f, fi, err := unpack.OpenRegular(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	h, err := Read(f, fi.Size())
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return h, nil
}

// Read reads the header of an image of size bytes. ErrNotImage (wrapped) if it is none.
func Read(r io.ReaderAt, size int64) (*Header, error) {
	var buf [headSize]byte
	n, err := r.ReadAt(buf[:min(size, headSize)], 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	b := buf[:n]
	var h *Header
	switch {
	case n >= 0x202+6 && string(b[0x202:0x206]) == "HdrS":
		h, err = readX86(r, b, size)
	case n >= 64 && string(b[56:60]) == "ARM\x64":
		h = readArm64(b)
	default:
		return nil, notImage(b)
	}
	if err != nil {
		return nil, err
	}
	h.FileSize, h.Signers = size, []Signer{}
	h.readSignature(r, size)
	return h, nil
}

// notImage says what a file is instead.
func notImage(b []byte) error {
	what := "it begins with neither x86's setup header nor arm64's"
	switch {
	case len(b) == 0:
		what = "it is empty"
	case bytes.HasPrefix(b, []byte("\x7fELF")):
		what = "it is an ELF file (vmlinux?); the boot image is wanted, as /boot/vmlinuz-RELEASE"
	case len(b) >= 8 && string(b[:2]) == "MZ" && string(b[4:8]) == "zimg":
		what = "it is an EFI zboot image, which kexec_file_load does not take: unpack the Image that is in it"
	case len(b) >= 2 && string(b[:2]) == "MZ":
		what = "it is an EFI program without a kernel's header; of a unified kernel image the kernel in it is wanted (its section .linux)"
	case unpack.Detect(b) != unpack.None:
		what = fmt.Sprintf("it is compressed as a whole (%s): unpack it", unpack.Detect(b))
	}
	return fmt.Errorf("%w: %s", ErrNotImage, what)
}

func readX86(r io.ReaderAt, b []byte, size int64) (*Header, error) {
	le := binary.LittleEndian
	if le.Uint16(b[0x1fe:]) != 0xaa55 {
		return nil, fmt.Errorf("%w: x86's setup header without the boot sector's mark %#x", ErrNotImage, 0xaa55)
	}
	// The header grew with the protocol; what an old one lacks is code there. The byte behind the jump says where it ends.
	end := 0x202 + int(b[0x201])
	field := func(off, n int) []byte {
		if off+n > end || off+n > len(b) {
			return make([]byte, 8)
		}
		return b[off : off+n]
	}
	h := &Header{Kind: BzImage, Arch: "amd64", Protocol: le.Uint16(b[0x206:]), LoadFlags: field(0x211, 1)[0]}
	sectors := int64(b[0x1f1])
	if sectors == 0 {
		sectors = 4
	}
	h.SetupSize = (sectors + 1) * 512
	h.Protected = int64(le.Uint32(b[0x1f4:])) * 16
	if h.Protocol >= 0x205 {
		h.Alignment = uint64(le.Uint32(field(0x230, 4)))
		h.Relocatable = field(0x234, 1)[0] != 0
	}
	h.CmdlineSize = 255
	if h.Protocol >= 0x206 {
		h.CmdlineSize = le.Uint32(field(0x238, 4))
	}
	if h.Protocol >= 0x20a {
		h.PrefAddress = le.Uint64(field(0x258, 8))
		h.InitSize = uint64(le.Uint32(field(0x260, 4)))
	}
	if h.Protocol >= 0x20c {
		h.XLoadFlags = le.Uint16(field(0x236, 2))
	}
	if h.XLoadFlags&XKernel64 == 0 {
		h.Arch = "386"
	}
	if p, err := unpack.FindPayload(r, size); err == nil {
		h.PayloadFormat, h.PayloadOffset, h.PayloadSize = p.Format, p.Offset, p.Size
	} else if h.SetupSize+h.Protected <= size {
		return nil, err // the file is long enough: it is not merely cut off, which Check tells
	}
	var err error
	h.Version, err = versionText(r, int64(le.Uint16(field(0x20e, 2))), min(h.SetupSize, size))
	if err != nil {
		return nil, err
	}
	h.Release, _, _ = strings.Cut(h.Version, " ")
	return h, nil
}

// versionText reads the text that the header points to. It lies within the setup code.
func versionText(r io.ReaderAt, at, limit int64) (string, error) {
	const longest = 512
	if at == 0 || at+0x200 >= limit {
		return "", nil
	}
	b := make([]byte, min(longest, limit-at-0x200))
	if _, err := r.ReadAt(b, at+0x200); err != nil && !errors.Is(err, io.EOF) {
		return "", fmt.Errorf("the kernel's version: %w", err)
	}
	text, _, ended := bytes.Cut(b, []byte{0})
	for _, c := range text {
		if c < ' ' || c > '~' {
			ended = false
		}
	}
	if !ended {
		return "", errors.New("damaged: what should be the kernel's version is no text")
	}
	return string(text), nil
}

func readArm64(b []byte) *Header {
	le := binary.LittleEndian
	return &Header{Kind: Image, Arch: "arm64", InitSize: le.Uint64(b[16:]), Relocatable: true, Alignment: 2 << 20, CmdlineSize: 2047}
}
