package target

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"log/slog"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"

	"kdx/dumpfmt"
)

// overExec is a directory of a host that has a shell and its usual commands, and no sftp.
type overExec struct {
	*conn
	dir string
}

func openExec(ctx context.Context, p Place, log *slog.Logger) (Target, error) {
	c, err := dial(ctx, p, log)
	if err != nil {
		return nil, err
	}
	x := &overExec{conn: c, dir: p.Dir}
	if _, err := x.run(ctx, "making "+p.Dir, "mkdir -p -- "+quote(p.Dir), nil); err != nil {
		x.Close()
		return nil, fmt.Errorf("%s: the directory for dumps can't be made: %w", p.Name, err)
	}
	return x, nil
}

// quote makes one word of the shell of any text.
func quote(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// CommandError is what a command on a host came to.
type CommandError struct {
	Host, What string
	Status     int
	Text       string // of its stderr
}

func (e *CommandError) Error() string {
	s := fmt.Sprintf("%s: %s: exit status %d", e.Host, e.What, e.Status)
	if e.Text != "" {
		s += ": " + e.Text
	}
	return s
}

// full: the disk is full, which only words tell.
func (e *CommandError) full() bool {
	return strings.Contains(e.Text, "No space left") || strings.Contains(e.Text, "quota exceeded") || strings.Contains(e.Text, "File too large")
}

// Limits of what a host may say.
const (
	maxStdout = 2 << 20
	maxStderr = 4 << 10
)

// capped keeps the beginning of what is written to it.
type capped struct {
	bytes.Buffer
	limit int
}

func (c *capped) Write(p []byte) (int, error) {
	c.Buffer.Write(p[:min(len(p), c.limit-c.Len())])
	return len(p), nil
}

// command is a script for the host's shell, whatever the user's login shell is: files are for their owner only.
func command(script string) string {
	return "exec /bin/sh -c " + quote("umask 077; LC_ALL=C; export LC_ALL; set -e; "+script)
}

// run runs a short script and returns what it says.
func (x *overExec) run(ctx context.Context, what, script string, stdin io.Reader) ([]byte, error) {
	return x.runLimit(ctx, what, script, stdin, x.timeout, maxStdout)
}

func (x *overExec) runLimit(ctx context.Context, what, script string, stdin io.Reader, limit time.Duration, most int) ([]byte, error) {
	out := &capped{limit: most + 1}
	err := x.do(ctx, what, limit, func() error {
		s, err := x.client.NewSession()
		if err != nil {
			return err
		}
		defer s.Close()
		stderr := &capped{limit: maxStderr}
		s.Stdin, s.Stdout, s.Stderr = stdin, out, stderr
		return x.explain(what, s.Run(command(script)), stderr)
	})
	if err == nil && out.Len() > most {
		err = fmt.Errorf("%s: %s: the answer has more than %d bytes", x.place.Host.Name, what, most)
	}
	return out.Bytes(), err
}

func (x *overExec) explain(what string, err error, stderr *capped) error {
	var exit *ssh.ExitError
	if !errors.As(err, &exit) {
		return err
	}
	text := strings.Join(strings.Fields(string(printable(stderr.Bytes()))), " ")
	c := &CommandError{Host: x.place.Host.Name, What: what, Status: exit.ExitStatus(), Text: text}
	if c.full() {
		return &FullError{Place: x.place.Host.Name + ":" + x.dir, Keep: x.place.KeepFree}
	}
	return c
}

// printable hides control characters of what a host said.
func printable(b []byte) []byte {
	return bytes.Map(func(r rune) rune {
		if r < ' ' && r != '\n' && r != '\t' || r >= 0x7f && r < 0xa0 {
			return '?'
		}
		return r
	}, b)
}

// statusExists is the exit status by which a script says that a name is taken.
const statusExists = 17

func (x *overExec) Create(ctx context.Context, name string) (Dir, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	p := path.Join(x.dir, name)
	_, err := x.run(ctx, "making "+p, fmt.Sprintf("if [ -e %s ]; then exit %d; fi; mkdir -- %[1]s", quote(p), statusExists), nil)
	var c *CommandError
	if errors.As(err, &c) && c.Status == statusExists {
		return nil, fmt.Errorf("%s: %w", p, ErrExists)
	}
	if err != nil {
		return nil, fmt.Errorf("%s: making the directory of the dump: %w", x.place.Name, err)
	}
	return &execDir{x, p}, nil
}

func (x *overExec) Open(ctx context.Context, name string) (Dir, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	p := path.Join(x.dir, name)
	_, err := x.run(ctx, "looking at "+p, "test -d "+quote(p)+" && test ! -L "+quote(p), nil)
	return &execDir{x, p}, err
}

func (x *overExec) List(ctx context.Context) ([]string, error) {
	out, err := x.run(ctx, "listing "+x.dir, "cd "+quote(x.dir)+`; for d in */; do d=${d%/}; if [ -d "$d" ] && [ ! -L "$d" ]; then printf '%s\n' "$d"; fi; done`, nil)
	var names []string
	for name := range strings.Lines(string(out)) {
		if name = strings.TrimSuffix(name, "\n"); checkName(name) == nil {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names, err
}

func (x *overExec) Remove(ctx context.Context, name string) error {
	d, err := x.Open(ctx, name)
	if err != nil {
		return err
	}
	entries, err := d.List(ctx)
	if err != nil {
		return err
	}
	script := "cd " + quote(d.Path())
	for _, e := range removalOrder(entries, func(e Entry) string { return e.Name }) {
		script += "; rm -f -- " + quote(e.Name)
	}
	_, err = x.run(ctx, "removing "+d.Path(), script+"; cd ..; rmdir -- "+quote(name), nil)
	return err
}

// execDir is the directory of a dump.
type execDir struct {
	x    *overExec
	path string
}

func (d *execDir) Path() string { return d.path }
func (d *execDir) Close() error { return nil }

func (d *execDir) Room(ctx context.Context) (uint64, bool, error) {
	out, err := d.x.run(ctx, "asking for the room at "+d.path, "df -P -k -- "+quote(d.path), nil)
	if err != nil {
		var c *CommandError
		if errors.As(err, &c) {
			return 0, false, nil // no df there
		}
		return 0, false, err
	}
	free, ok := parseDF(string(out))
	return free - min(free, d.x.place.KeepFree), ok, nil
}

// parseDF finds what is available in the answer of df -P -k, bytes.
func parseDF(text string) (uint64, bool) {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	f := strings.Fields(lines[len(lines)-1])
	if len(lines) < 2 || len(f) < 6 {
		return 0, false
	}
	// The device's name may have blanks; five fields follow, of which the last may have some, too.
	for i := 1; i+4 < len(f); i++ {
		total, err1 := strconv.ParseUint(f[i], 10, 53)
		_, err2 := strconv.ParseInt(f[i+1], 10, 53)
		free, err3 := strconv.ParseInt(f[i+2], 10, 53)
		if err1 == nil && err2 == nil && err3 == nil && (strings.HasSuffix(f[i+3], "%") || f[i+3] == "-") && total > 0 {
			return uint64(max(0, free)) << 10, true
		}
	}
	return 0, false
}

// syncScript makes a file durable: GNU's sync takes names, others sync everything.
func syncScript(p string) string { return "{ sync -- " + quote(p) + " 2>/dev/null || sync; }" }

// renameScript gives a file its name and makes that durable.
func (d *execDir) renameScript(p string) string {
	return "mv -f -- " + quote(p+Incomplete) + " " + quote(p) + "; " + syncScript(d.path)
}

func (d *execDir) Put(ctx context.Context, name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	p := path.Join(d.path, name)
	script := "cat > " + quote(p+Incomplete) + "; " + fmt.Sprintf("test $(wc -c < %s) -eq %d; ", quote(p+Incomplete), len(data)) + syncScript(p+Incomplete) + "; " + d.renameScript(p)
	_, err := d.x.runLimit(ctx, "writing "+p, script, bytes.NewReader(data), d.x.transfer(len(data)), maxStdout)
	return err
}

func (d *execDir) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	p := path.Join(d.path, name)
	return d.x.runLimit(ctx, "reading "+p, "cat -- "+quote(p), nil, d.x.transfer(int(limit)), int(limit))
}

func (d *execDir) File(context.Context, string) (*dumpfmt.File, error) { return nil, ErrNoRandom }

func (d *execDir) List(ctx context.Context) ([]Entry, error) {
	out, err := d.x.run(ctx, "listing "+d.path, "cd "+quote(d.path)+`; for f in * .[!.]*; do if [ -f "$f" ] || [ -L "$f" ]; then printf '%s %s\n' "$(wc -c < "$f" || echo 0)" "$f"; fi; done`, nil)
	var list []Entry
	for line := range strings.Lines(string(out)) {
		size, name, _ := strings.Cut(strings.TrimLeft(strings.TrimSuffix(line, "\n"), " "), " ")
		n, serr := strconv.ParseInt(size, 10, 64)
		if serr != nil || checkName(name) != nil {
			return nil, fmt.Errorf("%s: listing %s: %q makes no sense", d.x.place.Host.Name, d.path, line)
		}
		list = append(list, Entry{name, n})
	}
	return list, err
}

func (d *execDir) Create(ctx context.Context, name string) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	f := &execFile{ctx: ctx, dir: d, path: path.Join(d.path, name), stderr: &capped{limit: maxStderr}, sum: sha256.New()}
	err := d.x.do(ctx, "creating "+f.path, d.x.timeout, func() (err error) {
		if f.session, err = d.x.client.NewSession(); err != nil {
			return err
		}
		f.session.Stderr = f.stderr
		if f.stdin, err = f.session.StdinPipe(); err != nil {
			return err
		}
		return f.session.Start(command("cat > " + quote(f.path+Incomplete)))
	})
	return f, err
}

// execFile is a stream to a file.
type execFile struct {
	ctx     context.Context
	dir     *execDir
	path    string
	session *ssh.Session
	stdin   io.WriteCloser
	stderr  *capped
	sum     hash.Hash
	size    int64
	ended   bool
}

func (f *execFile) Output() dumpfmt.Output { return nil }

// streamPiece is how much is written at a time, so that each write has a limit that fits.
const streamPiece = 256 << 10

func (f *execFile) Write(p []byte) (int, error) {
	written := 0
	for len(p) > 0 {
		piece := p[:min(len(p), streamPiece)]
		var n int
		err := f.dir.x.do(f.ctx, "writing "+f.path, f.dir.x.transfer(len(piece)), func() (err error) {
			n, err = f.stdin.Write(piece)
			return err
		})
		f.sum.Write(piece[:n])
		f.size, written = f.size+int64(n), written+n
		if err != nil {
			// The command says why it ended, if it did.
			if werr := f.end(f.ctx); werr != nil {
				err = werr
			}
			return written, err
		}
		p = p[n:]
	}
	return written, nil
}

func (f *execFile) Reopen(context.Context) (*dumpfmt.File, error) { return nil, ErrNoRandom }

// end closes the stream and waits for what the host says of it.
func (f *execFile) end(ctx context.Context) error {
	if f.ended {
		return nil
	}
	f.ended = true
	return f.dir.x.do(ctx, "finishing "+f.path, f.dir.x.slow(), func() error {
		if err := f.stdin.Close(); err != nil && !errors.Is(err, io.EOF) {
			return err
		}
		err := f.session.Wait()
		f.session.Close()
		return f.dir.x.explain("writing "+f.path, err, f.stderr)
	})
}

func (f *execFile) Commit(ctx context.Context) (Written, error) {
	x := f.dir.x
	if err := f.end(ctx); err != nil {
		return Written{}, err
	}
	if _, err := x.runLimit(ctx, "making "+f.path+" durable", syncScript(f.path+Incomplete), nil, x.slow(), maxStdout); err != nil {
		return Written{}, err
	}
	w := Written{Size: f.size, SHA256: hex.EncodeToString(f.sum.Sum(nil))}
	if err := f.compare(ctx, &w); err != nil {
		return w, err
	}
	_, err := x.run(ctx, "renaming "+f.path, f.dir.renameScript(f.path), nil)
	return w, err
}

// compare has the host read the file and sum it up; where it can't, the file is read back.
func (f *execFile) compare(ctx context.Context, w *Written) error {
	x := f.dir.x
	p := quote(f.path + Incomplete)
	out, err := x.runLimit(ctx, "summing up "+f.path, "wc -c < "+p+"; for c in sha256sum 'shasum -a 256' 'openssl dgst -sha256 -r' 'sha256 -q'; do if $c < /dev/null > /dev/null 2>&1; then $c < "+p+"; break; fi; done",
		nil, x.slow(), maxStdout)
	if err != nil {
		return err
	}
	words := strings.Fields(string(out))
	if len(words) == 0 || words[0] != strconv.FormatInt(w.Size, 10) {
		return &DifferError{fmt.Sprintf("%s:%s%s has %q bytes, but %d were written", x.place.Host.Name, f.path, Incomplete, strings.Join(words[:min(1, len(words))], ""), w.Size)}
	}
	got := ""
	if len(words) > 1 {
		got, w.Proof = strings.ToLower(words[1]), "summed up by the host"
	} else if got, err = f.readBack(ctx); err != nil {
		return err
	} else {
		w.Proof = "read back over ssh"
	}
	if got != w.SHA256 {
		return &DifferError{fmt.Sprintf("%s:%s%s has the SHA-256 %s, but what was sent has %s", x.place.Host.Name, f.path, Incomplete, got, w.SHA256)}
	}
	return nil
}

// readBack sums up what the host gives back.
func (f *execFile) readBack(ctx context.Context) (string, error) {
	h := sha256.New()
	err := f.dir.x.do(ctx, "reading back "+f.path, f.dir.x.slow(), func() error {
		s, err := f.dir.x.client.NewSession()
		if err != nil {
			return err
		}
		defer s.Close()
		s.Stdout = h
		return s.Run(command("cat -- " + quote(f.path+Incomplete)))
	})
	return hex.EncodeToString(h.Sum(nil)), err
}

func (f *execFile) Leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	err := f.end(ctx)
	if _, serr := f.dir.x.run(ctx, "making "+f.path+" durable", syncScript(f.path+Incomplete), nil); err == nil {
		err = serr
	}
	return err
}
