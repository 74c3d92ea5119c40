// Package archtest holds the code against the table of docs/architecture.md.
package archtest

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"testing"
)

// rule is a row of the table.
type rule struct {
	room    string
	allowed []string
}

var rowPattern = regexp.MustCompile("^\\| `([a-z/-]+)` \\|([^|]*)\\|$")

func readRules(t *testing.T) []rule {
	t.Helper()
	text, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "## What may import what")
	if !ok {
		t.Fatal("docs/architecture.md has no section \"What may import what\"")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var rules []rule
	for line := range strings.SplitSeq(section, "\n") {
		m := rowPattern.FindStringSubmatch(line)
		if m == nil {
			continue
		}
		rules = append(rules, rule{m[1], strings.Fields(strings.ReplaceAll(m[2], "`", ""))})
	}
	if len(rules) < 5 {
		t.Fatalf("found %d rows in the table of imports; want at least 5", len(rules))
	}
	return rules
}

type goPackage struct {
	ImportPath string
	Imports    []string
}

func packages(t *testing.T) []goPackage {
	t.Helper()
	cmd := exec.Command("go", "list", "-json=ImportPath,Imports", "kdx/...")
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v: %s", err, stderr.String())
	}
	var all []goPackage
	for dec := json.NewDecoder(bytes.NewReader(out)); ; {
		var p goPackage
		if err := dec.Decode(&p); errors.Is(err, io.EOF) {
			return all
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, p)
	}
}

func within(path, room string) bool { return path == room || strings.HasPrefix(path, room+"/") }

func TestImports(t *testing.T) {
	rules := readRules(t)
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, "kdx/")
		if path == "internal/archtest" {
			continue
		}
		var r *rule
		for i := range rules {
			if within(path, rules[i].room) {
				r = &rules[i]
			}
		}
		if r == nil {
			t.Errorf("package %s is in no room of docs/architecture.md", path)
			continue
		}
		for _, imp := range p.Imports {
			target, ours := strings.CutPrefix(imp, "kdx/")
			if !ours || within(target, r.room) || within(target, "internal") {
				continue
			}
			allowed := false
			for _, a := range r.allowed {
				allowed = allowed || within(target, a)
			}
			if !allowed {
				t.Errorf("%s imports %s, which docs/architecture.md does not allow", path, target)
			}
		}
	}
}

// TestNoFormatsInRepl: a prompt must not know how a dump is stored.
func TestNoFormatsInRepl(t *testing.T) {
	for _, p := range packages(t) {
		path := strings.TrimPrefix(p.ImportPath, "kdx/")
		if !within(path, "repl") {
			continue
		}
		for _, imp := range p.Imports {
			if target, ours := strings.CutPrefix(imp, "kdx/"); ours && within(target, "dumpfmt") {
				t.Errorf("%s imports %s", path, target)
			}
		}
	}
}

// TestDependencies: each module that go.mod requires directly has its sentence in docs/architecture.md.
func TestDependencies(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := os.ReadFile("../../docs/architecture.md")
	if err != nil {
		t.Fatal(err)
	}
	_, section, _ := strings.Cut(string(doc), "## Dependencies")
	for line := range strings.SplitSeq(string(mod), "\n") {
		path, _, ok := strings.Cut(strings.TrimSpace(line), " v")
		if !ok || strings.HasSuffix(line, "// indirect") {
			continue
		}
		if !strings.Contains(section, path) {
			t.Errorf("docs/architecture.md does not say why %s is needed", path)
		}
	}
}
