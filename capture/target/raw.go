package target

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"

	"golang.org/x/sys/unix"

	"kdx/dumpfmt"
)

// raw is a partition without a filesystem. It holds one dump.
type raw struct {
	place Place
	dev   *os.File
	size  int64
	index *Index
}

// InUseError says that a partition is mounted, or belongs to something that is in use.
type InUseError struct{ Device string }

func (e *InUseError) Error() string {
	return fmt.Sprintf("%s is in use (mounted, swap, or part of an array or volume group): a raw target would destroy it", e.Device)
}

// OwnedError says that a partition holds something that is not a dump of kdx.
type OwnedError struct{ Device, Owner string }

func (e *OwnedError) Error() string {
	return fmt.Sprintf("%s holds %s, which a dump would destroy", e.Device, e.Owner)
}

// openDevice opens a partition for kdx alone. An ordinary file can stand for one.
func openDevice(path string, flags int) (*os.File, int64, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, 0, err
	}
	if st.Mode()&fs.ModeDevice != 0 {
		if st.Mode()&fs.ModeCharDevice != 0 {
			return nil, 0, fmt.Errorf("%s is no block device", path)
		}
		flags |= unix.O_EXCL // the kernel refuses a block device that is in use
	} else if !st.Mode().IsRegular() {
		return nil, 0, fmt.Errorf("%s is no block device", path)
	}
	f, err := os.OpenFile(path, flags, 0)
	if errors.Is(err, unix.EBUSY) {
		return nil, 0, &InUseError{path}
	}
	if err != nil {
		return nil, 0, err
	}
	size, err := f.Seek(0, io.SeekEnd)
	if err != nil {
		f.Close()
		return nil, 0, err
	}
	return f, size, nil
}

func openRaw(p Place) (Target, error) {
	dev, size, err := openDevice(p.Device, os.O_RDWR)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.Name, err)
	}
	r := &raw{place: p, dev: dev, size: size}
	if r.index, err = readIndex(dev, size); err != nil {
		dev.Close()
		return nil, fmt.Errorf("%s: reading what lies there: %w", p.Name, err)
	}
	if who := owner(dev); r.index == nil && who != "" && !p.Overwrite {
		dev.Close()
		return nil, &OwnedError{p.Device, who}
	}
	if size < dataStart+1<<20 {
		dev.Close()
		return nil, fmt.Errorf("%s has %d bytes: too small for any dump", p.Device, size)
	}
	return r, nil
}

func (r *raw) Close() error { return r.dev.Close() }

// Create begins a new dump in place of what was there. What was not extracted yet is lost: the newer crash is worth more.
func (r *raw) Create(_ context.Context, name string) (Dir, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	if r.index != nil && r.index.Dump == name {
		return nil, fmt.Errorf("%s: %s: %w", r.place.Device, name, ErrExists)
	}
	next := &Index{Version: 1, Dump: name}
	if r.index != nil {
		next.Sequence = r.index.Sequence
	}
	r.index = next
	if next.Sequence == 0 {
		// An older index, or what another owner wrote, must not come back.
		if _, err := r.dev.WriteAt(make([]byte, dataStart), 0); err != nil {
			return nil, fmt.Errorf("%s: %w", r.place.Name, err)
		}
	}
	return &rawDir{r}, r.write()
}

// write makes the index durable, in the block that does not hold the present one.
func (r *raw) write() error {
	r.index.Sequence++
	b, err := r.index.encode()
	if err != nil {
		return err
	}
	if err := durable(r.dev); err != nil { // what it lists must be there first
		return err
	}
	if _, err := r.dev.WriteAt(b, int64(r.index.Sequence%2)*indexBlock); err != nil {
		return err
	}
	return durable(r.dev)
}

func durable(f *os.File) error {
	if err := f.Sync(); err != nil {
		return fmt.Errorf("making what was written to %s durable: %w", f.Name(), err)
	}
	return nil
}

func (r *raw) Open(_ context.Context, name string) (Dir, error) {
	if r.index == nil || r.index.Dump != name || name == "" {
		return nil, fmt.Errorf("%s holds no dump %s: %w", r.place.Device, name, fs.ErrNotExist)
	}
	return &rawDir{r}, nil
}

func (r *raw) List(context.Context) ([]string, error) {
	if r.index == nil || r.index.Dump == "" {
		return nil, nil
	}
	return []string{r.index.Dump}, nil
}

func (r *raw) Remove(ctx context.Context, name string) error {
	if _, err := r.Open(ctx, name); err != nil {
		return err
	}
	return r.empty()
}

func (r *raw) empty() error {
	r.index.Dump, r.index.Files = "", nil
	return r.write()
}

// rawDir is the dump of a raw partition.
type rawDir struct{ r *raw }

func (d *rawDir) Path() string { return d.r.place.Device + ":" + d.r.index.Dump }
func (d *rawDir) Close() error { return nil }

// tail stays for what comes behind the dump: manifest, triage, logs.
const tail = 16 << 20

func (d *rawDir) Room(context.Context) (uint64, bool, error) {
	return uint64(max(0, d.r.size-d.r.index.end()-tail)), true, nil
}

