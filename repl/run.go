package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"

	"kdx/analyze/expr"
	"kdx/analyze/kernel"
	"kdx/analyze/view"
	"kdx/internal/nearest"
	"kdx/repl/commands"
)

// call is a command with its words.
type call struct {
	cmd   *commands.Command
	words []string
}

// report is how a call ended.
type report struct {
	name    string
	status  Status
	err     error
	gaps    []kernel.Gap
	dropped int
	need    string // what it lacked for a whole answer
	unsure  uint64 // reads that gave zeros for what may have been left out
	exit    bool
	stopped bool // no further call makes sense
}

// calls are what the line asks for: one call, or with < FILE one for each line of the file.
func (s *Session) calls(ctx context.Context, l *line) ([]call, error) {
	cmd, words, err := s.resolve(ctx, l.words)
	if err != nil {
		return nil, err
	}
	if l.input == "" {
		return []call{{cmd, wordsFor(cmd, words)}}, nil
	}
	b, err := os.ReadFile(expandHome(l.input))
	if err != nil {
		return nil, fmt.Errorf("%w (C's < needs parentheses around the expression)", err)
	}
	var out []call
	for i, text := range strings.Split(string(b), "\n") {
		sc := &scanner{s: text}
		more := &line{}
		if err := sc.scan(more); err != nil {
			return nil, badLine("%s, line %d: %v", l.input, i+1, err)
		}
		if more.pipe != "" || more.output != "" || more.input != "" {
			return nil, badLine("%s, line %d: a line of arguments can't be redirected", l.input, i+1)
		}
		if len(sc.words) > 0 {
			out = append(out, call{cmd, append(wordsFor(cmd, words), wordsFor(cmd, sc.words)...)})
		}
	}
	return out, nil
}

// safeCalls is calls, in which an unknown word asks the finders.
func (s *Session) safeCalls(ctx context.Context, l *line) (cs []call, err error) {
	defer recoverAs(&err, call{cmd: &commands.Command{Name: l.words[0].text}})
	return s.calls(ctx, l)
}

func wordsFor(cmd *commands.Command, ws []word) []string {
	out := texts(ws)
	if cmd.Quotes {
		for i := range ws {
			out[i] = ws[i].raw
		}
	}
	return out
}

// resolve finds the command that a line begins with. A word that is no command is tried as crash does: a variable is
// shown (p), a struct or union defined or shown (struct), any other type defined (whatis), or
// shown if the address of an object follows.
func (s *Session) resolve(ctx context.Context, ws []word) (*commands.Command, []word, error) {
	first := ws[0].text
	if c := s.byName[first]; c != nil {
		return c, ws[1:], nil
	}
	if rest, ok := strings.CutPrefix(first, "*"); ok && rest != "" && s.byName["*"] != nil {
		return s.byName["*"], append([]word{{rest, rest}}, ws[1:]...), nil
	}
	if format, ok := strings.CutPrefix(first, "p/"); ok && s.byName["p"] != nil { // p/x, as in gdb
		return s.byName["p"], append([]word{{"/" + format, "/" + format}}, ws[1:]...), nil
	}
	if name := s.unknownWord(ctx, ws[0].raw, len(ws) > 1); name != "" {
		if c := s.byName[name]; c != nil {
			return c, ws, nil
		}
	}
	if near := nearest.Of(first, s.commandNames()); near != "" {
		return nil, nil, badLine("there is no command, variable or type of that name; did you mean %s?", near)
	}
	return nil, nil, badLine("there is no command, variable or type of that name (help lists the commands)")
}

func (s *Session) unknownWord(ctx context.Context, raw string, object bool) string {
	if strings.HasPrefix(raw, "(") || strings.HasPrefix(raw, "&") {
		return "p"
	}
	if s.cfg.Kernel == nil {
		return ""
	}
	class, _ := expr.Classify(s.cfg.Kernel.View(ctx), raw)
	switch class {
	case expr.Struct:
		return "struct"
	case expr.Union:
		return "union"
	case expr.Typedef, expr.Enum:
		if object {
			return "struct" // atomic_t ADDRESS
		}
		return "whatis"
	case expr.Variable, expr.Function, expr.Enumerator:
		return "p"
	}
	return ""
}

