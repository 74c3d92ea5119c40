package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"strings"
	"sync/atomic"

	"kdx/analyze/kernel"
	"kdx/repl/commands"
)

// Config of a Session.
type Config struct {
	Kernel   *kernel.Kernel // nil where only commands run that need no dump
	Commands []*commands.Command
	In       io.Reader // stdin of shell commands, and of Run
	Out, Err io.Writer
	Terminal Terminal
	JSON     bool   // every command answers in JSON
	Pager    string // shell command; "" for none
	Progress *Progress
	Log      *slog.Logger
	Silent   bool // no banner
	// Editor makes the line editor of an interactive session; nil for the plain reader.
	Editor func(*Session) (Editor, error)
	// GiveUp ends the program when a command does not react to Ctrl-C; nil for never.
	GiveUp func()
}

// Terminal says which of the standard files are terminals.
type Terminal struct {
	In, Out, Err bool
	Size         func() (width, height int) // of the screen; nil if unknown
}

func (t Terminal) size() (width, height int) {
	if t.Size == nil {
		return 0, 24
	}
	width, height = t.Size()
	if height <= 0 {
		height = 24
	}
	return width, height
}

// Session runs lines against one kernel. It belongs to one goroutine.
type Session struct {
	cfg         Config
	state       *commands.State
	byName      map[string]*commands.Command
	interrupts  interrupts
	interactive bool
	readsStdin  bool // commands come from stdin, so shell commands must not
	outGone     bool // nobody reads stdout any more
	history     []string
	midLine     atomic.Bool // the cursor stands behind output that has no line feed
	depth       int         // of files of commands within files
}

// New makes a Session.
func New(cfg Config) *Session {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	s := &Session{cfg: cfg, byName: make(map[string]*commands.Command)}
	for _, c := range cfg.Commands {
		s.byName[c.Name] = c
		for _, a := range c.Aliases {
			s.byName[a] = c
		}
	}
	s.state = &commands.State{Kernel: cfg.Kernel, Command: s.lookup, Aliases: commands.BuiltinAliases(), Scroll: true,
		All: func() []*commands.Command { return s.cfg.Commands }}
	s.interrupts.give = cfg.GiveUp
	return s
}

// Foreground is the context of the command that runs just now: it ends with Ctrl-C.
func (s *Session) Foreground() context.Context { return s.interrupts.foreground() }

// State is what commands share.
func (s *Session) State() *commands.State { return s.state }

func (s *Session) lookup(name string) *commands.Command { return s.byName[name] }

// outcome is how a line ended.
type outcome struct {
	status Status
	exit   bool // the line ends the session
}

// Line runs one line. What goes wrong is printed; exit reports that it ends the session.
func (s *Session) Line(ctx context.Context, text string) (st Status, exit bool) {
	o := s.line(ctx, text)
	return o.status, o.exit
}

func (s *Session) line(ctx context.Context, text string) outcome {
	text = strings.TrimSpace(text)
	if text == "" || text[0] == '#' || strings.HasPrefix(text, "//") {
		return outcome{}
	}
	l, err := parseLine(expandAliases(text, s.state.Aliases))
	if err != nil {
		return outcome{status: s.fail("", err)}
	}
	switch {
	case l.isShell:
		st, err := s.shell(l.shell)
		if err != nil {
			s.complain(err.Error())
		}
		return outcome{status: st}
	case len(l.words) == 0 && l.input != "":
		return s.file(ctx, expandHome(l.input))
	case len(l.words) == 0:
		return outcome{} // a comment
	}
	return s.command(ctx, l)
}

