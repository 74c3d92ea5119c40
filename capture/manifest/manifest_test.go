package manifest

import (
	"testing"
	"time"
)

func TestPut(t *testing.T) {
	m := &Manifest{Version: Version, KDX: "test", Begun: time.Unix(1, 0).UTC()}
	for _, f := range []File{{Name: "a", Size: 1}, {Name: "b", Size: 2}, {Name: "a", Size: 3}} {
		m.Put(f)
	}
	text, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(text)
	if err != nil || len(got.Files) != 2 || got.Files[0].Size != 3 || got.Files[1].Name != "b" {
		t.Errorf("Parse = %+v, %v", got, err)
	}
}

func TestParse(t *testing.T) {
	for _, text := range []string{"", "{}", "[]", `{"version":1}`, `{"version":0,"kdx":"x","begun":"2026-01-01T00:00:00Z"}`, "null", string(make([]byte, MaxSize+1))} {
		if m, err := Parse([]byte(text)); err == nil {
			t.Errorf("%.20q was taken for a manifest: %+v", text, m)
		}
	}
	if m, err := Parse([]byte(`{"version":7,"kdx":"9.0","begun":"2036-01-01T00:00:00Z","complete":true,"new":[1]}`)); err != nil || !m.Complete {
		t.Errorf("a later manifest: %+v, %v", m, err)
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(`{"version":1,"kdx":"devel","complete":true,"begun":"2026-11-21T20:20:56Z","dump":{"file":"vmcore"},"files":[{"name":"vmcore","size":1,"sha256":"00"}]}`))
	f.Add([]byte(`{"version":1,"kdx":"devel","begun":"yesterday"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := Parse(b)
		if err != nil {
			return
		}
		if _, err := m.Encode(); err != nil {
			t.Fatal(err)
		}
	})
}
