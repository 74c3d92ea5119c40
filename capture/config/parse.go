package config

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"kdx/internal/nearest"
)

// maxFile bounds a configuration file, ours or others': what people write has some kilobytes.
const maxFile = 128 << 10

// Parsed is a configuration with the places where its values stand.
type Parsed struct {
	Config *Config
	// Origins are by key, a value each; keys at their default have none.
	Origins map[string][]Origin
	// Problems are all that is wrong, in order. Config holds what could be read beside them.
	Problems []*Problem
}

// Parse reads the text of a file: lines of "key = value", comments behind #. name is for messages.
func Parse(name string, text []byte) *Parsed {
	p := &Parsed{Config: Default(), Origins: map[string][]Origin{}}
	fail := func(line, column int, key, want, what string, args ...any) {
		p.Problems = append(p.Problems, &Problem{name, line, column, key, fmt.Sprintf(what, args...), want})
	}
	if len(text) > maxFile {
		fail(0, 0, "", "", "the file has %d bytes; a configuration has no more than %d", len(text), maxFile)
		return p
	}
	n := 0
	for line := range strings.Lines(strings.TrimPrefix(string(text), "\ufeff")) {
		n++
		line = strings.TrimRight(line, "\r\n")
		if i := strings.IndexFunc(line, odd); i >= 0 {
			fail(n, i+1, "", "lines are plain text", "a control character or a byte that is no UTF-8")
			continue
		}
		body := withoutComment(line)
		if strings.TrimSpace(body) == "" {
			continue
		}
		key, value, ok := strings.Cut(body, "=")
		column := len(body) - len(strings.TrimLeft(body, " \t")) + 1
		key, value = strings.TrimSpace(key), strings.TrimSpace(value)
		at := len(body) - len(strings.TrimLeft(body[strings.Index(body, "=")+1:], " \t")) + 1
		k := findKey(key)
		switch {
		case !ok:
			fail(n, column, "", "a line is KEY = VALUE, or a comment behind #", "%q is no setting", withoutPassword(strings.TrimSpace(body)))
		case k == nil:
			fail(n, column, key, unknownKey(key), "unknown key %q", key)
		case value == "":
			fail(n, at, key, "it wants "+k.Form+"; without the line it has its default", "%s has no value", key)
		case runsCommands(value):
			fail(n, at, key, "values are taken as they stand; nothing is run and no variable is filled in", "%s holds a shell expression: %s", key, withoutPassword(value))
		case quoted(value):
			fail(n, at, key, "write "+key+" = "+withoutPassword(value[1:len(value)-1]), "%s stands in quotes, and values take none", withoutPassword(value))
		case !k.List && len(p.Origins[key]) > 0:
			fail(n, column, key, "it can stand once", "%s stands here again; first in line %d", key, p.Origins[key][0].Line)
		default:
			if err := p.apply(k, value, Origin{File: name, Line: n}); err != nil {
				fail(n, at, key, "it wants "+k.Form, "%s: %v", key, err)
			}
		}
	}
	return p
}

// apply sets a value. The first one of a list takes the place of its default.
func (p *Parsed) apply(k *key, value string, o Origin) error {
	if k.List && len(p.Origins[k.Name]) == 0 {
		old := *p.Config
		clearList(p.Config, k.Name)
		if err := k.set(p.Config, value); err != nil {
			*p.Config = old
			return err
		}
	} else if err := k.set(p.Config, value); err != nil {
		return err
	}
	p.Origins[k.Name] = append(p.Origins[k.Name], o)
	return nil
}

// clearList empties the lists that have a default.
func clearList(c *Config, key string) {
	switch key {
	case "target":
		c.Targets = nil
	case "sysctl":
		c.Sysctls = nil
	}
}

// withoutComment cuts a comment: # at the start of a line or behind a blank.
func withoutComment(line string) string {
	for i := 0; i < len(line); i++ {
		if line[i] == '#' && (i == 0 || line[i-1] == ' ' || line[i-1] == '\t') {
			return line[:i]
		}
	}
	return line
}

// odd runes have no place in a line of text.
func odd(r rune) bool { return r == utf8.RuneError || r != '\t' && unicode.IsControl(r) }

func quoted(v string) bool {
	return len(v) > 1 && v[0] == v[len(v)-1] && (v[0] == '"' || v[0] == '\'')
}

func runsCommands(value string) bool {
	return strings.Contains(value, "`") || strings.Contains(value, "$(") || strings.Contains(value, "${")
}

// unknownKey says what may have been meant.
func unknownKey(key string) string {
	var names []string
	for i := range keys {
		names = append(names, keys[i].Name)
	}
	plain := strings.ReplaceAll(strings.ToLower(key), "_", "-")
	for _, n := range names {
		if plain == n || strings.TrimSuffix(plain, "s") == n {
			return n + "?"
		}
	}
	for _, d := range distributions {
		if d.find(key) != nil {
			return "that is a key of " + d.title + ": kdx capture config import reads its files"
		}
	}
	if n := nearest.Of(plain, names); n != "" {
		return n + "?"
	}
	return "kdx capture config show --default lists all keys"
}
