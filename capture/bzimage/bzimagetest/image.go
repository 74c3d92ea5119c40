// Package bzimagetest makes boot images for tests.
package bzimagetest

import (
	"bytes"
	"encoding/binary"
)

// Image is what the image's header says. New fills in what is zero.
type Image struct {
	Version             string
	Protocol            uint16
	XLoadFlags          uint16
	LoadFlags           uint8
	Fixed               bool // not relocatable
	CmdlineSize         uint32
	InitSize, Alignment uint32
	// Payload stands behind the setup code, with its length behind it.
	Payload []byte
}

// SetupSize is how many bytes are for real mode.
const SetupSize = 2 * 512

// New is the image's bytes, with what a usual kernel says.
func New(i Image) []byte {
	le := binary.LittleEndian
	or := func(p *uint32, v uint32) {
		if *p == 0 {
			*p = v
		}
	}
	or(&i.CmdlineSize, 2047)
	or(&i.InitSize, 56<<20)
	or(&i.Alignment, 2<<20)
	if i.Version == "" {
		i.Version = "6.12.1-test (builder@host) #1 SMP"
	}
	if i.Protocol == 0 {
		i.Protocol = 0x20f
	}
	if i.XLoadFlags == 0 {
		i.XLoadFlags = 0x7f
	}
	if i.LoadFlags == 0 {
		i.LoadFlags = 1
	}
	if i.Payload == nil {
		i.Payload = append([]byte{0x28, 0xb5, 0x2f, 0xfd}, bytes.Repeat([]byte{7}, 1000)...)
	}
	payload := append(bytes.Clone(i.Payload), 0, 0, 0, 1)
	protected := (len(payload) + 15) &^ 15
	b := make([]byte, SetupSize+protected)
	b[0x1f1] = 1
	le.PutUint32(b[0x1f4:], uint32(protected/16))
	le.PutUint16(b[0x1fe:], 0xaa55)
	b[0x200], b[0x201] = 0xeb, 0x6a
	copy(b[0x202:], "HdrS")
	le.PutUint16(b[0x206:], i.Protocol)
	const version = 0x280
	le.PutUint16(b[0x20e:], version-0x200)
	copy(b[version:], i.Version+"\x00")
	b[0x211] = i.LoadFlags
	le.PutUint32(b[0x230:], i.Alignment)
	if !i.Fixed {
		b[0x234] = 1
	}
	le.PutUint16(b[0x236:], i.XLoadFlags)
	le.PutUint32(b[0x238:], i.CmdlineSize)
	le.PutUint32(b[0x24c:], uint32(len(payload)))
	le.PutUint64(b[0x258:], 16<<20)
	le.PutUint32(b[0x260:], i.InitSize)
	copy(b[SetupSize:], payload)
	return b
}
