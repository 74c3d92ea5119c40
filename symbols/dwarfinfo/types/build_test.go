package types

import (
	"debug/dwarf"
	"iter"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"kdx/symbols/dwarfinfo"
	"kdx/symbols/objfile"
)

// scanned is an index made by walking all entries.
type scanned map[Kind]map[string][]Hit

func (x scanned) Find(kind Kind, name string) []Hit { return x[kind][name] }

func (x scanned) Names(kind Kind) iter.Seq[string] { return maps.Keys(x[kind]) }

var scannedTags = map[dwarf.Tag]Kind{dwarf.TagStructType: Struct, dwarf.TagClassType: Struct, dwarf.TagUnionType: Union, dwarf.TagEnumerationType: Enum,
	dwarf.TagTypedef: Typedef, dwarf.TagBaseType: Base, dwarf.TagSubprogram: Function, dwarf.TagVariable: Variable, dwarf.TagEnumerator: Enumerator}

func scan(d *dwarfinfo.Data) (Index, error) {
	x := make(scanned)
	b := NewBuilder(d, nil, "")
	r := d.Reader()
	for _, u := range d.Units() {
		if err := r.Seek(u.First); err != nil {
			return nil, err
		}
		parents, depth := []uint64{0}, 0
		for {
			e, err := r.Next()
			if err != nil {
				return nil, err
			}
			if e == nil {
				if depth--; depth <= 0 {
					break
				}
				continue
			}
			if kind, ok := scannedTags[e.Tag]; ok && !e.Flag(dwarf.AttrDeclaration) {
				e := e.Clone()
				named := b.origin(e, func(e *dwarfinfo.Entry) bool { return e.Field(dwarf.AttrName) != nil })
				if name := b.nameOf(named); name != "" {
					size, _ := e.Uint(dwarf.AttrByteSize)
					if x[kind] == nil {
						x[kind] = make(map[string][]Hit)
					}
					x[kind][name] = append(x[kind][name], Hit{Off: e.Off, Parent: parents[depth], Size: size})
				}
			}
			if e.Children {
				depth++
				parents = append(parents[:depth], e.Off)
			}
		}
	}
	return x, nil
}

// compile makes an ELF file of C or another language's source, with its debug information.
func compile(t *testing.T, file, source string, command ...string) *dwarfinfo.Data {
	t.Helper()
	if _, err := exec.LookPath(command[0]); err != nil {
		t.Skip(command[0] + " is not here, which makes the DWARF of this test")
	}
	dir := t.TempDir()
	src, out := filepath.Join(dir, file), filepath.Join(dir, "out")
	if err := os.WriteFile(src, []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(command[0], append(command[1:], "-o", out, src)...)
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %v\n%s", cmd, err, b)
	}
	return open(t, out)
}

func open(t *testing.T, path string) *dwarfinfo.Data {
	t.Helper()
	f, err := objfile.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { f.Close() })
	d, err := dwarfinfo.Open(f, nil)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func newFinder(d *dwarfinfo.Data) *Finder {
	return New(d, func() (Index, error) { return scan(d) }, "test")
}
