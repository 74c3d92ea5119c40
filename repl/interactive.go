package repl

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strconv"
	"strings"
	"syscall"
	"unicode"
)

// Run reads lines until the end of input: with an editor and a prompt if stdin is a terminal, else as a script.
func (s *Session) Run(ctx context.Context) Status {
	defer s.interrupts.listen()()
	if !s.cfg.Terminal.In {
		s.readsStdin = true
		return s.lines(ctx, s.cfg.In, "stdin").status
	}
	return s.interact(ctx)
}

func (s *Session) interact(ctx context.Context) Status {
	s.interactive = true
	ed, err := s.newEditor()
	if err != nil {
		s.complain(fmt.Sprintf("the line editor does not work here, so lines can't be edited: %v", err))
		ed = newPlainEditor(s.cfg.In, s.cfg.Out)
	}
	defer ed.Close()
	defer s.onTerminate(ed)()
	file := historyFile{historyPath()}
	if s.history, err = file.load(); err != nil {
		s.complain(fmt.Sprintf("history: %v", err))
	}
	for _, l := range s.history {
		ed.Remember(l)
	}
	s.state.History = func() []string { return s.history }
	warned := false
	for {
		ed.SetVi(s.state.Vi)
		text, err := ed.ReadLine()
		if errors.Is(err, ErrInterrupt) {
			continue
		}
		if err != nil {
			if !errors.Is(err, io.EOF) {
				s.complain(err.Error())
				return Failed
			}
			return OK
		}
		text = strings.TrimSpace(text)
		if text == "" {
			continue
		}
		expanded, err := s.expandHistory(text)
		if err != nil {
			s.complain(err.Error())
			continue
		}
		if expanded != text {
			text = expanded
			fmt.Fprintln(s.cfg.Out, safe(text))
		}
		if s.keep(ed, text) {
			if err := file.add(text); err != nil && !warned {
				warned = true
				s.complain(fmt.Sprintf("the history can't be kept: %v", err))
			}
		}
		s.interrupts.take()
		if o := s.line(ctx, text); o.exit || s.outGone {
			return OK
		}
	}
}

// onTerminate gives the terminal back before SIGTERM or SIGHUP ends the program.
func (s *Session) onTerminate(ed Editor) (stop func()) {
	if s.cfg.GiveUp == nil {
		return func() {}
	}
	ch := make(chan os.Signal, 1)
	signal.Notify(ch, syscall.SIGTERM, syscall.SIGHUP)
	go func() {
		if _, ok := <-ch; ok {
			ed.Close()
			s.cfg.GiveUp()
		}
	}()
	return func() {
		signal.Stop(ch)
		close(ch)
	}
}

func (s *Session) newEditor() (Editor, error) {
	if s.cfg.Editor == nil {
		return newPlainEditor(s.cfg.In, s.cfg.Out), nil
	}
	return s.cfg.Editor(s)
}

// keep adds a line to the history; lines that only ask for it, and repeated ones, are left out.
func (s *Session) keep(ed Editor, text string) bool {
	if n := len(s.history); n > 0 && s.history[n-1] == text || text == "h" || strings.ContainsFunc(text, unicode.IsControl) {
		return false
	}
	s.history = append(s.history, text)
	if len(s.history) > historyLimit {
		s.history = s.history[len(s.history)-historyLimit:]
	}
	ed.Remember(text)
	return true
}

// expandHistory replaces !!, !N, r, r N and r TEXT by the line that they mean.
func (s *Session) expandHistory(text string) (string, error) {
	var which string
	switch {
	case text == "!!" || text == "r":
		which = ""
	case strings.HasPrefix(text, "!") && isNumber(text[1:]):
		which = text[1:]
	case strings.HasPrefix(text, "r ") || strings.HasPrefix(text, "r\t"):
		which = strings.TrimSpace(text[2:])
	default:
		return text, nil
	}
	if len(s.history) == 0 {
		return "", errors.New("the history is empty")
	}
	if which == "" {
		return s.history[len(s.history)-1], nil
	}
	if isNumber(which) {
		n, err := strconv.Atoi(which)
		if err != nil || n < 1 || n > len(s.history) {
			return "", fmt.Errorf("the history has lines 1 to %d (h lists them)", len(s.history))
		}
		return s.history[n-1], nil
	}
	for i := len(s.history) - 1; i >= 0; i-- {
		if strings.HasPrefix(s.history[i], which) {
			return s.history[i], nil
		}
	}
	return "", fmt.Errorf("no line of the history begins with %q (h lists them)", which)
}

func isNumber(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}
