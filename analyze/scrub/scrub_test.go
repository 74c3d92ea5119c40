package scrub

import (
	"bytes"
	"fmt"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
	"kdx/dumpfmt"
	"kdx/dumpfmt/vmcoreinfo"
	"kdx/symbols"
)

const decls = `
struct list_head { struct list_head *next, *prev; };
struct item {
	struct list_head list;
	struct item *next;
	char name[8];
	char *text;
	void *key;
	long key_size;
	unsigned int bit:3;
};
struct outer { struct item in; struct item *to; struct item *none; };
`

// machine is a kernel with variables of all forms.
type machine struct {
	*kerneltest.Machine
	outer, first, second, text, head, array, ptrs, plain vmem.Addr
}

func newMachine(t *testing.T) *machine {
	m := &machine{Machine: kerneltest.New(t, decls)}
	m.outer, m.head, m.array, m.ptrs, m.plain = m.Alloc(256), m.Alloc(16), m.Alloc(256), m.Alloc(24), m.Alloc(64)
	m.first, m.second = m.AllocPage(), m.AllocPage()
	m.text = m.AllocPage() + 4090
	m.Alloc(4096)
	m.Write(m.text, []byte("over two pages\x00after"))
	for _, a := range []vmem.Addr{m.first, m.second, m.outer, m.array, m.array + vmem.Addr(m.itemSize())} {
		m.Write(a+vmem.Addr(m.Offset("item", "name")), []byte("name..."))
		m.Set(a, "item", "text", uint64(m.text))
		m.Set(a, "item", "key", uint64(m.plain))
		m.Set(a, "item", "key_size", 5)
	}
	m.Write(m.plain, bytes.Repeat([]byte("p"), 64))
	m.Set(m.outer, "outer", "to", uint64(m.first))
	m.Set(m.first, "item", "next", uint64(m.second))
	ring := []vmem.Addr{m.head, m.first, m.second}
	for i, a := range ring {
		m.Word(a, uint64(ring[(i+1)%3]))
		m.Word(a+8, uint64(ring[(i+2)%3]))
	}
	m.Word(m.ptrs+8, uint64(m.second))
	m.Var("outer", m.outer, "struct outer")
	m.Var("first", m.ptrs+16, "struct item *")
	m.Word(m.ptrs+16, uint64(m.first))
	m.Var("head", m.head, "struct list_head")
	m.Var("array", m.array, "struct item x[2]")
	m.Var("ptrs", m.ptrs, "struct item *x[2]")
	m.Var("plain", m.plain, "")
	m.Symbol(symbols.Symbol{Name: "twice", Addr: uint64(m.plain), Letter: 'd'})
	m.Symbol(symbols.Symbol{Name: "twice", Addr: uint64(m.plain) + 8, Letter: 'd'})
	return m
}

func (m *machine) itemSize() uint64 { return m.Offset("outer", "to") }

// changes are the bytes that a Scrubber alters, "address+length" joined, X for erased and 0 for nullified ones.
func (m *machine) changes(t *testing.T, s *Scrubber) string {
	t.Helper()
	img := m.Kernel().Image()
	var out []string
	names := []struct {
		name string
		at   vmem.Addr
	}{{"outer", m.outer}, {"first", m.first}, {"second", m.second}, {"text", m.text}, {"array", m.array}, {"ptrs", m.ptrs}, {"plain", m.plain}}
	for pfn := range s.Pages().All() {
		page := bytes.Repeat([]byte{1}, 4096)
		if ok, err := s.Change(pfn, page); !ok || err != nil || s.Untouched(pfn) {
			t.Errorf("page %#x: Change = %v, %v, Untouched = %v", pfn, ok, err, s.Untouched(pfn))
		}
		for i := 0; i < len(page); {
			j := i
			for j < len(page) && page[j] == page[i] {
				j++
			}
			if page[i] != 1 {
				at := kerneltest.Base + vmem.Addr(pfn*4096+uint64(i))
				text := fmt.Sprintf("%#x", uint64(at))
				for _, n := range names {
					if at >= n.at && at < n.at+128 {
						text = fmt.Sprintf("%s+%d", n.name, at-n.at)
					}
				}
				out = append(out, fmt.Sprintf("%s:%d%s", text, j-i, map[byte]string{'X': "", 0: "z"}[page[i]]))
			}
			i = j
		}
	}
	if !s.Untouched(img.Info().MaxPFN - 1) {
		t.Error("the last page is touched")
	}
	return strings.Join(out, " ")
}

