package vmcoreinfo

import (
	"encoding/binary"
	"testing"

	"kdx/internal/elfnote"
)

func TestDecode(t *testing.T) {
	const text = "OSRELEASE=6.1\nPAGESIZE=4096\n"
	note := func(order binary.ByteOrder) []byte {
		b := elfnote.Append(nil, order, "CORE", 1, make([]byte, 336))
		return elfnote.Append(b, order, "VMCOREINFO", 0, []byte(text))
	}
	for name, tc := range map[string]struct {
		b    []byte
		want string
	}{
		"text":                         {[]byte(text), text},
		"text with NULs behind":        {[]byte(text + "\x00\x00\x00"), text},
		"text that begins differently": {[]byte("BUILD-ID=ab\n" + text), "BUILD-ID=ab\n" + text},
		"notes":                        {note(binary.LittleEndian), text},
		"big-endian notes":             {note(binary.BigEndian), text},
		"nothing":                      {nil, ""},
		"other text":                   {[]byte("hello=world\n"), ""},
		"cut notes":                    {note(binary.LittleEndian)[:350], ""},
	} {
		info, err := Decode(tc.b)
		if tc.want == "" {
			if err == nil {
				t.Errorf("%s: Decode = %q; want an error", name, info.Text())
			}
			continue
		}
		if err != nil || info.Text() != tc.want {
			t.Errorf("%s: Decode = %v; want %q", name, err, tc.want)
		}
	}
}

func TestWith(t *testing.T) {
	i := Parse([]byte("OSRELEASE=6.1\nNUMBER(phys_base)=1")).From("here").With(Entry{"NUMBER(phys_base)", "-2"}, Entry{"X", "y"})
	if n, _ := i.Number("phys_base"); n != -2 || i.Origin() != "here" {
		t.Errorf("phys_base %d, origin %q; want -2, here", n, i.Origin())
	}
	if len(i.Keys()) != 3 {
		t.Errorf("keys %q; want three", i.Keys())
	}
	var none *Info
	if none.Origin() != "" {
		t.Error("a nil Info has an origin")
	}
}

func FuzzDecode(f *testing.F) {
	f.Add([]byte("OSRELEASE=6.1\n"))
	f.Add(elfnote.Append(nil, binary.LittleEndian, "VMCOREINFO", 0, []byte("OSRELEASE=6.1\n")))
	f.Fuzz(func(t *testing.T, b []byte) {
		info, err := Decode(b)
		if err == nil && info.Text() == "" {
			t.Fatal("decoded to nothing")
		}
	})
}
