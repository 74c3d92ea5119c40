package walk_test

import (
	"context"
	"errors"
	"iter"
	"slices"
	"strings"
	"testing"

	"kdx/analyze/kernel"
	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
	"kdx/dumpfmt"

	"github.com/google/go-cmp/cmp"
)

const decls = `
struct list_head { struct list_head *next, *prev; };
struct xarray { unsigned int xa_lock; unsigned int xa_flags; void *xa_head; };
struct xa_node { unsigned char shift, offset, count, nr_values; struct xa_node *parent; struct xarray *array;
	struct list_head private_list; void *slots[64]; unsigned long tags[3]; };
struct idr { struct xarray idr_rt; unsigned int idr_base; unsigned int idr_next; };
struct maple_tree { unsigned int ma_lock; unsigned int ma_flags; void *ma_root; };
struct maple_range_64 { struct maple_pnode *parent; unsigned long pivot[15]; void *slot[16]; };
struct maple_arange_64 { struct maple_pnode *parent; unsigned long pivot[9]; void *slot[10]; unsigned long gap[10]; };
struct maple_node { union { struct { struct maple_pnode *parent; void *slot[31]; }; struct maple_range_64 mr64; struct maple_arange_64 ma64; }; };
`

func collect[T any](seq iter.Seq2[T, error]) (out []T, errs []error) {
	for x, err := range seq {
		if err != nil {
			errs = append(errs, err)
			continue
		}
		out = append(out, x)
	}
	return
}

func check[T any](t *testing.T, what string, seq iter.Seq2[T, error], want []T, wantErr string) {
	t.Helper()
	got, errs := collect(seq)
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("%s: (-want +got)\n%s", what, d)
	}
	switch {
	case wantErr == "" && len(errs) > 0:
		t.Errorf("%s: error %v; want none", what, errs)
	case wantErr != "" && (len(errs) == 0 || !strings.Contains(errs[0].Error(), wantErr)):
		t.Errorf("%s: errors %v; want one with %q", what, errs, wantErr)
	}
}

// ring links nodes, each on a page of its own, with the list_head 16 bytes into the container.
func ring(m *kerneltest.Machine, n int) (head vmem.Addr, nodes []vmem.Addr) {
	head = m.Alloc(16)
	for range n {
		nodes = append(nodes, m.AllocPage())
	}
	prev := head
	for _, a := range nodes {
		m.Word(prev, uint64(a+16))
		m.Word(a+16+8, uint64(prev))
		prev = a + 16
	}
	m.Word(prev, uint64(head))
	m.Word(head+8, uint64(prev))
	return head, nodes
}

func TestList(t *testing.T) {
	t.Run("whole", func(t *testing.T) {
		m := kerneltest.New(t, decls)
		head, nodes := ring(m, 5)
		check(t, "List", walk.List(m.View(), head, 16), nodes, "")
	})
	t.Run("empty", func(t *testing.T) {
		m := kerneltest.New(t, decls)
		head, _ := ring(m, 0)
		check(t, "List", walk.List(m.View(), head, 16), nil, "")
	})
	t.Run("excluded page", func(t *testing.T) {
		m := kerneltest.New(t, decls)
		head, nodes := ring(m, 6)
		m.Exclude(nodes[2])
		check(t, "List", walk.List(m.View(), head, 16), append(append([]vmem.Addr{}, nodes[:2]...), nodes[3:]...), "excluded")
	})
	t.Run("NULL", func(t *testing.T) {
		m := kerneltest.New(t, decls)
		head, nodes := ring(m, 4)
		m.Word(nodes[1]+16, 0)
		check(t, "List", walk.List(m.View(), head, 16), nodes, "NULL")
	})
	t.Run("loop", func(t *testing.T) {
		m := kerneltest.New(t, decls)
		head, nodes := ring(m, 4)
		m.Word(nodes[3]+16, uint64(nodes[1]+16))
		check(t, "List", walk.List(m.View(), head, 16), nodes, walk.ErrLoop.Error())
	})
	t.Run("wrong prev is no loop", func(t *testing.T) {
		m := kerneltest.New(t, decls)
		head, nodes := ring(m, 4)
		m.Word(nodes[2]+24, 0xdead000000000122)
		check(t, "List", walk.List(m.View(), head, 16), nodes, "")
	})
	t.Run("points to itself", func(t *testing.T) {
		m := kerneltest.New(t, decls)
		head, nodes := ring(m, 3)
		m.Word(nodes[1]+16, uint64(nodes[1]+16))
		check(t, "List", walk.List(m.View(), head, 16), nodes[:2], walk.ErrLoop.Error())
	})
	t.Run("break ends it", func(t *testing.T) {
		m := kerneltest.New(t, decls)
		head, nodes := ring(m, 3)
		for a := range walk.List(m.View(), head, 16) {
			if a != nodes[0] {
				t.Errorf("List yields %#x first; want %#x", a, nodes[0])
			}
			break
		}
	})
}

