package commands

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"

	"github.com/google/go-cmp/cmp"
)

const memoryDecls = `
struct list_head { struct list_head *next, *prev; };
struct item { int id; struct list_head link; char name[8]; struct item *next; };
struct owner { long pad; struct list_head items; };
struct rb_node { unsigned long __rb_parent_color; struct rb_node *rb_right, *rb_left; };
struct leaf { int key; struct rb_node node; };
struct xarray { unsigned int xa_lock; unsigned int xa_flags; void *xa_head; };
struct xa_node { unsigned char shift, offset, count, nr_values; struct xa_node *parent; struct xarray *array;
	struct list_head private_list; void *slots[64]; unsigned long tags[3]; };
`

// memoryTarget has, at fixed places: text and words at Base+0x10000, three items in a ring with a head, a tree, an xarray.
type memoryTarget struct {
	*kerneltest.Machine
	words, head, owner, root, xa vmem.Addr
	items, leaves                [3]vmem.Addr
}

func newMemoryTarget(t *testing.T) *memoryTarget {
	m := kerneltest.New(t, memoryDecls)
	x := &memoryTarget{Machine: m, words: kerneltest.Base + 0x10000}
	m.Word(x.words, 0x4142434445464748)
	m.Word(x.words+8, uint64(x.words)+16)
	m.Word(x.words+16, 0xfffffffffffffffe)
	m.Write(x.words+64, []byte("Linux version 6.1 (gcc), a line of more than sixty characters\n"))
	m.Symbol(symbols.Symbol{Name: "words", Addr: uint64(x.words), Size: 64, Letter: 'D'})
	m.Symbol(symbols.Symbol{Name: "banner", Addr: uint64(x.words) + 64, Size: 64, Letter: 'R'})
	m.Symbol(symbols.Symbol{Name: "driver_data", Addr: uint64(x.words) + 256, Size: 8, Letter: 'd', Module: "driver"})
	x.head, x.owner, x.root, x.xa = m.Alloc(16), m.Alloc(32), m.Alloc(8), m.Alloc(16)
	for i := range x.items {
		x.items[i], x.leaves[i] = m.Alloc(64), m.Alloc(64)
		m.Set(x.items[i], "item", "id", uint64(i+1))
		m.Write(x.items[i]+vmem.Addr(m.Offset("item", "name")), []byte{'i', byte('1' + i)})
		m.Set(x.leaves[i], "leaf", "key", uint64(10*i))
	}
	x.ring(x.head)
	for i := range 2 {
		m.Set(x.items[i], "item", "next", uint64(x.items[i+1]))
	}
	node := func(i int) vmem.Addr { return x.leaves[i] + vmem.Addr(m.Offset("leaf", "node")) }
	m.Word(x.root, uint64(node(1)))
	m.Word(node(1), 1)
	m.Word(node(1)+8, uint64(node(2)))
	m.Word(node(1)+16, uint64(node(0)))
	m.Word(node(0), uint64(node(1)))
	m.Word(node(2), uint64(node(1)))
	m.Word(x.xa+8, uint64(x.items[0])) // one entry, at index 0
	m.Var("item_list", x.head, "struct list_head")
	m.Var("tree_root", x.root, "")
	return x
}

func (x *memoryTarget) ring(head vmem.Addr) {
	link := vmem.Addr(x.Offset("item", "link"))
	prev := head
	for _, it := range x.items {
		x.Word(prev, uint64(it+link))
		x.Word(it+link+8, uint64(prev))
		prev = it + link
	}
	x.Word(prev, uint64(head))
	x.Word(head+8, uint64(prev))
}

// run runs a command line and returns its text; what was missing stands behind it.
func (x *memoryTarget) run(t *testing.T, line string) (string, error) {
	t.Helper()
	s := testState()
	s.Kernel = x.Kernel()
	words := strings.Fields(line)
	c := &Call{View: x.View(), State: s, Cmd: s.Command(words[0]), Args: words[1:]}
	if !c.Cmd.Raw {
		var err error
		if c.Flags, c.Args, err = ParseFlags(c.Cmd, words[1:]); err != nil {
			return "", err
		}
	}
	r, err := c.Cmd.Run(c)
	if err != nil {
		return "", err
	}
	var text, js bytes.Buffer
	if err := r.Text(&text, view.Options{}); err != nil {
		return text.String(), err
	}
	gaps, _ := c.View.Gaps()
	for _, g := range gaps {
		text.WriteString("missing: " + g.String() + "\n")
	}
	if err := view.WriteJSON(&js, r); err != nil {
		t.Errorf("%s: JSON: %v", line, err)
	} else if !json.Valid(js.Bytes()) {
		t.Errorf("%s: JSON is not valid:\n%s", line, js.String())
	}
	return text.String(), nil
}

