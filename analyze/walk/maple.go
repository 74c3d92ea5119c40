package walk

import (
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
	"kdx/symbols"
)

// Range is an entry of a maple tree: Entry is stored for all indexes from First to Last.
type Range struct{ First, Last, Entry uint64 }

// Maple yields the ranges of the struct maple_tree at mt that hold an entry, by rising index (6.1+).
func Maple(v *kernel.View, mt vmem.Addr) iter.Seq2[Range, error] {
	return func(yield func(Range, error) bool) {
		w, err := newMaple(v)
		if err != nil {
			yield(Range{}, err)
			return
		}
		root, err := w.at(mt + vmem.Addr(w.rootOff))
		if err != nil {
			yield(Range{}, fmt.Errorf("maple tree at %#x: %w", uint64(mt), err))
			return
		}
		w.yield = yield
		switch {
		case root == 0:
		case root&3 == xaInternal && root > xaNodeMin:
			w.node(root&^xaInternal, 0, w.max, 0)
		case root&3 != xaInternal: // a single entry at index 0 needs no node
			yield(Range{0, 0, root}, nil)
		}
	}
}

// MapleItem is what MapleItems comes across: a node, or a slot of a leaf. Path has the slot at each level and is valid
// until the walk goes on.
type MapleItem struct {
	Range        // of a node: what it covers
	Path   []int // of a slot, its own index last
	Node   vmem.Addr
	Type   int    // of a node, enum maple_type
	Parent uint64 // of a node, as encoded
	IsNode bool
}

// MapleItems yields each node before what it holds, and each slot of a leaf, empty ones too. start is the address of a
// maple_tree, or with node set the encoded pointer to a node, whose limits are then not known.
func MapleItems(v *kernel.View, start uint64, node bool) iter.Seq2[MapleItem, error] {
	return func(yield func(MapleItem, error) bool) {
		w, err := newMaple(v)
		if err != nil {
			yield(MapleItem{}, err)
			return
		}
		root := start | xaInternal
		if !node {
			if root, err = w.at(vmem.Addr(start + w.rootOff)); err != nil {
				yield(MapleItem{}, fmt.Errorf("maple tree at %#x: %w", start, err))
				return
			}
		}
		w.yield = func(r Range, err error) bool {
			return err == nil || yield(MapleItem{}, err)
		}
		w.visit = func(i MapleItem) bool { return yield(i, nil) }
		switch {
		case root == 0:
		case root&3 == xaInternal && root > xaNodeMin:
			w.node(root&^xaInternal, 0, w.max, 0)
		case root&3 != xaInternal:
			yield(MapleItem{Range: Range{0, 0, root}}, nil)
		}
	}
}

// Pointers to nodes carry the node's type in bits 3 to 6: nodes are aligned to 256 bytes (enum maple_type).
const (
	mapleNodeMask  = 0xff
	mapleTypeShift = 3
	mapleTypeMask  = 0xf

	mapleDense  = 0
	mapleLeaf   = 1
	mapleRange  = 2
	mapleARange = 3

	maxMapleDepth = 32 // MAPLE_HEIGHT_MAX is 31
)

type mapleShape struct{ pivots, nPivots, slots, nSlots, size uint64 }

type mapleWalk struct {
	reader
	rootOff              uint64
	max                  uint64
	dense, ranges, arang mapleShape
	seen                 map[uint64]bool
	yield                func(Range, error) bool
	visit                func(MapleItem) bool // nil if only ranges are asked for
	path                 []int
	buf                  [maxMapleDepth][]byte
}

func newMaple(v *kernel.View) (*mapleWalk, error) {
	w := &mapleWalk{reader: newReader(v), seen: make(map[uint64]bool), max: ^uint64(0)}
	if w.ws == 4 {
		w.max = 1<<32 - 1
	}
	var ok bool
	if w.rootOff, ok = v.OffsetOf("maple_tree", "ma_root"); !ok {
		return nil, noMember(v, "maple_tree", "ma_root")
	}
	var err error
	if w.ranges, err = w.shape("maple_range_64", "pivot", "slot"); err != nil {
		return nil, err
	}
	if w.arang, err = w.shape("maple_arange_64", "pivot", "slot"); err != nil {
		return nil, err
	}
	w.dense, err = w.shape("maple_node", "", "slot")
	return w, err
}

