package resolved

import (
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cilium/ebpf/btf"

	"kdx/dumpfmt/vmcoreinfo"
	"kdx/internal/treetest"
	"kdx/symbols"
	kdxbtf "kdx/symbols/btf"
)

func kernelBTF(t testing.TB) []byte {
	t.Helper()
	word := &btf.Int{Name: "unsigned long", Size: 8}
	other := &btf.Struct{Name: "of_no_use", Size: 8, Members: []btf.Member{{Name: "x", Type: word}}}
	page := &btf.Struct{Name: "page", Size: 64, Members: []btf.Member{{Name: "flags", Type: word}, {Name: "used", Type: &btf.Pointer{Target: other}, Offset: 64}}}
	flags := &btf.Enum{Name: "pageflags", Size: 4, Values: []btf.EnumValue{{Name: "PG_slab", Value: 7}}}
	b, err := btf.NewBuilder([]btf.Type{page, other, flags}, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := b.Marshal(nil, &btf.MarshalOptions{Order: binary.NativeEndian})
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// counted counts questions.
type counted struct {
	symbols.TypeFinder
	n *int
}

func (c counted) TypeNamed(kind symbols.Kind, name string) (*symbols.Type, error) {
	*c.n++
	return c.TypeFinder.TypeNamed(kind, name)
}

// host makes a tree with what a running kernel says of itself.
func host(t *testing.T, types []byte) string {
	root := t.TempDir()
	var notes []byte
	for _, n := range []uint32{4, 4, 3} {
		notes = binary.NativeEndian.AppendUint32(notes, n)
	}
	notes = append(notes, "GNU\x00\xab\xcd\xef\x01"...)
	files := map[string][]byte{"sys/kernel/notes": notes, "proc/sys/kernel/osrelease": []byte("6.99.0-test\n")}
	if types != nil {
		files["sys/kernel/btf/vmlinux"] = types
	}
	treetest.PutAll(t, root, files)
	return root
}

func TestHost(t *testing.T) {
	data, err := FromHost(host(t, kernelBTF(t)))
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "types")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	types, err := Read(path)
	if err != nil {
		t.Fatal(err)
	}
	if types.Release != "6.99.0-test" || types.BuildID != "abcdef01" {
		t.Errorf("release %q, build-id %q", types.Release, types.BuildID)
	}
	full, err := kdxbtf.Parse(kernelBTF(t), nil, "btf", kdxbtf.Options{})
	if err != nil {
		t.Fatal(err)
	}
	asked := 0
	over := types.Over(counted{full, &asked})
	if page, err := over.TypeNamed(symbols.Struct, "page"); err != nil || page.Size != 64 || asked != 0 {
		t.Errorf("struct page = %v, %v; the dump was asked %d times", page, err, asked)
	}
	if _, err := over.TypeNamed(symbols.Struct, "task_struct"); !errors.Is(err, symbols.ErrNotFound) || asked != 0 {
		t.Errorf("a struct that the kernel lacks: %v; the dump was asked %d times", err, asked)
	}
	if s, err := over.TypeNamed(symbols.Struct, "of_no_use"); err != nil || s.Size != 8 || asked != 1 {
		t.Errorf("struct of_no_use = %v, %v; the dump was asked %d times", s, err, asked)
	}
	page, _ := over.TypeNamed(symbols.Struct, "page")
	if m, ok := page.Member("used"); !ok || m.Type.Elem().Incomplete || m.Type.Elem().Size != 8 || asked != 2 {
		t.Errorf("page.used leads to %v; the dump was asked %d times", m.Type, asked)
	}
	if v, _, err := over.Enumerator("PG_slab"); err != nil || v != 7 {
		t.Errorf("PG_slab = %d, %v", v, err)
	}
	for text, want := range map[string]string{"BUILD-ID=ABCDEF01\n": "", "BUILD-ID=00\n": "the dump is of 00", "OSRELEASE=6.99.0-test\n": "does not say"} {
		err := types.Fits(vmcoreinfo.Parse([]byte(text)))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%q: %v; want %q", text, err, want)
		}
	}
}

func TestNone(t *testing.T) {
	if _, err := FromHost(host(t, nil)); !errors.Is(err, ErrNone) {
		t.Errorf("FromHost = %v; want ErrNone", err)
	}
	for _, text := range []string{"", "x", "{}\n", `{"format":"kdx-types","version":9}` + "\n", `{"format":"kdx-types","version":1}` + "\nno BTF"} {
		if _, err := Parse([]byte(text)); err == nil {
			t.Errorf("Parse(%q) has no error", text)
		}
	}
}
