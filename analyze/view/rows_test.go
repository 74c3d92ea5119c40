package view

import (
	"errors"
	"fmt"
	"io"
	"iter"
	"strings"
	"testing"

	"kdx/analyze/vmem"
)

type testRow struct {
	Name string `json:"name"`
	testHead
	Size  *uint64   `json:"size_bytes"`
	Nice  int8      `json:"nice"`
	Share float64   `json:"share"`
	On    bool      `json:"on"`
	Words []string  `json:"words"`
	Owner *testHead `json:"owner"`
	Text  string    `json:"-"`
}

type testHead struct {
	Task vmem.Addr `json:"task"`
}

type testRows []testRow

func (testRows) Text(io.Writer, Options) error { return nil }

type testTable struct {
	Rows  []*testRow
	Title string
}

func (*testTable) Text(io.Writer, Options) error { return nil }

type testStream iter.Seq2[testRow, error]

func (testStream) Text(io.Writer, Options) error { return nil }

type testSeq iter.Seq[testRow]

func (testSeq) Text(io.Writer, Options) error { return nil }

type testBatches iter.Seq[[]testRow]

func (testBatches) Text(io.Writer, Options) error { return nil }

type testTwo struct{ A, B []testRow }

func (*testTwo) Text(io.Writer, Options) error { return nil }

var errCut = errors.New("cut")

// testForms are the same rows as each kind of list that results are.
func testForms() map[string]Result {
	size := func(n uint64) *uint64 { return &n }
	rows := []testRow{
		{Name: "b", testHead: testHead{0xffff0010}, Size: size(20 << 10), Nice: -3, Share: .5, Words: []string{"rw", "sync"}},
		{Name: "a", testHead: testHead{0xffff0020}, Size: nil, Nice: 4, Share: .25, On: true, Owner: &testHead{0x10}},
		{Name: "c", testHead: testHead{0xffff0030}, Size: size(3), Nice: 4, Share: 2, Words: []string{"ro"}},
	}
	pointers := &testTable{Title: "kept"}
	for i := range rows {
		pointers.Rows = append(pointers.Rows, &rows[i])
	}
	return map[string]Result{
		"slice": testRows(rows),
		"table": pointers,
		"seq": testSeq(func(yield func(testRow) bool) {
			for _, r := range rows {
				if !yield(r) {
					return
				}
			}
		}),
		"batches": testBatches(func(yield func([]testRow) bool) {
			_ = yield(rows[:1]) && yield(nil) && yield(rows[1:])
		}),
		"stream": testStream(func(yield func(testRow, error) bool) {
			if yield(rows[0], nil) && yield(testRow{}, errCut) && yield(rows[1], nil) { // what could not be read is left out, and the walk goes on
				yield(rows[2], nil)
			}
		}),
	}
}

// names of the rows that are left; "!" is the error of a stream, which must not be lost.
func names(t *testing.T, r Result) string {
	out := ""
	switch l := r.(type) {
	case testRows:
		for _, r := range l {
			out += r.Name
		}
	case *testTable:
		if l.Title != "kept" {
			t.Errorf("what stands beside the rows was lost: %q", l.Title)
		}
		for _, r := range l.Rows {
			out += r.Name
		}
	case testSeq:
		for r := range l {
			out += r.Name
		}
	case testBatches:
		for batch := range l {
			for _, r := range batch {
				out += r.Name
			}
		}
	case testStream:
		for r, err := range l {
			if err != nil {
				if !errors.Is(err, errCut) {
					t.Errorf("error %v", err)
				}
				out += "!"
				continue
			}
			out += r.Name
		}
	default:
		t.Fatalf("a %T came back", r)
	}
	return out
}