func TestErase(t *testing.T) {
	m := newMachine(t)
	name, key := m.Offset("item", "name"), m.Offset("item", "key")
	for _, tt := range []struct{ config, want string }{
		{"erase outer.in.name", fmt.Sprintf("outer+%d:8", name)},
		{"erase outer.to.name", fmt.Sprintf("first+%d:8", name)},
		{"erase outer.to", fmt.Sprintf("first+0:%d", m.itemSize())},
		{"erase first.next.name", fmt.Sprintf("second+%d:8", name)},
		{"erase outer.none", ""},
		{"erase outer.none.name", ""},
		{"erase outer.to nullify", fmt.Sprintf("outer+%d:8z", m.Offset("outer", "to"))},
		{"erase outer.in.text", "text+0:6 text+6:8"},
		{"erase outer.in.key size 3", "plain+0:3"},
		{"erase outer.in.key size outer.in.key_size", "plain+0:5"},
		{"erase outer.in.key size outer.to.key_size\nerase outer.in.key size 1", "plain+0:5"},
		{"erase plain size 1K", "plain+0:1024"},
		{"erase array", fmt.Sprintf("array+0:%d", 2*m.itemSize())},
		{"for x in array\nerase x.name size 2\nendfor", fmt.Sprintf("array+%d:2 array+%d:2", name, name+m.itemSize())},
		{"for x in ptrs\nerase x.key nullify\nendfor", fmt.Sprintf("second+%d:8z", key)},
		{"for x in ptrs\nerase x nullify\nendfor", "ptrs+0:16z"},
		{"for x in first via next\nerase x.name\nendfor", fmt.Sprintf("first+%d:8 second+%d:8", name, name)},
		{"for x in outer.to.next via next\nerase x.name\nendfor", fmt.Sprintf("second+%d:8", name)},
		{"for x in outer.none via next\nerase x.name\nendfor", ""},
		{"for x in head within item:list\nerase x.name\nendfor", fmt.Sprintf("first+%d:8 second+%d:8", name, name)},
		{"for x in head.next within item\nfor y in x via next\nerase y.name\nendfor\nendfor", fmt.Sprintf("first+%d:8 second+%d:8", name, name)},
	} {
		rules, err := ParseConfig(strings.NewReader(tt.config))
		if err != nil {
			t.Fatal(err)
		}
		s, err := Compile(m.View(), rules)
		if err != nil {
			t.Errorf("%q: %v", tt.config, err)
			continue
		}
		if got := m.changes(t, s); got != tt.want {
			t.Errorf("%q erases %s; want %s", tt.config, got, tt.want)
		}
	}
}

func TestEraseErrors(t *testing.T) {
	m := newMachine(t)
	for _, tt := range []struct{ config, want string }{
		{"erase outr", "line 1: the kernel has no symbol outr; did you mean outer?"},
		{"erase outer.in.nam", "struct item has no member nam; did you mean name?"},
		{"erase outer.in.key", "a pointer to void points to has no known size"},
		{"erase outer.in.bit", "it is a bit-field"},
		{"erase outer.in.name nullify", "only pointers can be nullified"},
		{"erase outer.in.key size outer.in.name", "size outer.in.name is no integer"},
		{"erase outer.in.key_size.x", "before .x is no struct"},
		{"erase array.name", "erase members of its elements in a loop"},
		{"erase plain", "the size of <variable of unknown type> is not known: give one"},
		{"erase plain.x", "it takes the kernel's debug information"},
		{"erase twice size 1", "2 symbols are called twice"},
		{"erase outer.in size 1000M", "is no address of the kernel"},
		{"for x in array\nerase y\nendfor", "line 1: for x in array: element 0: line 2: the kernel has no symbol y"},
		{"for x in head\nerase x\nendfor", "a list_head needs: within"},
		{"for x in head within itm:list\nerase x\nendfor", "did you mean item?"},
		{"for x in head within item:text\nerase x\nendfor", "struct item.text is no list_head"},
		{"for x in first via text\nerase x.name\nendfor", "struct item.text does not point to the next struct item"},
		{"for x in first via next\nfor x in array\nendfor\nendfor", "is that of an outer loop already"},
	} {
		rules, err := ParseConfig(strings.NewReader(tt.config))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := Compile(m.View(), rules); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%q: %v; want %q", tt.config, err, tt.want)
		}
	}
}

func TestEraseInfo(t *testing.T) {
	m := newMachine(t)
	rules, err := ParseConfig(strings.NewReader("erase outer.in.name\nfor x in head within item\nerase x.name\nerase x.next nullify\nendfor\n"))
	if err != nil {
		t.Fatal(err)
	}
	r, err := ParseRedact("symbol:outer.in.name")
	if err != nil {
		t.Fatal(err)
	}
	rules.Redact = append(rules.Redact, r)
	s, err := Compile(m.View(), rules)
	if err != nil {
		t.Fatal(err)
	}
	in := &dumpfmt.Info{EraseInfo: "erase old size 1"}
	want := "erase old size 1\nerase outer.in.name size 8\nerase x.name size 8\nerase x.name size 8\nerase x.next nullify\nerase x.next nullify\n" +
		"redact symbol:outer.in.name: 1 erased, 7 bytes\n" // the NUL stays
	if got := s.Info(in).EraseInfo; got != want || in.EraseInfo != "erase old size 1" {
		t.Errorf("EraseInfo = %q; want %q", got, want)
	}
}

