package kernel_test

import (
	"iter"
	"strings"
	"testing"

	"kdx/analyze/kernel"
	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
	"kdx/symbols"

	"github.com/google/go-cmp/cmp"
)

const bindDecls = `
struct list_head { struct list_head *next, *prev; };
struct counter { int counter; };
struct bound {
	u64 start;
	int state;
	struct counter refs;
	struct { u16 deep; } sub;
	unsigned int low : 3, high : 13;
	char comm[16];
	u32 words[3];
	struct list_head link;
};
struct wide { u64 first; u8 pad[8192]; u64 last; };
`

type bound struct {
	Start uint64    `k:"start"`
	State int64     `k:"__state|state"`
	Refs  int32     `k:"refs"`
	Deep  uint64    `k:"sub.deep"`
	High  uint16    `k:"high"`
	Comm  string    `k:"comm"`
	Words [3]uint32 `k:"words"`
	Link  vmem.Addr `k:"&link"`
	Gone  uint64    `k:"nosuch,optional"`
	Free  int       // not bound
}

func TestBind(t *testing.T) {
	m := kerneltest.New(t, bindDecls)
	a := m.Alloc(128)
	m.Set(a, "bound", "start", 0xffff888012345678)
	m.Set(a, "bound", "state", 0xffffffff)
	m.Put(a+vmem.Addr(m.Offset("bound", "refs")), 4, 0xfffffff9)
	m.Set(a, "bound", "sub.deep", 0xbeef)
	m.Put(a+vmem.Addr(m.Offset("bound", "low")), 4, 5|0x1abc<<3)
	m.Write(a+vmem.Addr(m.Offset("bound", "comm")), []byte("init\x00rest"))
	for i := range 3 {
		m.Put(a+vmem.Addr(m.Offset("bound", "words"))+vmem.Addr(4*i), 4, uint64(i+1)<<24)
	}
	v := m.View()
	b, err := kernel.Bind[bound](m.Kernel(), "bound")
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Read(v, a)
	if err != nil {
		t.Fatal(err)
	}
	want := bound{Start: 0xffff888012345678, State: -1, Refs: -7, Deep: 0xbeef, High: 0x1abc, Comm: "init",
		Words: [3]uint32{1 << 24, 2 << 24, 3 << 24}, Link: a + vmem.Addr(m.Offset("bound", "link"))}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("Read(): -want +got\n%s", d)
	}
	if b.Has("Gone") || !b.Has("State") {
		t.Errorf("Has(Gone), Has(State) = %v, %v; want false, true", b.Has("Gone"), b.Has("State"))
	}
}

func TestBindSetsAllOrNothing(t *testing.T) {
	m := kerneltest.New(t, bindDecls)
	at := m.AllocPage()
	m.AllocPage()
	last := m.AllocPage()
	m.Set(at, "wide", "first", 7)
	m.Exclude(last)
	type wide struct {
		First uint64 `k:"first"`
		Last  uint64 `k:"last"`
	}
	b, err := kernel.Bind[wide](m.Kernel(), "wide")
	if err != nil {
		t.Fatal(err)
	}
	got, err := b.Read(m.View(), at)
	if err == nil || !strings.Contains(err.Error(), "member last") {
		t.Errorf("error = %v; want one about member last", err)
	}
	if got != (wide{}) {
		t.Errorf("Read() with an error = %+v; want nothing set", got)
	}
}

func TestBindRefuses(t *testing.T) {
	m := kerneltest.New(t, bindDecls)
	k := m.Kernel()
	for _, tt := range []struct {
		name string
		bind func() error
		want string
	}{
		{"no such member", func() error {
			_, err := kernel.Bind[struct {
				X uint64 `k:"nosuch|neither"`
			}](k, "bound")
			return err
		}, "no member nosuch or neither"},
		{"a field that can't be set", func() error {
			_, err := kernel.Bind[struct {
				x uint64 `k:"start"`
			}](k, "bound")
			return err
		}, "not exported"},
		{"an array of other elements", func() error {
			_, err := kernel.Bind[struct {
				X [6]uint16 `k:"words"`
			}](k, "bound")
			return err
		}, "differ in size"},
		{"an array of structs", func() error {
			_, err := kernel.Bind[struct {
				X [3]struct{ A uint32 } `k:"words"`
			}](k, "bound")
			return err
		}, "can't bind"},
		{"a struct as a number", func() error {
			_, err := kernel.Bind[struct {
				X uint64 `k:"comm"`
			}](k, "bound")
			return err
		}, "has 16 bytes"},
		{"an address as a string", func() error {
			_, err := kernel.Bind[struct {
				X string `k:"&comm"`
			}](k, "bound")
			return err
		}, "does not bind"},
		{"no such struct", func() error {
			_, err := kernel.Bind[bound](k, "nosuch")
			return err
		}, "not found"},
	} {
		if err := tt.bind(); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: error = %v; want one with %q", tt.name, err, tt.want)
		}
	}
}

// A type whose size lies must not cost its size in memory.
func TestBindLyingString(t *testing.T) {
	m := kerneltest.New(t, bindDecls)
	char := &symbols.Type{Kind: symbols.Int, Name: "char", Size: 1, Signed: true}
	liar := symbols.NewType(&symbols.Type{Kind: symbols.Struct, Name: "liar", Size: 1 << 50}, func(p *symbols.Parts) {
		p.Members = []symbols.Member{{Name: "text", Type: symbols.ArrayOf(char, 1<<50)}}
	})
	k := m.Kernel()
	k.Symbols().AddTypes(oneType{liar})
	b, err := kernel.Bind[struct {
		Text string `k:"text"`
	}](k, "liar")
	if err != nil {
		t.Fatal(err)
	}
	a := m.Alloc(16)
	m.Write(a, []byte("short"))
	got, err := b.Read(m.View(), a)
	if err != nil || got.Text != "short" {
		t.Errorf("Read() = %q, %v; want short", got.Text, err)
	}
}

// oneType is a finder of one struct.
type oneType struct{ t *symbols.Type }

func (oneType) Name() string { return "one" }
func (o oneType) TypeNamed(k symbols.Kind, name string) (*symbols.Type, error) {
	if k == o.t.Kind && name == o.t.Name {
		return o.t, nil
	}
	return nil, symbols.ErrNotFound
}
func (oneType) VariableType(string) (*symbols.Type, error)      { return nil, symbols.ErrNotFound }
func (oneType) FunctionType(string) (*symbols.Type, error)      { return nil, symbols.ErrNotFound }
func (oneType) Enumerator(string) (int64, *symbols.Type, error) { return 0, nil, symbols.ErrNotFound }
func (o oneType) TypeNames() iter.Seq2[symbols.Kind, string] {
	return func(yield func(symbols.Kind, string) bool) { yield(o.t.Kind, o.t.Name) }
}
