package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
)

var (
	codeLine = regexp.MustCompile(`(?m)^    (?:[a-z]+=\S+ )*(kdx capture .*)$`)
	codeSpan = regexp.MustCompile("`(kdx capture [^`]*)`")
	comment  = regexp.MustCompile(`\s{2,}.*$|\s#.*$|\s[>|].*$|;.*$`)
)

// TestDocCommands: every command line about capturing in the docs names commands and flags that there are.
func TestDocCommands(t *testing.T) {
	pages, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(pages) < 10 {
		t.Fatalf("docs: %v, %v", pages, err)
	}
	pages = append(pages, "../../README.md", "../../CHANGELOG.md")
	found := 0
	for _, page := range pages {
		b, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for _, re := range []*regexp.Regexp{codeLine, codeSpan} {
			for _, m := range re.FindAllStringSubmatch(string(b), -1) {
				found++
				if why := wrongCommand(comment.ReplaceAllString(m[1], "")); why != "" {
					t.Errorf("%s: %s: %s", filepath.Base(page), m[1], why)
				}
			}
		}
	}
	if found < 50 {
		t.Errorf("found %d command lines", found)
	}
}

// wrongCommand says what is wrong with a command line, without running it. Quoted values may hold anything.
func wrongCommand(line string) string {
	line = regexp.MustCompile(`'[^']*'|"[^"]*"`).ReplaceAllString(line, "VALUE")
	words := strings.Fields(line)[1:]
	c, rest, err := newRoot(stdio{}).Find(words)
	if err != nil {
		return err.Error()
	}
	if c.HasAvailableSubCommands() && len(rest) > 0 && !strings.HasPrefix(rest[0], "-") && !strings.Contains(rest[0], "…") && !upper(rest[0]) {
		return "no command " + rest[0] + " of " + c.CommandPath()
	}
	return wrongFlags(c, rest)
}

func upper(s string) bool { return strings.ToUpper(s) == s }

func wrongFlags(c *cobra.Command, rest []string) string {
	for _, w := range rest {
		name, _, _ := strings.Cut(strings.Trim(w, "[],"), "=")
		switch {
		case strings.HasPrefix(name, "--") && name != "--help":
			if c.Flags().Lookup(name[2:]) == nil {
				return "no flag " + name
			}
		case strings.HasPrefix(name, "-") && len(name) == 2:
			if c.Flags().ShorthandLookup(name[1:]) == nil {
				return "no flag " + name
			}
		}
	}
	return ""
}

// TestWrongCommand: the test of the docs sees what is wrong.
func TestWrongCommand(t *testing.T) {
	for line, good := range map[string]bool{"kdx capture size --json": true, "kdx capture sise": false, "kdx capture initrd bild": false, "kdx capture load --jsn": false, "kdx capture initrd build -o x": true, "kdx capture initrd build -q x": false} {
		if why := wrongCommand(line); (why == "") != good {
			t.Errorf("%s: %q", line, why)
		}
	}
}