// search looks for an expression as Compile does, but for what takes a whole kernel.
func (m *machine) search(t *testing.T, expr string) *regexSearch {
	t.Helper()
	p, err := compilePattern(expr)
	if err != nil {
		t.Fatal(err)
	}
	b := &builder{v: m.View(), marks: newMarks(4096), patterns: []*pattern{p}}
	s := newSearch(b, []int{0}, []Rule{{Kind: Regex, expr: p}})
	return s
}

// TestPhysical: matches in a page, over the edge of two, over the edge of two stretches that are searched apart, and next to
// pages that are not there.
func TestPhysical(t *testing.T) {
	for _, expr := range []string{"secret-[0-9]{3}", "(?i)SECRET-\\d+", "[a-z]{6}-\\d{3}", "secret-.*"} {
		m := newMachine(t)
		put := func(phys uint64) { m.Write(kerneltest.Base+vmem.Addr(phys), []byte("secret-123\x00")) }
		places := []uint64{0x40010, 0x42000 - 1, 0x44000 - 9, 0x46000 - 10, chunkPages*4096 - 5, 2*chunkPages*4096 - 10, 3 * chunkPages * 4096, 0x50000}
		for _, p := range places {
			put(p)
		}
		put(0x60000 - 4)
		m.Exclude(kerneltest.Base + 0x60000)
		s := m.search(t, expr)
		if err := s.physical(t.Context()); err != nil {
			t.Fatal(err)
		}
		if err := s.marks.freeze(); err != nil {
			t.Fatal(err)
		}
		if got := s.matches[0].Load(); got != uint64(len(places)) {
			t.Errorf("%q: %d matches; want %d", expr, got, len(places))
		}
		for _, p := range places {
			for i := p; i < p+10; i++ {
				if !s.marks.marked(i/4096, i%4096) {
					t.Errorf("%q: byte %#x of the match at %#x is not erased", expr, i, p)
				}
			}
			if s.marks.marked((p-1)/4096, (p-1)%4096) || s.marks.marked((p+10)/4096, (p+10)%4096) {
				t.Errorf("%q: bytes around the match at %#x are erased, too", expr, p)
			}
		}
		if s.marks.marked(0x5f, 4095) {
			t.Errorf("%q: half a match is erased", expr)
		}
	}
}

func (m *marks) marked(pfn, off uint64) bool {
	page := make([]byte, 4096)
	m.apply(pfn, page)
	return page[off] == Fill
}