func (w *mapleWalk) shape(tag, pivot, slot string) (mapleShape, error) {
	var s mapleShape
	t, err := w.v.Struct(tag)
	if err != nil {
		return s, err
	}
	array := func(name string, off, n *uint64) error {
		m, ok := t.Path(name)
		if !ok || m.Type.Strip().Kind != symbols.Array {
			return noMember(w.v, tag, name)
		}
		*off, *n = m.Offset(), uint64(max(m.Type.Strip().Len, 0))
		s.size = max(s.size, *off+*n*w.ws)
		return nil
	}
	if pivot != "" {
		if err := array(pivot, &s.pivots, &s.nPivots); err != nil {
			return s, err
		}
	}
	if err := array(slot, &s.slots, &s.nSlots); err != nil {
		return s, err
	}
	if s.size > maxNodeSize {
		return s, fmt.Errorf("struct %s has %d bytes, which is no maple node", tag, s.size)
	}
	return s, nil
}

// node yields what lies below the node that the encoded pointer enc names, for indexes from lo to hi.
func (w *mapleWalk) node(enc, lo, hi uint64, depth int) bool {
	addr := enc &^ mapleNodeMask
	fail := func(err error) bool {
		return w.yield(Range{}, fmt.Errorf("maple tree: node %#x for indexes %#x-%#x: %w", addr, lo, hi, err)) && !w.stop(err)
	}
	if depth >= maxMapleDepth {
		return fail(fmt.Errorf("more than %d levels: damaged", maxMapleDepth))
	}
	if w.seen[addr] {
		return fail(ErrLoop)
	}
	w.seen[addr] = true
	kind := enc >> mapleTypeShift & mapleTypeMask
	s := &w.ranges
	switch kind {
	case mapleDense:
		s = &w.dense
	case mapleLeaf, mapleRange:
	case mapleARange:
		s = &w.arang
	default:
		return fail(fmt.Errorf("nodes of type %d are not known", kind))
	}
	if uint64(len(w.buf[depth])) < s.size {
		w.buf[depth] = make([]byte, s.size)
	}
	b := w.buf[depth][:s.size]
	if err := w.v.Read(b, vmem.Addr(addr)); err != nil {
		return fail(err)
	}
	if parent := w.word(b) &^ mapleNodeMask; parent == addr {
		return fail(fmt.Errorf("the node was freed (it is its own parent)"))
	}
	if w.visit != nil {
		item := MapleItem{Range: Range{lo, hi, enc}, Path: w.path[:depth], Node: vmem.Addr(addr), Type: int(kind), Parent: w.word(b), IsNode: true}
		if !w.visit(item) {
			return false
		}
	}
	first := lo
	for i := range s.nSlots {
		if err := w.v.Step(); err != nil {
			return fail(err)
		}
		last := hi
		switch {
		case kind == mapleDense:
			last = first
		case i < s.nPivots:
			// A pivot of 0 beyond the first slot is one that was never set: the slot reaches to the node's end.
			if p := w.word(b[s.pivots+i*w.ws:]); p != 0 || i == 0 {
				last = p
			}
		}
		if last > hi || last < first {
			return fail(fmt.Errorf("pivot %d is %#x, outside %#x-%#x: damaged", i, last, first, hi))
		}
		w.path = append(w.path[:depth], int(i))
		e := w.word(b[s.slots+i*w.ws:])
		if w.visit != nil && kind != mapleRange && kind != mapleARange {
			if !w.visit(MapleItem{Range: Range{first, last, e}, Path: w.path, Node: vmem.Addr(addr)}) {
				return false
			}
		}
		if e != 0 && !w.slot(e, first, last, kind, depth) {
			return false
		}
		if last >= hi {
			break
		}
		first = last + 1
	}
	return true
}

func (w *mapleWalk) slot(e, first, last, kind uint64, depth int) bool {
	if kind == mapleRange || kind == mapleARange {
		return w.node(e, first, last, depth+1)
	}
	if e&3 == xaInternal { // reserved (XA_ZERO_ENTRY), or being replaced
		return true
	}
	return w.yield(Range{first, last, e}, nil)
}
