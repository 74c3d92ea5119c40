package repl

import (
	"bytes"
	"io"
	"os"
	"os/exec"
	"sync"
	"time"
	"unicode/utf8"
)

// DefaultPager quits at the end of the text, and leaves it on the screen.
const DefaultPager = "less -E -X"

// pagerPatience is how long output that does not yet fill the screen waits for more.
const pagerPatience = 500 * time.Millisecond

// pager holds output back until it is sure to need more than one screen, and only then starts the program.
type pager struct {
	out           io.Writer
	width, height int
	start         func() (w io.WriteCloser, wait func() error, err error)

	mu    sync.Mutex
	held  bytes.Buffer
	rows  int
	col   int
	timer *time.Timer
	w     io.WriteCloser
	wait  func() error
	plain bool // no pager: it could not be started
}

func (p *pager) Write(b []byte) (int, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.w != nil:
		return p.w.Write(b)
	case p.plain:
		return p.out.Write(b)
	}
	p.held.Write(b)
	p.count(b)
	if p.rows >= p.height-1 {
		return len(b), p.launch()
	}
	if p.timer == nil {
		p.timer = time.AfterFunc(pagerPatience, func() {
			p.mu.Lock()
			defer p.mu.Unlock()
			if p.w == nil && !p.plain && p.held.Len() > 0 {
				_ = p.launch() // the next Write meets the same error
			}
		})
	}
	return len(b), nil
}

// count adds the rows that b takes on the screen.
func (p *pager) count(b []byte) {
	for len(b) > 0 {
		c, n := utf8.DecodeRune(b)
		b = b[n:]
		switch {
		case c == '\n':
			p.rows++
			p.col = 0
			continue
		case c == '\t':
			p.col = p.col&^7 + 8
		default:
			p.col++
		}
		if p.width > 0 && p.col > p.width {
			p.rows++
			p.col = 1
		}
	}
}

func (p *pager) launch() error {
	w, wait, err := p.start()
	if err != nil {
		p.plain = true
		_, err = p.out.Write(p.held.Bytes())
		p.held = bytes.Buffer{}
		return err
	}
	p.w, p.wait = w, wait
	_, err = w.Write(p.held.Bytes())
	p.held = bytes.Buffer{}
	return err
}

// Close writes what fitted on the screen, or waits until the reader leaves the pager.
func (p *pager) Close() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.timer != nil {
		p.timer.Stop()
	}
	if p.w != nil {
		p.w.Close()
		return p.wait()
	}
	_, err := p.out.Write(p.held.Bytes())
	p.plain, p.held = true, bytes.Buffer{}
	return err
}

func (s *Session) startPager(stop func(error)) (io.WriteCloser, func() error, error) {
	cmd := exec.Command("/bin/sh", "-c", s.cfg.Pager)
	cmd.Stdout, cmd.Stderr = s.cfg.Out, s.cfg.Err
	cmd.Env = append(os.Environ(), "LESSSECURE=1") // q and searching are wanted, a shell out of a dump's text is not
	in, err := cmd.StdinPipe()
	if err != nil {
		return nil, nil, err
	}
	s.cfg.Progress.Silence()
	if err := cmd.Start(); err != nil {
		return nil, nil, err
	}
	w := &stoppingPipe{WriteCloser: in, stop: stop}
	return w, func() error { return pipelineError(s.cfg.Pager, cmd.Wait()) }, nil
}

// stoppingPipe stops the command once the pager is left.
type stoppingPipe struct {
	io.WriteCloser
	stop func(error)
}

func (w *stoppingPipe) Write(b []byte) (int, error) {
	n, err := w.WriteCloser.Write(b)
	if err != nil && readerGone(err) {
		w.stop(errReaderGone)
		return n, errReaderGone
	}
	return n, err
}