func TestCancelled(t *testing.T) {
	m := kerneltest.New(t, decls)
	head, _ := ring(m, 3000)
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	got, errs := collect(walk.List(m.ViewContext(ctx), head, 16))
	if len(errs) != 1 || !errors.Is(errs[0], context.Canceled) {
		t.Errorf("errors %v; want context.Canceled, once", errs)
	}
	if len(got) == 3000 {
		t.Error("the walk went to the end of the list")
	}
}

func TestHList(t *testing.T) {
	build := func(t *testing.T) (*kerneltest.Machine, vmem.Addr, []vmem.Addr) {
		m := kerneltest.New(t, decls)
		head := m.Alloc(8)
		var nodes []vmem.Addr
		link := head
		for range 4 {
			n := m.AllocPage()
			nodes = append(nodes, n)
			m.Word(link, uint64(n+32))
			m.Word(n+32+8, uint64(link))
			link = n + 32
		}
		return m, head, nodes
	}
	m, head, nodes := build(t)
	check(t, "HList", walk.HList(m.View(), head, 32), nodes, "")
	m, head, nodes = build(t)
	m.Word(nodes[3]+32, 7<<1|1)
	check(t, "HList with a nulls mark", walk.HList(m.View(), head, 32), nodes, "")
	m, head, nodes = build(t)
	m.Word(nodes[3]+32, uint64(nodes[0]+32))
	check(t, "HList that loops", walk.HList(m.View(), head, 32), nodes, walk.ErrLoop.Error())
	m = kerneltest.New(t, decls)
	head = m.Alloc(16)
	m.Word(head, uint64(head))
	m.Word(head+8, uint64(head))
	check(t, "HList whose head is its own entry", walk.HList(m.View(), head, 0), nil, walk.ErrLoop.Error())
	m, head, nodes = build(t)
	m.Exclude(nodes[2])
	check(t, "HList with an excluded page", walk.HList(m.View(), head, 32), nodes[:2], "excluded")
}

// rbNodes makes a perfect tree of 7 nodes and returns them in order.
func rbNodes(m *kerneltest.Machine) (root vmem.Addr, nodes []vmem.Addr) {
	root = m.Alloc(8)
	for range 7 {
		nodes = append(nodes, m.AllocPage())
	}
	var link func(lo, hi int, parent vmem.Addr) vmem.Addr
	link = func(lo, hi int, parent vmem.Addr) vmem.Addr {
		if lo >= hi {
			return 0
		}
		mid := (lo + hi) / 2
		n := nodes[mid] + 8
		m.Word(n, uint64(parent)|1)
		m.Word(n+16, uint64(link(lo, mid, n)))
		m.Word(n+8, uint64(link(mid+1, hi, n)))
		return n
	}
	m.Word(root, uint64(link(0, 7, 0)))
	return
}

