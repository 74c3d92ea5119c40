package view_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"kdx/analyze/kernel"
	"kdx/analyze/kerneltest"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"

	"github.com/google/go-cmp/cmp"
)

const decls = `
enum state { IDLE, RUNNING, DEAD = 7 };
enum gfp { G_IO = 1, G_FS = 2, G_ZERO = 8 };
struct list_head { struct list_head *next, *prev; };
struct rlimit { unsigned long cur, max; };
struct thing {
	int id;
	u8 byte;
	bool ok;
	s8 small;
	enum state state;
	enum gfp gfp;
	unsigned int a : 3;
	int b : 5;
	char name[8];
	u8 mac[4];
	struct rlimit rlim[2];
	union { u32 word; struct { u16 lo, hi; }; };
	struct list_head link;
	void *ops;
	char *text;
	u64 nums[3];
	unsigned long more[0];
};
struct big { u64 first; u8 pad[4096]; u64 last; };
`

func thing(t *testing.T) (*kerneltest.Machine, vmem.Addr) {
	m := kerneltest.New(t, decls)
	a := m.Alloc(256)
	off := func(path string) vmem.Addr { return a + vmem.Addr(m.Offset("thing", path)) }
	m.Set(a, "thing", "id", 0xfffffffe)
	m.Set(a, "thing", "byte", 'A')
	m.Set(a, "thing", "ok", 1)
	m.Set(a, "thing", "small", 0xff)
	m.Set(a, "thing", "state", 1)
	m.Set(a, "thing", "gfp", 1|8|0x40)
	m.Put(off("a"), 4, 5|0x1e<<3)
	m.Write(off("name"), []byte("a\"\n\x80"))
	m.Write(off("mac"), []byte{1, 'x', 0xff, 2})
	m.Set(a, "thing", "rlim[1].max", ^uint64(0))
	m.Set(a, "thing", "word", 0x00020001)
	m.Word(off("link"), uint64(off("link")))
	m.Word(off("ops"), 0x4000)
	text := m.Alloc(16)
	m.Write(text, []byte("swapper"))
	m.Word(off("text"), uint64(text))
	for i := range 3 {
		m.Word(off("nums")+vmem.Addr(8*i), uint64(i))
	}
	m.Symbol(symbols.Symbol{Name: "thing0", Addr: uint64(a), Size: 256, Letter: 'D'})
	m.Symbol(symbols.Symbol{Name: "banner", Addr: uint64(text), Size: 16, Letter: 'R'})
	return m, a
}

