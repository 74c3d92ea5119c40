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
	unchecked int64 // bytes since the last look at the room
	early     *early
}

// early is a read-back that goes on while others read the file.
type early struct {
	cancel  context.CancelFunc
	done    chan struct{}
	written Written
	direct  bool // it did read the disk
	err     error
}

// checkEvery is after how many bytes the room is looked at again: others may write there too.
const checkEvery = 16 << 20

func (f *localFile) Output() dumpfmt.Output { return f }

func (f *localFile) Write(p []byte) (int, error) { return f.WriteAt(p, f.ledger.end) }

// WriteAt keeps account of what it wrote.
func (f *localFile) WriteAt(p []byte, off int64) (int, error) {
	f.forget()
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

// Reopen has the bytes made durable and read back beside what the caller does with them.
func (f *localFile) Reopen(ctx context.Context) (*dumpfmt.File, error) {
	if f.early == nil {
		ctx, cancel := context.WithCancel(ctx)
		e := &early{cancel: cancel, done: make(chan struct{})}
		f.early = e
		go func() {
			defer close(e.done)
			if e.err = f.sync(); e.err == nil {
				e.written, e.direct, e.err = f.readDirect(ctx)
			}
		}()
	}
	return dumpfmt.OpenFile(f.Name())
}

// forget ends an early read-back: more is written, or nobody wants it any more.
func (f *localFile) forget() {
	if f.early == nil {
		return
	}
	f.early.cancel()
	<-f.early.done
	f.early = nil
}

func (f *localFile) Commit(ctx context.Context) (Written, error) {
	w, err := f.prove(ctx)
	if err != nil {
		return w, err
	}
	if err := os.Rename(f.path+Incomplete, f.path); err != nil {
		return w, err
	}
	return w, syncDir(f.dir.path)
}

// prove makes the bytes durable, closes the file and reads it back, if that has not happened early.
func (f *localFile) prove(ctx context.Context) (Written, error) {
	if e := f.early; e != nil {
		stop := context.AfterFunc(ctx, e.cancel)
		<-e.done
		stop()
		if e.direct || e.err != nil {
			err := f.File.Close()
			if e.err != nil {
				err = e.err
			}
			return e.written, err
		}
	}
	if err := f.flush(); err != nil {
		return Written{}, err
	}
	if w, direct, err := f.readDirect(ctx); direct || err != nil {
		return w, err
	}
	return f.readBack(ctx)
}

// flush makes the bytes durable and closes the file.
func (f *localFile) flush() error {
	f.forget()
	err := f.sync()
	if cerr := f.File.Close(); err == nil && cerr != nil {
		err = fmt.Errorf("making %s durable: %w", f.Name(), cerr)
	}
	return err
}

func (f *localFile) sync() error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("making %s durable: %w", f.Name(), err)
	}
	return nil
}

// fromDisk is the proof of a file that was read from where it lies.
const fromDisk = "read back from the disk"

// readDirect reads what lies on the disk, beside the page cache, which may still hold what was written. It is false if the filesystem
// can't do that.
func (f *localFile) readDirect(ctx context.Context) (Written, bool, error) {
	r, err := os.OpenFile(f.Name(), os.O_RDONLY|unix.O_DIRECT, 0)
	if errors.Is(err, unix.EINVAL) {
		return Written{}, false, nil
	}
	if err != nil {
		return Written{}, false, err
	}
	defer r.Close()
	w := Written{Proof: fromDisk}
	err = compare(ctx, &w, &direct{file: r, size: f.ledger.end}, &f.ledger, f.Name(), compareBuffer)
	if errors.Is(err, unix.EINVAL) {
		return Written{}, false, nil // its blocks are larger, or it takes the flag and no such reads
	}
	return w, true, err
}

// direct reads a file by direct reads, which must begin at multiples of a block.
type direct struct {
	file  *os.File
	size  int64 // that it should have
	at    int64
	ended bool // within a block
}

func (d *direct) Read(p []byte) (int, error) {
	if d.ended && d.at < d.size {
		return 0, unix.EINVAL // it can't go on from here
	}
	if d.ended {
		return 0, io.EOF
	}
	for {
		n, err := unix.Pread(int(d.file.Fd()), p, d.at)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return 0, &os.PathError{Op: "read", Path: d.file.Name(), Err: err}
		}
		d.at += int64(n)
		d.ended = n%directAlign != 0
		if n == 0 {
			return 0, io.EOF
		}
		return n, nil
	}
}

// readBack reads what lies on the disk by way of the page cache, out of which it is taken first.
func (f *localFile) readBack(ctx context.Context) (Written, error) {
	r, err := os.Open(f.Name())
	if err != nil {
		return Written{}, err
	}
	defer r.Close()
	w := Written{Proof: fromDisk}
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
