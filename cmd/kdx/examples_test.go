//go:build !race

package main

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"kdx/repl/commands"
)

// TestExamples: help shows what kdx answers; go generate ./cmd/kdx writes it anew. Every example that help leaves bare is one of those that
// say why. One session answers all, line by line: there is nothing in it for the race detector.
func TestExamples(t *testing.T) {
	file, err := filepath.Abs("../../repl/commands/examples.txt")
	if err != nil {
		t.Fatal(err)
	}
	zone := time.Local
	time.Local = time.UTC
	defer func() { time.Local = zone }()
	t.Chdir("../../testdata/dumps/6.12-more")
	got, err := exampleOutputs(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("repl/commands/examples.txt is stale: run go generate ./cmd/kdx")
	}
	lines := make(map[string]bool)
	for _, c := range commands.All() {
		for _, e := range c.Examples {
			lines[e.Line] = true
		}
	}
	for l := range exampleUnshown {
		if !lines[l] {
			t.Errorf("%s is no example", l)
		}
	}
	for l := range exampleRefused {
		if !lines[l] {
			t.Errorf("%s is no example", l)
		}
	}
}
