package walk

import (
	"fmt"
	"iter"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// A red-black tree of n nodes is at most 2·log2(n+1) high: 128 is beyond any memory.
const maxRBDepth = 128

// RBTree yields the containers of the tree's nodes in order; root is the address of the rb_root or rb_root_cached and
// offset that of the rb_node in the container, in bytes. Below a node that can't be read nothing is known; the walk goes
// on beside it.
func RBTree(v *kernel.View, root vmem.Addr, offset uint64) iter.Seq2[vmem.Addr, error] {
	return func(yield func(vmem.Addr, error) bool) {
		w := rbWalk{reader: newReader(v), yield: yield, offset: vmem.Addr(offset)}
		top, err := w.at(root) // rb_node is the first member of both
		if err != nil {
			yield(0, fmt.Errorf("tree at %#x: %w", uint64(root), err))
			return
		}
		w.from(vmem.Addr(top), 0)
	}
}

// RBNode is RBTree for the tree below the rb_node at node.
func RBNode(v *kernel.View, node vmem.Addr, offset uint64) iter.Seq2[vmem.Addr, error] {
	return func(yield func(vmem.Addr, error) bool) {
		w := rbWalk{reader: newReader(v), yield: yield, offset: vmem.Addr(offset)}
		parent, err := w.at(node)
		if err != nil {
			yield(0, fmt.Errorf("tree node %#x: %w", uint64(node), err))
			return
		}
		w.from(node, vmem.Addr(parent&^3))
	}
}

// RBPlace is a container in a tree and the way to its node from the top: 'l' and 'r' for each child.
type RBPlace struct {
	Addr vmem.Addr
	Path string
}

// RBPlaces yields the containers of the tree below the rb_node at top, parents before children, with their places.
func RBPlaces(v *kernel.View, top vmem.Addr, offset uint64) iter.Seq2[RBPlace, error] {
	return rbPlaces(v, top, offset, false)
}

// RBPlacesInOrder yields them from left to right.
func RBPlacesInOrder(v *kernel.View, top vmem.Addr, offset uint64) iter.Seq2[RBPlace, error] {
	return rbPlaces(v, top, offset, true)
}

func rbPlaces(v *kernel.View, top vmem.Addr, offset uint64, inOrder bool) iter.Seq2[RBPlace, error] {
	return func(yield func(RBPlace, error) bool) {
		w := rbWalk{reader: newReader(v)}
		type open struct {
			node, parent vmem.Addr
			path         string
			yields       bool // its children are on the stack already; it only waits for its turn
		}
		parent, err := w.at(top)
		if err != nil {
			yield(RBPlace{}, fmt.Errorf("tree node %#x: %w", uint64(top), err))
			return
		}
		stack := []open{{node: top, parent: vmem.Addr(parent &^ 3)}}
		for len(stack) > 0 {
			o := stack[len(stack)-1]
			stack = stack[:len(stack)-1]
			place := RBPlace{o.node - vmem.Addr(offset), o.path}
			if o.yields {
				if !yield(place, nil) {
					return
				}
				continue
			}
			left, right, err := w.enter(o.node, o.parent, len(o.path))
			if err != nil {
				if !yield(RBPlace{}, fmt.Errorf("tree node %#x: %w", uint64(o.node), err)) || w.stop(err) {
					return
				}
				continue
			}
			if !inOrder && !yield(place, nil) {
				return
			}
			if right != 0 {
				stack = append(stack, open{node: right, parent: o.node, path: o.path + "r"})
			}
			if inOrder {
				o.yields = true
				stack = append(stack, o)
			}
			if left != 0 {
				stack = append(stack, open{node: left, parent: o.node, path: o.path + "l"})
			}
		}
	}
}

type rbWalk struct {
	reader
	yield     func(vmem.Addr, error) bool
	offset    vmem.Addr
	strangers map[vmem.Addr]bool // nodes that name another parent than the way to them, and children that are left and right of one node
	top       vmem.Addr          // the first node that was entered
}

type rbFrame struct{ node, right vmem.Addr }

func (w *rbWalk) from(top, parent vmem.Addr) {
	stack := make([]rbFrame, 0, 32)
	node := top
	for {
		for node != 0 {
			left, right, err := w.enter(node, parent, len(stack))
			if err != nil {
				if !w.yield(0, fmt.Errorf("tree node %#x: %w", uint64(node), err)) || w.stop(err) {
					return
				}
				break
			}
			stack = append(stack, rbFrame{node, right})
			node, parent = left, node
		}
		if len(stack) == 0 {
			return
		}
		f := stack[len(stack)-1]
		stack = stack[:len(stack)-1]
		if !w.yield(f.node-w.offset, nil) {
			return
		}
		node, parent = f.right, f.node
	}
}

// enter reads a node's children. struct rb_node is {parent and colour, right, left} on every kernel since 2.6.
//
// A node is entered once from its parent, and once from elsewhere. A loop has a way in, which is the top or a stranger: neither is
// entered again. Without that nodes which are parent, left and right of themselves, as an empty list's head looks, would be entered
// 2^maxRBDepth times.
func (w *rbWalk) enter(node, parent vmem.Addr, depth int) (left, right vmem.Addr, err error) {
	if err := w.v.Step(); err != nil {
		return 0, 0, err
	}
	if depth >= maxRBDepth {
		return 0, 0, fmt.Errorf("the tree is more than %d deep: damaged", maxRBDepth)
	}
	if node == w.top || w.strangers[node] {
		return 0, 0, ErrLoop
	}
	if w.top == 0 {
		w.top = node
	}
	b := w.buf[:3*w.ws]
	if err := w.v.Read(b, node); err != nil {
		return 0, 0, err
	}
	if vmem.Addr(w.word(b)&^3) != parent {
		w.strange(node)
	}
	left, right = vmem.Addr(w.word(b[2*w.ws:])), vmem.Addr(w.word(b[w.ws:]))
	if left != 0 && left == right {
		w.strange(left)
	}
	return left, right, nil
}

func (w *rbWalk) strange(node vmem.Addr) {
	if w.strangers == nil {
		w.strangers = make(map[vmem.Addr]bool)
	}
	w.strangers[node] = true
}
