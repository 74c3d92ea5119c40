// Package filecache keeps files that are dear to make in the user's cache directory: they appear whole or not at all, are
// verified before they are believed, and those unused for longest go when there are too many bytes of them.
package filecache

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"kdx/internal/atomicfile"
)

// Cache is a directory of files by key. Several processes may use it at once.
type Cache struct {
	dir string
	max int64
}

const (
	dataSuffix = ".data"
	metaSuffix = ".meta"
)

// meta stands beside each file and says what it has to be.
type meta struct {
	Key  string `json:"key"`
	Size int64  `json:"size"`
	CRC  uint32 `json:"crc32c"`
	// Stamp is inode and time of change when the file was last verified. While it holds, nobody has written to the file.
	Stamp string `json:"stamp"`
}

// User opens the folder name of kdx's own directory in the user's cache directory ($XDG_CACHE_HOME or ~/.cache), which is
// made if it lacks. The files in it take at most max bytes.
func User(name string, max int64) (*Cache, error) {
	base, err := os.UserCacheDir()
	if err != nil {
		return nil, fmt.Errorf("no cache directory: %w", err)
	}
	return At(filepath.Join(base, "kdx", name), max)
}

// At is User for any directory.
func At(dir string, max int64) (*Cache, error) {
	if err := checkAncestor(dir); err != nil {
		return nil, fmt.Errorf("cache directory %s is not used: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("cache directory: %w", err)
	}
	if err := checkOwn(dir); err != nil {
		return nil, fmt.Errorf("cache directory %s is not used: %w", dir, err)
	}
	return &Cache{dir, max}, nil
}

// checkAncestor keeps a process of root from leaving its directories in another user's.
func checkAncestor(dir string) error {
	for {
		fi, err := os.Stat(dir)
		if err == nil {
			if uid, ok := owner(fi); ok && uid != os.Geteuid() && uid != 0 {
				return fmt.Errorf("%s is of user %d", dir, uid)
			}
			return nil
		}
		parent := filepath.Dir(dir)
		if parent == dir || !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		dir = parent
	}
}

// checkOwn: what others can write to is not believed.
func checkOwn(dir string) error {
	fi, err := os.Stat(dir)
	if err != nil {
		return err
	}
	if uid, ok := owner(fi); ok && uid != os.Geteuid() {
		return fmt.Errorf("it is of user %d", uid)
	}
	if fi.Mode().Perm()&0o022 != 0 {
		return fmt.Errorf("others may write to it (mode %v)", fi.Mode().Perm())
	}
	return nil
}

// Dir is where the files are.
func (c *Cache) Dir() string { return c.dir }

// Max is how many bytes all files may take together.
func (c *Cache) Max() int64 { return c.max }

func (c *Cache) base(key string) string {
	sum := sha256.Sum256([]byte(key))
	return filepath.Join(c.dir, hex.EncodeToString(sum[:16]))
}

// Get opens the file of a key. fs.ErrNotExist if there is none; any other error is of a file that is not what it has to
// be, which is removed.
func (c *Cache) Get(key string) (*os.File, error) {
	base := c.base(key)
	m, err := readMeta(base + metaSuffix)
	if err != nil {
		return nil, err
	}
	f, err := os.Open(base + dataSuffix)
	if err != nil {
		return nil, err
	}
	if err := c.verify(f, m, key); err != nil {
		f.Close()
		os.Remove(base + metaSuffix)
		os.Remove(base + dataSuffix)
		return nil, fmt.Errorf("%s in the cache is damaged and was removed: %w", f.Name(), err)
	}
	now := time.Now()
	_ = os.Chtimes(base+metaSuffix, now, now) // the time of use; without it the file only goes earlier
	return f, nil
}

func (c *Cache) verify(f *os.File, m meta, key string) error {
	if m.Key != key {
		return fmt.Errorf("it is of %q, not of %q", m.Key, key)
	}
	fi, err := f.Stat()
	if err != nil {
		return err
	}
	if !fi.Mode().IsRegular() || fi.Size() != m.Size {
		return fmt.Errorf("%d bytes, not %d", fi.Size(), m.Size)
	}
	if uid, ok := owner(fi); ok && uid != os.Geteuid() {
		return fmt.Errorf("it is of user %d", uid)
	}
	if s := stamp(fi); s != "" && s == m.Stamp {
		return nil
	}
	h := crc32.New(castagnoli)
	if _, err := io.Copy(h, io.NewSectionReader(f, 0, m.Size)); err != nil {
		return err
	}
	if h.Sum32() != m.CRC {
		return fmt.Errorf("checksum %#x, not %#x", h.Sum32(), m.CRC)
	}
	m.Stamp = stamp(fi)
	_ = writeMeta(c.base(key)+metaSuffix, m) // the next to come verifies again
	return nil
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func readMeta(path string) (meta, error) {
	const limit = 64 << 10
	f, err := os.Open(path)
	if err != nil {
		return meta{}, err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, limit))
	if err != nil {
		return meta{}, err
	}
	var m meta
	if err := json.Unmarshal(b, &m); err != nil {
		return meta{}, fmt.Errorf("%s: %w", path, err)
	}
	return m, nil
}

func writeMeta(path string, m meta) error {
	b, err := json.Marshal(m)
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(path, b, 0o600)
}

// Entry is a file that is being made. It is written from start to end.
type Entry struct {
	c    *Cache
	key  string
	out  *atomicfile.File
	size int64
	crc  uint32
}

// Create begins the file of a key.
func (c *Cache) Create(key string) (*Entry, error) {
	out, err := atomicfile.Create(c.base(key)+dataSuffix, 0o600)
	if err != nil {
		return nil, err
	}
	return &Entry{c: c, key: key, out: out}, nil
}

// Write appends to the file.
func (e *Entry) Write(p []byte) (int, error) {
	n, err := e.out.Write(p)
	e.crc = crc32.Update(e.crc, castagnoli, p[:n])
	e.size += int64(n)
	return n, err
}

// Commit gives the file its name, opens it for reading and removes the least used of the others if there are too many
// bytes. The file itself must fit.
func (e *Entry) Commit() (*os.File, error) {
	if e.size > e.c.max {
		return nil, errors.Join(fmt.Errorf("%d bytes are more than the cache %s may hold (%d)", e.size, e.c.dir, e.c.max), e.out.Close())
	}
	written, err := e.out.Stat()
	if err != nil {
		return nil, errors.Join(err, e.out.Close())
	}
	if err := e.out.Commit(); err != nil {
		return nil, err
	}
	base := e.c.base(e.key)
	f, err := os.Open(base + dataSuffix)
	if err != nil {
		return nil, err
	}
	fi, err := f.Stat()
	if err == nil {
		m := meta{Key: e.key, Size: e.size, CRC: e.crc}
		if os.SameFile(written, fi) { // otherwise another process made the file too, just now
			m.Stamp = stamp(fi)
		}
		err = writeMeta(base+metaSuffix, m)
	}
	if err != nil {
		f.Close()
		os.Remove(base + dataSuffix)
		return nil, err
	}
	e.c.prune(base)
	return f, nil
}

// Close drops the file unless it was committed. Defer it.
func (e *Entry) Close() error { return e.out.Close() }

// Identity changes when a file is replaced or written to; it serves in keys of what is made of the file.
func Identity(fi fs.FileInfo) string {
	return fmt.Sprintf("%d %d %s", fi.Size(), fi.ModTime().UnixNano(), stamp(fi))
}
