package target

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"kdx/dumpfmt"
)

// local is a directory of a mounted filesystem.
type local struct {
	place Place
	dir   string
}

func openLocal(p Place) (Target, error) {
	if err := os.MkdirAll(p.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("%s: the directory for dumps can't be made: %w", p.Name, err)
	}
	return &local{place: p, dir: p.Dir}, nil
}

// checkName refuses names that would lead elsewhere.
func checkName(name string) error {
	if name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/\x00\n") || len(name) > 200 {
		return fmt.Errorf("%q can't be the name of a file on a target", name)
	}
	return nil
}

func (l *local) Create(_ context.Context, name string) (Dir, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	path := filepath.Join(l.dir, name)
	if err := os.Mkdir(path, 0o700); errors.Is(err, fs.ErrExist) {
		return nil, fmt.Errorf("%s: %w", path, ErrExists)
	} else if err != nil {
		return nil, fmt.Errorf("%s: making the directory of the dump: %w", l.place.Name, err)
	}
	return &localDir{path: path, keepFree: l.place.KeepFree}, syncDir(l.dir)
}

func (l *local) Open(_ context.Context, name string) (Dir, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	path := filepath.Join(l.dir, name)
	st, err := os.Lstat(path)
	if err != nil {
		return nil, err
	}
	if !st.IsDir() {
		return nil, fmt.Errorf("%s is no directory of a dump", path)
	}
	return &localDir{path: path, keepFree: l.place.KeepFree}, nil
}

func (l *local) List(context.Context) ([]string, error) {
	entries, err := os.ReadDir(l.dir)
	var names []string
	for _, e := range entries {
		if e.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// Remove takes files only: what else lies in the directory was not put there by kdx.
func (l *local) Remove(ctx context.Context, name string) error {
	d, err := l.Open(ctx, name)
	if err != nil {
		return err
	}
	path := d.Path()
	entries, err := os.ReadDir(path)
	if err != nil {
		return err
	}
	for _, e := range removalOrder(entries, fs.DirEntry.Name) {
		if err := unix.Unlink(filepath.Join(path, e.Name())); err != nil {
			return &os.PathError{Op: "unlink", Path: filepath.Join(path, e.Name()), Err: err}
		}
	}
	if err := unix.Rmdir(path); err != nil {
		return &os.PathError{Op: "rmdir", Path: path, Err: err}
	}
	return syncDir(l.dir)
}

func (l *local) Close() error { return nil }

// removalOrder has the manifest last: a removal that is interrupted leaves a directory that still is kdx's own.
func removalOrder[E any](entries []E, name func(E) string) []E {
	var out, last []E
	for _, e := range entries {
		if name(e) == "manifest.json" {
			last = append(last, e)
		} else {
			out = append(out, e)
		}
	}
	return append(out, last...)
}

// syncDir makes names durable. Filesystems that can't sync a directory say EINVAL.
func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	defer d.Close()
	if err := d.Sync(); err != nil && !errors.Is(err, unix.EINVAL) {
		return fmt.Errorf("making names in %s durable: %w", path, err)
	}
	return nil
}

// localDir is the directory of a dump.
type localDir struct {
	path     string
	keepFree uint64
}

func (d *localDir) Path() string { return d.path }
func (d *localDir) Close() error { return nil }

func (d *localDir) Room(context.Context) (uint64, bool, error) {
	free, err := freeBytes(d.path)
	return free - min(free, d.keepFree), err == nil, err
}

func freeBytes(path string) (uint64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("how much room there is at %s: %w", path, err)
	}
	avail := st.Bavail
	if os.Geteuid() == 0 {
		avail = st.Bfree // what the filesystem reserves is for root
	}
	return avail * uint64(st.Bsize), nil
}

func (d *localDir) Put(_ context.Context, name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	path := filepath.Join(d.path, name)
	f, err := os.OpenFile(path+Incomplete, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(path+Incomplete, path)
	}
	if err != nil {
		return err
	}
	return syncDir(d.path)
}

func (d *localDir) Create(_ context.Context, name string) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	path := filepath.Join(d.path, name)
	f, err := os.OpenFile(path+Incomplete, os.O_RDWR|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	return &localFile{File: f, dir: d, path: path}, nil
}

func (d *localDir) Read(_ context.Context, name string, limit int64) ([]byte, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	f, err := os.Open(filepath.Join(d.path, name))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readLimited(f, name, limit)
}

func readLimited(r io.Reader, name string, limit int64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err == nil && int64(len(b)) > limit {
		err = fmt.Errorf("%s has more than %d bytes", name, limit)
	}
	return b, err
}

func (d *localDir) File(_ context.Context, name string) (*dumpfmt.File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	return dumpfmt.OpenFile(filepath.Join(d.path, name))
}

