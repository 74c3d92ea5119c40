package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/pkg/sftp"

	"kdx/dumpfmt"
)

// overSFTP is a directory of a host with sftp.
type overSFTP struct {
	*conn
	c   *sftp.Client
	dir string
}

// Packets in flight for a file: 32 of 32 KiB fill 1 MiB.
const (
	sftpPacket   = 32 << 10
	sftpInFlight = 32
)

func openSFTP(ctx context.Context, p Place, log *slog.Logger) (Target, error) {
	c, err := dial(ctx, p, log)
	if err != nil {
		return nil, err
	}
	s := &overSFTP{conn: c, dir: p.Dir}
	err = c.do(ctx, "starting sftp", c.timeout, func() error {
		s.c, err = sftp.NewClient(c.client, sftp.UseConcurrentWrites(true), sftp.UseConcurrentReads(true), sftp.MaxPacketChecked(sftpPacket), sftp.MaxConcurrentRequestsPerFile(sftpInFlight))
		return err
	})
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("%s: the host offers no sftp (a target ssh:// does without): %w", p.Name, err)
	}
	if err := s.op(ctx, "making "+p.Dir, func() error { return s.c.MkdirAll(p.Dir) }); err != nil {
		s.Close()
		return nil, fmt.Errorf("%s: the directory for dumps can't be made: %w", p.Name, err)
	}
	return s, nil
}

// op is one question and its answer.
func (s *overSFTP) op(ctx context.Context, what string, f func() error) error {
	return s.do(ctx, what, s.timeout, f)
}

func (s *overSFTP) Close() error {
	// Closing sftp waits for the host; closing the connection does not.
	return s.conn.Close()
}

func (s *overSFTP) Create(ctx context.Context, name string) (Dir, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	p := path.Join(s.dir, name)
	err := s.op(ctx, "making "+p, func() error {
		if _, err := s.c.Lstat(p); err == nil {
			return fmt.Errorf("%s: %w", p, ErrExists)
		}
		if err := s.c.Mkdir(p); err != nil {
			return err
		}
		return s.c.Chmod(p, 0o700)
	})
	if err != nil {
		return nil, fmt.Errorf("%s: making the directory of the dump: %w", s.place.Name, err)
	}
	return &sftpDir{s, p}, nil
}

func (s *overSFTP) Open(ctx context.Context, name string) (Dir, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	p := path.Join(s.dir, name)
	err := s.op(ctx, "looking at "+p, func() error {
		st, err := s.c.Lstat(p)
		if err == nil && !st.IsDir() {
			err = fmt.Errorf("%s is no directory of a dump", p)
		}
		return err
	})
	return &sftpDir{s, p}, err
}

func (s *overSFTP) List(ctx context.Context) ([]string, error) {
	var names []string
	err := s.op(ctx, "listing "+s.dir, func() error {
		all, err := s.c.ReadDirContext(ctx, s.dir)
		for _, e := range all {
			if e.IsDir() && checkName(e.Name()) == nil {
				names = append(names, e.Name())
			}
		}
		return err
	})
	slices.Sort(names)
	return names, err
}

func (s *overSFTP) Remove(ctx context.Context, name string) error {
	d, err := s.Open(ctx, name)
	if err != nil {
		return err
	}
	entries, err := d.List(ctx)
	if err != nil {
		return err
	}
	for _, e := range removalOrder(entries, func(e Entry) string { return e.Name }) {
		if err := checkName(e.Name); err != nil {
			return err
		}
		if err := s.op(ctx, "removing "+e.Name, func() error { return s.c.Remove(path.Join(d.Path(), e.Name)) }); err != nil {
			return err
		}
	}
	return s.op(ctx, "removing "+d.Path(), func() error { return s.c.RemoveDirectory(d.Path()) })
}

// sftpDir is the directory of a dump.
type sftpDir struct {
	s    *overSFTP
	path string
}

func (d *sftpDir) Path() string { return d.path }
func (d *sftpDir) Close() error { return nil }

func (d *sftpDir) Room(ctx context.Context) (uint64, bool, error) {
	free, known, err := d.free(ctx)
	return free - min(free, d.s.place.KeepFree), known, err
}

func (d *sftpDir) free(ctx context.Context) (uint64, bool, error) {
	if _, ok := d.s.c.HasExtension("statvfs@openssh.com"); !ok {
		return 0, false, nil
	}
	var free uint64
	err := d.s.op(ctx, "asking for the room at "+d.path, func() error {
		st, err := d.s.c.StatVFS(d.path)
		if err == nil {
			free = st.Frsize * st.Bavail
		}
		return err
	})
	return free, err == nil, err
}

func (d *sftpDir) Put(ctx context.Context, name string, data []byte) error {
	f, err := d.Create(ctx, name)
	if err != nil {
		return err
	}
	x := f.(*sftpFile)
	if _, err := x.WriteAt(data, 0); err != nil {
		x.close()
		return err
	}
	if err := x.flush(ctx); err != nil {
		return err
	}
	return d.rename(ctx, name)
}

// rename gives a file its name, in place of what had it.
func (d *sftpDir) rename(ctx context.Context, name string) error {
	p := path.Join(d.path, name)
	return d.s.op(ctx, "renaming "+p, func() error {
		if _, ok := d.s.c.HasExtension("posix-rename@openssh.com"); ok {
			return d.s.c.PosixRename(p+Incomplete, p)
		}
		if _, err := d.s.c.Lstat(p); err == nil {
			if err := d.s.c.Remove(p); err != nil {
				return err
			}
		}
		return d.s.c.Rename(p+Incomplete, p)
	})
}

