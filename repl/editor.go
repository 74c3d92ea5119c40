package repl

import (
	"bufio"
	"errors"
	"io"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/chzyer/readline"
	"golang.org/x/term"
)

// Prompt of an interactive session.
const Prompt = "kdx> "

// ErrInterrupt is ReadLine's answer to Ctrl-C.
var ErrInterrupt = errors.New("interrupted line")

// Editor reads lines from a person.
type Editor interface {
	// ReadLine returns io.EOF at the end of input and ErrInterrupt after Ctrl-C.
	ReadLine() (string, error)
	// Remember adds a line to what the arrow keys and the search go through.
	Remember(line string)
	// SetVi chooses vi's keys.
	SetVi(on bool)
	Close() error
}

// terminalEditor is chzyer/readline behind Editor.
type terminalEditor struct {
	s     *Session
	rl    atomic.Pointer[readline.Instance] // its goroutine may call filter before NewEx has returned
	vi    bool
	in    *keyboard
	width atomic.Int64 // of the screen when candidates were listed last
}

// editWidth is the width of the screen, but at least what readline needs not to miscalculate.
func editWidth(t Terminal) int {
	width, _ := t.size()
	if width <= 0 {
		width = 80
	}
	return max(width, 20)
}

// keyboard is stdin without the NUL of Ctrl-Space, which readline would take for the end of input.
type keyboard struct {
	f     io.Reader
	ended atomic.Bool
}

func (k *keyboard) Read(p []byte) (int, error) {
	for {
		n, err := k.f.Read(p)
		out := slices.DeleteFunc(p[:n], func(b byte) bool { return b == 0 })
		if err != nil {
			k.ended.Store(true)
		}
		if len(out) > 0 || err != nil || len(p) == 0 {
			return len(out), err
		}
	}
}

// NewTerminalEditor edits lines on a terminal, with the session's completion.
func NewTerminalEditor(s *Session) (Editor, error) {
	if t := os.Getenv("TERM"); t == "" || t == "dumb" { // a terminal that knows no escape sequences
		return newPlainEditor(s.cfg.In, s.cfg.Out), nil
	}
	e := &terminalEditor{s: s, in: &keyboard{f: os.Stdin}}
	rl, err := readline.NewEx(&readline.Config{
		FuncFilterInputRune:    e.filter,
		FuncGetWidth:           func() int { return editWidth(s.cfg.Terminal) },
		Prompt:                 Prompt,
		Stdin:                  readline.NewCancelableStdin(e.in),
		AutoComplete:           &readlineCompleter{s: s, width: &e.width},
		DisableAutoSaveHistory: true, // the session keeps it, safe for several kdx at once
		HistoryLimit:           historyLimit,
		HistorySearchFold:      true,
		InterruptPrompt:        "^C",
		EOFPrompt:              "exit",
	})
	if err != nil {
		return nil, err
	}
	e.rl.Store(rl)
	return e, nil
}

// filter sees each key first. It ends the listing of candidates before the line is given away: readline would draw its prompt again while
// the command already writes, and take a Ctrl-C for the end of the list instead of the line.
func (e *terminalEditor) filter(r rune) (rune, bool) {
	if r == 0 && e.in.ended.Swap(false) {
		return readline.CharInterrupt, true // a terminal that hangs up must not enter the line that it breaks off
	}
	rl := e.rl.Load()
	if rl == nil || !rl.Operation.IsInCompleteMode() {
		return r, true
	}
	resized := int64(editWidth(e.s.cfg.Terminal)) != e.width.Load() // readline goes on counting the old columns
	enter := r == readline.CharEnter || r == readline.CharCtrlJ
	if enter && !rl.Operation.IsInCompleteSelectMode() || r == readline.CharInterrupt || resized {
		rl.Operation.ExitCompleteMode(false)
		rl.Operation.Refresh()
	}
	return r, true
}