func text(t *testing.T, x kernel.Value, st view.Style) string {
	t.Helper()
	var b strings.Builder
	if err := view.WriteValue(&b, x, st); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func jsonOf(t *testing.T, x kernel.Value) string {
	t.Helper()
	var b bytes.Buffer
	if err := view.WriteJSONValue(&b, x); err != nil {
		t.Fatal(err)
	}
	if !json.Valid(b.Bytes()) {
		t.Fatalf("no JSON: %s", b.String())
	}
	return b.String()
}

// What pointers, and words that may be some, lead to.
func TestPointees(t *testing.T) {
	m, a := thing(t)
	next := uint64(a) + m.Offset("thing", "link")
	st := view.Style{Pointee: func(u uint64) (view.Pointee, bool) {
		switch u {
		case next:
			return view.Pointee{Cache: "things", Object: a, Offset: 8, State: "free", Task: &view.TaskHeader{PID: 7, Comm: "a\x1b"}}, true
		case 0x4000:
			t.Error("asked for an address that is not the kernel's")
		}
		return view.Pointee{}, false
	}}
	want := fmt.Sprintf("%#x <thing0+%d> [%x:things+8 of 7 (a\\x1b), free]", next, m.Offset("thing", "link"), uint64(a))
	if got := text(t, m.View().ObjectOf("thing", a), st); !strings.Contains(got, want) {
		t.Errorf("%s\nlacks %q", got, want)
	}
	o := &view.Objects{Type: m.View().ObjectOf("thing", a).Type(), Members: []string{"link"}, Style: st, List: []view.Object{{CPU: -1, Addr: a, Value: m.View().ObjectOf("thing", a)}}}
	var b bytes.Buffer
	if err := view.WriteJSON(&b, o); err != nil {
		t.Fatal(err)
	}
	var doc struct {
		Objects []struct {
			Pointees map[string]struct {
				Cache, Object, State string
				Offset               uint64
				Task                 struct{ PID int }
			}
		} `json:"objects"`
	}
	if err := json.Unmarshal(b.Bytes(), &doc); err != nil {
		t.Fatalf("%v in %s", err, b.String())
	}
	p := doc.Objects[0].Pointees
	if got := p[fmt.Sprintf("%#x", next)]; len(p) != 1 || got.Cache != "things" || got.Offset != 8 || got.State != "free" || got.Object != fmt.Sprintf("%#x", uint64(a)) || got.Task.PID != 7 {
		t.Errorf("pointees %v", p)
	}
	for _, tt := range []struct {
		p    view.Pointee
		want string
	}{
		{view.Pointee{Symbol: "x+8"}, "<x+8>"}, {view.Pointee{Cache: "c", Object: 16}, "[c]"}, {view.Pointee{Cache: "c", Object: 16, State: "allocated"}, "[10:c]"},
		{view.Pointee{Stack: true, Task: &view.TaskHeader{PID: 1, Comm: "init"}}, "[stack of 1 (init)]"},
	} {
		if got := tt.p.Text(); got != tt.want {
			t.Errorf("%+v: %s; want %s", tt.p, got, tt.want)
		}
	}
}

// The forms are gdb's as crash 9.0.2 shows them; they were compared over 1800 types of a 6.12 kernel.
func TestValueText(t *testing.T) {
	m, a := thing(t)
	got := text(t, m.View().ObjectOf("thing", a), view.Style{})
	want := `{
  id = -2,
  byte = 65 'A',
  ok = true,
  small = -1 '\377',
  state = RUNNING,
  gfp = (G_IO | G_ZERO | unknown: 0x40),
  a = 5,
  b = -2,
  name = "a\"\n\200\000\000\000",
  mac = "\001x\377\002",
  rlim = {{
      cur = 0,
      max = 0
    }, {
      cur = 0,
      max = 18446744073709551615
    }},
  {
    word = 131073,
    {
      lo = 1,
      hi = 2
    }
  },
  link = {
    next = LINK,
    prev = 0x0
  },
  ops = 0x4000,
  text = TEXT,
  nums = {0, 1, 2},
  more = MORE
}`
	v := m.View()
	addr := func(path string) string {
		x := v.ObjectOf("thing", a).Field(path)
		p, _ := x.Addr()
		return sprintAddr(v, p)
	}
	want = strings.NewReplacer("LINK", addr("link"), "MORE", addr("more"), "TEXT", text(t, v.ObjectOf("thing", a).Field("text"), view.Style{})).Replace(want)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got\n%s", d)
	}
}

func sprintAddr(v *kernel.View, a vmem.Addr) string {
	s, _ := v.SymbolAt(a)
	b, _ := a.MarshalText()
	return string(b) + " <" + s.Name + "+" + jsonNumber(uint64(a)-s.Addr) + ">"
}

func jsonNumber(n uint64) string {
	b, _ := json.Marshal(n)
	return string(b)
}

func TestValueStyles(t *testing.T) {
	m, a := thing(t)
	x := m.View().ObjectOf("thing", a)
	for _, tt := range []struct {
		path  string
		style view.Style
		want  string
	}{
		{"id", view.Style{Hex: true}, "0xfffffffe"},
		{"byte", view.Style{Hex: true}, "0x41"},
		{"ok", view.Style{Hex: true}, "0x1"},
		{"state", view.Style{Hex: true}, "RUNNING"},
		{"name", view.Style{Hex: true}, `"a\"\n\200\000\000\000"`},
		{"state", view.Style{Format: 'x'}, "0x1"},
		{"state", view.Style{Format: 'd'}, "1"},
		{"id", view.Style{Format: 'u'}, "4294967294"},
		{"id", view.Style{Format: 'o'}, "037777777776"},
		{"byte", view.Style{Format: 't'}, "1000001"},
		{"id", view.Style{Format: 'c'}, `-2 '\376'`},
		{"byte", view.Style{Format: 'z'}, "0x41"},
		{"a", view.Style{Format: 'z'}, "0x5"},
		{"mac", view.Style{Format: 'x'}, "{0x1, 0x78, 0xff, 0x2}"},
		{"nums", view.Style{Format: 'x'}, "{0x0, 0x1, 0x2}"},
		{"ops", view.Style{Format: 'd'}, "16384"},
		{"ops", view.Style{}, "(void *) 0x4000"},
		{"b", view.Style{}, "-2"},
	} {
		if got := text(t, x.Field(tt.path), tt.style); got != tt.want {
			t.Errorf("%s under %+v = %s; want %s", tt.path, tt.style, got, tt.want)
		}
	}
}

