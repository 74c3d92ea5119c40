package repl

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"testing"

	"kdx/analyze/kernel"
	"kdx/analyze/view"
)

func TestNestingRest(t *testing.T) {
	const doc = `{"a":[1,2.5,-3e+7,{"b":"x\"y\u00e9\\"},[],{}],"c":null,"d":true,"e":{"f":false,"g":"ü"}}`
	for _, whole := range []string{doc, `[]`, `"x"`, `12`, `null`, `[1,"a"]`, `[ {"a" : 1 , "b" : [ ] } ]`} {
		for i := range len(whole) + 1 {
			n := &nesting{w: io.Discard}
			n.Write([]byte(whole[:i]))
			got := whole[:i] + n.rest()
			if !json.Valid([]byte(got)) {
				t.Errorf("%q is completed to %q, which is no JSON", whole[:i], got)
			}
			if n.complete() && !json.Valid([]byte(whole[:i])) {
				t.Errorf("%q passes for complete", whole[:i])
			}
		}
	}
}

func FuzzNesting(f *testing.F) {
	f.Add(`{"a":[1,{"b":"x"}]}`, 7)
	f.Fuzz(func(t *testing.T, s string, cut int) {
		if !json.Valid([]byte(s)) {
			return
		}
		n := &nesting{w: io.Discard}
		part := s[:max(0, min(cut, len(s)))]
		n.Write([]byte(part))
		if got := part + n.rest(); !json.Valid([]byte(got)) {
			t.Errorf("%q is completed to %q, which is no JSON", part, got)
		}
	})
}

// broken is a result that fails after some of its JSON.
type broken struct {
	rows string
	err  error
}

func (b broken) Text(w io.Writer, _ view.Options) error { return b.err }
func (b broken) StreamJSON(w io.Writer) error {
	io.WriteString(w, b.rows)
	return b.err
}

func TestEnvelope(t *testing.T) {
	oops := errors.New("oops")
	for _, tt := range []struct {
		name   string
		result view.Result
		gaps   []kernel.Gap
		err    error
		want   string
	}{
		{"plain", view.Lines{"a"}, nil, nil, `{"kdx":1,"command":"c","args":["-x"],"result":["a"],"missing":[],"error":null}`},
		{"none", nil, nil, oops, `{"kdx":1,"command":"c","args":["-x"],"result":null,"missing":[],"error":"oops"}`},
		{"gap", view.Lines{}, []kernel.Gap{{What: "PID 1", Err: oops}}, nil,
			`{"kdx":1,"command":"c","args":["-x"],"result":[],"missing":[{"what":"PID 1","error":"oops"}],"error":null}`},
		{"broken", broken{`[{"a":1},`, oops}, nil, nil, `{"kdx":1,"command":"c","args":["-x"],"result":[{"a":1},null],"missing":[],"error":"oops"}`},
		{"stream", broken{"[1,\n2]", nil}, nil, nil, `{"kdx":1,"command":"c","args":["-x"],"result":[1,` + "\n" + `2],"missing":[],"error":null}`},
		{"nothing", broken{"", oops}, nil, nil, `{"kdx":1,"command":"c","args":["-x"],"result":null,"missing":[],"error":"oops"}`},
	} {
		var b bytes.Buffer
		e := &envelope{w: &b}
		e.begin("c", []string{"-x"})
		err := e.result(tt.result)
		if err == nil {
			err = tt.err
		}
		if err := e.end(tt.gaps, 0, err); err != nil {
			t.Errorf("%s: %v", tt.name, err)
		}
		if got := b.String(); got != tt.want+"\n" {
			t.Errorf("%s: got  %s\nwant %s", tt.name, got, tt.want)
		}
	}
}