// command runs a line that names a command.
func (s *Session) command(ctx context.Context, l *line) outcome {
	name := l.words[0].text
	asJSON := l.json || s.cfg.JSON
	ctx, cancel := s.interrupts.command(ctx)
	defer cancel(nil)
	s.cfg.Progress.Begin(name)
	defer s.cfg.Progress.End()

	calls, err := s.safeCalls(ctx, l)
	if err != nil && !asJSON {
		return outcome{status: s.fail(name, err)}
	}
	out, serr := s.openSink(ctx, cancel, l, asJSON)
	if serr != nil {
		return outcome{status: s.fail(name, serr)}
	}
	if err != nil {
		e := &envelope{w: out}
		e.begin(name, texts(l.words[1:]))
		e.raw("null")
		werr := errors.Join(e.end(nil, 0, err), out.finish())
		return outcome{status: statusOf(err).Worse(s.written(name, werr))}
	}
	var o outcome
	var reports []report
	for _, c := range calls {
		r := s.run(ctx, c, out, asJSON)
		reports = append(reports, r)
		if r.exit || r.stopped {
			break
		}
	}
	werr := out.finish()
	s.cfg.Progress.Hide()
	for _, r := range reports {
		o.status = o.status.Worse(s.tell(r, asJSON))
		o.exit = o.exit || r.exit
	}
	o.status = o.status.Worse(s.written(name, werr))
	return o
}

// written is what the end of a command's output means.
func (s *Session) written(name string, err error) Status {
	if err == nil || readerGone(err) {
		return OK
	}
	return s.fail(name, fmt.Errorf("its output: %w", err))
}

// tell prints to stderr what went wrong or is missing, after the output, and returns the status. In JSON both are in
// the document.
func (s *Session) tell(r report, asJSON bool) Status {
	if !asJSON {
		s.tellGaps(r)
	}
	if r.err != nil {
		if asJSON || errors.Is(r.err, errReaderGone) {
			return r.status
		}
		s.fail(r.name, r.err)
	}
	return r.status
}

// screenGaps is how many gaps a person is shown at once; JSON and files have all of them.
const screenGaps = 20

func (s *Session) tellGaps(r report) {
	more := r.dropped
	for i, g := range r.gaps {
		if s.interactive && i == screenGaps {
			more += len(r.gaps) - i
			break
		}
		s.complain(g.String())
	}
	if r.need != "" {
		s.complain(r.need)
	}
	if r.unsure > 0 {
		s.complain(fmt.Sprintf("%s: zeros were read for pages that the dump left out, or may have left out (reads: %d)", r.name, r.unsure))
	}
	switch {
	case more > 0 && s.interactive:
		s.complain(fmt.Sprintf("%s: %d more could not be read (json %s lists them)", r.name, more, r.name))
	case more > 0:
		s.complain(fmt.Sprintf("%s: %d more could not be read", r.name, more))
	}
}

// fail prints an error and returns its status.
func (s *Session) fail(name string, err error) Status {
	msg := err.Error()
	var usage *commands.UsageError
	if name != "" && !errors.As(err, &usage) && !strings.HasPrefix(msg, name+": ") {
		msg = name + ": " + msg
	}
	s.complain(msg)
	if usage != nil && s.byName[usage.Command] != nil {
		s.usage(usage.Command)
	}
	return statusOf(err)
}

// usage shows the forms of a command.
func (s *Session) usage(name string) {
	label := "usage:"
	for _, form := range commands.NewHelpPage(s.byName[name]).Usage {
		fmt.Fprintf(s.cfg.Err, "%s %s\n", label, form)
		label = "      "
	}
}

// complain writes a line to stderr.
func (s *Session) complain(msg string) {
	s.cfg.Progress.Hide()
	if s.cfg.Terminal.Err {
		msg = safe(msg)
	}
	if s.cfg.Terminal.Err && s.midLine.Swap(false) {
		msg = "\nkdx: " + msg
	} else {
		msg = "kdx: " + msg
	}
	fmt.Fprintln(s.cfg.Err, msg)
}

func statusOf(err error) Status {
	var usage *commands.UsageError
	var bad *lineError
	switch {
	case err == nil, errors.Is(err, commands.ErrExit), errors.Is(err, errReaderGone):
		return OK
	case errors.Is(err, errInterrupted), errors.Is(err, context.Canceled):
		return Interrupted
	case errors.As(err, &usage), errors.As(err, &bad):
		return Usage
	}
	return Failed
}

func texts(ws []word) []string {
	out := make([]string, len(ws))
	for i, w := range ws {
		out[i] = w.text
	}
	return out
}

// commandNames are all names that a line can begin with, sorted.
func (s *Session) commandNames() []string {
	var names []string
	for n := range s.byName {
		names = append(names, n)
	}
	for n := range s.state.Aliases {
		names = append(names, n)
	}
	slices.Sort(names)
	return slices.Compact(names)
}
