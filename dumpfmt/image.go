package dumpfmt

import (
	"errors"
	"sync"
	"sync/atomic"
)

// DefaultCacheBytes bounds the cache of decoded pages of one Image.
const DefaultCacheBytes = 32 << 20

// Options of NewImage.
type Options struct {
	CacheBytes   int64 // bound of the page cache in bytes; 0 means DefaultCacheBytes
	ZeroExcluded bool  // read excluded pages as zeros, counted as unsure
}

// Image is an open dump. It is immutable but for its cache and safe for many goroutines.
type Image struct {
	src          Source
	info         *Info
	pageShift    uint
	zeroExcluded bool
	zero         []byte
	unsure       atomic.Uint64
	shards       [cacheShards]cacheShard
	perShard     int
	spares       sync.Pool // of *[]byte, see spare
}

const cacheShards = 16

// cacheShard holds up to perShard pages and replaces them by the clock algorithm: a page that was used since the hand
// passed gets a second chance.
type cacheShard struct {
	mu    sync.Mutex
	index map[uint64]int
	slots []cacheSlot
	hand  int
}

type cacheSlot struct {
	pfn  uint64
	page []byte
	used bool
}

// NewImage wraps an open source. Info().PageSize must be a power of two; the openers of this module check that.
func NewImage(src Source, opt Options) *Image {
	info := src.Info()
	if opt.CacheBytes == 0 {
		opt.CacheBytes = DefaultCacheBytes
	}
	im := &Image{src: src, info: info, zeroExcluded: opt.ZeroExcluded, zero: make([]byte, info.PageSize)}
	for s := info.PageSize; s > 1; s >>= 1 {
		im.pageShift++
	}
	im.perShard = max(4, int(opt.CacheBytes/int64(info.PageSize)/cacheShards))
	for i := range im.shards {
		im.shards[i].index = make(map[uint64]int)
	}
	return im
}

// Info is what the dump says of itself.
func (im *Image) Info() *Info { return im.info }

// Source is the format's own reader, for streaming whole dumps past the cache.
func (im *Image) Source() Source { return im.src }

// State of one page.
func (im *Image) State(pfn uint64) PageState { return im.src.State(pfn) }

// UnsureReads counts reads that were answered with zeros without the dump saying that these are the true bytes
// (ZeroOrExcluded pages, and excluded pages under Options.ZeroExcluded).
func (im *Image) UnsureReads() uint64 { return im.unsure.Load() }

// Close releases the dump's files. Pages that were handed out stay valid.
func (im *Image) Close() error { return im.src.Close() }

// Forget empties the cache, so that the memory of a running kernel is read anew. Pages that were handed out stay as they
// are.
func (im *Image) Forget() {
	for i := range im.shards {
		sh := &im.shards[i]
		sh.mu.Lock()
		clear(sh.index)
		sh.slots, sh.hand = sh.slots[:0], 0
		sh.mu.Unlock()
	}
}

// Page returns the decoded page. The slice is shared: it must not be written to, and stays valid for as long as it is
// referenced. The error is a *PageError.
func (im *Image) Page(pfn uint64) ([]byte, error) {
	sh := im.shard(pfn)
	sh.mu.Lock()
	if i, ok := sh.index[pfn]; ok {
		s := &sh.slots[i]
		s.used = true
		page := s.page
		sh.mu.Unlock()
		return page, nil
	}
	sh.mu.Unlock()

	switch im.src.State(pfn) {
	case Zero:
		return im.zero, nil
	case ZeroOrExcluded:
		im.unsure.Add(1)
		return im.zero, nil
	}
	page := im.spare()
	if err := im.src.ReadPage(page, pfn); err != nil {
		im.keepSpare(page)
		var pe *PageError
		if im.zeroExcluded && errors.As(err, &pe) && pe.State == Excluded {
			im.unsure.Add(1)
			return im.zero, nil
		}
		return nil, err
	}
	sh.insert(pfn, page, im.perShard)
	return page, nil
}

// spare is a buffer for a page: one that a page which could not be read left behind, if there is any. Walks of page tables ask for the same
// missing table a million times.
func (im *Image) spare() []byte {
	if p, ok := im.spares.Get().(*[]byte); ok {
		return *p
	}
	return make([]byte, im.info.PageSize)
}

func (im *Image) keepSpare(page []byte) { im.spares.Put(&page) }

func (sh *cacheShard) insert(pfn uint64, page []byte, limit int) {
	sh.mu.Lock()
	defer sh.mu.Unlock()
	if _, ok := sh.index[pfn]; ok {
		return
	}
	if len(sh.slots) < limit {
		sh.index[pfn] = len(sh.slots)
		sh.slots = append(sh.slots, cacheSlot{pfn: pfn, page: page})
		return
	}
	for sh.slots[sh.hand].used {
		sh.slots[sh.hand].used = false
		sh.hand = (sh.hand + 1) % len(sh.slots)
	}
	delete(sh.index, sh.slots[sh.hand].pfn)
	sh.index[pfn] = sh.hand
	sh.slots[sh.hand] = cacheSlot{pfn: pfn, page: page}
	sh.hand = (sh.hand + 1) % len(sh.slots)
}

// ReadPhys fills p from physical memory. At the first byte that is missing it stops and returns the count of bytes
// before it and a *PageError whose Addr is that byte's.
//
// Pages that are read whole do not go through the cache: who reads many of them, a table of the kernel's, keeps what is wanted of it.
func (im *Image) ReadPhys(p []byte, addr Phys) (int, error) {
	n := 0
	for n < len(p) {
		a := uint64(addr) + uint64(n)
		got, err := im.readIn(p[n:], a>>im.pageShift, a&(im.info.PageSize-1))
		if err != nil {
			var pe *PageError
			if errors.As(err, &pe) {
				at := *pe
				at.Addr = Phys(a)
				return n, &at
			}
			return n, err
		}
		n += got
	}
	return n, nil
}

// readIn copies what p has room for of a page from byte off on.
func (im *Image) readIn(p []byte, pfn, off uint64) (int, error) {
	size := int(im.info.PageSize)
	if off == 0 && len(p) >= size && im.src.State(pfn) == Present && !im.cached(pfn) {
		if err := im.src.ReadPage(p[:size], pfn); err == nil {
			return size, nil
		} // else as all pages, which may be errors that are to be passed over
	}
	page, err := im.Page(pfn)
	if err != nil {
		return 0, err
	}
	return copy(p, page[off:]), nil
}

func (im *Image) cached(pfn uint64) bool {
	sh := im.shard(pfn)
	sh.mu.Lock()
	defer sh.mu.Unlock()
	_, ok := sh.index[pfn]
	return ok
}

func (im *Image) shard(pfn uint64) *cacheShard { return &im.shards[(pfn^pfn>>4)%cacheShards] }
