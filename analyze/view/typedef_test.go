package view_test

import (
	"encoding/json"
	"strings"
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/view"
	"kdx/analyze/vmem"
	"kdx/symbols"

	"github.com/google/go-cmp/cmp"
)

const typeDecls = `
enum pid_type { PIDTYPE_PID, PIDTYPE_TGID, PIDTYPE_MAX = 4 };
struct list_head { struct list_head *next, *prev; };
struct page {
	unsigned long flags;
	union {
		struct { struct list_head lru; u32 index; };
		u64 word;
	};
	struct { u8 lo : 4; u8 hi : 4; } bits;
	const char *names[2];
	unsigned int refs : 3, rest : 29;
	u8 tail[];
};
`

func definition(t *testing.T, d *view.Definition, o view.Options) string {
	t.Helper()
	var b strings.Builder
	if err := d.Text(&b, o); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestDefinition(t *testing.T) {
	m := kerneltest.New(t, typeDecls)
	k := m.Kernel()
	page, err := k.Struct("page")
	if err != nil {
		t.Fatal(err)
	}
	base := vmem.Addr(0xffff888000001000)
	for _, tt := range []struct {
		name string
		d    *view.Definition
		want string
	}{
		{"plain", &view.Definition{Type: page}, `struct page {
    unsigned long flags;
    union {
        struct {
            struct list_head lru;
            u32 index;
        };
        u64 word;
    };
    struct {
        u8 lo : 4;
        u8 hi : 4;
    } bits;
    char *names[2];
    unsigned int refs : 3;
    unsigned int rest : 29;
    u8 tail[];
}
SIZE: 64
`},
		{"offsets", &view.Definition{Type: page, Offsets: true}, `struct page {
   [0] unsigned long flags;
       union {
           struct {
   [8]         struct list_head lru;
  [24]         u32 index;
           };
   [8]     u64 word;
       };
       struct {
  [32]     u8 lo : 4;
  [32]     u8 hi : 4;
  [32] } bits;
  [40] char *names[2];
  [56] unsigned int refs : 3;
  [56] unsigned int rest : 29;
  [60] u8 tail[];
}
SIZE: 64
`},
		{"members", &view.Definition{Type: page, Members: []string{"lru.prev", "index"}}, `struct page {
  [16] struct list_head *lru.prev;
  [24] u32 index;
}
`},
		{"hexadecimal", &view.Definition{Type: page, Members: []string{"index"}, Hex: true}, `struct page {
  [0x18] u32 index;
}
`},
		{"addresses", &view.Definition{Type: page, Members: []string{"index"}, Base: &base}, `struct page {
  [ffff888000001018] u32 index;
}
`},
	} {
		if d := cmp.Diff(tt.want, definition(t, tt.d, view.Options{})); d != "" {
			t.Errorf("%s: -want +got\n%s", tt.name, d)
		}
		b, err := json.Marshal(tt.d)
		if err != nil || !json.Valid(b) {
			t.Errorf("%s: JSON: %v, %s", tt.name, err, b)
		}
	}
}

func TestDefinitionOfTypedefs(t *testing.T) {
	typedef := func(name string, of *symbols.Type) *symbols.Type {
		return symbols.NewType(&symbols.Type{Kind: symbols.Typedef, Name: name, Size: of.Size}, func(p *symbols.Parts) { p.Elem = of })
	}
	i := &symbols.Type{Kind: symbols.Int, Name: "int", Size: 4, Signed: true}
	anon := symbols.NewType(&symbols.Type{Kind: symbols.Struct, Size: 4}, func(p *symbols.Parts) {
		p.Members = []symbols.Member{{Name: "counter", Type: i}}
	})
	enum := symbols.NewType(&symbols.Type{Kind: symbols.Enum, Name: "irqreturn", Size: 4}, func(p *symbols.Parts) {
		p.Enumerators = []symbols.Enumerator{{Name: "IRQ_NONE", Value: 0}, {Name: "IRQ_HANDLED", Value: 1}}
	})
	fn := symbols.NewType(&symbols.Type{Kind: symbols.Func}, func(p *symbols.Parts) {
		p.Elem, p.Params = symbols.VoidType, []symbols.Param{{Type: i}}
	})
	for _, tt := range []struct {
		typ  *symbols.Type
		want string
	}{
		{typedef("pid_t", typedef("__kernel_pid_t", i)), "typedef int pid_t;\nSIZE: 4\n"},
		{typedef("atomic_t", anon), "typedef struct {\n    int counter;\n} atomic_t;\nSIZE: 4\n"},
		{typedef("irqreturn_t", enum), "typedef enum irqreturn {\n  IRQ_NONE = 0\n  IRQ_HANDLED = 1\n} irqreturn_t;\n"},
		{typedef("work_func_t", symbols.PointerTo(fn, 8)), "typedef void (*work_func_t)(int);\nSIZE: 8\n"},
		{enum, "enum irqreturn {\n  IRQ_NONE = 0\n  IRQ_HANDLED = 1\n};\n"},
	} {
		if d := cmp.Diff(tt.want, definition(t, &view.Definition{Type: tt.typ}, view.Options{})); d != "" {
			t.Errorf("-want +got\n%s", d)
		}
	}
}
