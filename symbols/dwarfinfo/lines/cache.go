package lines

import (
	"sync"

	"kdx/internal/mapfile"
	"kdx/symbols/dwarfinfo"
)

// unitTable is what is known of a unit once it was asked for.
type unitTable struct {
	unit         *dwarfinfo.Unit
	header       *header // nil if it can't be read
	seqs         []sequence
	lineErr      error
	functions    []function
	functionsErr error

	mu    sync.Mutex
	names map[uint64]fileName // by index of the table of files

	once sync.Once
	used uint64
	cost int // bytes; 0 until it is filled
}

// fill reads what t is made of, and returns what it costs to keep. A fault of mapped memory is an error of what was read.
func (t *unitTable) fill() (cost int) {
	file := t.unit.Data.Name
	t.lineErr = mapfile.Guard(file, func() (err error) {
		if t.header, err = readHeader(t.unit); err != nil {
			return err
		}
		t.seqs, err = t.header.table()
		return err
	})
	t.functionsErr = mapfile.Guard(file, func() (err error) {
		t.functions, err = functions(t.unit)
		return err
	})
	if t.header != nil {
		cost += len(t.header.files)*32 + len(t.header.dirs)*24
	}
	for i := range t.seqs {
		cost += 64 + 16*len(t.seqs[i].rows)
	}
	return cost + 1024 + 24*len(t.functions)
}

// unitCache keeps the tables of the units that were asked for last.
type unitCache struct {
	mu    sync.Mutex
	units map[*dwarfinfo.Unit]*unitTable
	clock uint64
	cost  int
}

// maxCost bounds the cache: the tables of some hundred units of a kernel, more than all stacks of a dump lead to.
const maxCost = 24 << 20

// get returns u's table.
func (c *unitCache) get(u *dwarfinfo.Unit) *unitTable {
	c.mu.Lock()
	t := c.units[u]
	if t == nil {
		if c.units == nil {
			c.units = make(map[*dwarfinfo.Unit]*unitTable)
		}
		t = &unitTable{unit: u}
		c.units[u] = t
	}
	c.clock++
	t.used = c.clock
	c.mu.Unlock()
	t.once.Do(func() {
		cost := t.fill()
		c.mu.Lock()
		defer c.mu.Unlock()
		t.cost = cost
		if c.cost += cost; c.cost > maxCost {
			c.evict(t)
		}
	})
	return t
}

// evict drops the tables used longest ago until half of the cache is free. keep stays; those being filled, whose cost is not known,
// too.
func (c *unitCache) evict(keep *unitTable) {
	for c.cost > maxCost/2 {
		var oldest *unitTable
		for _, t := range c.units {
			if t != keep && t.cost > 0 && (oldest == nil || t.used < oldest.used) {
				oldest = t
			}
		}
		if oldest == nil {
			return
		}
		c.cost -= oldest.cost
		delete(c.units, oldest.unit)
	}
}

// cache is a bounded map for many goroutines: when it is full, all is forgotten.
type cache[K comparable, V any] struct {
	mu sync.RWMutex
	m  map[K]V
}

const maxEntries = 1 << 14

func (c *cache[K, V]) get(k K) (V, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	v, ok := c.m[k]
	return v, ok
}

func (c *cache[K, V]) put(k K, v V) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.m == nil || len(c.m) >= maxEntries {
		c.m = make(map[K]V)
	}
	c.m[k] = v
}
