package index

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"kdx/internal/filecache"
	"kdx/internal/mapfile"
	"kdx/symbols/dwarfinfo"
)

// MaxCache bounds the bytes of all indexes that are kept; one of a distribution's kernel has some ten million.
const MaxCache = 256 << 20

// store keeps one index in the cache. A nil store keeps nothing.
type store struct {
	cache *filecache.Cache
	key   string
	name  string
	log   *slog.Logger
}

// newStore finds the place of d's index. What goes wrong is logged once, here or in save: an index in memory is as good.
func newStore(d *dwarfinfo.Data, opt Options) *store {
	if opt.CacheDir == "" {
		return nil
	}
	key, err := keyOf(d, opt.BuildID)
	if err != nil {
		opt.Log.Debug("its index of names is not kept", "file", d.Name, "because", err)
		return nil
	}
	c, err := filecache.At(opt.CacheDir, MaxCache)
	if err != nil {
		opt.Log.Warn("the index of names is not kept", "file", d.Name, "because", err)
		return nil
	}
	return &store{c, key, d.Name, opt.Log}
}

// keyOf is what an index is bound to: the build, the very files, and what is in them.
func keyOf(d *dwarfinfo.Data, buildID string) (string, error) {
	key := fmt.Sprintf("index %q of build %q", magic, buildID)
	for ; d != nil; d = d.Alt {
		if d.File == nil {
			return "", fmt.Errorf("%s is in memory", d.Name)
		}
		if !d.File.Fixed(".debug_info") || !d.File.Fixed(".debug_addr") {
			return "", fmt.Errorf("%s is relocatable, and its addresses are those of one dump", d.Name)
		}
		fi, err := os.Stat(d.File.Path)
		if err != nil {
			return "", err
		}
		key += fmt.Sprintf(", file %s, build %q, sections %d %d %d %d %d", filecache.Identity(fi), d.File.BuildID(),
			len(d.Info), len(d.Abbrev), len(d.Str), len(d.LineStr), len(d.StrOffsets))
	}
	return key, nil
}

// load is nil if there is no index, or none that can be believed.
func (s *store) load() *Index {
	if s == nil {
		return nil
	}
	unlock, err := s.lock(unix.LOCK_SH, 0)
	if err != nil {
		s.log.Debug("the index of names is made anew", "file", s.name, "because", err)
		return nil
	}
	f, err := s.cache.Get(s.key)
	unlock()
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			s.log.Warn("the index of names in the cache is made anew", "file", s.name, "because", err)
		}
		return nil
	}
	defer f.Close()
	m, err := mapfile.Map(f)
	if err != nil {
		s.log.Warn("the index of names in the cache can't be read", "file", s.name, "because", err)
		return nil
	}
	x := &Index{name: f.Name(), mapped: m, cached: true}
	err = mapfile.Guard(x.name, func() (err error) {
		x.image, err = parseImage(m.Bytes())
		return err
	})
	if err != nil {
		m.Close()
		s.log.Warn("the index of names in the cache is made anew", "file", s.name, "because", err)
		return nil
	}
	return x
}

// save writes the index, which appears whole or not at all.
func (s *store) save(b []byte) {
	if s == nil {
		return
	}
	if err := s.write(b); err != nil {
		s.log.Warn("the index of names could not be kept; the next kdx makes it anew", "file", s.name, "because", err)
	}
}

func (s *store) write(b []byte) error {
	unlock, err := s.lock(unix.LOCK_EX, patience)
	if err != nil {
		return err
	}
	defer unlock()
	if f, err := s.cache.Get(s.key); err == nil { // another was faster
		return f.Close()
	}
	e, err := s.cache.Create(s.key)
	if err != nil {
		return err
	}
	defer e.Close()
	if _, err := e.Write(b); err != nil {
		return err
	}
	f, err := e.Commit()
	if err != nil {
		return err
	}
	return f.Close()
}

// patience is how long a writer waits for others that write: a file is synced in less.
const patience = 3 * time.Second

// lock keeps those who write indexes apart from each other and from readers, as a file of the cache has a second one beside it
// that must fit. It waits no longer than said, so that a process that was stopped stops no other.
func (s *store) lock(how int, wait time.Duration) (unlock func(), err error) {
	f, err := os.OpenFile(filepath.Join(s.cache.Dir(), "lock"), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	for deadline := time.Now().Add(wait); ; time.Sleep(5 * time.Millisecond) {
		err = unix.Flock(int(f.Fd()), how|unix.LOCK_NB)
		if err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, unix.EWOULDBLOCK) && !errors.Is(err, unix.EINTR) {
			break
		}
		if time.Now().After(deadline) {
			err = errors.New("another kdx is writing to the cache")
			break
		}
	}
	f.Close()
	return nil, fmt.Errorf("locking %s: %w", f.Name(), err)
}