func (x *memoryTarget) check(t *testing.T, line, want string) {
	t.Helper()
	got, err := x.run(t, line)
	if err != nil {
		t.Errorf("%s: %v", line, err)
		return
	}
	if d := cmp.Diff(strings.TrimPrefix(want, "\n"), got); d != "" {
		t.Errorf("%s: (-want +got)\n%s", line, d)
	}
}

// The columns are those of crash 9.0.2.
func TestRD(t *testing.T) {
	x := newMemoryTarget(t)
	for line, want := range map[string]string{
		"rd words":        "ffff888000010000:  4142434445464748                    HGFEDCBA\n",
		"rd words 2":      "ffff888000010000:  4142434445464748 ffff888000010010   HGFEDCBA........\n",
		"rd -x words 2":   "ffff888000010000:  4142434445464748 ffff888000010010 \n",
		"rd -s words 2":   "ffff888000010000:  4142434445464748 words+16         \n",
		"rd -32 words 2":  "ffff888000010000:  45464748 41424344                     HGFEDCBA\n",
		"rd -32 -N words": "ffff888000010000:  48474645                              HGFE\n",
		"rd -16 words 3":  "ffff888000010000:  4748 4546 4344                            HGFEDC\n",
		"rd -8 words 3":   "ffff888000010000:  48 47 46                                          HGF\n",
		"rd -d words+16":  "ffff888000010010:               -2 \n",
		"rd -D words+16":  "ffff888000010010:  18446744073709551614 \n",
		"rd -16 -d words": "ffff888000010000:  18248 \n",
		"rd -o 8 words":   "ffff888000010008:  ffff888000010010                    ........\n",
		"rd -R words+8 2": "ffff888000010000:  4142434445464748 ffff888000010010   HGFEDCBA........\n",
		"rd -p 10000":     "           10000:  4142434445464748                    HGFEDCBA\n",
		"rd -a banner 5":  "ffff888000010040:  Linux\n",
		"rd words -e 0":   "",
		"rd (words+8)":    "ffff888000010008:  ffff888000010010                    ........\n",
		"rd -a banner":    "ffff888000010040:  Linux version 6.1 (gcc), a line of more than sixty character\nffff88800001007c:  s\n",
		"rd ffff888000010000 -e ffff888000010008": "ffff888000010000:  4142434445464748                    HGFEDCBA\n",
	} {
		if want == "" {
			if got, err := x.run(t, line); err == nil {
				t.Errorf("%s = %q; want an error", line, got)
			}
			continue
		}
		x.check(t, line, want)
	}
}

func TestRDMissing(t *testing.T) {
	x := newMemoryTarget(t)
	page := x.AllocPage()
	x.Word(page+0xff0, 1)
	x.Exclude(x.AllocPage())
	got, err := x.run(t, "rd "+strings.TrimPrefix(hexOf(page+0xff0), "0x")+" 4")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(got, ":  0000000000000001 0000000000000000") || !strings.Contains(got, "missing: memory at "+hexOf(page+0x1000)) || strings.Count(got, ":  ") != 1 {
		t.Errorf("rd into an excluded page:\n%s", got)
	}
}

func hexOf(a vmem.Addr) string {
	b, _ := a.MarshalText()
	return string(b)
}

func TestRDFile(t *testing.T) {
	x := newMemoryTarget(t)
	path := filepath.Join(t.TempDir(), "out")
	x.check(t, "rd -r "+path+" words 16", "16 bytes copied from 0xffff888000010000 to "+path+"\n")
	got, err := os.ReadFile(path)
	if err != nil || string(got) != "HGFEDCBA\x10\x00\x01\x00\x80\x88\xff\xff" {
		t.Errorf("%s holds %q, %v", path, got, err)
	}
	if _, err := x.run(t, "rd -r "+path+" words"); err == nil {
		t.Error("rd -r without a count: no error")
	}
}

func TestSym(t *testing.T) {
	x := newMemoryTarget(t)
	x.check(t, "sym words", "ffff888000010000 (D) words\n")
	x.check(t, "sym ffff888000010008", "ffff888000010008 (D) words+8\n")
	x.check(t, "sym words+4", "ffff888000010004 (D) words+4\n")
	x.check(t, "sym driver_data", "ffff888000010100 (d) driver_data [driver]\n")
	x.check(t, "sym -q nner", "ffff888000010040 (R) banner\n")
	x.check(t, "sym -p -n banner", "ffff888000010000 (D) words\nffff888000010040 (R) banner\nffff888000010100 (d) driver_data [driver]\n")
	if _, err := x.run(t, "sym wrds"); err == nil || !strings.Contains(err.Error(), "did you mean words?") {
		t.Errorf("sym wrds: %v; want a suggestion", err)
	}
}

