package repl

import (
	"context"
	"fmt"
	"os"

	"kdx/analyze/view"
	"kdx/repl/commands"
)

// Banner writes what an interactive session begins with: the answer of sys.
func (s *Session) Banner(ctx context.Context) {
	if s.cfg.Kernel == nil {
		return
	}
	ctx, cancel := s.interrupts.command(ctx)
	defer cancel(nil)
	s.cfg.Progress.Begin("sys")
	v := s.cfg.Kernel.View(ctx)
	w := &safeWriter{w: s.cfg.Out}
	sys := commands.System(v, s.state)
	s.cfg.Progress.End()
	if err := sys.Text(w, view.Options{}); err != nil {
		s.complain(err.Error())
	}
	gaps, dropped := v.Gaps()
	if n := len(gaps) + dropped; n > 0 {
		s.complain(fmt.Sprintf("%d things could not be read (json sys lists them)", n))
	}
	fmt.Fprintln(s.cfg.Out)
}

// PagerFromEnvironment is $KDX_PAGER, else $PAGER, else less; "" and cat mean none.
func PagerFromEnvironment() string {
	for _, name := range []string{"KDX_PAGER", "PAGER"} {
		if p, ok := os.LookupEnv(name); ok {
			if p == "cat" {
				return ""
			}
			if p == "less" {
				return DefaultPager
			}
			return p
		}
	}
	return DefaultPager
}

// ReaderGone reports whether an error of output means only that nobody reads it any more.
func ReaderGone(err error) bool { return readerGone(err) }
