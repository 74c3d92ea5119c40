package decls

import (
	"errors"
	"fmt"
	"testing"

	"kdx/symbols"
	"kdx/symbols/cdecl"
)

// kernel knows every type that is asked for, but those it lacks.
type kernel struct {
	lacks   map[string]bool
	members map[string][]symbols.Member
}

func (k kernel) TypeNamed(kind symbols.Kind, name string) (*symbols.Type, error) {
	if k.lacks[name] || kind == symbols.Typedef && (name == "const" || name == "") {
		return nil, symbols.ErrNotFound
	}
	t := &symbols.Type{Kind: kind, Name: name, Size: 8}
	return symbols.NewType(t, func(p *symbols.Parts) { p.Members = k.members[name] }), nil
}

func (k kernel) Enumerator(name string) (int64, *symbols.Type, error) {
	if k.lacks[name] {
		return 0, nil, symbols.ErrNotFound
	}
	return 5, nil, nil
}

// Every line of the table is C, and declares the name under which it is filed.
func TestTable(t *testing.T) {
	if n := len(table()); n < 200 {
		t.Errorf("the table has %d names; want 200 at least", n)
	}
	l := cdecl.Lookup{Types: kernel{}}
	for name, alternatives := range table() {
		for _, d := range alternatives {
			got, typ, err := cdecl.ParseDecl(l, d.text)
			if err != nil || got != name {
				t.Errorf("%s: ParseDecl(%q) = %q, %v, %v", name, d.text, got, typ, err)
			}
			if (d.when == "") != (d.member == "") {
				t.Errorf("%s: half a condition: %+v", name, d)
			}
		}
	}
}

func TestVariableType(t *testing.T) {
	list := map[string][]symbols.Member{"file_system_type": {{Name: "list", Type: symbols.VoidType}}}
	tests := []struct {
		name string
		k    kernel
		want string
	}{
		{"init_task", kernel{}, "struct task_struct init_task"},
		{"modules", kernel{}, "struct list_head modules"},
		{"clear_seq", kernel{}, "struct latched_seq clear_seq"},
		{"clear_seq", kernel{lacks: map[string]bool{"latched_seq": true}}, "u64 clear_seq"},
		{"tk_core", kernel{}, "struct tk_data tk_core"},
		{"tk_core", kernel{lacks: map[string]bool{"tk_data": true}}, "struct {...} tk_core"},
		{"file_systems", kernel{members: list}, "struct hlist_head file_systems"},
		{"file_systems", kernel{}, "struct file_system_type *file_systems"},
		{"vm_node_stat", kernel{}, "atomic_long_t vm_node_stat[5]"},
		{"mem_section", kernel{}, "struct mem_section **mem_section"},
		{"jiffies", kernel{}, "volatile unsigned long jiffies"},
		{"linux_banner", kernel{}, "const char linux_banner[]"},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprint(tt.name, tt.want), func(t *testing.T) {
			f := New(cdecl.Lookup{Types: tt.k})
			for range 2 { // the second comes from the cache
				got, err := f.VariableType(tt.name)
				if err != nil {
					t.Fatal(err)
				}
				if d := got.Declare(tt.name); d != tt.want {
					t.Errorf("VariableType(%s) is %q; want %q", tt.name, d, tt.want)
				}
			}
		})
	}
}

func TestNotFound(t *testing.T) {
	f := New(cdecl.Lookup{Types: kernel{lacks: map[string]bool{"hstate": true}}})
	for _, name := range []string{"nothing", "", "hstates"} {
		if got, err := f.VariableType(name); !errors.Is(err, symbols.ErrNotFound) {
			t.Errorf("VariableType(%q) = %v, %v; want ErrNotFound", name, got, err)
		}
	}
	if got, err := New(cdecl.Lookup{}).VariableType("jiffies_64"); err != nil || got.Size != 8 {
		t.Errorf("VariableType(jiffies_64) without any types = %v, %v; want 8 bytes", got, err)
	}
}
