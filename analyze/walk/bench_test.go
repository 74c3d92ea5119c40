package walk_test

import (
	"testing"

	"kdx/analyze/kerneltest"
	"kdx/analyze/vmem"
	"kdx/analyze/walk"
)

func BenchmarkList(b *testing.B) {
	const n = 1000
	m := kerneltest.New(b, decls)
	head := m.Alloc(16)
	prev := head
	for range n {
		a := m.Alloc(32)
		m.Word(prev, uint64(a+16))
		m.Word(a+24, uint64(prev))
		prev = a + 16
	}
	m.Word(prev, uint64(head))
	m.Word(head+8, uint64(prev))
	v := m.View()
	b.ReportAllocs()
	for b.Loop() {
		count := 0
		for range walk.List(v, head, 16) {
			count++
		}
		if count != n {
			b.Fatalf("%d entries; want %d", count, n)
		}
	}
}

func BenchmarkXArray(b *testing.B) {
	m := kerneltest.New(b, decls)
	const slots = 40
	xa := m.Alloc(16)
	top := xaNode(m, 6, 0, 0)
	m.Word(xa+8, uint64(top)|2)
	for i := range 64 {
		leaf := xaNode(m, 0, i, top)
		m.Word(top+slots+vmem.Addr(8*i), uint64(leaf)|2)
		for j := range 64 {
			m.Word(leaf+slots+vmem.Addr(8*j), uint64(kerneltest.Base)+0x1000)
		}
	}
	v := m.View()
	b.ReportAllocs()
	for b.Loop() {
		count := 0
		for range walk.XArray(v, xa) {
			count++
		}
		if count != 4096 {
			b.Fatalf("%d entries; want 4096", count)
		}
	}
}
