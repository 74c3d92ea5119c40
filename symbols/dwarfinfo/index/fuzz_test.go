package index

import (
	"context"
	"encoding/binary"
	"log/slog"
	"strings"
	"testing"

	"kdx/symbols/dwarfinfo"
)

// mistakes fails a test when the log tells of a panic.
type mistakes struct{ t *testing.T }

func (m mistakes) Enabled(context.Context, slog.Level) bool { return true }
func (m mistakes) WithAttrs([]slog.Attr) slog.Handler       { return m }
func (m mistakes) WithGroup(string) slog.Handler            { return m }
func (m mistakes) Handle(_ context.Context, r slog.Record) error {
	r.Attrs(func(a slog.Attr) bool {
		if strings.Contains(a.Value.String(), "mistake in kdx") {
			m.t.Error(a.Value.String())
		}
		return true
	})
	return nil
}

func FuzzScan(f *testing.F) {
	m := newMade().usual()
	m.begin(0)
	m.u1(unitRust, 0x1c, namespace).strp("core").u1(enumClass).strp("Order").u1(1, enumerator).strp("Less").u1(0, structFull).strp("S").u1(4, 0, 0)
	m.u1(function).strp("f").u8(1).u1(0, 0)
	m.end()
	f.Add(m.info, m.abbrev, m.str, []byte{8, 0, 0, 0}, false)
	d := compileC(f, source, "-gdwarf-5")
	f.Add(d.Info, d.Abbrev, d.Str, d.RngLists, false)
	d = compileC(f, source, "-gdwarf-4")
	f.Add(d.Info, d.Abbrev, d.Str, d.Ranges, true)
	f.Fuzz(func(t *testing.T, info, abbrev, str, other []byte, alt bool) {
		d := &dwarfinfo.Data{Name: "fuzz", Order: binary.LittleEndian, Info: info, Abbrev: abbrev, Str: str, LineStr: str, StrOffsets: other,
			Addr: other, Ranges: other, RngLists: other}
		if d.Init() != nil {
			return
		}
		if alt {
			d.Alt = d
		}
		x, err := Open(t.Context(), d, Options{Jobs: 2, Log: slog.New(mistakes{t})})
		if err != nil {
			t.Fatal(err)
		}
		lookUp(t, x)
	})
}

// lookUp asks everything; nothing may be found that is not there.
func lookUp(t *testing.T, x *Index) {
	for k := Struct; k <= Enumerator; k++ {
		for name := range x.Names(k) {
			if len(x.Find(k, name)) == 0 && !x.Cached() {
				t.Fatalf("%q has kind %d, but Find does not find it", name, k)
			}
		}
	}
	x.NamesWithPrefix("t")
	x.Types(0, 100)
	x.Holding("e")
	x.WithMember("value")
}

func FuzzImage(f *testing.F) {
	b, err := build(f.Context(), compileC(f, source), withDefaults(Options{}))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte(magic))
	f.Fuzz(func(t *testing.T, b []byte) {
		img, err := parseImage(b)
		if err != nil {
			return
		}
		lookUp(t, &Index{image: img, cached: true})
	})
}
