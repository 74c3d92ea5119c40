package repl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
)

// sink is where the output of one command goes. finish flushes it and waits for the program at its other end.
type sink struct {
	io.Writer
	finish func() error
}

// errReaderGone is a sink whose reader went away: no failure, only a reason to stop.
var errReaderGone = errors.New("the reader of the output is gone")

func readerGone(err error) bool {
	return errors.Is(err, errReaderGone) || errors.Is(err, syscall.EPIPE) || errors.Is(err, io.ErrClosedPipe)
}

// goneWriter turns a broken pipe into errReaderGone, remembers it and stops the command.
type goneWriter struct {
	w    io.Writer
	stop context.CancelCauseFunc
	gone *bool
}

func (g goneWriter) Write(p []byte) (int, error) {
	n, err := g.w.Write(p)
	if err != nil && readerGone(err) {
		*g.gone = true
		g.stop(errReaderGone)
		return n, errReaderGone
	}
	return n, err
}

// openSink opens what the line asks for. stop ends the command if nobody wants its output any more.
func (s *Session) openSink(ctx context.Context, stop context.CancelCauseFunc, l *line, json bool) (*sink, error) {
	switch {
	case l.output != "":
		return s.fileSink(l)
	case l.pipe != "":
		return s.pipeSink(ctx, stop, l.pipe, json)
	case s.cfg.Terminal.Out:
		return s.screenSink(stop, json), nil
	}
	out := goneWriter{s.cfg.Out, stop, &s.outGone}
	b := bufio.NewWriterSize(out, 64<<10)
	return &sink{b, b.Flush}, nil
}

func (s *Session) fileSink(l *line) (*sink, error) {
	path := expandHome(l.output)
	if err := s.protectDump(path); err != nil {
		return nil, err
	}
	flags := os.O_CREATE | os.O_WRONLY | os.O_TRUNC
	if l.extend {
		flags = os.O_CREATE | os.O_WRONLY | os.O_APPEND
	}
	f, err := os.OpenFile(path, flags, 0o666)
	if err != nil {
		return nil, err
	}
	b := bufio.NewWriterSize(f, 64<<10)
	return &sink{b, func() error { return errors.Join(b.Flush(), f.Close()) }}, nil
}

// protectDump refuses to write over the dump that is being read.
func (s *Session) protectDump(path string) error {
	if s.cfg.Kernel == nil {
		return nil
	}
	to, err := os.Stat(path)
	if err != nil {
		return nil // a new file, or one that OpenFile will complain of
	}
	for _, name := range s.cfg.Kernel.Image().Info().Files {
		if from, err := os.Stat(name); err == nil && os.SameFile(from, to) {
			return fmt.Errorf("%s is the dump itself", path)
		}
	}
	return nil
}

// pipeSink starts a shell pipeline. If its output can reach a terminal, it gets nothing that a terminal would obey.
func (s *Session) pipeSink(ctx context.Context, stop context.CancelCauseFunc, pipeline string, json bool) (*sink, error) {
	cmd := s.shellCommand(pipeline)
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, err
	}
	s.cfg.Progress.Silence()
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting a shell for %q: %w", pipeline, err)
	}
	var w io.Writer = goneWriter{in, stop, new(bool)}
	var inner *safeWriter
	if s.cfg.Terminal.Out {
		inner = &safeWriter{w: w, json: json}
		w = inner
	}
	b := bufio.NewWriterSize(w, 64<<10)
	finish := func() error {
		err := b.Flush()
		if inner != nil && err == nil {
			err = inner.Flush()
		}
		in.Close()
		if werr := cmd.Wait(); err == nil || readerGone(err) {
			err = pipelineError(pipeline, werr)
		}
		return err
	}
	return &sink{b, finish}, nil
}

// screenSink writes to the terminal, through the pager if that is on.
func (s *Session) screenSink(stop context.CancelCauseFunc, json bool) *sink {
	out := goneWriter{s.screen(), stop, &s.outGone}
	if !s.state.Scroll || s.cfg.Pager == "" {
		w := &safeWriter{w: out, json: json}
		return &sink{w, w.Flush}
	}
	width, height := s.cfg.Terminal.size()
	p := &pager{out: out, width: width, height: height, start: func() (io.WriteCloser, func() error, error) { return s.startPager(stop) }}
	w := &safeWriter{w: p, json: json}
	return &sink{w, func() error {
		err := w.Flush()
		if cerr := p.Close(); err == nil {
			err = cerr
		}
		if readerGone(err) && !s.outGone {
			err = nil // q in the pager
		}
		return err
	}}
}

// screen is stdout on a terminal, where the progress line must make room.
func (s *Session) screen() io.Writer { return screenWriter{s} }

type screenWriter struct{ s *Session }

func (w screenWriter) Write(b []byte) (int, error) {
	w.s.cfg.Progress.Silence()
	if len(b) > 0 {
		w.s.midLine.Store(b[len(b)-1] != '\n')
	}
	return w.s.cfg.Out.Write(b)
}

func expandHome(path string) string {
	if rest, ok := strings.CutPrefix(path, "~/"); ok {
		if home, err := os.UserHomeDir(); err == nil {
			return filepath.Join(home, rest)
		}
	}
	return path
}