func TestPointerText(t *testing.T) {
	m, a := thing(t)
	x := m.View().ObjectOf("thing", a)
	if got, want := text(t, x.Field("text"), view.Style{}), ` <banner> "swapper"`; !strings.HasSuffix(got, want) || strings.HasPrefix(got, "(") {
		t.Errorf("char * = %s; want an address without type, and %s", got, want)
	}
	if got, want := text(t, x.Field("link.next"), view.Style{}), "(struct list_head *) 0xffff"; !strings.HasPrefix(got, want) {
		t.Errorf("pointer = %s; want it to begin with %s", got, want)
	}
}

func TestLongArraysAreCut(t *testing.T) {
	m := kerneltest.New(t, `struct long { u32 n[300]; char s[300]; };`)
	a := m.Alloc(2048)
	for i := range 300 {
		m.Put(a+1200+vmem.Addr(i), 1, 'x')
	}
	x := m.View().ObjectOf("long", a)
	if got := text(t, x.Field("n"), view.Style{}); strings.Count(got, "0") != 256 || !strings.HasSuffix(got, ", 0...}") {
		t.Errorf("array of 300 = %s", got)
	}
	if got := text(t, x.Field("s"), view.Style{}); got != `"`+strings.Repeat("x", 256)+`"...` {
		t.Errorf("text of 300 = %s", got)
	}
}

func TestValueJSON(t *testing.T) {
	m, a := thing(t)
	got := jsonOf(t, m.View().ObjectOf("thing", a))
	var v map[string]any
	d := json.NewDecoder(strings.NewReader(got))
	d.UseNumber()
	if err := d.Decode(&v); err != nil {
		t.Fatal(err)
	}
	for key, want := range map[string]any{
		"id": json.Number("-2"), "ok": true, "state": "RUNNING", "gfp": json.Number("73"), "a": json.Number("5"), "b": json.Number("-2"),
		"name": "a\"\n\uFFFD", "mac": []any{json.Number("1"), json.Number("120"), json.Number("255"), json.Number("2")},
		"word": json.Number("131073"), "lo": json.Number("1"), "ops": "0x4000",
		"nums": []any{json.Number("0"), json.Number("1"), json.Number("2")},
	} {
		if d := cmp.Diff(want, v[key]); d != "" {
			t.Errorf("%s: -want +got\n%s", key, d)
		}
	}
	rlim := v["rlim"].([]any)[1].(map[string]any)["max"]
	if rlim != json.Number("18446744073709551615") {
		t.Errorf("rlim[1].max = %v; want all of its 64 bits", rlim)
	}
}

func TestExcludedPages(t *testing.T) {
	m := kerneltest.New(t, decls)
	page, next := m.AllocPage(), m.AllocPage()
	at := page + 4096 - 8
	m.Word(at, 42)
	m.Exclude(next)
	v := m.View()
	got := text(t, v.ObjectOf("big", at), view.Style{})
	want := "{\n  first = 42,\n  pad = <page excluded>,\n  last = 0\n}"
	if got != want {
		t.Errorf("= %s; want %s", got, want)
	}
	gaps, _ := v.Gaps()
	if len(gaps) != 1 || !strings.Contains(gaps[0].String(), "struct big at 0x") || !strings.Contains(gaps[0].String(), "member pad") {
		t.Errorf("gaps = %v; want one that names the member", gaps)
	}
	if got, want := jsonOf(t, m.View().ObjectOf("big", at)), `{"first":42,"pad":[`; !strings.HasPrefix(got, want) && got != `{"first":42,"pad":null,"last":0}` {
		t.Errorf("JSON = %s; want null for what is missing", got)
	}
	v = m.View()
	if got := text(t, v.ObjectOf("list_head", next), view.Style{}); got != "<page excluded>" {
		t.Errorf("object on an excluded page = %s", got)
	}
	if got := jsonOf(t, m.View().ObjectOf("list_head", next)); got != "null" {
		t.Errorf("its JSON = %s; want null", got)
	}
}