func (d *rawDir) Put(_ context.Context, name string, data []byte) error {
	if err := checkName(name); err != nil {
		return err
	}
	at := d.r.index.end()
	if int64(len(data)) > d.r.size-at {
		return &FullError{Place: d.r.place.Device, Free: uint64(max(0, d.r.size-at))}
	}
	if _, err := d.r.dev.WriteAt(data, at); err != nil {
		return err
	}
	h := sha256.Sum256(data)
	d.r.index.put(IndexFile{Name: name, Offset: at, Size: int64(len(data)), SHA256: hex.EncodeToString(h[:])})
	return d.r.write()
}

func (d *rawDir) Create(_ context.Context, name string) (File, error) {
	if err := checkName(name); err != nil {
		return nil, err
	}
	d.r.index.remove(name + Incomplete)
	f := &rawFile{d: d, name: name, base: d.r.index.end()}
	d.r.index.put(IndexFile{Name: name + Incomplete, Offset: f.base})
	return f, d.r.write()
}

func (d *rawDir) Read(ctx context.Context, name string, limit int64) ([]byte, error) {
	f, err := d.File(ctx, name)
	if err != nil {
		return nil, err
	}
	return readLimited(io.NewSectionReader(f.ReaderAt, 0, f.Size), name, limit)
}

// File is open as long as its target is.
func (d *rawDir) File(_ context.Context, name string) (*dumpfmt.File, error) {
	e := d.r.index.file(name)
	if e == nil {
		return nil, fmt.Errorf("%s holds no %s: %w", d.Path(), name, fs.ErrNotExist)
	}
	return d.section(*e), nil
}

func (d *rawDir) section(e IndexFile) *dumpfmt.File {
	return &dumpfmt.File{Name: d.Path() + "/" + e.Name, Size: e.Size, ReaderAt: io.NewSectionReader(d.r.dev, e.Offset, e.Size)}
}

func (d *rawDir) List(context.Context) ([]Entry, error) {
	var out []Entry
	for _, f := range d.r.index.Files {
		out = append(out, Entry{f.Name, f.Size})
	}
	return out, nil
}

// rawFile is a file that is being written, the last one of the partition.
type rawFile struct {
	d      *rawDir
	name   string
	base   int64
	ledger ledger
	noted  int64 // bytes that the index knows of
}

// noteEvery is after how many bytes the index is told how far an unfinished file came.
const noteEvery = 256 << 20

func (f *rawFile) Output() dumpfmt.Output { return f }

func (f *rawFile) Write(p []byte) (int, error) { return f.WriteAt(p, f.ledger.end) }

// WriteAt fills what is skipped with zeros: the partition still holds what was there before.
func (f *rawFile) WriteAt(p []byte, off int64) (int, error) {
	r := f.d.r
	if room := r.size - f.base - tail; off+int64(len(p)) > room {
		return 0, &FullError{Place: r.place.Device, Free: uint64(max(0, room-f.ledger.end))}
	}
	if off > f.ledger.end {
		if err := f.zero(f.ledger.end, off); err != nil {
			return 0, err
		}
	}
	n, err := r.dev.WriteAt(p, f.base+off)
	f.ledger.wrote(p[:n], off)
	if err == nil && f.ledger.end-f.noted > noteEvery {
		f.noted = f.ledger.end
		r.index.put(IndexFile{Name: f.name + Incomplete, Offset: f.base, Size: f.noted})
		err = r.write()
	}
	return n, err
}

func (f *rawFile) zero(from, to int64) error {
	b := make([]byte, min(to-from, 1<<20))
	for from < to {
		n, err := f.d.r.dev.WriteAt(b[:min(to-from, int64(len(b)))], f.base+from)
		if err != nil {
			return err
		}
		from += int64(n)
	}
	return nil
}

func (f *rawFile) Reopen(context.Context) (*dumpfmt.File, error) {
	return f.d.section(IndexFile{Name: f.name + Incomplete, Offset: f.base, Size: f.ledger.end}), nil
}

func (f *rawFile) Commit(ctx context.Context) (Written, error) {
	r := f.d.r
	if err := durable(r.dev); err != nil {
		return Written{}, err
	}
	w := Written{Proof: "read back from the disk"}
	if err := unix.Fadvise(int(r.dev.Fd()), f.base, f.ledger.end, unix.FADV_DONTNEED); err != nil {
		w.Proof = "read back, perhaps from memory"
	}
	if err := compare(ctx, &w, io.NewSectionReader(r.dev, f.base, f.ledger.end), &f.ledger, f.d.Path()+"/"+f.name, compareBuffer); err != nil {
		return w, err
	}
	r.index.remove(f.name + Incomplete)
	r.index.put(IndexFile{Name: f.name, Offset: f.base, Size: w.Size, SHA256: w.SHA256})
	return w, r.write()
}

func (f *rawFile) Leave(context.Context) error {
	f.d.r.index.put(IndexFile{Name: f.name + Incomplete, Offset: f.base, Size: f.ledger.end})
	return f.d.r.write()
}
