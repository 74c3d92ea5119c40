package walk

import (
	"errors"
	"fmt"
	"iter"
	"slices"

	"kdx/analyze/kernel"
	"kdx/analyze/vmem"
)

// List yields the containers of a list_head ring, in order and without the head; offset is that of the list_head in the
// container, in bytes. Where an entry can't be read, the rest is reached from the other end.
func List(v *kernel.View, head vmem.Addr, offset uint64) iter.Seq2[vmem.Addr, error] {
	return func(yield func(vmem.Addr, error) bool) {
		w := listWalk{reader: newReader(v), head: head, yield: func(n vmem.Addr) bool { return yield(n-vmem.Addr(offset), nil) }}
		last, err := w.forward()
		if err == nil || errors.Is(err, errStopped) {
			return
		}
		if !yield(0, fmt.Errorf("list at %#x: after entry %#x: %w", uint64(head), uint64(last-vmem.Addr(offset)), err)) || w.stop(err) || errors.Is(err, ErrLoop) {
			return
		}
		for _, n := range w.backward(last) {
			if !w.yield(n) {
				return
			}
		}
	}
}

var errStopped = errors.New("the caller wants no more")

type listWalk struct {
	reader
	head  vmem.Addr
	yield func(vmem.Addr) bool
	seen  map[vmem.Addr]bool
	n     int
}

// forward yields nodes until the head comes round. last is the last node that was yielded, or the head.
func (w *listWalk) forward() (last vmem.Addr, err error) {
	cur := w.head
	next, _, err := w.pair(cur)
	if err != nil {
		return cur, err
	}
	for vmem.Addr(next) != w.head {
		if err := w.v.Step(); err != nil {
			return cur, err
		}
		if next == 0 {
			return cur, errors.New("next is NULL: the list was not initialised, or the entry was cleared")
		}
		node := vmem.Addr(next)
		after, prev, err := w.pair(node)
		if err != nil {
			return cur, fmt.Errorf("entry %#x: %w", next, err)
		}
		if vmem.Addr(prev) != cur && w.seen == nil {
			w.remember(node)
		}
		if w.seen != nil {
			if w.seen[node] {
				return cur, fmt.Errorf("entry %#x: %w", next, ErrLoop)
			}
			w.seen[node] = true
		}
		if !w.yield(node) {
			return cur, errStopped
		}
		w.n++
		cur, next = node, after
	}
	return cur, nil
}

// remember fills seen with the nodes before stop, by walking them once more.
func (w *listWalk) remember(stop vmem.Addr) {
	w.seen = make(map[vmem.Addr]bool, w.n+1)
	cur := w.head
	for range w.n {
		next, err := w.at(cur)
		if err != nil {
			return
		}
		cur = vmem.Addr(next)
		w.seen[cur] = true
	}
}

// backward collects the nodes that lie between the break and the head, from the head's prev; in list order.
func (w *listWalk) backward(last vmem.Addr) []vmem.Addr {
	var out []vmem.Addr
	seen := make(map[vmem.Addr]bool)
	cur := w.head
	for {
		_, prev, err := w.pair(cur)
		if err != nil {
			// cur itself is what could not be read: it is known by address only, and was reported.
			if len(out) > 0 {
				out = out[:len(out)-1]
			}
			break
		}
		node := vmem.Addr(prev)
		if prev == 0 || node == last || node == w.head || seen[node] || w.seen[node] || w.v.Step() != nil {
			break
		}
		seen[node] = true
		out = append(out, node)
		cur = node
	}
	slices.Reverse(out)
	return out
}

// HList yields the containers of an hlist_head's nodes; offset is that of the hlist_node in the container, in bytes. The
// end marks of hlist_nulls, and the lock bit of hlist_bl in the head of an empty list, end it too.
func HList(v *kernel.View, head vmem.Addr, offset uint64) iter.Seq2[vmem.Addr, error] {
	return func(yield func(vmem.Addr, error) bool) {
		r := newReader(v)
		fail := func(at vmem.Addr, err error) {
			yield(0, fmt.Errorf("hash list at %#x: entry %#x: %w", uint64(head), uint64(at), err))
		}
		first, err := r.at(head)
		if err != nil {
			yield(0, fmt.Errorf("hash list at %#x: %w", uint64(head), err))
			return
		}
		var seen map[uint64]bool
		link, n := head, 0 // link: where the pointer to the current node lies, to which its pprev points
		for p := first; p != 0 && p&1 == 0; {
			if err := v.Step(); err != nil {
				fail(vmem.Addr(p), err)
				return
			}
			next, pprev, err := r.pair(vmem.Addr(p))
			if err != nil {
				fail(vmem.Addr(p), err)
				return
			}
			if vmem.Addr(p) == head { // which could be its own pprev
				fail(vmem.Addr(p), ErrLoop)
				return
			}
			if vmem.Addr(pprev) != link && seen == nil {
				seen = r.chain(first, n)
			}
			if seen != nil {
				if seen[p] {
					fail(vmem.Addr(p), ErrLoop)
					return
				}
				seen[p] = true
			}
			if !yield(vmem.Addr(p)-vmem.Addr(offset), nil) {
				return
			}
			link, n, p = vmem.Addr(p), n+1, next
		}
	}
}

// chain is the set of the first n nodes of a chain whose links are at offset 0.
func (r *reader) chain(first uint64, n int) map[uint64]bool {
	seen := make(map[uint64]bool, n+1)
	for p := first; n > 0; n-- {
		seen[p] = true
		next, err := r.at(vmem.Addr(p))
		if err != nil {
			break
		}
		p = next
	}
	return seen
}
