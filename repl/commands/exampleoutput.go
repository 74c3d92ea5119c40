package commands

import (
	_ "embed"
	"strings"
	"sync"
)

// ExampleLines is how many lines of an example's output help shows.
const ExampleLines = 12

// exampleWidth is how wide these are at most.
const exampleWidth = 120

// examplesText is written by go generate ./cmd/kdx: what examples answer on testdata/dumps/6.12-more, each behind a line with
// exampleMark and the example.
//
//go:embed examples.txt
var examplesText string

const exampleMark = "== "

// exampleOutputs are the outputs by line.
var exampleOutputs = sync.OnceValue(func() map[string][]string {
	out := make(map[string][]string)
	last := ""
	for line := range strings.Lines(examplesText) {
		line = strings.TrimSuffix(line, "\n")
		if name, ok := strings.CutPrefix(line, exampleMark); ok {
			last = name
			continue
		}
		out[last] = append(out[last], line)
	}
	return out
})

// WriteExamples makes the text of examples.txt out of what each of lines answered. Answers without text are left out; what is longer
// than ExampleLines ends in "...".
func WriteExamples(lines []string, answers map[string]string) string {
	var b strings.Builder
	for _, l := range lines {
		text := strings.Trim(answers[l], "\n")
		if text == "" {
			continue
		}
		rows := strings.Split(text, "\n")
		if len(rows) > ExampleLines {
			rows = append(rows[:ExampleLines], "...")
		}
		b.WriteString(exampleMark + l + "\n")
		for _, r := range rows {
			b.WriteString(cutRow(strings.TrimRight(r, " "), exampleWidth) + "\n")
		}
	}
	return b.String()
}

// cutRow keeps what of a row fits into so many columns.
func cutRow(r string, most int) string {
	if runes := []rune(r); len(runes) > most {
		return strings.TrimRight(string(runes[:most-4]), " ") + " ..."
	}
	return r
}