func TestRBTree(t *testing.T) {
	m := kerneltest.New(t, decls)
	root, nodes := rbNodes(m)
	check(t, "RBTree", walk.RBTree(m.View(), root, 8), nodes, "")
	top, err := m.View().Word(root)
	if err != nil {
		t.Fatal(err)
	}
	var inOrder []vmem.Addr
	ways := map[vmem.Addr]string{}
	for p, err := range walk.RBPlacesInOrder(m.View(), vmem.Addr(top), 8) {
		if err != nil {
			t.Errorf("RBPlacesInOrder: %v", err)
		}
		inOrder, ways[p.Addr] = append(inOrder, p.Addr), p.Path
	}
	if !slices.Equal(inOrder, nodes) {
		t.Errorf("RBPlacesInOrder = %#x; want %#x", inOrder, nodes)
	}
	for p := range walk.RBPlaces(m.View(), vmem.Addr(top), 8) {
		if way, ok := ways[p.Addr]; !ok || way != p.Path {
			t.Errorf("RBPlacesInOrder has %#x at %q; RBPlaces at %q", p.Addr, way, p.Path)
		}
	}
	check(t, "RBNode", walk.RBNode(m.View(), nodes[1]+8, 8), nodes[:3], "")

	m = kerneltest.New(t, decls)
	root, nodes = rbNodes(m)
	m.Exclude(nodes[1])
	check(t, "RBTree with an excluded page", walk.RBTree(m.View(), root, 8), nodes[3:], "excluded")

	m = kerneltest.New(t, decls)
	root, nodes = rbNodes(m)
	m.Word(nodes[6]+8+8, uint64(nodes[3]+8)) // the last one's right child is the root
	got, errs := collect(walk.RBTree(m.View(), root, 8))
	if len(errs) == 0 || len(got) > 20 {
		t.Errorf("RBTree that loops: %d nodes, errors %v; want few nodes and an error", len(got), errs)
	}

	// Each of these is its own parent and both of its own children, or the other's: every way back looks like one down.
	for _, other := range []vmem.Addr{0, 0x40} {
		m = kerneltest.New(t, decls)
		root, nodes = rbNodes(m)
		a := nodes[0] + 8
		b := a + other
		for i := vmem.Addr(0); i < 24; i += 8 {
			m.Word(a+i, uint64(b))
			m.Word(b+i, uint64(a))
		}
		if got, errs := collect(walk.RBTree(m.View(), root, 8)); len(errs) == 0 || len(got) > 20 {
			t.Errorf("RBTree with nodes %#x from one another: %d nodes, errors %v; want few nodes and an error", other, len(got), errs)
		}
		if got, errs := collect(walk.RBNode(m.View(), a, 8)); len(errs) == 0 || len(got) > 4 {
			t.Errorf("RBNode with nodes %#x from one another: %d nodes, errors %v; want few nodes and an error", other, len(got), errs)
		}
	}
}

func xaNode(m *kerneltest.Machine, shift, offset int, parent vmem.Addr) vmem.Addr {
	n := m.AllocPage()
	m.Put(n, 1, uint64(shift))
	m.Put(n+1, 1, uint64(offset))
	m.Word(n+8, uint64(parent))
	return n
}

func TestXArray(t *testing.T) {
	const slots = 40
	a, b, c := uint64(kerneltest.Base)+0x100000, uint64(kerneltest.Base)+0x200000, uint64(kerneltest.Base)+0x300000
	build := func(t *testing.T) (m *kerneltest.Machine, xa, top, leaf, leaf2 vmem.Addr) {
		m = kerneltest.New(t, decls)
		xa = m.Alloc(16)
		top = xaNode(m, 6, 0, 0)
		leaf, leaf2 = xaNode(m, 0, 0, top), xaNode(m, 0, 2, top)
		m.Word(xa+8, uint64(top)|2)
		m.Word(top+slots, uint64(leaf)|2)
		m.Word(top+slots+16, uint64(leaf2)|2)
		m.Word(leaf+slots+8, a)
		m.Word(leaf+slots+5*8, b)
		m.Word(leaf+slots+6*8, 5<<2|2)   // sibling of 5
		m.Word(leaf+slots+8*8, 256<<2|2) // retry
		m.Word(leaf+slots+9*8, 257<<2|2) // reserved
		m.Word(leaf+slots+10*8, 77<<1|1) // value 77
		m.Word(leaf2+slots, c)
		return
	}
	all := []walk.Entry{{1, a}, {5, b}, {10, 77<<1 | 1}, {128, c}}
	m, xa, _, leaf, _ := build(t)
	check(t, "XArray", walk.XArray(m.View(), xa), all, "")
	m.Exclude(leaf)
	m, xa, _, leaf, _ = build(t)
	m.Exclude(leaf)
	check(t, "XArray with an excluded node", walk.XArray(m.View(), xa), all[3:], "excluded")
	m, xa, top, _, _ := build(t)
	m.Word(top+slots+3*8, uint64(top)|2)
	check(t, "XArray with a node inside itself", walk.XArray(m.View(), xa), all, "damaged")
	m, xa, top, leaf, _ = build(t)
	for i := range 64 {
		m.Word(top+slots+vmem.Addr(i)*8, uint64(leaf)|2)
	}
	got, errs := collect(walk.XArray(m.View(), xa))
	if len(errs) == 0 || len(got) > 6 {
		t.Errorf("XArray with one node in each slot: %d entries, %d errors; want its entries at most twice", len(got), len(errs))
	}

	m = kerneltest.New(t, decls)
	xa = m.Alloc(16)
	check(t, "empty XArray", walk.XArray(m.View(), xa), nil, "")
	m.Word(xa+8, a)
	m = kerneltest.New(t, decls)
	xa = m.Alloc(16)
	m.Word(xa+8, a)
	check(t, "XArray of one entry", walk.XArray(m.View(), xa), []walk.Entry{{0, a}}, "")
	idr := m.Alloc(24)
	m = kerneltest.New(t, decls)
	m.Word(idr+8, a)
	m.Put(idr+16, 4, 3)
	check(t, "IDR", walk.IDR(m.View(), idr), []walk.Entry{{3, a}}, "")
}

