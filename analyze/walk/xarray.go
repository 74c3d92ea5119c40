package walk

import (
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Entry of an xarray, radix tree or IDR: a pointer, or a value entry (see IsValue).
type Entry struct{ Index, Value uint64 }

// IsValue reports whether an xarray's entry is a number and not a pointer; the number is Value >> 1. The page cache
// keeps shadow and swap entries so.
func (e Entry) IsValue() bool { return e.Value&1 != 0 }

// XArray yields the entries of the struct xarray at xa (4.20+) by rising index. Sibling, retry and zero (reserved)
// entries are no entries; a multi-index entry comes once, at its first index.
func XArray(v *kernel.View, xa vmem.Addr) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		t, err := newSlotTree(v)
		if err != nil {
			yield(Entry{}, err)
			return
		}
		root, err := t.root(xa)
		if err != nil {
			yield(Entry{}, fmt.Errorf("%s at %#x: %w", t.name, uint64(xa), err))
			return
		}
		t.yield = yield
		t.start(root)
	}
}

// Placed is an Entry and the way to it from the root: the slot at each level. Path is valid until the walk goes on.
type Placed struct {
	Entry
	Path []int
}

// XArrayPlaces is XArray with the place of each entry.
func XArrayPlaces(v *kernel.View, xa vmem.Addr) iter.Seq2[Placed, error] {
	return places(v, func(t *slotTree) (uint64, error) {
		root, err := t.root(xa)
		if err != nil {
			err = fmt.Errorf("%s at %#x: %w", t.name, uint64(xa), err)
		}
		return root, err
	})
}

// XANodePlaces is XArrayPlaces for what lies below a node; node is its address or a tagged pointer to it.
func XANodePlaces(v *kernel.View, node uint64) iter.Seq2[Placed, error] {
	return places(v, func(t *slotTree) (uint64, error) {
		t.below = true
		return node&^3 | t.nodeTag, nil
	})
}

func places(v *kernel.View, root func(*slotTree) (uint64, error)) iter.Seq2[Placed, error] {
	return func(yield func(Placed, error) bool) {
		t, err := newSlotTree(v)
		if err != nil {
			yield(Placed{}, err)
			return
		}
		r, err := root(t)
		if err != nil {
			yield(Placed{}, err)
			return
		}
		t.yield = func(e Entry, err error) bool { return yield(Placed{e, t.path}, err) }
		t.start(r)
	}
}

// IDR yields the entries of the struct idr at addr, with the ids that the kernel gave (idr_base, 4.16, is added).
func IDR(v *kernel.View, idr vmem.Addr) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		rt, ok := v.OffsetOf("idr", "idr_rt")
		if !ok {
			yield(Entry{}, noMember(v, "idr", "idr_rt (kernels before 4.11 have another IDR)"))
			return
		}
		base := uint64(0)
		if off, ok := v.OffsetOf("idr", "idr_base"); ok {
			var b [4]byte
			if err := v.Read(b[:], idr+vmem.Addr(off)); err != nil {
				yield(Entry{}, fmt.Errorf("idr at %#x: %w", uint64(idr), err))
				return
			}
			base = uint64(v.ByteOrder().Uint32(b[:]))
		}
		for e, err := range XArray(v, idr+vmem.Addr(rt)) {
			e.Index += base
			if !yield(e, err) {
				return
			}
		}
	}
}

// slotTree is what xarray (4.20+) and radix tree have in common: nodes of slots, of which each takes some bits of the
// index.
type slotTree struct {
	reader
	name       string
	rootOff    uint64
	shift      uint64 // offsets in a node
	offset     uint64
	parent     uint64
	slots      uint64
	perNode    uint64
	nodeSize   uint64
	nodeTag    uint64 // the two low bits of a pointer to a node
	xarray     bool
	strangers  map[uint64]bool // nodes whose parent and offset disagree with the way to them
	yield      func(Entry, error) bool
	buf        [maxDepth][]byte
	chunkShift uint64
	path       []int // slots on the way to the current entry
	below      bool  // the walk begins at a node that may have a parent
}

const (
	maxDepth    = 22      // 64 bits of index in nodes of 8 slots
	maxNodeSize = 4 << 10 // a node of 64 slots has 576 bytes
)

// Internal entries of an xarray have low bits 10; those below 4096 are marks: up to 62 siblings, 256 retry, 257 zero.
const (
	xaInternal = 2
	xaNodeMin  = 4096
)

