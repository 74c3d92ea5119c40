package repl

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"syscall"
)

// maxDepth of files of commands that run files of commands.
const maxDepth = 16

// file runs the commands in a file, as "< FILE" and -i do.
func (s *Session) file(ctx context.Context, path string) outcome {
	if s.depth >= maxDepth {
		s.complain(fmt.Sprintf("%s: files of commands run each other %d deep; is it a loop?", path, maxDepth))
		return outcome{status: Failed}
	}
	f, err := os.Open(path)
	if err != nil {
		s.complain(err.Error())
		return outcome{status: Failed}
	}
	defer f.Close()
	s.depth++
	defer func() { s.depth-- }()
	return s.lines(ctx, f, path)
}

// lines runs commands line by line. A failed one does not stop the rest; exit, Ctrl-C and a reader that went away do.
func (s *Session) lines(ctx context.Context, r io.Reader, name string) outcome {
	var o outcome
	in := bufio.NewReader(r)
	for {
		text, err := in.ReadString('\n')
		if text != "" {
			l := s.line(ctx, text)
			o.status, o.exit = o.status.Worse(l.status), l.exit
		}
		if s.interrupts.take() {
			o.status = o.status.Worse(Interrupted)
		}
		if o.exit || s.outGone || o.status == Interrupted || ctx.Err() != nil {
			return o
		}
		if errors.Is(err, io.EOF) {
			return o
		}
		if err != nil {
			s.complain(fmt.Sprintf("reading commands from %s: %v", name, err))
			o.status = o.status.Worse(Failed)
			return o
		}
	}
}

// Source is where commands of a script come from: a line, or a file of them.
type Source struct {
	Line string
	File string // used if Line is ""
}

// Script runs sources in order; done says that one of them ended the session, or that nobody reads its output any more.
func (s *Session) Script(ctx context.Context, sources []Source) (st Status, done bool) {
	defer s.interrupts.listen()()
	for _, src := range sources {
		var o outcome
		if src.Line != "" {
			o = s.line(ctx, src.Line)
		} else {
			o = s.file(ctx, src.File)
		}
		st = st.Worse(o.status)
		if s.interrupts.take() {
			st = st.Worse(Interrupted)
		}
		if o.exit || s.outGone || st == Interrupted {
			return st, true
		}
	}
	return st, false
}

// Call runs one command with words that are already apart, as the command line of a shell gives them.
func (s *Session) Call(ctx context.Context, name string, words []string) Status {
	defer s.interrupts.listen()()
	l := &line{words: []word{{name, name}}}
	for _, w := range words {
		l.words = append(l.words, word{w, w})
	}
	return s.command(ctx, l).status
}

// RCFiles runs the commands in ~/NAME and ./NAME, as far as they exist. The one in the working directory must belong to
// the user or root and be writable by nobody else, since it may hold shell commands.
func (s *Session) RCFiles(ctx context.Context, name string) {
	home, _ := os.UserHomeDir()
	var first os.FileInfo
	if home != "" {
		path := filepath.Join(home, name)
		if fi, err := os.Stat(path); err == nil {
			first = fi
			s.file(ctx, path)
		}
	}
	fi, err := os.Stat(name)
	if err != nil || first != nil && os.SameFile(fi, first) {
		return
	}
	if why := untrusted(fi); why != "" {
		s.complain(fmt.Sprintf("./%s is left out: %s", name, why))
		return
	}
	s.file(ctx, name)
}

func untrusted(fi os.FileInfo) string {
	if st, ok := fi.Sys().(*syscall.Stat_t); ok && st.Uid != 0 && int(st.Uid) != os.Getuid() {
		return fmt.Sprintf("it belongs to user %d", st.Uid)
	}
	if fi.Mode().Perm()&0o022 != 0 {
		return fmt.Sprintf("others may write to it (mode %04o)", fi.Mode().Perm())
	}
	return ""
}
