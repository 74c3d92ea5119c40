package main

import (
	"context"
	"debug/dwarf"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"sort"
	"strings"

	"kdx/symbols"
	"kdx/symbols/btf"
	"kdx/symbols/dwarfinfo"
	"kdx/symbols/dwarfinfo/index"
	"kdx/symbols/dwarfinfo/types"
	"kdx/symbols/objfile"
)

// kernelTypes are the types of a kernel's debug file.
type kernelTypes struct {
	file *objfile.File
	data *dwarfinfo.Data
	ix   *index.Index
	*types.Finder
}

func openTypes(ctx context.Context, s *subject) (*kernelTypes, error) {
	f, err := objfile.Open(filepath.Join(s.dir, "vmlinux"))
	if err != nil {
		return nil, fmt.Errorf("types are compared in the debug file: %w", err)
	}
	k := &kernelTypes{file: f}
	if k.data, err = dwarfinfo.Open(f, nil); err != nil {
		return nil, err
	}
	if k.ix, err = index.Open(ctx, k.data, index.Options{}); err != nil {
		return nil, err
	}
	k.Finder = types.New(k.data, func() (types.Index, error) { return k.ix, nil }, "dwarf")
	return k, nil
}

var indexKinds = map[symbols.Kind]index.Kind{symbols.Struct: index.Struct, symbols.Union: index.Union, symbols.Enum: index.Enum, symbols.Typedef: index.Typedef}

// definitions are all types of that kind and name.
func (k *kernelTypes) definitions(kind symbols.Kind, name string) []*symbols.Type {
	in, ok := indexKinds[kind]
	if !ok {
		if t, err := k.TypeNamed(kind, name); err == nil {
			return []*symbols.Type{t}
		}
		return nil
	}
	var out []*symbols.Type
	for _, h := range k.ix.Find(in, name) {
		out = append(out, k.TypeAt(h.Ref(k.data)))
	}
	return out
}

// checkTypesBTF compares each type that the kernel's BTF names with DWARF's of that name.
func checkTypesBTF(ctx context.Context, s *subject) (string, error) {
	k, err := openTypes(ctx, s)
	if err != nil {
		return "", err
	}
	defer k.file.Close()
	raw, err := k.file.Section(".BTF")
	if err != nil || raw == nil {
		return "", fmt.Errorf("vmlinux has no section .BTF: %v", err)
	}
	b, err := btf.Parse(slices.Clone(raw), nil, "btf", btf.Options{SignedChar: true})
	if err != nil {
		return "", err
	}
	counts := map[string]int{}
	var d differences
	seen := map[string]bool{}
	for kind, name := range b.TypeNames() {
		what := kind.String() + " " + name
		t, err := b.TypeNamed(kind, name)
		if seen[what] || err != nil {
			continue // err: only declared
		}
		seen[what] = true
		class := k.compare(t, kind, name)
		if counts[class]++; class == "different" {
			d.add("%s is %s; DWARF: %s", what, shaper{}.definition(t), k.shapesOf(kind, name))
		}
	}
	// The index leaves out what only one function knows: some twenty types.
	const local = "inside functions"
	if counts[local] > 40 {
		d.add("%d types of BTF are not in DWARF", counts[local])
	}
	return countsNote(counts), d.err()
}

func countsNote(counts map[string]int) string {
	var notes []string
	for class, n := range counts {
		notes = append(notes, fmt.Sprintf("%d %s", n, class))
	}
	sort.Slice(notes, func(i, j int) bool { return counts[after(notes[i])] > counts[after(notes[j])] })
	return strings.Join(notes, ", ")
}

func after(note string) string {
	_, class, _ := strings.Cut(note, " ")
	return class
}

func (k *kernelTypes) shapesOf(kind symbols.Kind, name string) string {
	var out []string
	for _, t := range k.definitions(kind, name) {
		out = append(out, shaper{}.definition(t))
	}
	return strings.Join(out, " or ")
}

// compare says how BTF's type t and DWARF's differ, where pahole, which makes BTF, is known to change what DWARF says.
func (k *kernelTypes) compare(t *symbols.Type, kind symbols.Kind, name string) string {
	defs := k.definitions(kind, name)
	same := func(f func(*symbols.Type) string) bool {
		want := f(t)
		return slices.ContainsFunc(defs, func(d *symbols.Type) bool { return f(d) == want })
	}
	switch {
	case same(shaper{}.definition):
		return "equal"
	case same(shaper{zeroIsNone: true}.definition):
		return "with [0], which BTF can't tell from []"
	case same(shaper{zeroIsNone: true, flat: true}.definition):
		return "with arrays of arrays, which pahole before 1.27 makes one"
	case len(defs) == 0 && kind == symbols.Int && (name == "double" || name == "float" || name == "long double"):
		return "floating points, which BTF before 5.13 calls integers"
	case len(defs) == 0:
		return "inside functions"
	case same(shaper{zeroIsNone: true, flat: true, low32: true}.definition):
		return "enums of BTF before 6.0, which has neither signs nor more than 32 bits"
	}
	return "different"
}