// run runs one call and writes its result.
func (s *Session) run(ctx context.Context, c call, out io.Writer, asJSON bool) report {
	r := report{name: c.cmd.Name}
	var v *kernel.View
	if s.cfg.Kernel != nil {
		s.state.Refresh()
		v = s.cfg.Kernel.View(ctx)
	}
	res, err := s.answer(v, c)
	if errors.Is(err, commands.ErrExit) {
		r.exit = true
		return r
	}
	if need := lacking(v, s.innermost(c), err, nil); need != "" {
		err = &needError{err, need}
	}
	if asJSON {
		err = s.writeJSON(v, c, res, err, out)
	} else if res != nil {
		err = errors.Join(err, s.writeText(ctx, c, res, out))
	}
	if v != nil {
		r.gaps, r.dropped = v.Gaps()
		r.unsure = v.UnsureReads()
		if err == nil && ctx.Err() == nil {
			r.need = lacking(v, s.innermost(c), nil, r.gaps)
		}
	}
	if ctx.Err() != nil {
		r.stopped = true
		if cause := context.Cause(ctx); err != nil || errors.Is(cause, errInterrupted) {
			err = cause
		}
	}
	r.err = err
	r.status = statusOf(err)
	if r.status == OK && (len(r.gaps) > 0 || r.dropped > 0) {
		r.status = Gaps
	}
	return r
}

func (s *Session) writeText(ctx context.Context, c call, res view.Result, out io.Writer) (err error) {
	defer recoverAs(&err, c)
	w := &ctxWriter{ctx, out}
	width, _ := 0, 0
	if s.cfg.Terminal.Out {
		width, _ = s.cfg.Terminal.size()
	}
	return res.Text(w, view.Options{Hex: s.state.Hex, Width: width})
}

func (s *Session) writeJSON(v *kernel.View, c call, res view.Result, err error, out io.Writer) error {
	e := &envelope{w: out}
	e.begin(c.cmd.Name, c.words)
	if rerr := safeResult(e, c, res); err == nil {
		err = rerr
	}
	var gaps []kernel.Gap
	var dropped int
	if v != nil {
		gaps, dropped = v.Gaps()
		e.unsure = v.UnsureReads()
		if err == nil {
			err = context.Cause(v.Context())
		}
	}
	if werr := e.end(gaps, dropped, err); werr != nil && err == nil {
		err = werr
	}
	return err
}

func safeResult(e *envelope, c call, res view.Result) (err error) {
	defer recoverAs(&err, c)
	return e.result(res)
}

// answer runs the command itself.
func (s *Session) answer(v *kernel.View, c call) (res view.Result, err error) {
	defer recoverAs(&err, c)
	cl := &commands.Call{View: v, State: s.state, Cmd: c.cmd, Args: c.words}
	if !c.cmd.Raw {
		if cl.Flags, cl.Args, err = commands.ParseFlags(c.cmd, c.words); err != nil {
			return nil, err
		}
	}
	if v == nil && c.cmd.Needs != "" {
		return nil, errors.New("no dump is open")
	}
	return c.cmd.Run(cl)
}

// recoverAs turns a panic into an error: a mistake in one command must not cost the session.
func recoverAs(err *error, c call) {
	if p := recover(); p != nil {
		*err = fmt.Errorf("a mistake in kdx, please report it: %v (command %s %s)\n%s", p, c.cmd.Name, strings.Join(c.words, " "), debug.Stack())
	}
}

// ctxWriter stops a result that is being written when its command is stopped.
type ctxWriter struct {
	ctx context.Context
	w   io.Writer
}

func (c *ctxWriter) Write(p []byte) (int, error) {
	if c.ctx.Err() != nil {
		return 0, context.Cause(c.ctx)
	}
	return c.w.Write(p)
}
