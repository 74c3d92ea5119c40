package kallsyms

import (
	"errors"
	"testing"

	"kdx/symbols"
)

// failing is memory that can't be read any more once it is told.
type failing struct {
	symbols.Memory
	err error
}

func (f *failing) ReadMemory(p []byte, addr uint64) (int, error) {
	if f.err != nil {
		return 0, f.err
	}
	return f.Memory.ReadMemory(p, addr)
}

// TestPacked: a table that is whole stays where it is. That it can't be read any more does not become "there is no such symbol".
func TestPacked(t *testing.T) {
	for _, tt := range layoutTests() {
		mem, loc, opt := tt.enc.build(tt.syms)
		f := &failing{Memory: mem}
		tab, err := Read(f, loc, opt)
		if err != nil {
			t.Fatal(err)
		}
		if _, ok := tab.entries.(*packed); !ok {
			t.Errorf("%s: the table was read whole", tt.name)
			continue
		}
		for i, s := range tt.syms {
			got, err := tab.SymbolsNamed(s.name)
			if err != nil || i%50 == 0 && tab.name(i) != s.name {
				t.Errorf("%s: SymbolsNamed(%s) = %v, %v", tt.name, s.name, got, err)
			}
		}
		gone := errors.New("gone")
		f.err = gone
		if _, err := tab.SymbolsNamed(tt.syms[40].name); !errors.Is(err, gone) {
			t.Errorf("%s: SymbolsNamed without memory: %v", tt.name, err)
		}
		if !errors.Is(tab.Missing(), gone) {
			t.Errorf("%s: Missing = %v", tt.name, tab.Missing())
		}
	}
}

// TestHash: the hash of a compressed name is that of the name, whatever its tokens.
func TestHash(t *testing.T) {
	var tokens tokenSet
	for i := range tokens {
		tokens[i].set([]byte{"Tt_ab.x0"[i%8]})
	}
	tokens[200].set([]byte("Tinit_"))
	tokens[201].set([]byte("a_token_longer_than_sixteen_bytes"))
	tokens[202].set(nil)
	h := newHasher(&tokens)
	for _, tt := range []struct {
		name string
		ok   bool
	}{{"\x00\x03", true}, {"\xc8\xc9\x04", true}, {"\xc8", true}, {"\x00", false}, {"\x02\x03", false}, {"\x00\xca", false}, {"\xc9", true}} {
		_, _, ok := tokens.append(nil, []byte(tt.name))
		want, letter, _ := tokens.append(nil, []byte(tt.name))
		got, gotOK := h.name([]byte(tt.name))
		if ok != tt.ok || gotOK != tt.ok {
			t.Errorf("%q is a name: %v by its tokens, %v by its hash; want %v", tt.name, ok, gotOK, tt.ok)
			continue
		}
		if all, _ := h.of(want); tt.ok && got != all {
			t.Errorf("%q (%c) has hash %#x; want %#x", tt.name, letter, got, all)
		}
	}
}
