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
	"kdx/symbols"
)

func kernelBTF(t testing.TB) []byte {
	t.Helper()
	word := &btf.Int{Name: "unsigned long", Size: 8}
	page := &btf.Struct{Name: "page", Size: 64, Members: []btf.Member{{Name: "flags", Type: word}}}
	b, err := btf.NewBuilder([]btf.Type{page, &btf.Struct{Name: "of_no_use", Size: 8, Members: []btf.Member{{Name: "x", Type: word}}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	data, err := b.Marshal(nil, &btf.MarshalOptions{Order: binary.NativeEndian})
	if err != nil {
		t.Fatal(err)
	}
	return data
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
	for name, data := range files {
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
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
	if page, err := types.Finder().TypeNamed(symbols.Struct, "page"); err != nil || page.Size != 64 {
		t.Errorf("struct page = %v, %v", page, err)
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
