package bzimage

import (
	"crypto/x509"
	"encoding/asn1"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
)

// Signer is a certificate that travels in an image's signature. Identifiers are hexadecimal, "" if it has none.
type Signer struct {
	Subject string `json:"subject"`
	Issuer  string `json:"issuer"`
	// KeyID is its own key's identifier, IssuerKeyID that of the key which signed it. The kernel's keyrings list keys by these.
	KeyID       string `json:"key_id"`
	IssuerKeyID string `json:"issuer_key_id"`
}

// maxSignature is far more than any certificate table.
const maxSignature = 1 << 20

// readSignature looks for the certificate table of a PE file: boot images are EFI programs, too.
func (h *Header) readSignature(r io.ReaderAt, size int64) {
	table, err := certificates(r, size)
	switch {
	case err != nil:
		h.SignatureProblem = err.Error()
		return
	case table == nil:
		return
	}
	h.Signed = true
	if h.Signers, err = signers(table); err != nil {
		h.SignatureProblem = err.Error()
	}
}

// certificates is the first PKCS#7 message of the table, nil if there is none.
func certificates(r io.ReaderAt, size int64) ([]byte, error) {
	le := binary.LittleEndian
	var b [264]byte
	if n, _ := r.ReadAt(b[:64], 0); n < 64 || b[0] != 'M' || b[1] != 'Z' {
		return nil, nil
	}
	pe := int64(le.Uint32(b[60:]))
	if pe < 64 || pe > size {
		return nil, nil
	}
	n, err := r.ReadAt(b[:], pe)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if n < len(b) || string(b[:4]) != "PE\x00\x00" {
		return nil, nil
	}
	opt := b[24:]
	dirs := 112 // PE32+
	switch le.Uint16(opt) {
	case 0x20b:
	case 0x10b:
		dirs = 96
	default:
		return nil, nil
	}
	const security = 4
	if le.Uint32(opt[dirs-4:]) <= security {
		return nil, nil
	}
	entry := opt[dirs+8*security:]
	at, length := int64(le.Uint32(entry)), int64(le.Uint32(entry[4:]))
	if at == 0 || length == 0 {
		return nil, nil
	}
	if at+length > size || length < 8 || length > maxSignature {
		return nil, fmt.Errorf("damaged: its signature should be %d bytes at %d of a file of %d", length, at, size)
	}
	table := make([]byte, length)
	if _, err := r.ReadAt(table, at); err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("its signature: %w", err)
	}
	const pkcs7 = 2
	n = int(le.Uint32(table))
	if n < 8 || n > len(table) || le.Uint16(table[6:]) != pkcs7 {
		return nil, errors.New("its signature is of a kind that is not known")
	}
	return table[8:n], nil
}

// signers are the certificates in a PKCS#7 message (RFC 2315), the signer's own first.
func signers(der []byte) ([]Signer, error) {
	var message struct {
		Type    asn1.ObjectIdentifier
		Content struct {
			Version int
			Digests asn1.RawValue
			Content asn1.RawValue
			Certs   asn1.RawValue `asn1:"optional,tag:0"`
			CRLs    asn1.RawValue `asn1:"optional,tag:1"`
			Signers []struct {
				Version int
				Issuer  struct {
					Name   asn1.RawValue
					Serial asn1.RawValue
				}
				Rest asn1.RawValue
			} `asn1:"set"`
		} `asn1:"explicit,tag:0"`
	}
	if _, err := asn1.Unmarshal(der, &message); err != nil {
		return []Signer{}, fmt.Errorf("its signature can't be read: %w", err)
	}
	out := []Signer{}
	certs, err := x509.ParseCertificates(message.Content.Certs.Bytes)
	if err != nil {
		return out, fmt.Errorf("the certificates of its signature can't be read: %w", err)
	}
	for _, own := range []bool{true, false} {
		for _, c := range certs {
			signed := false
			for _, s := range message.Content.Signers {
				signed = signed || string(s.Issuer.Name.FullBytes) == string(c.RawIssuer) && c.SerialNumber != nil && sameInt(s.Issuer.Serial.Bytes, c.SerialNumber.Bytes())
			}
			if signed == own {
				out = append(out, Signer{c.Subject.String(), c.Issuer.String(), hex.EncodeToString(c.SubjectKeyId), hex.EncodeToString(c.AuthorityKeyId)})
			}
		}
	}
	return out, nil
}

// sameInt compares numbers of DER, which may have a zero in front.
func sameInt(a, b []byte) bool {
	for len(a) > 0 && a[0] == 0 {
		a = a[1:]
	}
	return string(a) == string(b)
}