// shaper spells types so that equal ones have equal text: all of a type but for structs, unions, enums and typedefs inside of it
// that have names. With flags it leaves out what differs.
type shaper struct{ zeroIsNone, flat, low32 bool }

func (s shaper) definition(t *symbols.Type) string {
	switch t.Kind {
	case symbols.Struct, symbols.Union, symbols.Enum:
		return fmt.Sprintf("%s %s %d %s", t.Kind, t.Name, t.Size, s.body(t, 0))
	case symbols.Typedef:
		return fmt.Sprintf("typedef %s %d %s", t.Name, t.Size, s.of(t.Elem(), 1))
	}
	return s.of(t, 0)
}

const maxShape = 40

func (s shaper) body(t *symbols.Type, depth int) string {
	var b strings.Builder
	if t.Kind == symbols.Enum {
		if !s.low32 {
			fmt.Fprintf(&b, "signed:%v", t.Signed)
		}
		for _, e := range t.Enumerators() {
			switch {
			case s.low32:
				fmt.Fprintf(&b, ";%s=%d", e.Name, uint32(e.Value))
			case t.Signed:
				fmt.Fprintf(&b, ";%s=%d", e.Name, e.Value)
			default:
				fmt.Fprintf(&b, ";%s=%d", e.Name, uint64(e.Value))
			}
		}
		return b.String()
	}
	for _, m := range t.Members() {
		fmt.Fprintf(&b, ";%s@%d:%d %s", m.Name, m.BitOffset, m.BitSize, s.of(m.Type, depth+1))
	}
	return b.String()
}

// of spells a type within another. Qualifiers stand in one order, as drgn has a set of them.
func (s shaper) of(t *symbols.Type, depth int) string {
	if depth > maxShape {
		return "…"
	}
	set := ""
	for t.Kind == symbols.Const || t.Kind == symbols.Volatile || t.Kind == symbols.Restrict {
		if q := t.Kind.String()[:1]; !strings.Contains(set, q) {
			set += q
		}
		t = t.Elem()
	}
	if set != "" {
		q := []byte(set)
		slices.Sort(q)
		return string(q) + " " + s.of(t, depth+1)
	}
	switch t.Kind {
	case symbols.Void:
		return "void"
	case symbols.Int, symbols.Bool, symbols.Float:
		return fmt.Sprintf("%s/%d/%v", t.Name, t.Size, t.Signed)
	case symbols.Pointer:
		return "*" + s.of(t.Elem(), depth+1)
	case symbols.Array:
		return s.array(t, depth)
	case symbols.Func:
		ps := []string{s.of(t.Elem(), depth+1)}
		for _, p := range t.Params() {
			ps = append(ps, p.Name+" "+s.of(p.Type, depth+1))
		}
		if t.Variadic {
			ps = append(ps, "...")
		}
		return "f(" + strings.Join(ps, ",") + ")"
	}
	if t.Name != "" {
		return t.Kind.String() + " " + t.Name
	}
	return fmt.Sprintf("%s{%d%s}", t.Kind, t.Size, s.body(t, depth))
}

func (s shaper) array(t *symbols.Type, depth int) string {
	n := t.Len
	elem := t.Elem()
	for s.flat && elem.Kind == symbols.Array {
		n *= max(elem.Len, 0)
		elem = elem.Elem()
	}
	if n < 0 || n == 0 && s.zeroIsNone {
		return "[]" + s.of(elem, depth+1)
	}
	return fmt.Sprintf("[%d]%s", n, s.of(elem, depth+1))
}

// drgnTypes is what testdata/lab/types.py is asked, and what it answers: shapes by name.
type drgnTypes struct {
	Version   string            `json:"version,omitempty"`
	Structs   map[string]string `json:"structs"` // "struct page", "union …", "enum …", and names of typedefs
	Variables map[string]string `json:"variables"`
	Functions map[string]string `json:"functions"`
}