func (d *sftpDir) Create(ctx context.Context, name string) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	f := &sftpFile{ctx: ctx, dir: d, name: name, path: path.Join(d.path, name) + Incomplete}
	err := d.s.op(ctx, "creating "+f.path, func() (err error) {
		if f.File, err = d.s.c.OpenFile(f.path, os.O_RDWR|os.O_CREATE|os.O_TRUNC); err != nil {
			return err
		}
		return f.Chmod(0o600)
	})
	return f, d.explain(ctx, err)
}

// explain tells a full disk from other failures, which the protocol (version 3) does not.
func (d *sftpDir) explain(ctx context.Context, err error) error {
	var status *sftp.StatusError
	if !errors.As(err, &status) || status.FxCode() != sftp.ErrSSHFxFailure {
		return err
	}
	if free, known, ferr := d.free(ctx); ferr == nil && known && free < 4<<20 {
		return &FullError{Place: d.s.place.Host.Name + ":" + d.path, Free: free, Keep: d.s.place.KeepFree}
	}
	return err
}

func (d *sftpDir) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	var out []byte
	err := d.s.op(ctx, "reading "+name, func() error {
		f, err := d.s.c.Open(path.Join(d.path, name))
		if err != nil {
			return err
		}
		defer f.Close()
		out, err = readLimited(f, name, limit)
		return err
	})
	return out, err
}

func (d *sftpDir) File(ctx context.Context, name string) (*dumpfmt.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return d.open(ctx, path.Join(d.path, name))
}

func (d *sftpDir) open(ctx context.Context, p string) (*dumpfmt.File, error) {
	r := &sftpReader{ctx: ctx, s: d.s}
	var size int64
	err := d.s.op(ctx, "opening "+p, func() (err error) {
		if r.f, err = d.s.c.Open(p); err != nil {
			return err
		}
		st, err := r.f.Stat()
		if err == nil {
			size = st.Size()
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	return &dumpfmt.File{Name: d.s.place.Host.Name + ":" + p, Size: size, ReaderAt: &blocks{r: r}, Closer: r}, nil
}

func (d *sftpDir) List(ctx context.Context) ([]Entry, error) {
	var out []Entry
	err := d.s.op(ctx, "listing "+d.path, func() error {
		all, err := d.s.c.ReadDirContext(ctx, d.path)
		for _, e := range all {
			out = append(out, Entry{e.Name(), e.Size()})
		}
		return err
	})
	slices.SortFunc(out, func(a, b Entry) int { return strings.Compare(a.Name, b.Name) })
	return out, err
}

// sftpReader reads a file at any place.
type sftpReader struct {
	ctx context.Context
	s   *overSFTP
	f   *sftp.File
}

func (r *sftpReader) ReadAt(p []byte, off int64) (n int, err error) {
	var end error
	err = r.s.do(r.ctx, "reading", r.s.transfer(len(p)), func() error {
		n, err = r.f.ReadAt(p, off)
		if errors.Is(err, io.EOF) {
			end = io.EOF
			return nil
		}
		return err
	})
	if err == nil {
		err = end
	}
	return n, err
}

func (r *sftpReader) Close() error {
	return r.s.do(context.Background(), "closing", r.s.timeout, r.f.Close)
}

// sftpFile is a file that is being written.
type sftpFile struct {
	*sftp.File
	ctx        context.Context
	dir        *sftpDir
	name, path string
	ledger     ledger
	unchecked  int64
}

func (f *sftpFile) Output() dumpfmt.Output { return f }

func (f *sftpFile) Write(p []byte) (int, error) { return f.WriteAt(p, f.ledger.end) }

// WriteAt has all its packets under way at once.
func (f *sftpFile) WriteAt(p []byte, off int64) (n int, err error) {
	s := f.dir.s
	if f.unchecked += int64(len(p)); f.unchecked >= 4*checkEvery {
		f.unchecked = 0
		if free, known, err := f.dir.free(f.ctx); err == nil && known && free < s.place.KeepFree+uint64(len(p)) {
			return 0, &FullError{Place: s.place.Host.Name + ":" + f.dir.path, Free: free, Keep: s.place.KeepFree}
		}
	}
	err = s.do(f.ctx, "writing "+f.path, s.transfer(len(p)), func() error {
		n, err = f.File.WriteAt(p, off)
		return err
	})
	if err != nil {
		return n, f.dir.explain(f.ctx, err)
	}
	f.ledger.wrote(p[:n], off)
	return n, nil
}

func (f *sftpFile) Reopen(ctx context.Context) (*dumpfmt.File, error) {
	return f.dir.open(ctx, f.path)
}

func (f *sftpFile) close() error {
	return f.dir.s.do(context.Background(), "closing "+f.path, f.dir.s.timeout, f.File.Close)
}

// flush makes the bytes durable, where the host can, and closes the file.
func (f *sftpFile) flush(ctx context.Context) error {
	s := f.dir.s
	var err error
	if _, ok := s.c.HasExtension("fsync@openssh.com"); ok {
		err = s.do(ctx, "making "+f.path+" durable", s.slow(), f.Sync)
	}
	if cerr := f.close(); err == nil {
		err = cerr
	}
	return f.dir.explain(ctx, err)
}

func (f *sftpFile) Commit(ctx context.Context) (Written, error) {
	if err := f.flush(ctx); err != nil {
		return Written{}, err
	}
	r, err := f.dir.open(ctx, f.path)
	if err != nil {
		return Written{}, err
	}
	w := Written{Proof: "read back over sftp"}
	err = compare(ctx, &w, io.NewSectionReader(r.ReaderAt, 0, r.Size), &f.ledger, r.Name, sftpPacket*sftpInFlight)
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return w, err
	}
	return w, f.dir.rename(ctx, f.name)
}

func (f *sftpFile) Leave(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	return f.flush(ctx)
}
