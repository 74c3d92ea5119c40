package repl

import (
	"fmt"
	"io"
	"sync"
	"time"
)

const (
	progressAfter = time.Second // what is over sooner needs no explanation
	progressEvery = 200 * time.Millisecond
)

// Progress is a line on stderr, for whatever takes longer than a second. It only shows on a terminal, and vanishes
// before anything else is written there.
type Progress struct {
	w       io.Writer
	enabled bool

	mu          sync.Mutex
	began       time.Time
	label       string
	what        string
	done, total int64
	shown       bool
	quiet       bool
	stop        chan struct{}
	now         func() time.Time
}

// NewProgress makes a Progress that writes to w if that is a terminal.
func NewProgress(w io.Writer, terminal bool) *Progress {
	return &Progress{w: w, enabled: terminal, now: time.Now}
}

// Begin starts the clock for label ("ps", "opening vmcore"); End stops it.
func (p *Progress) Begin(label string) {
	if p == nil || !p.enabled {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		return // a command within a command
	}
	p.began, p.label, p.what, p.done, p.total, p.quiet = p.now(), label, "", 0, 0, false
	p.stop = make(chan struct{})
	go p.tick(p.stop)
}

func (p *Progress) tick(stop chan struct{}) {
	t := time.NewTicker(progressEvery)
	defer t.Stop()
	for {
		select {
		case <-stop:
			return
		case <-t.C:
			p.show()
		}
	}
}

// Report says what is being done and how far it is; total 0 if unknown. It is quick, and safe for many goroutines.
func (p *Progress) Report(what string, done, total int64) {
	if p == nil || !p.enabled {
		return
	}
	p.mu.Lock()
	p.what, p.done, p.total = what, done, total
	p.mu.Unlock()
}

func (p *Progress) show() {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop == nil || p.quiet || p.now().Sub(p.began) < progressAfter {
		return
	}
	fmt.Fprintf(p.w, "\r%s\x1b[K", p.text())
	p.shown = true
}

func (p *Progress) text() string {
	s := p.label
	if p.what != "" {
		s += ": " + p.what
	}
	if p.total > 0 {
		s += fmt.Sprintf(" %d%%", min(100, 100*p.done/p.total))
	}
	s += fmt.Sprintf(" (%d s; Ctrl-C stops it)", int(p.now().Sub(p.began).Seconds()))
	s = safe(s)
	const narrow = 79 // a longer line would wrap, and \r only return to its last row
	if r := []rune(s); len(r) > narrow {
		s = string(r[:narrow-1]) + "…"
	}
	return s
}

// Hide takes the line away before something else is written; it comes back if that takes long.
func (p *Progress) Hide() {
	if p == nil || !p.enabled {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hide()
}

func (p *Progress) hide() {
	if p.shown {
		io.WriteString(p.w, "\r\x1b[K")
		p.shown = false
	}
}

// Silence hides the line for the rest of this command: its output on the terminal shows that it lives.
func (p *Progress) Silence() {
	if p == nil || !p.enabled {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hide()
	p.quiet = true
}

// End stops the clock and hides the line.
func (p *Progress) End() {
	if p == nil || !p.enabled {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stop != nil {
		close(p.stop)
		p.stop = nil
	}
	p.hide()
}