// A string that runs into a missing page is shown up to there.
func TestTextIntoMissingPage(t *testing.T) {
	m := kerneltest.New(t, `struct s { char text[16]; };`)
	page, next := m.AllocPage(), m.AllocPage()
	m.Exclude(next)
	m.Write(page+4096-4, []byte("abcd"))
	if got, want := text(t, m.View().ObjectOf("s", page+4096-4), view.Style{}), "{\n  text = \"abcd\" <page excluded>\n}"; got != want {
		t.Errorf("= %s; want %s", got, want)
	}
}

// Types that no compiler makes: without end, without size, larger than any memory.
func TestDamagedTypes(t *testing.T) {
	m := kerneltest.New(t, decls)
	a := m.Alloc(64)
	loop := &symbols.Type{Kind: symbols.Typedef, Name: "loop", Size: 8}
	symbols.NewType(loop, func(p *symbols.Parts) { p.Elem = loop })
	self := &symbols.Type{Kind: symbols.Struct, Name: "self", Size: 8}
	symbols.NewType(self, func(p *symbols.Parts) {
		p.Members = []symbols.Member{{Name: "a", Type: self}, {Name: "b", Type: self}, {Type: self}}
	})
	u8 := &symbols.Type{Kind: symbols.Int, Name: "u8", Size: 1}
	odd := &symbols.Type{Kind: symbols.Int, Name: "odd", Size: 3}
	wide := &symbols.Type{Kind: symbols.Int, Name: "__int128", Size: 16, Signed: true}
	for _, typ := range []*symbols.Type{
		loop, self, odd, wide,
		{Kind: symbols.Int, Name: "none"}, {Kind: symbols.Int, Name: "huge", Size: 1 << 60}, {Kind: symbols.Float, Name: "x", Size: 10},
		{Kind: symbols.Struct, Name: "empty"}, {Kind: symbols.Struct, Name: "gone", Incomplete: true},
		{Kind: symbols.Pointer, Size: 0}, {Kind: symbols.Enum, Name: "e", Size: 4}, symbols.VoidType,
		symbols.ArrayOf(u8, 1<<60), symbols.ArrayOf(symbols.ArrayOf(self, 1<<40), 1<<40), symbols.ArrayOf(odd, 3),
		symbols.NewType(&symbols.Type{Kind: symbols.Struct, Name: "bits", Size: 8}, func(p *symbols.Parts) {
			p.Members = []symbols.Member{{Name: "w", Type: u8, BitSize: 200}, {Name: "far", Type: u8, BitOffset: 1 << 63}}
		}),
	} {
		v := m.View()
		var b strings.Builder
		_ = view.WriteValue(&limited{b: &b}, v.Object(typ, a), view.Style{})
		var j bytes.Buffer
		if err := view.WriteJSONValue(&j, m.View().Object(typ, a)); err == nil && !json.Valid(j.Bytes()) {
			t.Errorf("%s: no JSON: %.200s", typ, j.String())
		}
		if err := (&view.Definition{Type: typ, Offsets: true}).Text(&limited{b: &b}, view.Options{}); err != nil && err != errFull {
			t.Errorf("%s: %v", typ, err)
		}
	}
}

// limited stops a writer that would not stop itself.
type limited struct{ b *strings.Builder }

type fullError struct{}

func (fullError) Error() string { return "full" }

var errFull error = fullError{}

func (l *limited) Write(p []byte) (int, error) {
	if l.b.Len() > 64<<20 {
		return 0, errFull
	}
	return l.b.Write(p)
}
