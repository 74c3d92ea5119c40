package vmcoreinfo

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"

	"kdx/internal/elfnote"
)

// Origin says in a few words where the information is from if not from the dump's note: "found in memory at physical
// address 0x1234000". It is "" for the note.
func (i *Info) Origin() string {
	if i == nil {
		return ""
	}
	return i.origin
}

// From is the same information with an Origin.
func (i *Info) From(origin string) *Info {
	c := *i
	c.origin = origin
	return &c
}

// Entry is a line of a VMCOREINFO.
type Entry struct{ Key, Value string }

// With is the same information with some entries added or replaced.
func (i *Info) With(entries ...Entry) *Info {
	var b strings.Builder
	b.WriteString(i.text)
	if i.text != "" && !strings.HasSuffix(i.text, "\n") {
		b.WriteByte('\n')
	}
	for _, e := range entries {
		fmt.Fprintf(&b, "%s=%s\n", e.Key, e.Value)
	}
	return Parse([]byte(b.String())).From(i.origin)
}

// noteName is the name of the note, as it stands in ELF notes.
const noteName = "VMCOREINFO"

// NoteHeader is how many bytes of an ELF note named VMCOREINFO come before the text.
const NoteHeader = 12 + 12

// Decode reads what somebody saved: the text itself, or ELF notes among which one is named VMCOREINFO. The byte order of
// notes is found out.
func Decode(b []byte) (*Info, error) {
	text := b
	if len(b) > NoteHeader && string(b[:len("OSRELEASE=")]) != "OSRELEASE=" {
		for _, order := range []binary.ByteOrder{binary.LittleEndian, binary.BigEndian} {
			if desc := findNote(b, order); desc != nil {
				text = desc
				break
			}
		}
	}
	info := Parse(text)
	if r, _ := info.Get("OSRELEASE"); r == "" {
		return nil, errors.New("it is neither the text of a VMCOREINFO (lines KEY=VALUE, one of them OSRELEASE=) nor an ELF note that holds one")
	}
	return info, nil
}

func findNote(b []byte, order binary.ByteOrder) []byte {
	var desc []byte
	_ = elfnote.Scan(bytes.NewReader(b), int64(len(b)), order, func(rec elfnote.Record) bool {
		if rec.Name != noteName || rec.Size == 0 || rec.Offset > int64(len(b)) || rec.Size > int64(len(b))-rec.Offset {
			return true
		}
		desc = b[rec.Offset : rec.Offset+rec.Size]
		return false
	})
	return desc
}