// TestScattered: pages that follow each other only for those who map them.
func TestScattered(t *testing.T) {
	for _, expr := range []string{"secret-[0-9]{3}", "secret-.*"} {
		m := newMachine(t)
		put := func(pfn, off uint64, text string) { m.Write(kerneltest.Base+vmem.Addr(pfn*4096+off), []byte(text)) }
		put(0x80, 4090, "secret")
		put(0x70, 0, "-123")
		put(0x70, 4095, "s")
		put(0x90, 0, "ecret-456")
		put(0x91, 4093, "sec") // no neighbour of the next
		put(0x71, 0, "ret-789")
		s := m.search(t, expr)
		r := newScatterReader(s)
		for i, pfn := range []uint64{0x60, 0x80, 0x70, 0x90, 0x91} {
			if err := r.add(0x1000+uint64(i)*4096, userPage{pfn: pfn, pages: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.add(0x20000, userPage{pfn: 0x71, pages: 1}); err != nil {
			t.Fatal(err)
		}
		// A long run, in whose middle is one edge.
		put(0x1000+1999, 4090, "secret")
		put(0x3000, 0, "-777")
		for i := range uint64(2000) {
			if err := r.add(0x100000+i*4096, userPage{pfn: 0x1000 + i, pages: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.add(0x100000+2000*4096, userPage{pfn: 0x3000, pages: 512}); err != nil {
			t.Fatal(err)
		}
		if err := r.flush(); err != nil {
			t.Fatal(err)
		}
		if err := s.marks.freeze(); err != nil {
			t.Fatal(err)
		}
		if got := s.matches[0].Load(); got != 3 {
			t.Errorf("%q: %d matches; want 3", expr, got)
		}
		for _, p := range []struct {
			pfn, off uint64
			want     bool
		}{{0x80, 4089, false}, {0x80, 4090, true}, {0x80, 4095, true}, {0x70, 0, true}, {0x70, 3, true}, {0x70, 4, false}, {0x70, 4095, true}, {0x90, 8, true},
			{0x90, 9, false}, {0x91, 4095, false}, {0x71, 0, false}, {0x1000 + 1999, 4095, true}, {0x3000, 3, true}} {
			if got := s.marks.marked(p.pfn, p.off); got != p.want {
				t.Errorf("%q: byte %d of page %#x: erased %v; want %v", expr, p.off, p.pfn, got, p.want)
			}
		}
	}
}

// TestScatteredAll: wherever a match lies in a run of scattered pages, it is found.
func TestScatteredAll(t *testing.T) {
	m := newMachine(t)
	const pages, n = 700, 11
	order := make([]uint64, pages)
	for i := range order {
		order[i] = 0x100 + uint64(i*n%pages) // neighbours lie n pages apart
	}
	for i := 0; i+1 < pages; i++ {
		m.Write(kerneltest.Base+vmem.Addr(order[i]*4096+4096-3), []byte("sec"))
		m.Write(kerneltest.Base+vmem.Addr(order[i+1]*4096), []byte("ret-1\x00"))
	}
	for _, expr := range []string{"secret-1", "secret-.*"} {
		s := m.search(t, expr)
		r := newScatterReader(s)
		for i, pfn := range order {
			if err := r.add(uint64(i)*4096, userPage{pfn: pfn, pages: 1}); err != nil {
				t.Fatal(err)
			}
		}
		if err := r.flush(); err != nil {
			t.Fatal(err)
		}
		if got := s.matches[0].Load(); got != pages-1 {
			t.Errorf("%q: %d matches; want %d", expr, got, pages-1)
		}
	}
}

// TestHeaderNames: what goes of the kernel's name of itself goes of the headers that copy it.
func TestHeaderNames(t *testing.T) {
	m := kerneltest.New(t, "struct new_utsname { char sysname[65]; char nodename[65]; }; struct uts_namespace { int count; struct new_utsname name; };")
	at := m.AllocPage() + 4096 - 80 // the name lies on two pages
	m.Alloc(4096)
	m.Var("init_uts_ns", at, "struct uts_namespace")
	m.Write(at+4, []byte("Linux"))
	m.Write(at+4+65, []byte("host.example.org"))
	for _, tt := range []struct{ rule, want string }{{"symbol:init_uts_ns.name.nodename", "XXXXXXXXXXXXXXXX"}, {"symbol:init_uts_ns.count", "host.example.org"}} {
		r, err := ParseRedact(tt.rule)
		if err != nil {
			t.Fatal(err)
		}
		s, err := Compile(m.View(), Rules{Redact: []Rule{r}})
		if err != nil {
			t.Fatal(err)
		}
		out := s.Info(&dumpfmt.Info{UTS: dumpfmt.UTS{Sysname: "Linux", Nodename: "host.example.org"}})
		if out.UTS.Nodename != tt.want || out.UTS.Sysname != "Linux" {
			t.Errorf("%s: UTS = %+v; want the node name %s", tt.rule, out.UTS, tt.want)
		}
	}
}

func TestInfoTexts(t *testing.T) {
	p, err := compilePattern("host-?name|secret")
	if err != nil {
		t.Fatal(err)
	}
	s := &Scrubber{marks: newMarks(4096), patterns: []*pattern{p}, logText: []string{"redact symbol:secret_key: 1 erased"}}
	text := []byte("OSRELEASE=6.1\nX=secret\n")
	distilled := `{"origin":"hostname"}`
	in := &dumpfmt.Info{UTS: dumpfmt.UTS{Nodename: "my-hostname"}, Notes: []dumpfmt.Note{{Name: "VMCOREINFO", Desc: text}, {Name: "X", Desc: []byte("plain")}},
		VMCoreInfo: vmcoreinfo.Parse(text), Distilled: &distilled}
	out := s.Info(in)
	if out.UTS.Nodename != "my-XXXXXXXX" || string(out.Notes[0].Desc) != "OSRELEASE=6.1\nX=XXXXXX\n" || string(out.Notes[1].Desc) != "plain" {
		t.Errorf("Info = %+v", out)
	}
	if x, _ := out.VMCoreInfo.Get("X"); x != "XXXXXX" || *out.Distilled != `{"origin":"XXXXXXXX"}` || out.EraseInfo != "redact symbol:XXXXXX_key: 1 erased\n" {
		t.Errorf("VMCOREINFO X=%s, Distilled %s, EraseInfo %q", x, *out.Distilled, out.EraseInfo)
	}
	if in.UTS.Nodename != "my-hostname" || !bytes.Contains(in.Notes[0].Desc, []byte("secret")) || distilled != `{"origin":"hostname"}` {
		t.Error("the input's Info was altered")
	}
}