// checkTypesDrgn compares all structs, unions, enums and typedefs, and a part of the variables and functions, with drgn's.
func (l *lab) checkTypesDrgn(ctx context.Context, s *subject) (string, error) {
	k, err := openTypes(ctx, s)
	if err != nil {
		return "", err
	}
	defer k.file.Close()
	ask := k.questions()
	said, err := l.drgnTypes(ctx, s, ask)
	if err != nil {
		return "", err
	}
	var d differences
	again := 0
	for what, want := range said.Structs {
		kind, name := kindAndName(what)
		defs := k.definitions(kind, name)
		same := func(f func(string) string) bool {
			return slices.ContainsFunc(defs, func(t *symbols.Type) bool { return f(shaper{}.definition(t)) == f(want) })
		}
		switch {
		case same(strings.Clone):
		case same(withoutTags):
			again++ // one line of a header, compiled again with other macros; the index keeps one of equal size
		default:
			d.add("%s is %s; drgn: %s", what, k.shapesOf(kind, name), want)
		}
	}
	for _, list := range []struct {
		what  string
		named func(string) (*symbols.Type, error)
		said  map[string]string
	}{{"variable", k.VariableType, said.Variables}, {"function", k.FunctionType, said.Functions}} {
		for name, want := range list.said {
			t, err := list.named(name)
			if err != nil {
				d.add("%s %s: %v; drgn: %s", list.what, name, err, want)
			} else if got := (shaper{}).of(t, 0); got != want && got != compatELF.Replace(want) {
				d.add("%s %s is %s; drgn: %s", list.what, name, got, want)
			}
		}
	}
	if again > 10 {
		d.add("%d types differ in the names of their members' types", again)
	}
	return fmt.Sprintf("%s: %d of %d types, %d of %d variables, %d of %d functions", said.Version, len(said.Structs), len(ask.Structs),
		len(said.Variables), len(ask.Variables), len(said.Functions), len(ask.Functions)), d.err()
}

var tags = regexp.MustCompile(`(struct|union|enum|typedef) \w+`)

func withoutTags(shape string) string { return tags.ReplaceAllString(shape, "$1") }

func kindAndName(what string) (symbols.Kind, string) {
	word, name, tagged := strings.Cut(what, " ")
	if !tagged {
		return symbols.Typedef, what
	}
	return map[string]symbols.Kind{"struct": symbols.Struct, "union": symbols.Union, "enum": symbols.Enum}[word], name
}

// compatELF: fs/compat_binfmt_elf.c is fs/binfmt_elf.c again, for programs of 32 bits; drgn's answer for one of its functions is that of either, from
// run to run.
var compatELF = strings.NewReplacer("struct elf32_", "struct elf64_")

// some is about how many variables and functions drgn is asked for.
const some = 5000

// questions are all types, and variables and functions that are defined once.
func (k *kernelTypes) questions() drgnTypes {
	q := drgnTypes{Structs: map[string]string{}, Variables: map[string]string{}, Functions: map[string]string{}}
	for kind, in := range indexKinds {
		for name := range k.ix.Names(in) {
			if strings.Contains(name, ":") || strings.ContainsAny(name, " <") {
				continue // not C's
			}
			if kind != symbols.Typedef {
				name = kind.String() + " " + name
			}
			q.Structs[name] = ""
		}
	}
	for kind, into := range map[index.Kind]map[string]string{index.Variable: q.Variables, index.Function: q.Functions} {
		var once []string
		for name := range k.ix.Names(kind) {
			if hits := k.ix.Find(kind, name); len(hits) == 1 && !strings.Contains(name, ":") && !k.copied(hits[0]) {
				once = append(once, name)
			}
		}
		sort.Strings(once)
		for i := 0; i < len(once); i += len(once)/some + 1 {
			into[once[i]] = ""
		}
	}
	return q
}

// copied reports whether a function's code is that of a copy, whose parameters the compiler may have changed: drgn shows those.
func (k *kernelTypes) copied(h index.Hit) bool {
	e, err := k.data.Entry(h.Off)
	return err != nil || e.Field(dwarf.AttrAbstractOrigin) != nil
}

// drgnTypes runs testdata/lab/types.py. It lies beside the dump for as long as it runs: the chroot sees nothing else.
func (l *lab) drgnTypes(ctx context.Context, s *subject, ask drgnTypes) (*drgnTypes, error) {
	p, err := l.peers(ctx)
	if err != nil {
		return nil, err
	}
	vmlinux, err := filepath.EvalSymlinks(filepath.Join(s.dir, "vmlinux"))
	if err != nil {
		return nil, err
	}
	script, err := os.ReadFile(l.data("types.py"))
	if err != nil {
		return nil, err
	}
	names, err := json.Marshal(ask)
	if err != nil {
		return nil, err
	}
	here, asked := filepath.Join(s.dir, "types.py"), filepath.Join(s.dir, "types.ask.json")
	for path, text := range map[string][]byte{here: script, asked: names} {
		if err := os.WriteFile(path, text, 0o644); err != nil {
			return nil, err
		}
		defer os.Remove(path)
	}
	out, err := p.run(ctx, []string{s.dir, filepath.Dir(vmlinux)}, "drgn", "-q", "-s", vmlinux, "-c", s.dump, here, asked)
	if err != nil {
		return nil, err
	}
	said := new(drgnTypes)
	if err := json.Unmarshal(out, said); err != nil {
		return nil, fmt.Errorf("drgn: %w", err)
	}
	return said, nil
}