func TestList(t *testing.T) {
	x := newMemoryTarget(t)
	addrs := func(as ...vmem.Addr) string {
		var b strings.Builder
		for _, a := range as {
			b.WriteString(strings.TrimPrefix(hexOf(a), "0x") + "\n")
		}
		return b.String()
	}
	link := vmem.Addr(x.Offset("item", "link"))
	i := x.items
	x.check(t, "list -H item_list item.link", addrs(i[:]...))
	x.check(t, "list -H item_list -r -o item.link", addrs(i[2], i[1], i[0]))
	x.check(t, "list item_list", addrs(x.head, i[0]+link, i[1]+link, i[2]+link))
	x.check(t, "list item.link -h "+hexOf(i[1]), addrs(i[1], i[2], x.head-link, i[0]))
	x.check(t, "list -o item.next "+hexOf(i[0]), addrs(i[:]...))
	x.check(t, "list -o item.next "+hexOf(i[0])+" -e "+hexOf(i[2]), addrs(i[0], i[1]))
	x.check(t, "list -H item_list item.link -S item.id,name", `
`+addrs(i[0])+`  id = 1
  name = "i1"
`+addrs(i[1])+`  id = 2
  name = "i2"
`+addrs(i[2])+`  id = 3
  name = "i3"
`)
	x.check(t, "list -H item_list -l item.link -s item.id", addrs(i[0]+link)+"  id = 1,\n"+addrs(i[1]+link)+"  id = 2,\n"+addrs(i[2]+link)+"  id = 3,\n")
	x = newMemoryTarget(t)
	x.ring(x.owner + vmem.Addr(x.Offset("owner", "items")))
	x.check(t, "list -h -O owner.items -o item.link "+hexOf(x.owner), addrs(i[:]...))
}

func TestListLoop(t *testing.T) {
	for _, flag := range []string{"", " -B"} {
		x := newMemoryTarget(t)
		link := vmem.Addr(x.Offset("item", "link"))
		x.Word(x.items[2]+link, uint64(x.items[1]+link))
		got, err := x.run(t, "list -H item_list item.link"+flag)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(got, "missing: list:") || strings.Count(got, "\n") > 10 {
			t.Errorf("list%s that loops:\n%s", flag, got)
		}
		if flag != "" && !strings.Contains(got, "loop of 2 entries, which begins 1 entries behind the first, at "+hexOf(x.items[1]+link)) {
			t.Errorf("list -B does not place the loop:\n%s", got)
		}
	}
}

// The entries behind one that can't be read are reached from the head's other pointer.
func TestListExcluded(t *testing.T) {
	x := newMemoryTarget(t)
	items := x.items
	for i := range items {
		items[i] = x.AllocPage()
	}
	x.items = items
	x.ring(x.head)
	x.Exclude(items[1])
	addr := func(a vmem.Addr) string { return strings.TrimPrefix(hexOf(a), "0x") + "\n" }
	got, err := x.run(t, "list -H item_list item.link")
	if err != nil {
		t.Fatal(err)
	}
	if want := addr(items[0]) + addr(items[1]) + addr(items[2]) + "missing: list: after "; !strings.HasPrefix(got, want) || strings.Count(got, "\n") != 4 {
		t.Errorf("list with an excluded entry:\n%s\nwant all three, and what is missing", got)
	}
}

func TestTree(t *testing.T) {
	x := newMemoryTarget(t)
	at := func(a vmem.Addr) string { return strings.TrimPrefix(hexOf(a), "0x") + "\n" }
	l := x.leaves
	x.check(t, "tree -o leaf.node tree_root -p", at(l[1])+"  position: root\n"+at(l[0])+"  position: root/l\n"+at(l[2])+"  position: root/r\n")
	x.check(t, "tree -t rb -o leaf.node tree_root -l -s leaf.key", at(l[0])+"  key = 0,\n"+at(l[1])+"  key = 10,\n"+at(l[2])+"  key = 20,\n")
	x.check(t, "tree -o leaf.node -N "+hexOf(l[2]+vmem.Addr(x.Offset("leaf", "node"))), at(l[2]))
	x.check(t, "tree -t x "+hexOf(x.xa)+" -p -S item.id", at(x.items[0])+"  index: 0  position: root\n  id = 1\n")
	for _, bad := range []string{"tree", "tree -t q tree_root", "tree -t x -o 8 " + hexOf(x.xa), "tree -v tree_root"} {
		if _, err := x.run(t, bad); err == nil {
			t.Errorf("%s: no error", bad)
		}
	}
}

