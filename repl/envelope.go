package repl

import (
	"bytes"
	"encoding/json"
	"io"
	"strings"

	"kdx/analyze/kernel"
	"kdx/analyze/view"
)

// EnvelopeVersion is the number under "kdx" in every JSON document. Members may be added without a new number.
const EnvelopeVersion = 1

type missingJSON struct {
	What  string `json:"what"`
	Error string `json:"error"`
}

// envelope writes the JSON document of one command:
//
//	{"kdx":1,"command":"ps","args":["-k"],"result":…,"missing":[{"what":…,"error":…}],"error":null}
//
// The result is streamed. Whatever fails on the way, the document is whole; error says what went wrong.
type envelope struct {
	w   io.Writer
	err error // of w
	// unsure counts reads that gave zeros without the dump saying that these are the true bytes.
	unsure uint64
}

func (e *envelope) raw(s string) {
	if e.err == nil {
		_, e.err = io.WriteString(e.w, s)
	}
}

func (e *envelope) value(v any) {
	b, err := json.Marshal(v)
	if err != nil {
		b = []byte("null")
	}
	e.raw(string(b))
}

// begin writes what is known before the command ran.
func (e *envelope) begin(command string, args []string) {
	if args == nil {
		args = []string{}
	}
	e.raw(`{"kdx":`)
	e.value(EnvelopeVersion)
	e.raw(`,"command":`)
	e.value(command)
	e.raw(`,"args":`)
	e.value(args)
	e.raw(`,"result":`)
}

// result writes r and returns what went wrong in making it; an error of the writer is in e.err.
func (e *envelope) result(r view.Result) error {
	if r == nil {
		e.raw("null")
		return nil
	}
	n := &nesting{w: e.w}
	err := view.WriteJSON(n, r)
	if n.err != nil {
		e.err = n.err
		return nil
	}
	if err != nil || !n.complete() {
		e.raw(n.rest())
	}
	return err
}

// end writes what is known after it.
func (e *envelope) end(gaps []kernel.Gap, dropped int, err error) error {
	missing := make([]missingJSON, len(gaps))
	for i, g := range gaps {
		missing[i] = missingJSON{g.What, g.Err.Error()}
	}
	e.raw(`,"missing":`)
	e.value(missing)
	if dropped > 0 {
		e.raw(`,"missing_more":`)
		e.value(dropped)
	}
	if e.unsure > 0 {
		e.raw(`,"unsure_reads":`)
		e.value(e.unsure)
	}
	e.raw(`,"error":`)
	if err != nil {
		e.value(err.Error())
	} else {
		e.raw("null")
	}
	e.raw("}\n")
	return e.err
}

// nesting passes JSON on and knows what is open in it, so that a value that breaks off can be closed.
type nesting struct {
	w        io.Writer
	err      error
	stack    []byte // closing brackets
	newlines int    // held back: those at the end of the value would break the document's line
	inString bool
	escape   int  // after a backslash: -1, then for \u the digits still to come
	last     byte // last significant byte outside strings; '"' after one
	wrote    bool
	atom     []byte // the number or word that is being written
	key      bool   // the string that ended last is a member's name, if a comma or { came before it
	wantKey  bool   // the next string in an object is a name
}

func (n *nesting) Write(p []byte) (int, error) {
	out := bytes.TrimRight(p, "\n")
	held := len(p) - len(out)
	if n.newlines > 0 && len(out) > 0 {
		out = append(bytes.Repeat([]byte("\n"), n.newlines), out...)
		n.newlines = 0
	}
	n.newlines += held
	if _, err := n.w.Write(out); err != nil {
		n.err = err
		return 0, err
	}
	for _, c := range p {
		n.step(c)
	}
	return len(p), nil
}

func (n *nesting) step(c byte) {
	if n.inString {
		switch {
		case n.escape > 0:
			n.escape--
		case n.escape < 0 && c == 'u':
			n.escape = 4
		case n.escape < 0:
			n.escape = 0
		case c == '\\':
			n.escape = -1
		case c == '"':
			n.inString, n.last = false, '"'
		}
		return
	}
	switch c {
	case ' ', '\n', '\t', '\r':
		return
	case '"':
		n.inString = true
		n.key = n.wantKey
		n.wantKey = false
	case '{':
		n.stack = append(n.stack, '}')
		n.wantKey = true
	case '[':
		n.stack = append(n.stack, ']')
		n.wantKey = false
	case '}', ']':
		if len(n.stack) > 0 {
			n.stack = n.stack[:len(n.stack)-1]
		}
		n.wantKey, n.key = false, false
	case ',':
		n.wantKey = len(n.stack) > 0 && n.stack[len(n.stack)-1] == '}'
	case ':':
		n.key = false
	}
	if c == '{' || c == '[' || c == '}' || c == ']' || c == ',' || c == ':' || c == '"' {
		n.atom = n.atom[:0]
	} else {
		n.atom = append(n.atom, c)
	}
	n.last, n.wrote = c, true
}

// complete reports whether what was written is one whole value.
func (n *nesting) complete() bool {
	return n.wrote && len(n.stack) == 0 && !n.inString && (len(n.atom) == 0 || json.Valid(n.atom))
}

// rest is what makes a whole value of what was written.
func (n *nesting) rest() string {
	if !n.wrote {
		return "null"
	}
	var s string
	switch {
	case n.inString:
		if n.escape < 0 {
			s = `\`
		}
		s += strings.Repeat("0", max(0, n.escape)) + `"`
		if n.key {
			s += ":null"
		}
	case n.key:
		s = ":null"
	case n.last == ':':
		s = "null"
	case n.last == ',':
		if n.stack[len(n.stack)-1] == '}' {
			s = `"":null`
		} else {
			s = "null"
		}
	case len(n.atom) > 0 && !json.Valid(n.atom):
		s = finishAtom(string(n.atom))
	}
	for i := len(n.stack) - 1; i >= 0; i-- {
		s += string(n.stack[i])
	}
	return s
}

// finishAtom completes a word or number that broke off.
func finishAtom(a string) string {
	for _, word := range []string{"null", "true", "false"} {
		if len(a) < len(word) && word[:len(a)] == a {
			return word[len(a):]
		}
	}
	return "0" // 1. or 1e or -
}