func TestWhere(t *testing.T) {
	for _, tc := range []struct{ field, op, value, want string }{
		{"name", "=", "a", "a"}, {"name", "!=", "a", "bc"}, {"name", "~", "^[ab]$", "ba"}, {"name", "!~", "^[ab]$", "c"}, {"name", "-lt", "b", "a"},
		{"size_bytes", "-gt", "3", "b"}, {"size_bytes", "-ge", "0x3", "bc"}, {"size_bytes", "=", "20K", "b"}, {"size_bytes", "=", "null", "a"}, {"size_bytes", "!=", "null", "bc"},
		{"size_bytes", "!=", "3", "ba"}, {"size_bytes", "-lt", "1T", "bc"},
		{"nice", "-lt", "0", "b"}, {"nice", "=", "-3", "b"}, {"nice", "-le", "4", "bac"}, {"share", "-gt", "0.3", "bc"}, {"on", "=", "true", "a"}, {"on", "!=", "true", "bc"},
		{"task", "=", "ffff0020", "a"}, {"task", "-gt", "0xffff0020", "c"}, {"owner.task", "=", "10", "a"}, {"owner.task", "=", "null", "bc"},
		{"words", "=", "sync", "b"}, {"words", "!=", "sync", "ac"}, {"words", "~", "^r", "bc"}, {"words", "!~", "^rw", "ac"},
	} {
		for form, r := range testForms() {
			got, err := Where(r, tc.field, tc.op, tc.value)
			if err != nil {
				t.Errorf("%s: %s %s %s: %v", form, tc.field, tc.op, tc.value, err)
				continue
			}
			if n := strings.ReplaceAll(names(t, got), "!", ""); n != tc.want {
				t.Errorf("%s: %s %s %s = %s, want %s", form, tc.field, tc.op, tc.value, n, tc.want)
			}
		}
	}
}

func TestSort(t *testing.T) {
	for _, tc := range []struct {
		field      string
		descending bool
		want       string
	}{
		{"name", false, "abc"}, {"name", true, "cba"}, {"size_bytes", false, "cba"}, {"size_bytes", true, "bca"}, {"nice", false, "bac"}, {"nice", true, "acb"},
		{"share", true, "cba"}, {"on", false, "bca"}, {"task", true, "cab"}, {"owner.task", false, "abc"},
	} {
		for form, r := range testForms() {
			got, err := Sort(r, tc.field, tc.descending)
			if err != nil {
				t.Errorf("%s: %s: %v", form, tc.field, err)
				continue
			}
			want := tc.want
			if form == "stream" {
				want += "!"
			}
			if n := names(t, got); n != want {
				t.Errorf("%s: %s, descending %v: %s, want %s", form, tc.field, tc.descending, n, want)
			}
		}
	}
}

// TestRowsRefused: what can't be is said before anything is written, and an iterator is left where its reader stops.
func TestRowsRefused(t *testing.T) {
	rows := testForms()["slice"]
	for _, tc := range []struct{ field, op, value, want string }{
		{"nosuch", "=", "1", "have name, task, size_bytes"}, {"owner.nosuch", "=", "1", "no field owner.nosuch"}, {"name", "==", "1", "is none of"}, {"name", "~", "(", "missing closing"},
		{"size_bytes", "=", "ten", "no value of this field"}, {"size_bytes", "=", "99999999T", "no value of this field"}, {"nice", "=", "300", "no value of this field"}, {"nice", "~", "3", "is for texts"},
		{"owner", "=", "1", "neither a number nor a text"}, {"on", "=", "maybe", "no value"}, {"Text", "=", "1", "no field"},
	} {
		if _, err := Where(rows, tc.field, tc.op, tc.value); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s %s %s: %v, want an error with %q", tc.field, tc.op, tc.value, err, tc.want)
		}
	}
	for _, r := range []Result{Lines{"a"}, &testTwo{}, (*testTable)(nil)} {
		if _, err := Where(r, "name", "=", "a"); !errors.As(err, new(NoRowsError)) {
			t.Errorf("%T: %v", r, err)
		}
		if _, err := Sort(r, "name", false); !errors.As(err, new(NoRowsError)) {
			t.Errorf("%T: %v", r, err)
		}
	}
	if _, err := Sort(rows, "words", false); err == nil {
		t.Error("lists were ordered")
	}
	asked := 0
	endless := testSeq(func(yield func(testRow) bool) {
		for yield(testRow{Name: fmt.Sprint(asked)}) {
			asked++
		}
	})
	got, err := Where(endless, "name", "!=", "x")
	if err != nil {
		t.Fatal(err)
	}
	for range got.(testSeq) {
		if asked > 2 {
			break
		}
	}
}