func newSlotTree(v *kernel.View) (*slotTree, error) {
	t := &slotTree{reader: newReader(v), name: "xarray", nodeTag: xaInternal, xarray: true}
	rootTag, head, nodeTag := "xarray", "xa_head", "xa_node"
	if !v.HasMember(rootTag, head) { // before 4.20
		rootTag, head, nodeTag = "radix_tree_root", "rnode", "radix_tree_node"
		t.name, t.nodeTag, t.xarray = "radix tree", 1, false
	}
	var ok bool
	if t.rootOff, ok = v.OffsetOf(rootTag, head); !ok {
		return nil, noMember(v, rootTag, head)
	}
	node, err := v.Struct(nodeTag)
	if err != nil {
		return nil, err
	}
	for name, off := range map[string]*uint64{"shift": &t.shift, "offset": &t.offset, "parent": &t.parent} {
		if *off, ok = node.OffsetOf(name); !ok {
			return nil, noMember(v, nodeTag, name)
		}
	}
	slots, ok := node.Path("slots")
	if !ok || slots.Type.Strip().Kind != symbols.Array {
		return nil, noMember(v, nodeTag, "slots")
	}
	t.slots, t.perNode = slots.Offset(), uint64(max(slots.Type.Strip().Len, 0))
	for 1<<t.chunkShift < t.perNode {
		t.chunkShift++
	}
	t.nodeSize = max(t.slots+t.perNode*t.ws, t.shift+1, t.offset+1, t.parent+t.ws)
	if t.perNode < 2 || t.nodeSize > maxNodeSize {
		return nil, fmt.Errorf("struct %s: %d slots in %d bytes are no node", nodeTag, t.perNode, t.nodeSize)
	}
	return t, nil
}

func (t *slotTree) root(addr vmem.Addr) (uint64, error) { return t.at(addr + vmem.Addr(t.rootOff)) }

func (t *slotTree) isNode(e uint64) bool {
	return e&3 == t.nodeTag && (!t.xarray || e > xaNodeMin)
}

func (t *slotTree) start(root uint64) {
	if root == 0 {
		return
	}
	if !t.isNode(root) {
		if !t.isMark(root) {
			t.yield(Entry{0, root}, nil)
		}
		return
	}
	t.node(root&^3, 0, 0, 0, -1, 0)
}

// isMark: no entry, but a mark of the structure's own.
func (t *slotTree) isMark(e uint64) bool { return e&3 == xaInternal && t.xarray }

// node yields what lies below the node at addr; false ends the walk. above is the shift of its parent, -1 for the top.
func (t *slotTree) node(addr, base, parent, slot uint64, above int, depth int) bool {
	fail := func(err error) bool {
		return t.yield(Entry{}, fmt.Errorf("%s: node %#x for indexes from %d: %w", t.name, addr, base, err)) && !t.stop(err)
	}
	if t.buf[depth] == nil {
		t.buf[depth] = make([]byte, t.nodeSize)
	}
	b := t.buf[depth]
	if err := t.v.Read(b, vmem.Addr(addr)); err != nil {
		return fail(err)
	}
	shift := uint64(b[t.shift])
	if above >= 0 && shift+t.chunkShift != uint64(above) || shift >= 64 || shift%t.chunkShift != 0 || depth+1 >= maxDepth && shift > 0 {
		return fail(fmt.Errorf("it says shift %d below a node of shift %d: damaged", shift, above))
	}
	if depth == 0 && t.below {
		parent = t.word(b[t.parent:])
	}
	if t.word(b[t.parent:]) != parent || above >= 0 && uint64(b[t.offset]) != slot {
		if t.strangers[addr] {
			return fail(ErrLoop)
		}
		if t.strangers == nil {
			t.strangers = make(map[uint64]bool)
		}
		t.strangers[addr] = true
	}
	for i := range t.perNode {
		if err := t.v.Step(); err != nil {
			return fail(err)
		}
		e := t.word(b[t.slots+i*t.ws:])
		if e == 0 {
			continue
		}
		index := base + i<<shift
		t.path = append(t.path[:depth], int(i))
		if t.isNode(e) && shift > 0 {
			if !t.node(e&^3, index, addr, i, int(shift), depth+1) {
				return false
			}
			continue
		}
		if t.isMark(e) || !t.xarray && t.isSibling(e, addr) {
			continue
		}
		if !t.yield(Entry{index, e}, nil) {
			return false
		}
	}
	return true
}

// isSibling: radix trees marked further slots of a multi-order entry by a tagged pointer to its first slot.
func (t *slotTree) isSibling(e, node uint64) bool {
	p := e &^ 3
	return e&3 == t.nodeTag && p >= node+t.slots && p < node+t.slots+t.perNode*t.ws
}