func (d *localDir) List(context.Context) ([]Entry, error) {
	entries, err := os.ReadDir(d.path)
	var out []Entry
	for _, e := range entries {
		st, err := e.Info()
		if err != nil {
			return out, err
		}
		out = append(out, Entry{e.Name(), st.Size()})
	}
	return out, err
}

// localFile is a file that is being written.
type localFile struct {
	*os.File
	dir       *localDir
	path      string
	ledger    ledger
	unchecked int64      // bytes since the last look at the room
	synced    chan error // what Sync said beside the check; nil before
}

// checkEvery is after how many bytes the room is looked at again: others may write there too.
const checkEvery = 16 << 20

func (f *localFile) Output() dumpfmt.Output { return f }

func (f *localFile) Write(p []byte) (int, error) { return f.WriteAt(p, f.ledger.end) }

// WriteAt keeps account of what it wrote.
func (f *localFile) WriteAt(p []byte, off int64) (int, error) {
	if f.unchecked += int64(len(p)); f.unchecked >= checkEvery {
		f.unchecked = 0
		// The disk begins to write now, so that there is less to wait for in the end.
		_ = unix.SyncFileRange(int(f.Fd()), 0, 0, unix.SYNC_FILE_RANGE_WRITE)
		if free, err := freeBytes(f.dir.path); err == nil && free < f.dir.keepFree+uint64(len(p)) {
			return 0, &FullError{Place: f.dir.path, Free: free, Keep: f.dir.keepFree}
		}
	}
	n, err := f.write(p, off)
	f.ledger.wrote(p[:n], off)
	return n, err
}

// write is File.WriteAt, which does not tell how much of p a disk took before it was full.
func (f *localFile) write(p []byte, off int64) (n int, err error) {
	for n < len(p) {
		m, err := unix.Pwrite(int(f.Fd()), p[n:], off+int64(n))
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err == nil && m == 0 {
			err = io.ErrShortWrite
		}
		if err != nil {
			return n, &os.PathError{Op: "write", Path: f.Name(), Err: err}
		}
		n += m
	}
	return n, nil
}

// Reopen has the bytes made durable beside what the caller does with them.
func (f *localFile) Reopen(context.Context) (*dumpfmt.File, error) {
	if f.synced == nil {
		f.synced = make(chan error, 1)
		go func() { f.synced <- f.Sync() }()
	}
	return dumpfmt.OpenFile(f.Name())
}

func (f *localFile) Commit(ctx context.Context) (Written, error) {
	if err := f.flush(); err != nil {
		return Written{}, err
	}
	w, err := f.readBack(ctx)
	if err != nil {
		return w, err
	}
	if err := os.Rename(f.path+Incomplete, f.path); err != nil {
		return w, err
	}
	return w, syncDir(f.dir.path)
}

// flush makes the bytes durable and closes the file.
func (f *localFile) flush() error {
	var err error
	if f.synced != nil {
		err = <-f.synced
	}
	if serr := f.Sync(); err == nil {
		err = serr
	}
	if cerr := f.File.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return fmt.Errorf("making %s durable: %w", f.Name(), err)
	}
	return nil
}

// readBack reads what lies on the disk, not what the page cache remembers.
func (f *localFile) readBack(ctx context.Context) (Written, error) {
	r, err := os.Open(f.Name())
	if err != nil {
		return Written{}, err
	}
	defer r.Close()
	w := Written{Proof: "read back from the disk"}
	if err := unix.Fadvise(int(r.Fd()), 0, 0, unix.FADV_DONTNEED); err != nil {
		w.Proof = "read back, perhaps from memory"
	}
	err = compare(ctx, &w, r, &f.ledger, f.Name(), compareBuffer)
	return w, err
}

func (f *localFile) Leave(context.Context) error {
	return errors.Join(f.flush(), syncDir(f.dir.path))
}

// FullError says that a target is full, or that writing went on to where room must stay.
type FullError struct {
	Place      string
	Free, Keep uint64 // bytes; Free is 0 if that is not known
}

func (e *FullError) Error() string {
	if e.Free > e.Keep || e.Free == 0 {
		return fmt.Sprintf("%s: no space left", e.Place)
	}
	return fmt.Sprintf("%s: %d MiB are free, and %d MiB shall stay so (keep-free)", e.Place, e.Free>>20, e.Keep>>20)
}

// Full reports whether an error says that there is no more room.
func Full(err error) bool {
	var full *FullError
	return errors.As(err, &full) || errors.Is(err, unix.ENOSPC) || errors.Is(err, unix.EDQUOT) || errors.Is(err, unix.EFBIG)
}