func (e *terminalEditor) ReadLine() (string, error) {
	line, err := e.rl.Load().Readline()
	if errors.Is(err, readline.ErrInterrupt) {
		return "", ErrInterrupt
	}
	return line, err
}

func (e *terminalEditor) Remember(line string) {
	_ = e.rl.Load().SaveHistory(line) // it only fails where readline itself writes a file
}

func (e *terminalEditor) SetVi(on bool) {
	if e.vi != on {
		e.vi = on
		e.rl.Load().SetVimMode(on)
	}
}

func (e *terminalEditor) Close() error { return e.rl.Load().Close() }

// plainEditor reads lines without editing; it prompts if told to.
type plainEditor struct {
	r      *bufio.Reader
	prompt io.Writer // nil for none
}

func newPlainEditor(r io.Reader, prompt io.Writer) *plainEditor {
	return &plainEditor{bufio.NewReader(r), prompt}
}

func (e *plainEditor) ReadLine() (string, error) {
	if e.prompt != nil {
		io.WriteString(e.prompt, Prompt)
	}
	line, err := e.r.ReadString('\n')
	switch {
	case err != nil && line != "":
		err = nil
	case err != nil && e.prompt != nil:
		io.WriteString(e.prompt, "\n")
	}
	return strings.TrimRight(line, "\r\n"), err
}

func (e *plainEditor) Remember(string) {}
func (e *plainEditor) SetVi(bool)      {}
func (e *plainEditor) Close() error    { return nil }

// StandardTerminal looks at the process's standard files.
func StandardTerminal() Terminal {
	t := Terminal{In: term.IsTerminal(int(os.Stdin.Fd())), Out: term.IsTerminal(int(os.Stdout.Fd())), Err: term.IsTerminal(int(os.Stderr.Fd()))}
	t.Size = func() (width, height int) {
		for _, f := range []*os.File{os.Stdout, os.Stderr, os.Stdin} { // kdx open vmcore | tee log has a terminal too
			if w, h, err := term.GetSize(int(f.Fd())); err == nil {
				return w, h
			}
		}
		return 0, 0
	}
	return t
}

// readlineCompleter is the session's completion as readline wants it: what follows the cursor, and how much of it is
// already there.
type readlineCompleter struct {
	s     *Session
	mu    sync.Mutex
	width *atomic.Int64
}

// Do is called by readline's own goroutine, while the session waits for the line.
func (c *readlineCompleter) Do(line []rune, pos int) (suffixes [][]rune, length int) {
	defer func() {
		if p := recover(); p != nil { // a mistake here must not cost the session
			c.s.cfg.Log.Error("completing", "line", string(line), "err", p)
			suffixes, length = nil, 0
		}
	}()
	c.mu.Lock()
	defer c.mu.Unlock()
	c.width.Store(int64(editWidth(c.s.cfg.Terminal)))
	have, names := c.s.complete(string(line[:pos]))
	names = fitting(names, len([]rune(have)), c.s.cfg.Terminal)
	out := make([][]rune, len(names))
	for i, n := range names {
		out[i] = []rune(n)[len([]rune(have)):]
	}
	return out, len([]rune(have))
}

// fitting are the names that readline can list: it can't scroll, nor show what is wider than the screen. Of too many,
// what they have in common stays.
func fitting(names []string, have int, t Terminal) []string {
	_, height := t.size()
	width := editWidth(t)
	longest := 0
	for _, n := range names {
		longest = max(longest, len([]rune(n)))
	}
	if len(names) <= 1 {
		return names
	}
	common := commonPrefix(names)
	if len([]rune(common)) > have {
		return []string{common}
	}
	columns := max(1, (width-1)/(longest+1))
	rows := max(1, height-3)
	if longest+1 >= width-1 {
		return nil
	}
	return names[:min(len(names), rows*columns)]
}

func commonPrefix(names []string) string {
	p := names[0]
	for _, n := range names[1:] {
		for !strings.HasPrefix(n, p) {
			p = p[:len(p)-1]
		}
	}
	return p
}