func TestMaple(t *testing.T) {
	max := ^uint64(0)
	val := func(n uint64) uint64 { return uint64(kerneltest.Base) + n<<12 }
	leaf := func(m *kerneltest.Machine, pivots, entries []uint64) vmem.Addr {
		n := m.AllocPage()
		for i, p := range pivots {
			m.Word(n+8+vmem.Addr(i)*8, p)
		}
		for i, e := range entries {
			m.Word(n+128+vmem.Addr(i)*8, e)
		}
		return n
	}
	build := func(t *testing.T) (m *kerneltest.Machine, mt, top, l1, l2 vmem.Addr) {
		m = kerneltest.New(t, decls)
		mt = m.Alloc(16)
		l1 = leaf(m, []uint64{0xfff, 0x1fff, 0x4fff, 0xffff}, []uint64{0, val(1), 257<<2 | 2, val(2)})
		l2 = leaf(m, []uint64{0x10fff}, []uint64{val(3)}) // the second slot is empty and has no pivot
		top = m.AllocPage()
		m.Word(top+8, 0xffff)
		m.Word(top+16, max)
		m.Word(top+80, uint64(l1)|1<<3)
		m.Word(top+88, uint64(l2)|1<<3)
		m.Word(mt+8, uint64(top)|3<<3|2)
		return
	}
	all := []walk.Range{{0x1000, 0x1fff, val(1)}, {0x5000, 0xffff, val(2)}, {0x10000, 0x10fff, val(3)}}
	m, mt, _, _, _ := build(t)
	check(t, "Maple", walk.Maple(m.View(), mt), all, "")
	m, mt, _, l1, _ := build(t)
	m.Exclude(l1)
	check(t, "Maple with an excluded node", walk.Maple(m.View(), mt), all[2:], "excluded")
	m, mt, top, _, _ := build(t)
	m.Word(top+88, uint64(top)|3<<3)
	check(t, "Maple that loops", walk.Maple(m.View(), mt), all[:2], walk.ErrLoop.Error())
	m, mt, _, l1, _ = build(t)
	m.Word(l1+16, 3) // below the pivot before
	check(t, "Maple with a falling pivot", walk.Maple(m.View(), mt), all[2:], "damaged")

	m = kerneltest.New(t, decls)
	mt = m.Alloc(16)
	m.Word(mt+8, val(9))
	check(t, "Maple of one entry", walk.Maple(m.View(), mt), []walk.Range{{0, 0, val(9)}}, "")
}

func TestMissingTypes(t *testing.T) {
	m := kerneltest.New(t, "")
	var v *kernel.View = m.View()
	check(t, "XArray without types", walk.XArray(v, kerneltest.Base), nil, "no member")
	check(t, "Maple without types", walk.Maple(v, kerneltest.Base), nil, "no member")
}

func TestPageErrorSurvives(t *testing.T) {
	m := kerneltest.New(t, decls)
	head, nodes := ring(m, 2)
	m.Exclude(nodes[1])
	_, errs := collect(walk.List(m.View(), head, 16))
	var pe *dumpfmt.PageError
	if len(errs) != 1 || !errors.As(errs[0], &pe) || pe.State != dumpfmt.Excluded {
		t.Errorf("errors %v; want a PageError", errs)
	}
}
