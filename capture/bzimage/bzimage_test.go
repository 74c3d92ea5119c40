package bzimage

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"kdx/capture/bzimage/bzimagetest"
	"kdx/internal/unpack"
)

func read(b []byte) (*Header, error) { return Read(bytes.NewReader(b), int64(len(b))) }

func TestRead(t *testing.T) {
	b := bzimagetest.New(bzimagetest.Image{})
	h, err := read(b)
	if err != nil {
		t.Fatal(err)
	}
	if h.Kind != BzImage || h.Arch != "amd64" || h.Release != "6.12.1-test" || !strings.HasSuffix(h.Version, "#1 SMP") || h.Protocol != 0x20f || h.XLoadFlags != 0x7f || !h.Relocatable ||
		h.Alignment != 2<<20 || h.CmdlineSize != 2047 || h.InitSize != 56<<20 || h.PrefAddress != 16<<20 || h.PayloadFormat != unpack.Zstd || h.SetupSize != 1024 || h.Signed ||
		h.FileSize != int64(len(b)) {
		t.Errorf("%+v", h)
	}
	if err := h.Check("amd64", true); err != nil {
		t.Error(err)
	}
	// 2047 with the NUL, less what elfcorehdr= takes: 2030 characters were refused, as measured.
	if h.MaxCmdline(false) != 2046 || h.MaxCmdline(true) != 2016 {
		t.Error(h.MaxCmdline(false), h.MaxCmdline(true))
	}
	name := filepath.Join(t.TempDir(), "vmlinuz")
	if err := os.WriteFile(name, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if h, err := ReadFile(name); err != nil || h.Release != "6.12.1-test" {
		t.Error(h, err)
	}
}

func TestArm64(t *testing.T) {
	b := make([]byte, 4096)
	copy(b, "MZ")
	binary.LittleEndian.PutUint64(b[16:], 40<<20)
	copy(b[56:], "ARM\x64")
	h, err := read(b)
	if err != nil || h.Kind != Image || h.Arch != "arm64" || h.InitSize != 40<<20 || h.Release != "" {
		t.Fatalf("%+v, %v", h, err)
	}
	if err := h.Check("arm64", false); err != nil {
		t.Error(err)
	}
	if err := h.Check("amd64", false); err == nil || !strings.Contains(err.Error(), "for arm64, this host is amd64") {
		t.Error(err)
	}
}

func TestCheck(t *testing.T) {
	for want, i := range map[string]bzimagetest.Image{
		"protocol is 2.11":     {Protocol: 0x20b},
		"zImage":               {LoadFlags: 0x80},
		"not relocatable":      {Fixed: true},
		"is for 386":           {XLoadFlags: 0x7e},
		"above 4 GiB":          {XLoadFlags: 0x7d},
		"five levels":          {XLoadFlags: 0x1f},
		"asks for an alignmen": {Alignment: 3 << 20},
	} {
		h, err := read(bzimagetest.New(i))
		if err == nil {
			err = h.Check("amd64", true)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	whole := bzimagetest.New(bzimagetest.Image{})
	h, err := read(whole[:len(whole)-100])
	if err == nil {
		err = h.Check("amd64", false)
	}
	if err == nil || !strings.Contains(err.Error(), "truncated") {
		t.Error(err)
	}
	small := bzimagetest.New(bzimagetest.Image{InitSize: 512})
	if h, err = read(small); err == nil {
		err = h.Check("amd64", false)
	}
	if err == nil || !strings.Contains(err.Error(), "to start") {
		t.Error(err)
	}
}

func TestNotImage(t *testing.T) {
	zboot := append([]byte("MZ\x00\x00zimg"), make([]byte, 100)...)
	for want, b := range map[string][]byte{
		"empty":             nil,
		"ELF file":          []byte("\x7fELF............."),
		"zboot":             zboot,
		"EFI program":       append([]byte("MZ"), make([]byte, 100)...),
		"compressed as a":   {0x1f, 0x8b, 8, 0, 0, 0, 0, 0},
		"neither x86's set": []byte("root:x:0:0:root:/root:/bin/sh"),
	} {
		if _, err := read(b); !errors.Is(err, ErrNotImage) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	b := bzimagetest.New(bzimagetest.Image{})
	b[0x1fe] = 0
	if _, err := read(b); !errors.Is(err, ErrNotImage) {
		t.Error(err)
	}
	b = bzimagetest.New(bzimagetest.Image{Version: "6.1\xff"})
	if _, err := read(b); err == nil || !strings.Contains(err.Error(), "version") {
		t.Error(err)
	}
}

// signed is an image with a certificate table in which one certificate is, as sbsign writes it.
func signed(t testing.TB) ([]byte, *x509.Certificate) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := x509.Certificate{
		SerialNumber: big.NewInt(0x80), Subject: pkix.Name{CommonName: "Test Signer"}, Issuer: pkix.Name{CommonName: "Test Signer"}, SubjectKeyId: []byte{1, 2, 3, 0xfe}, AuthorityKeyId: []byte{9, 9},
		NotBefore: time.Unix(0, 0), NotAfter: time.Unix(1<<33, 0),
	}
	der, err := x509.CreateCertificate(rand.Reader, &template, &template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	type signer struct {
		Version int
		Issuer  struct {
			Name   asn1.RawValue
			Serial *big.Int
		}
		Digest asn1.RawValue
	}
	type data struct {
		Version int
		Digests []asn1.ObjectIdentifier `asn1:"set"`
		Content []asn1.ObjectIdentifier
		Certs   asn1.RawValue
		Signers []signer `asn1:"set"`
	}
	s := signer{Version: 1, Digest: asn1.NullRawValue}
	s.Issuer.Name, s.Issuer.Serial = asn1.RawValue{FullBytes: cert.RawIssuer}, cert.SerialNumber
	message, err := asn1.Marshal(struct {
		Type    asn1.ObjectIdentifier
		Content data `asn1:"explicit,tag:0"`
	}{asn1.ObjectIdentifier{1, 2, 840, 113549, 1, 7, 2}, data{
		1, []asn1.ObjectIdentifier{{2, 16, 840, 1, 101, 3, 4, 2, 1}}, []asn1.ObjectIdentifier{{1, 2, 3}},
		asn1.RawValue{Class: asn1.ClassContextSpecific, Tag: 0, IsCompound: true, Bytes: der}, []signer{s},
	}})
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	b := bzimagetest.New(bzimagetest.Image{})
	copy(b, "MZ")
	const pe = 0x40
	le.PutUint32(b[60:], pe)
	copy(b[pe:], "PE\x00\x00")
	opt := b[pe+24:]
	le.PutUint16(opt, 0x20b)
	le.PutUint32(opt[108:], 6)
	le.PutUint32(opt[112+32:], uint32(len(b)))
	le.PutUint32(opt[112+36:], uint32(len(message)+8))
	var head [8]byte
	le.PutUint32(head[:], uint32(len(message)+8))
	le.PutUint16(head[4:], 0x200)
	le.PutUint16(head[6:], 2)
	return append(append(b, head[:]...), message...), cert
}

func TestSigned(t *testing.T) {
	b, cert := signed(t)
	h, err := read(b)
	if err != nil || !h.Signed || len(h.Signers) != 1 || h.SignatureProblem != "" {
		t.Fatalf("%+v, %v", h, err)
	}
	if s := h.Signers[0]; s.Subject != "CN=Test Signer" || s.KeyID != hex.EncodeToString(cert.SubjectKeyId) {
		t.Errorf("%+v", s)
	}
	cut := b[:len(b)-10]
	if h, err = read(cut); err != nil || h.Signed || !strings.Contains(h.SignatureProblem, "damaged") {
		t.Errorf("%+v, %v", h, err)
	}
	bad := bytes.Clone(b)
	for i := len(b) - 300; i < len(b); i++ {
		bad[i] = 0xff
	}
	if h, err = read(bad); err != nil || !h.Signed || h.SignatureProblem == "" {
		t.Errorf("%+v, %v", h, err)
	}
}

func FuzzRead(f *testing.F) {
	b, _ := signed(f)
	f.Add(b)
	f.Add(bzimagetest.New(bzimagetest.Image{}))
	f.Add(bzimagetest.New(bzimagetest.Image{Payload: []byte{}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		h, err := read(b)
		if err != nil {
			return
		}
		if h.Check("amd64", false) == nil && (h.SetupSize > int64(len(b)) || h.PayloadOffset+h.PayloadSize > int64(len(b)) || h.InitSize == 0) {
			t.Fatalf("%+v", h)
		}
		if h.MaxCmdline(true) < 0 {
			t.Fatal("a command line of less than nothing")
		}
	})
}