func TestEval(t *testing.T) {
	x := newMemoryTarget(t)
	for src, want := range map[string]uint64{
		"1+2*3": 7, "(1+2)*3": 9, "128m": 128 << 20, "4g / 3": 4 << 30 / 3, "0x10 + 10": 26, "ff": 255, "1 << 40 | 1": 1<<40 | 1, "-1": ^uint64(0),
		"~0xf & 0xff": 0xf0, "10 % 3": 1, "words + 8": 0xffff888000010008, "7 - 2 - 1": 4, "2 ^ 3": 1, "6 & 3 | 8": 10, "1k": 1024,
	} {
		got, err := evaluate(x.View(), src, 10)
		if err != nil || got != want {
			t.Errorf("evaluate(%q) = %#x, %v; want %#x", src, got, err, want)
		}
	}
	for _, src := range []string{"", "1 +", "(1", "1)", "1/0", "5 % 0", "xyzzy", "99999999999999999999", "20000000t", strings.Repeat("(", 10000), strings.Repeat("-", 10000) + "1"} {
		if got, err := evaluate(x.View(), src, 10); err == nil {
			t.Errorf("evaluate(%.20q) = %#x; want an error", src, got)
		}
	}
	x.check(t, "eval -b 5", "hexadecimal: 5  \n    decimal: 5  \n      octal: 5\n     binary: "+strings.Repeat("0", 61)+"101\n   bits set: 2 0 \n")
	x.check(t, "eval 128m", "hexadecimal: 8000000  (128MB)\n    decimal: 134217728  \n      octal: 1000000000\n     binary: "+strings.Repeat("0", 36)+"1000"+strings.Repeat("0", 24)+"\n")
}

func FuzzEvaluate(f *testing.F) {
	for _, s := range []string{"1+2", "((1k))", "~words<<3", "0x", "k", "-", "1%0", "ff g"} {
		f.Add(s)
	}
	m := kerneltest.New(f, "")
	v := m.View()
	f.Fuzz(func(t *testing.T, src string) { evaluate(v, src, 10) })
}

func TestConversions(t *testing.T) {
	x := newMemoryTarget(t)
	x.check(t, "ptob 5", "5: 5000\n")
	x.check(t, "btop 5a3f", "5a3f: 5\n")
	x.check(t, "ptov 1000", "VIRTUAL           PHYSICAL        \nffff888000001000  1000            \n")
	x.check(t, "ascii 62696c2f7273752f a", "62696c2f7273752f: /usr/lib\n000000000000000a: <LF><NUL><NUL><NUL><NUL><NUL><NUL><NUL>\n")
}

// dis of code in memory: a branch, a place relative to the instruction pointer, bytes that are no instruction.
func TestDis(t *testing.T) {
	m := kerneltest.New(t, "")
	code := kerneltest.Base + 0x20000
	m.Write(code, []byte{0xf3, 0x0f, 0x1e, 0xfa, 0x74, 0x02, 0x06, 0xc3, 0x0f, 0x0b, 0xcc, 0x90, 0x90, 0x90, 0x90, 0x90, 0xc3})
	m.Symbol(symbols.Symbol{Name: "func", Addr: uint64(code), Size: 16, Letter: 'T'})
	m.Symbol(symbols.Symbol{Name: "next", Addr: uint64(code) + 16, Size: 1, Letter: 'T'})
	x := &memoryTarget{Machine: m}
	const whole = `0xffff888000020000 <func>:	endbr64
0xffff888000020004 <func+4>:	je     0xffff888000020008 <func+8>
0xffff888000020006 <func+6>:	(bad)
0xffff888000020007 <func+7>:	ret
0xffff888000020008 <func+8>:	ud2
0xffff88800002000a <func+10>:	int3
`
	lines := strings.SplitAfter(whole, "\n")
	x.check(t, "dis func", whole)
	x.check(t, "dis func 2", lines[0]+lines[1])
	x.check(t, "dis func+4", lines[1])
	x.check(t, "dis -x func+10", strings.Replace(lines[5], "+10", "+0xa", 1))
	x.check(t, "dis -r func+7", strings.Join(lines[:4], ""))
	x.check(t, "dis -r func+7 2", lines[2]+lines[3])
	x.check(t, "dis -f func+8", lines[4]+lines[5])
	x.check(t, "dis -f func+5", strings.Join(lines[2:], "")) // inside an instruction: from the next on
	x.check(t, "dis next", "0xffff888000020010 <next>:\tret\n")
}
