package view

import (
	"bufio"
	"fmt"
	"io"

	"kdx/analyze/vmem"
)

// SlabCaches is kmem -s. Its JSON is an array of SlabCache.
type SlabCaches []SlabCache

// SlabCache is a slab cache and what it holds. Counts that could not be read are nil.
type SlabCache struct {
	Addr       vmem.Addr `json:"address"`
	Name       *string   `json:"name"`        // nil if it can't be read
	ObjectSize uint64    `json:"object_size"` // bytes that the owner asked for
	Size       uint64    `json:"size"`        // bytes from one object to the next
	SlabSize   uint64    `json:"slab_size"`   // bytes
	PerSlab    uint64    `json:"objects_per_slab"`
	// Allocated objects are those that someone holds; Active also counts free ones that a CPU or a sheaf keeps, as
	// /proc/slabinfo does.
	Allocated *uint64 `json:"allocated"`
	Active    *uint64 `json:"active"`
	Total     *uint64 `json:"total"`
	Slabs     *uint64 `json:"slabs"`
	// Ignored: the caller asked not to look into it.
	Ignored bool `json:"ignored,omitempty"`
}

const slabHeader = "CACHE             OBJSIZE  ALLOCATED     TOTAL  SLABS  SSIZE  NAME\n"

// Text writes crash's table.
func (l SlabCaches) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	bw.WriteString(slabHeader)
	for i := range l {
		l[i].text(bw)
	}
	return bw.Flush()
}

func (c *SlabCache) text(w io.Writer) {
	if c.Ignored {
		fmt.Fprintf(w, "%016x %-45s%s\n", uint64(c.Addr), "[IGNORED]", nameOrDash(c.Name))
		return
	}
	fmt.Fprintf(w, "%016x %8d %10s %9s %6s %6s  %s\n", uint64(c.Addr), c.ObjectSize, orDash(c.Allocated), orDash(c.Total), orDash(c.Slabs),
		fmt.Sprintf("%dk", c.SlabSize>>10), nameOrDash(c.Name))
}

func orDash(n *uint64) string {
	if n == nil {
		return "-"
	}
	return fmt.Sprint(*n)
}

// SlabNames is kmem -s list: the caches' addresses and names.
type SlabNames []SlabName

// SlabName is one of them.
type SlabName struct {
	Addr vmem.Addr `json:"address"`
	Name *string   `json:"name"` // nil if it can't be read
}

// Text writes a line a cache, as crash does.
func (l SlabNames) Text(w io.Writer, _ Options) error {
	bw := bufio.NewWriter(w)
	for _, n := range l {
		fmt.Fprintf(bw, "%x %s\n", uint64(n.Addr), nameOrDash(n.Name))
	}
	return bw.Flush()
}
