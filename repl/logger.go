package repl

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"sync"
)

// NewLogger writes a library's messages as lines on stderr, making room for the progress line.
func NewLogger(w io.Writer, p *Progress, terminal bool, level slog.Level) *slog.Logger {
	return slog.New(&logHandler{out: &logOutput{w: w, p: p, terminal: terminal}, level: level})
}

type logOutput struct {
	mu       sync.Mutex
	w        io.Writer
	p        *Progress
	terminal bool
}

type logHandler struct {
	out   *logOutput
	level slog.Level
	attrs string
	group string
}

func (h *logHandler) Enabled(_ context.Context, l slog.Level) bool { return l >= h.level }

func (h *logHandler) Handle(_ context.Context, r slog.Record) error {
	text := r.Message + h.attrs
	r.Attrs(func(a slog.Attr) bool {
		text += h.format(a)
		return true
	})
	prefix := "kdx: "
	if r.Level >= slog.LevelWarn {
		prefix += strings.ToLower(r.Level.String()) + ": "
		prefix = strings.Replace(prefix, "warn:", "warning:", 1)
	}
	if h.out.terminal {
		text = safe(text)
	}
	h.out.mu.Lock()
	defer h.out.mu.Unlock()
	h.out.p.Hide()
	_, err := fmt.Fprintf(h.out.w, "%s%s\n", prefix, text)
	return err
}

func (h *logHandler) format(a slog.Attr) string {
	if a.Key == "err" {
		return ": " + a.Value.String()
	}
	return " " + h.group + a.Key + "=" + a.Value.String()
}

func (h *logHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	n := *h
	for _, a := range attrs {
		n.attrs += h.format(a)
	}
	return &n
}

func (h *logHandler) WithGroup(name string) slog.Handler {
	n := *h
	n.group += name + "."
	return &n
}
