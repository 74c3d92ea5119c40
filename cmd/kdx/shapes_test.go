package main

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"kdx/repl"
)

// shapeLines are commands whose results show all members of their JSON, on the small 6.12 dump.
var shapeLines = []string{"sys", "sys -t", "sys -c openat", "log -T -d", "ps", "ps -S", "ps -l", "ps -p 2", "ps -t 1", "ps -a 1", "ps -r 1", "bt -a", "bt -f", "bt -t", "bt -r",
	"bt -e", "bt -E", "bt --overflow", "frame", "frame 1", "foreach bt -S", "mod", "mod -t", "mod -g", "task -R pid", "set", "struct list_head", "struct list_head modules", "p jiffies", "p runqueues",
	"whatis list_head", "whatis jiffies", "rd init_task 2", "dis panic 2", "sym init_task", "list modules", "tree -t radix init_pid_ns.idr", "vtop init_task",
	"ptov 1000", "ptob 1", "btop 1000", "pte 8000000011a001e3", "eval 1k", "ascii", "kmem -i", "kmem -s", "kmem init_task", "alias", "help ps", "help"}

// TestJSONShapes holds the members of each command's JSON against docs/json-shapes.md, which people and scripts rely on.
// KDX_UPDATE=1 writes it; a line that goes away in the difference breaks the contract.
func TestJSONShapes(t *testing.T) {
	const path = "../../docs/json-shapes.md"
	if raceDetector {
		want, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if got := lineShapes(t, shapeLines[:1]); !strings.Contains(string(want), got) {
			t.Errorf("docs/json-shapes.md lacks\n%s", got)
		}
		return
	}
	var b strings.Builder
	b.WriteString("# JSON of each command\n\nThe members of `result` ([the rest of the document](json.md)): `[]` stands for each element of an array, `*` for a member named by the data. " +
		"A type followed by ? can be null. Made from the answers on testdata/dumps/6.12 by `KDX_UPDATE=1 go test ./cmd/kdx -run TestJSONShapes`; members that were " +
		"null or left out there stand as null, or not at all.\n")
	b.WriteString(lineShapes(t, shapeLines))
	// Subcommands of whole dumps: a damaged one, and two that differ in everything.
	const dump, other = "../../testdata/dumps/6.12/vmcore", "../../testdata/dumps/6.1/vmcore"
	fmt.Fprintf(&b, "\n## `kdx verify`\n\n%s", shapeOfAnswer(t, repl.Damaged, "verify", "--json", damagedCopy(t, dump)))
	fmt.Fprintf(&b, "\n## `kdx capture size --explain`\n\n%s", shapeOfAnswer(t, repl.OK, "capture", "size", "--json", "--arch", "x86_64", "--explain", "crashkernel=512M,high crashkernel=256M crashkernel=64M,cma", "--ram", "2000M"))
	fmt.Fprintf(&b, "\n## `kdx capture size`\n\n%s", shapeOfAnswer(t, repl.OK, "capture", "size", "--json", "--arch", "x86_64", "--root", "testdata/capture"))
	fmt.Fprintf(&b, "\n## `kdx capture doctor`\n\n%s", shapeOfAnswer(t, repl.NotArmed, "capture", "doctor", "--json", "--root", "testdata/capture"))
	fmt.Fprintf(&b, "\n## `kdx capture units`\n\n%s", shapeOfAnswer(t, repl.OK, "capture", "units", "--json", "--kdx", "/usr/sbin/kdx"))
	dumps := t.TempDir()
	saved := []string{"capture", "save", "--json", "--config", os.DevNull, "--vmcore", dump, "--target", dumps, "--host", "db1"}
	fmt.Fprintf(&b, "\n## `kdx capture save`\n\n%s", shapeOfAnswer(t, repl.OK, saved...))
	shapeOfAnswer(t, repl.OK, saved...)
	fmt.Fprintf(&b, "\n## `kdx capture prune`\n\n%s", shapeOfAnswer(t, repl.OK, "capture", "prune", "--json", "--config", os.DevNull, "--keep", "1", dumps))
	host := initrdHost(t)
	fmt.Fprintf(&b, "\n## `kdx capture initrd build`\n\n%s", shapeOfAnswer(t, repl.OK, buildArgs(host, "--json")...))
	fmt.Fprintf(&b, "\n## `kdx capture initrd verify`\n\n%s", shapeOfAnswer(t, repl.OK, "capture", "initrd", "verify", "--json", "--root", host, host+"/boot/initrd"))
	b.WriteString(loadShapes(t))
	fmt.Fprintf(&b, "\n## `kdx capture config show`, `check`\n\n%s", shapeOfAnswer(t, repl.NotUsable, "capture", "config", "show", "--json", "--root", "testdata/capture"))
	fmt.Fprintf(&b, "\n## `kdx capture config import`\n\n%s", shapeOfAnswer(t, repl.NotUsable, "capture", "config", "import", "--json", "--root", "testdata/capture"))
	fmt.Fprintf(&b, "\n## `kdx diff`\n\n%s", shapeOfAnswer(t, repl.Failed, "diff", "--json", dump, other))
	fmt.Fprintf(&b, "\n## `kdx convert`\n\n%s", shapeOfAnswer(t, repl.KeptMore, "convert", "--json", "--level", "31", "--redact", "symbol:init_uts_ns.name.nodename", dump,
		filepath.Join(t.TempDir(), "out")))
	if os.Getenv("KDX_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if b.String() == string(want) {
		return
	}
	got := make(map[string]bool)
	for l := range strings.SplitSeq(b.String(), "\n") {
		got[l] = true
	}
	for l := range strings.SplitSeq(string(want), "\n") {
		if !got[l] {
			t.Errorf("docs/json-shapes.md has a line that is no longer true: %s", l)
		}
	}
	t.Errorf("the JSON of the commands differs from docs/json-shapes.md (KDX_UPDATE=1 writes it anew)")
}

