package repl

import (
	"io"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/chzyer/readline"
)

func TestKeyboard(t *testing.T) {
	k := &keyboard{f: iotest.OneByteReader(strings.NewReader("a\x00\x00b\x00"))}
	got, err := io.ReadAll(k)
	if string(got) != "ab" || err != nil || !k.ended.Load() {
		t.Errorf("read %q, %v, ended %v; want the NULs of Ctrl-Space dropped", got, err, k.ended.Load())
	}
}

// TestHangUp: readline takes the end of input for Enter if something was typed.
func TestHangUp(t *testing.T) {
	e := &terminalEditor{in: &keyboard{f: strings.NewReader("")}}
	if r, ok := e.filter('x'); r != 'x' || !ok {
		t.Errorf("filter(x) = %q, %v", r, ok)
	}
	e.in.ended.Store(true)
	if r, _ := e.filter(0); r != readline.CharInterrupt {
		t.Errorf("filter at the end of input = %q; want the line given up", r)
	}
	if r, _ := e.filter(0); r != 0 {
		t.Errorf("filter after that = %q; want the end", r)
	}
}

func TestEditWidth(t *testing.T) {
	for _, tt := range []struct{ width, want int }{{-1, 80}, {0, 80}, {5, 20}, {120, 120}} {
		got := editWidth(Terminal{Size: func() (int, int) { return tt.width, 24 }})
		if got != tt.want {
			t.Errorf("editWidth(%d) = %d; want %d", tt.width, got, tt.want)
		}
	}
}

func TestPlainEditor(t *testing.T) {
	var out strings.Builder
	e := newPlainEditor(strings.NewReader("a\r\nb"), &out)
	for _, want := range []string{"a", "b"} {
		if got, err := e.ReadLine(); got != want || err != nil {
			t.Errorf("ReadLine() = %q, %v; want %q", got, err, want)
		}
	}
	if _, err := e.ReadLine(); err != io.EOF {
		t.Errorf("ReadLine() at the end: %v", err)
	}
	if out.String() != Prompt+Prompt+Prompt+"\n" {
		t.Errorf("prompts %q", out.String())
	}
}