// damagedCopy is a kdump-compressed dump whose first page lies elsewhere, and whose end is cut off.
func damagedCopy(t *testing.T, path string) string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	le := binary.LittleEndian
	blocks := 1 + le.Uint32(b[432:]) + le.Uint32(b[436:]) // headers and bitmaps
	b[blocks*le.Uint32(b[428:])]++
	out := filepath.Join(t.TempDir(), "vmcore")
	if err := os.WriteFile(out, b[:len(b)-1000], 0o600); err != nil {
		t.Fatal(err)
	}
	return out
}

// lineShapes are those of lines' answers, with titles.
func lineShapes(t *testing.T, lines []string) string {
	t.Helper()
	args := []string{"open", "--no-rc", "--json"}
	for _, l := range lines {
		args = append(args, "-c", l)
	}
	var out, errs bytes.Buffer
	if st := runKdx(append(args, "../../testdata/dumps/6.12/vmcore"), stdio{in: strings.NewReader(""), out: &out, err: &errs}); st != repl.OK {
		t.Fatalf("exit %d: %s", st, errs.String())
	}
	var b strings.Builder
	d := json.NewDecoder(&out)
	for _, l := range lines {
		var answer json.RawMessage
		if err := d.Decode(&answer); err != nil {
			t.Fatalf("%s: %v: %s", l, err, errs.String())
		}
		fmt.Fprintf(&b, "\n## `%s`\n\n%s", l, shapeOfJSON(t, l, answer))
	}
	return b.String()
}

func shapeOfAnswer(t *testing.T, want repl.Status, args ...string) string {
	t.Helper()
	var out, errs bytes.Buffer
	st := runKdx(args, stdio{in: strings.NewReader(""), out: &out, err: &errs})
	line := strings.Join(args, " ")
	if st != want {
		t.Fatalf("%s: exit %d; want %d: %s%s", line, st, want, errs.String(), out.String())
	}
	return shapeOfJSON(t, line, out.Bytes())
}

func shapeOfJSON(t *testing.T, what string, js []byte) string {
	t.Helper()
	var doc struct {
		Result any `json:"result"`
	}
	if err := json.Unmarshal(js, &doc); err != nil {
		t.Fatalf("%s: %v in %.200s", what, err, js)
	}
	shape := make(map[string]map[string]bool)
	members(shape, "", doc.Result)
	var b strings.Builder
	for _, p := range slices.Sorted(maps.Keys(shape)) {
		types := slices.Sorted(maps.Keys(shape[p]))
		name := p
		if name == "" {
			name = "result"
		}
		text := strings.Join(types, " or ")
		if len(types) == 2 && slices.Contains(types, "null") {
			text = strings.TrimPrefix(strings.Replace(text, "null", "", 1), " or ")
			text = strings.TrimSuffix(text, " or ") + "?"
		}
		fmt.Fprintf(&b, "    %s  %s\n", name, text)
	}
	return b.String()
}

func members(into map[string]map[string]bool, path string, x any) {
	add := func(kind string) {
		if into[path] == nil {
			into[path] = make(map[string]bool)
		}
		into[path][kind] = true
	}
	switch v := x.(type) {
	case nil:
		add("null")
	case bool:
		add("bool")
	case float64:
		add("number")
	case string:
		add("string")
	case []any:
		add("array")
		for _, e := range v {
			members(into, path+"[]", e)
		}
	case map[string]any:
		add("object")
		for k, e := range v {
			if named := strings.HasSuffix(path, ".value") || strings.HasSuffix(path, ".values"); named && path != "" {
				k = "*"
			}
			members(into, strings.TrimPrefix(path+"."+k, "."), e)
		}
	}
}
